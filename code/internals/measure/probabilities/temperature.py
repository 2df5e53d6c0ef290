"""Distributions after many prompts, at any temperature: whole vocabulary, no sampling.

The unit is the prompt; prompts belong to families. Temperatures divide the logits.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from internals import inputs
from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure.scoring import logits_after

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import ModelHandle

PROMPTS = inputs.PROMPTS / "next_token.yaml"
CHANGES = inputs.PROMPTS / "changes.yaml"
GRID = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)
ASKED = (0.1, 1.0, 2.0)
"""The temperatures that the assignment names."""
NUCLEUS = 0.9


@measurement
def prompt_logits(
    model: ModelHandle, prompts: Path = PROMPTS, end: str = ""
) -> NDArray[np.float32]:
    """Logits after all prompts

    ``(prompt, vocab)``; ``end`` is put behind each prompt.
    """
    texts = [prompt.text + end for prompt in inputs.prompts(prompts)]
    return logits_after(model.loaded(), texts).numpy()


def _tensor(logits: NDArray[np.float32]) -> Tensor:
    import torch

    return torch.from_numpy(logits).double()


@measurement
def sweep(model: ModelHandle, prompts: Path = PROMPTS) -> pd.DataFrame:
    """Entropy, top mass and nucleus of many prompts by temperature

    Columns: ``prompt`` (id), ``family``, ``temperature``, ``entropy_bits``, ``top_prob``,
    ``ten_prob`` (probability of the ten most likely tokens together), ``nucleus`` (fewest tokens
    that hold 0.9 of the probability).
    """
    import torch

    chosen = inputs.prompts(prompts)
    ordered = _tensor(prompt_logits(model, prompts)).sort(descending=True).values
    names = {"prompt": [p.id for p in chosen], "family": [p.family for p in chosen]}
    frames = []
    for t in GRID:
        p = (ordered / t).softmax(-1)
        mass = p.cumsum(-1)
        columns = {
            "entropy_bits": torch.special.entr(p).sum(-1) / math.log(2),
            "top_prob": mass[:, 0],
            "ten_prob": mass[:, :10][:, -1],
            "nucleus": (mass < NUCLEUS).sum(-1) + 1,
        }
        own = {name: column.numpy() for name, column in columns.items()}
        frames.append(pd.DataFrame({**names, "temperature": t, **own}))
    return pd.concat(frames, ignore_index=True)


def means(sweep: pd.DataFrame, at: tuple[float, ...] = ASKED) -> pd.DataFrame:
    """Means over prompts (the nucleus: median), a row for each temperature of ``at``."""
    rows = sweep[sweep["temperature"].isin(at)].groupby("temperature")
    columns = rows[["entropy_bits", "top_prob"]].mean()
    return columns.assign(nucleus=rows["nucleus"].median()).reset_index()


@measurement
def top_tokens(
    model: ModelHandle, only: tuple[str, ...], prompts: Path = PROMPTS, k: int = 4
) -> pd.DataFrame:
    """Most likely tokens of the prompts with the ids ``only``, at three temperatures

    Columns: ``text``, ``temperature``, ``token``, ``probability``, likeliest first.
    """
    from internals.tokens import display

    tokenizer, rows = model.loaded().tokenizer, []
    for prompt, z in zip(
        inputs.prompts(prompts), _tensor(prompt_logits(model, prompts)), strict=True
    ):
        for t in ASKED if prompt.id in only else ():
            p, ids = (z / t).softmax(-1).topk(min(k, len(z)))
            for value, token in zip(p.tolist(), ids.tolist(), strict=True):
                rows.append((prompt.text, t, display(tokenizer, token), value))
    if not rows:
        raise NotApplicable(f"no prompt in {prompts.name} has one of the ids {', '.join(only)}")
    return pd.DataFrame(rows, columns=["text", "temperature", "token", "probability"])


@measurement
def blank_effect(model: ModelHandle, prompts: Path = PROMPTS) -> pd.DataFrame:
    """How much probability moves when a blank is put at the end of a prompt

    Columns: ``prompt``, ``moved`` (total variation distance, 0 to 1), ``same_ids`` (the tokenizer
    drops the blank, so nothing can move).
    """
    from internals.tokens import prompt_ids

    chosen, tokenizer = inputs.prompts(prompts), model.loaded().tokenizer
    pairs = [[prompt_ids(tokenizer, p.text + end) for end in ("", " ")] for p in chosen]
    moved = _moved(prompt_logits(model, prompts), prompt_logits(model, prompts, " "))
    same = [plain == blank for plain, blank in pairs]
    return pd.DataFrame({"prompt": [p.id for p in chosen], "moved": moved, "same_ids": same})


@measurement
def word_effect(model: ModelHandle, changes: Path = CHANGES) -> pd.DataFrame:
    """How much probability moves when one word of a prompt changes

    Columns: ``prompt``, ``moved``; a row for each pair of prompts.
    """
    chosen = inputs.changes(changes)
    texts = [c.text for c in chosen] + [c.changed for c in chosen]
    logits = logits_after(model.loaded(), texts).numpy()
    moved = _moved(logits[: len(chosen)], logits[len(chosen) :])
    return pd.DataFrame({"prompt": [c.id for c in chosen], "moved": moved})


def _moved(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """``(prompt,)`` total variation distance between distributions given by their logits."""
    p, q = (_tensor(z).softmax(-1) for z in (one, other))
    moved: NDArray[np.float64] = (p - q).abs().sum(-1).numpy() / 2
    return moved
