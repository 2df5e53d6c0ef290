"""Diversity and quality of many continuations: settings side by side, tested over prompts.

The unit is the prompt. All texts have the same length; the second model, which did not choose the
tokens, judges how predictable they are.
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
from internals.measure.capability import start_ids
from internals.measure.generation import metrics
from internals.measure.generation.samples import HUMAN, OPENINGS, token_ids, with_human

if TYPE_CHECKING:
    from internals.models import ModelHandle

BLEU_TEXTS = 5
"""Samples of a prompt that enter self-BLEU, each with the others as references."""
JUDGED_SEEDS = 4
"""Samples of a prompt that the second model reads."""
BROKEN = "\ufffd"
"""What a decoder writes for bytes that are no character."""


@measurement
def judged(model: ModelHandle, judge: ModelHandle, openings: Path = OPENINGS) -> pd.DataFrame:
    """Loss of every text under a second model, which did not choose its tokens

    Columns: ``setting``, ``prompt``, ``seed``, ``judge_bits`` (bits per byte of the continuation,
    given the opening).
    """
    from internals.measure.scoring import mean_surprisal

    loaded = judge.loaded()
    heads = {o.id: o.text for o in inputs.openings(openings)}
    table = with_human(model, openings)
    table = table[table["seed"] < JUDGED_SEEDS]
    before = [
        heads[row.prompt] if row.setting != HUMAN else row.before for row in table.itertuples()
    ]
    firsts, rests, per_byte = [], [], []
    for opening, text in zip(before, table["text"], strict=True):
        first = [*start_ids(loaded), *token_ids(loaded, opening)]
        # A text is cut where the judge's context ends.
        rest = token_ids(loaded, text)[: loaded.facts.context_length - len(first)]
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
    ``loop_rate``, ``own_bits`` (per token), ``judge_bits`` (per byte), ``broken`` (share of texts
    with bytes that are no character, decoded as U+FFFD), each the mean over prompts, and
    ``NAME_low``, ``NAME_high`` for distinct_2 and judge_bits; ``prompts``, ``texts``."""
    tests: pd.DataFrame
    """Against greedy, pair by pair: ``setting``, ``measure`` (judge_bits, rep_4), ``difference``,
    ``low``, ``high``, ``p`` (sign flips), ``n`` (prompts), ``adjusted`` (Benjamini–Hochberg over
    all rows)."""
    growth: pd.DataFrame
    """Vocabulary growth: ``setting``, ``tokens`` (generated so far), ``different`` (tokens among
    them, mean over orders of the texts)."""


@measurement
def comparison(model: ModelHandle, judge: ModelHandle, openings: Path = OPENINGS) -> Comparison:
    """Diversity and quality of the settings"""
    table = with_human(model, openings)
    scores = judged(model, judge, openings)
    table = table.merge(scores, on=["setting", "prompt", "seed"], how="left")
    per_prompt = _per_prompt(table)
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
    growth = _vocabulary_growth(table)
    return Comparison(pd.DataFrame(rows), _against_greedy(per_prompt), growth)


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
                "broken": float(np.mean([BROKEN in text for text in texts])),
                "judge_bits": float(part["judge_bits"].mean()),
            }
        )
    return pd.DataFrame(rows)


def _against_greedy(per_prompt: pd.DataFrame) -> pd.DataFrame:
    own = per_prompt[per_prompt["setting"] != HUMAN]
    rows = []
    for measure in ("judge_bits", "rep_4"):
        wide = own.pivot(index="prompt", columns="setting", values=measure)
        for setting in wide.columns.drop("greedy"):
            pairs = wide[[setting, "greedy"]].dropna()
            gap = (pairs[setting] - pairs["greedy"]).to_numpy()
            if not len(gap):
                continue
            found = stats.bootstrap_ci(gap, unit="prompts")
            p = stats.sign_flip_test(gap).p_value
            rows.append((setting, measure, found.value, found.low, found.high, p, found.n))
    columns = ["setting", "measure", "difference", "low", "high", "p", "n"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(adjusted=stats.benjamini_hochberg(table["p"]))


def largest(values: pd.Series) -> list[str]:
    """All settings that share the largest of some ``values``, which have a setting as index."""
    return [str(setting) for setting in values.index[values == values.max()]]


def broken_share(table: pd.DataFrame) -> tuple[float, int]:
    """Share of a model's own texts with broken bytes, and the number of these texts.

    ``table`` as in `Comparison`; human text does not count.
    """
    own = table[table["setting"] != HUMAN]
    n = int(own["texts"].sum())
    return float((own["broken"] * own["texts"]).sum() / n), n


def _vocabulary_growth(table: pd.DataFrame, orders: int = 5) -> pd.DataFrame:
    rows = []
    for setting, own in table.groupby("setting", sort=False):
        texts = own["ids"].tolist()
        sizes = np.mean([metrics.vocabulary_growth(texts, seed) for seed in range(orders)], axis=0)
        length = len(texts[0])
        shown = sorted({*np.unique(np.geomspace(1, len(texts), 12).round().astype(int)), 1})
        rows += [(setting, int(k) * length, float(sizes[k - 1])) for k in shown]
    return pd.DataFrame(rows, columns=["setting", "tokens", "different"])
