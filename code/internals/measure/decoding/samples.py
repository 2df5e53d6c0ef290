"""Many continuations under many settings: made in batches, scored, compared over prompts.

The unit is the prompt. All continuations have the same length; the second model, which did not
choose the tokens, judges quality.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import inputs, stats
from internals.cache import measurement
from internals.generation.sampling import Sampler
from internals.measure import effort
from internals.measure.capability import start_ids
from internals.measure.decoding import metrics
from internals.measure.windows import HELD_OUT, documents

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

OPENINGS = inputs.PROMPTS / "openings.yaml"
SEEDS, NEW_TOKENS = 10, 32
OWN_SEEDS = 4
"""Samples of a prompt whose loss under the model itself is taken."""
BLEU_TEXTS = 5
"""Samples of a prompt that enter self-BLEU, each with the others as references."""
SETTINGS = (
    Sampler("greedy", greedy=True),
    Sampler("T 0.7", temperature=0.7),
    Sampler("T 1", temperature=1.0),
    Sampler("T 1.3", temperature=1.3),
    Sampler("k 5", top_k=5),
    Sampler("k 20", top_k=20),
    Sampler("k 50", top_k=50),
    Sampler("p 0.5", top_p=0.5),
    Sampler("p 0.8", top_p=0.8),
    Sampler("p 0.9", top_p=0.9),
    Sampler("p 0.95", top_p=0.95),
)
HUMAN = "human text"
_ROWS = 240
"""Texts that are generated at once."""


def family(setting: str) -> str:
    """Family of a setting, for colours: greedy, temperature, top-k, top-p, human."""
    names = {"T": "temperature", "k": "top-k", "p": "top-p"}
    return names.get(setting.split()[0], setting)


@measurement
def samples(model: ModelHandle, openings: Path = OPENINGS, seed: int = 0) -> pd.DataFrame:
    """Continuations under every setting

    Columns: ``setting``, ``prompt``, ``seed``, ``ids`` (tuple of new tokens), ``text``, and
    ``own_bits`` (loss of the new tokens under the model itself, bits per token; of the first seeds
    only, NaN elsewhere). Greedy decoding gives one text for a prompt.
    """
    loaded = model.loaded()
    chosen = inputs.openings(openings)[: effort.units(loaded.facts, 24, least=12)]
    n_seeds = effort.units(loaded.facts, SEEDS, least=5)
    start = start_ids(loaded)
    prompts = {o.id: [*start, *_ids(loaded, o.text)] for o in chosen}
    n_new = min(NEW_TOKENS, loaded.facts.context_length - max(map(len, prompts.values())))
    frames = []
    for number, setting in enumerate(SETTINGS):
        jobs = [(p, s) for p in prompts for s in range(1 if setting.greedy else n_seeds)]
        frames.append(_continued(loaded, setting, jobs, prompts, n_new, seed + 100 * number))
    return pd.concat(frames, ignore_index=True)


def _ids(loaded: LoadedModel, text: str) -> list[int]:
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


def _continued(
    loaded: LoadedModel,
    setting: Sampler,
    jobs: list[tuple[str, int]],
    prompts: dict[str, list[int]],
    n_new: int,
    seed: int,
) -> pd.DataFrame:
    from internals.generation.generate import generate
    from internals.measure.scoring import mean_surprisal

    rows: list[dict[str, Any]] = []
    for first in range(0, len(jobs), _ROWS):
        part = jobs[first : first + _ROWS]
        heads = [prompts[p] for p, _ in part]
        made = generate(loaded.model, heads, n_new, sampler=setting, seed=seed + first)
        tails = [t if s < OWN_SEEDS else () for (_, s), t in zip(part, made.ids, strict=True)]
        scored = [i for i, tail in enumerate(tails) if tail]
        own_bits = np.full(len(part), np.nan)
        own_bits[scored] = mean_surprisal(
            loaded.model, [heads[i] for i in scored], [tails[i] for i in scored]
        ) / math.log(2)
        for (prompt, number), ids, own in zip(part, made.ids, own_bits, strict=True):
            text = loaded.tokenizer.decode(list(ids))
            rows.append(
                {
                    "setting": setting.name,
                    "prompt": prompt,
                    "seed": number,
                    "ids": ids,
                    "text": text,
                    "own_bits": float(own),
                }
            )
    return pd.DataFrame(rows)


@measurement(files=[HELD_OUT])
def human(model: ModelHandle, n_new: int = NEW_TOKENS) -> pd.DataFrame:
    """Held-out human text of the same length, as a row beside the samples

    Columns as :func:`samples`; each document stands for a prompt and gives several pieces, so that
    its diversity is counted over as many texts.
    """
    from internals.measure.scoring import mean_surprisal

    loaded = model.loaded()
    rows: list[dict[str, Any]] = []
    heads: list[list[int]] = []
    head = 10
    wanted = effort.units(loaded.facts, 24, least=12)
    n_seeds = effort.units(loaded.facts, SEEDS, least=5)
    n_new = min(n_new, loaded.facts.context_length - head - 1)
    for number, text in enumerate(documents(("stories",))):
        ids = _ids(loaded, text)
        if len(ids) < head + n_seeds * n_new:
            continue
        for piece in range(n_seeds):
            at = head + piece * n_new
            part = tuple(ids[at : at + n_new])
            before = [*start_ids(loaded), *ids[at - head : at]]
            heads.append(before)
            rows.append(
                {
                    "setting": HUMAN,
                    "prompt": f"document-{number}",
                    "seed": piece,
                    "ids": part,
                    "text": loaded.tokenizer.decode(list(part)),
                    "before": loaded.tokenizer.decode(ids[at - head : at]),
                }
            )
        if len(rows) >= wanted * n_seeds:
            break
    table = pd.DataFrame(rows)
    bits = mean_surprisal(loaded.model, heads, table["ids"].tolist()) / math.log(2)
    return table.assign(own_bits=bits)


@measurement
def judged(model: ModelHandle, judge: ModelHandle, openings: Path = OPENINGS) -> pd.DataFrame:
    """Loss of every text under a second model, which did not choose its tokens

    Columns: ``setting``, ``prompt``, ``seed``, ``judge_bits`` (bits per byte of the continuation,
    given the opening).
    """
    from internals.measure.scoring import mean_surprisal

    loaded = judge.loaded()
    heads = {o.id: o.text for o in inputs.openings(openings)}
    table = pd.concat([samples(model, openings), human(model)], ignore_index=True)
    before = [
        heads[row.prompt] if row.setting != HUMAN else row.before for row in table.itertuples()
    ]
    firsts, rests, per_byte = [], [], []
    for opening, text in zip(before, table["text"], strict=True):
        first = [*start_ids(loaded), *_ids(loaded, opening)]
        # A text is cut where the judge's context ends.
        rest = _ids(loaded, text)[: loaded.facts.context_length - len(first)]
        firsts.append(first)
        rests.append(rest)
        per_byte.append(len(rest) / max(len(loaded.tokenizer.decode(rest).encode()), 1))
    nats = mean_surprisal(loaded.model, firsts, rests)
    bits = nats * np.array(per_byte) / math.log(2)
    return table[["setting", "prompt", "seed"]].assign(judge_bits=bits)


@dataclass(frozen=True)
class Comparison:
    """Settings side by side."""

    table: pd.DataFrame
    """One row a setting: ``setting``, ``distinct_1`` to ``distinct_3``, ``self_bleu``, ``rep_4``,
    ``loop_rate``, ``own_bits`` (per token), ``judge_bits`` (per byte), each the mean over prompts,
    and ``NAME_low``, ``NAME_high`` for distinct_2 and judge_bits; ``prompts``, ``texts``."""
    tests: pd.DataFrame
    """Against greedy, pair by pair: ``setting``, ``difference`` (judge_bits), ``low``, ``high``,
    ``p`` (sign flips), ``adjusted`` (Benjamini–Hochberg)."""


@measurement
def comparison(model: ModelHandle, judge: ModelHandle, openings: Path = OPENINGS) -> Comparison:
    """Diversity and quality of the settings"""
    table = pd.concat([samples(model, openings), human(model)], ignore_index=True)
    table = table.merge(judged(model, judge, openings), on=["setting", "prompt", "seed"])
    per_prompt = _per_prompt(table.dropna(subset=["judge_bits"]))
    columns = [c for c in per_prompt.columns if c not in ("setting", "prompt", "texts")]
    rows = []
    for setting, part in per_prompt.groupby("setting", sort=False):
        row: dict[str, Any] = {"setting": setting, **part[columns].mean().to_dict()}
        for column in ("distinct_2", "judge_bits"):
            values = part[column].dropna().to_numpy()
            found = stats.bootstrap_ci(values, unit="prompts") if len(values) else None
            row[f"{column}_low"] = found.low if found else math.nan
            row[f"{column}_high"] = found.high if found else math.nan
        rows.append({**row, "prompts": len(part), "texts": int(part["texts"].sum())})
    return Comparison(pd.DataFrame(rows), _against_greedy(per_prompt))


def _per_prompt(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each setting and prompt; diversity is over the texts of the prompt."""
    rows = []
    for (setting, prompt), part in table.groupby(["setting", "prompt"], sort=False):
        ids, texts = part["ids"].tolist(), part["text"].tolist()
        several = len(part) > 1
        rows.append(
            {
                "setting": setting,
                "prompt": prompt,
                "texts": len(part),
                **{
                    f"distinct_{n}": metrics.distinct(ids, n) if several else math.nan
                    for n in (1, 2, 3)
                },
                "self_bleu": metrics.self_bleu(texts[:BLEU_TEXTS]),
                "rep_4": float(np.mean([metrics.repetition(t) for t in ids])),
                "loop_rate": float(np.mean([metrics.loops(t) for t in ids])),
                "own_bits": float(part["own_bits"].mean()),
                "judge_bits": float(part["judge_bits"].mean()),
            }
        )
    return pd.DataFrame(rows)


def _against_greedy(per_prompt: pd.DataFrame) -> pd.DataFrame:
    wide = per_prompt[per_prompt["setting"] != HUMAN].pivot(
        index="prompt", columns="setting", values="judge_bits"
    )
    rows = []
    for setting in wide.columns.drop("greedy"):
        pairs = wide[[setting, "greedy"]].dropna()
        gap = (pairs[setting] - pairs["greedy"]).to_numpy()
        found = stats.bootstrap_ci(gap, unit="prompts")
        p = stats.sign_flip_test(gap).p_value
        rows.append((setting, found.value, found.low, found.high, p, len(gap)))
    table = pd.DataFrame(rows, columns=["setting", "difference", "low", "high", "p", "n"])
    return table.assign(adjusted=stats.benjamini_hochberg(table["p"]))
