"""Many continuations under many settings, made in batches, and human text cut to the same length.

The unit is the prompt. What they are worth is measured in `comparison`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.generation.sampling import Sampler
from internals.measure import effort
from internals.measure.capability import start_ids
from internals.measure.windows import HELD_OUT, documents

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelFacts, ModelHandle

OPENINGS = inputs.PROMPTS / "openings.yaml"
SEEDS, NEW_TOKENS = 10, 32
OWN_SEEDS = 2
"""Samples of a prompt whose loss under the model itself is taken."""
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
BEAMS = 4
BEAM = f"beam {BEAMS}"
"""Beam search: the most likely text that a search with so many beginnings at once finds."""
HUMAN = "human text"


def family(setting: str) -> str:
    """Family of a setting, for colours: greedy, temperature, top-k, top-p, beam
    search, human text."""
    names = {"T": "temperature", "k": "top-k", "p": "top-p", "beam": "beam search"}
    return names.get(setting.split()[0], setting)


def grid(facts: ModelFacts) -> tuple[int, int]:
    """Openings, and seeds of each, for this model; human text has as many pieces."""
    return effort.units(facts, 24, least=10), effort.units(facts, SEEDS, least=4)


@measurement
def samples(model: ModelHandle, openings: Path = OPENINGS, seed: int = 0) -> pd.DataFrame:
    """Continuations under every setting

    Columns: ``setting``, ``prompt``, ``seed``, ``ids`` (tuple of new tokens), ``text``, and
    ``own_bits`` (loss of the new tokens under the model itself, bits per token; of the first seeds
    only, NaN elsewhere). Greedy decoding and beam search give one text for a prompt.
    """
    from internals.generation.generate import generate

    loaded = model.loaded()
    n_openings, n_seeds = grid(loaded.facts)
    chosen = inputs.openings(openings)[:n_openings]
    start = start_ids(loaded)
    prompts = {o.id: [*start, *token_ids(loaded, o.text)] for o in chosen}
    n_new = min(NEW_TOKENS, loaded.facts.context_length - max(map(len, prompts.values())))
    heads, frames = list(prompts.values()), []
    for number, setting in enumerate(SETTINGS):
        copies = 1 if setting.greedy else n_seeds
        made = generate(
            loaded.model, heads, n_new, sampler=setting, seed=seed + 100 * number, copies=copies
        ).ids
        jobs = [(p, s) for p in prompts for s in range(copies)]
        frames.append(_rows(loaded, setting.name, jobs, [prompts[p] for p, _ in jobs], made))
    beams = beam_texts(loaded, heads, n_new)
    frames.append(_rows(loaded, BEAM, [(p, 0) for p in prompts], heads, beams))
    return pd.concat(frames, ignore_index=True)


def beam_texts(
    loaded: LoadedModel, heads: list[list[int]], n_new: int, beams: int = BEAMS
) -> list[tuple[int, ...]]:
    """The library's beam search: exactly ``n_new`` tokens after each head."""
    import torch

    from internals.generation.generate import pad_left

    batch = pad_left(heads, 0, loaded.model.device)
    with torch.inference_mode():
        made = loaded.model.generate(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            num_beams=beams,
            do_sample=False,
            max_new_tokens=n_new,
            min_new_tokens=n_new,
            eos_token_id=None,
            pad_token_id=0,
        )
    return [tuple(row) for row in made[:, batch.ids.shape[1] :].tolist()]


def token_ids(loaded: LoadedModel, text: str) -> list[int]:
    """Ids of a text without added special tokens: a start token is put before it by hand."""
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


def _rows(
    loaded: LoadedModel,
    setting: str,
    jobs: list[tuple[str, int]],
    heads: list[list[int]],
    made: Sequence[tuple[int, ...]],
) -> pd.DataFrame:
    """One row for each text of a batch; the loss is taken for the first seeds."""
    from internals.measure.scoring import mean_surprisal

    scored = [i for i, (_, number) in enumerate(jobs) if number < OWN_SEEDS]
    own_bits = np.full(len(jobs), np.nan)
    own_bits[scored] = mean_surprisal(
        loaded.model, [heads[i] for i in scored], [made[i] for i in scored]
    ) / math.log(2)
    return pd.DataFrame(
        {
            "setting": setting,
            "prompt": [prompt for prompt, _ in jobs],
            "seed": [number for _, number in jobs],
            "ids": list(made),
            "text": [loaded.tokenizer.decode(list(ids)) for ids in made],
            "own_bits": own_bits,
        }
    )


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
    wanted, n_seeds = grid(loaded.facts)
    n_new = min(n_new, loaded.facts.context_length - head - 1)
    for number, text in enumerate(documents(("stories",))):
        ids = token_ids(loaded, text)
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


def with_human(model: ModelHandle, openings: Path = OPENINGS) -> pd.DataFrame:
    """The samples and, below them, human text of exactly their length."""
    made = samples(model, openings)
    return pd.concat([made, human(model, len(made["ids"].iloc[0]))], ignore_index=True)
