"""Distributions after many prompts, at any temperature: whole vocabulary, no sampling.

The unit is the prompt; prompts belong to families. Temperatures divide the logits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.errors import NotApplicable

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel, ModelHandle

PROMPTS = inputs.PROMPTS / "next_token.yaml"
CHANGES = inputs.PROMPTS / "changes.yaml"
GRID = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
ASKED = (0.1, 1.0, 2.0)
"""The temperatures that the assignment names."""
NUCLEUS = 0.9
_BUDGET = 1024  # tokens of prompts that are run together


def next_logits(loaded: LoadedModel, text: str, start: tuple[int, ...] = ()) -> Tensor:
    """``(vocab,)`` logits after a text in float64; ``start`` is put before its ids."""
    from internals.tokens import prompt_ids

    return logits_after(loaded, [[*start, *prompt_ids(loaded.tokenizer, text)]])[0]


def logits_after(loaded: LoadedModel, prompts: Sequence[Sequence[int]]) -> Tensor:
    """``(prompt, vocab)`` logits after the last id of each prompt, in float64 on the CPU.

    Raises `NotApplicable` for a prompt that the context cannot hold.
    """
    import torch

    from internals.measure.scoring import batches, logits_at, padded

    lengths = [len(ids) for ids in prompts]
    check_length(loaded, max(lengths))
    found: list[Tensor | None] = [None] * len(prompts)
    for group in batches(lengths, _BUDGET):
        rows = padded([prompts[i] for i in group], loaded.model.device)
        last = [lengths[i] - 1 for i in group]
        logits = logits_at(loaded.model, rows, list(range(len(group))), last)
        for i, row in zip(group, logits.double().cpu(), strict=True):
            found[i] = row
    return torch.stack([row for row in found if row is not None])


def check_length(loaded: LoadedModel, tokens: int) -> None:
    """Raise `NotApplicable` if a prompt of so many tokens does not fit the context."""
    room = loaded.facts.context_length
    if tokens > room:
        raise NotApplicable(f"a prompt has {tokens} tokens, and the context holds {room}")


def prompt_logits(loaded: LoadedModel, prompts: Sequence[inputs.Prompt]) -> Tensor:
    """``(prompt, vocab)`` logits after the texts of some prompts."""
    from internals.tokens import prompt_ids

    return logits_after(loaded, [prompt_ids(loaded.tokenizer, p.text) for p in prompts])


@measurement
def sweep(model: ModelHandle, prompts: Path = PROMPTS) -> pd.DataFrame:
    """Entropy, top mass and nucleus of many prompts by temperature

    Columns: ``prompt`` (id), ``family``, ``temperature``, ``entropy_bits``, ``top_prob``,
    ``ten_prob`` (probability of the ten most likely tokens together), ``nucleus`` (fewest tokens
    that hold 0.9 of the probability).
    """
    chosen = inputs.prompts(prompts)
    rows = []
    for prompt, z in zip(chosen, prompt_logits(model.loaded(), chosen), strict=True):
        ordered = z.sort(descending=True).values
        for t in GRID:
            lp = (ordered / t).log_softmax(-1)
            mass = lp.exp().cumsum(0)
            rows.append(
                {
                    "prompt": prompt.id,
                    "family": prompt.family,
                    "temperature": t,
                    "entropy_bits": entropy_bits(lp),
                    "top_prob": mass[0].item(),
                    "ten_prob": mass[: min(10, len(mass))][-1].item(),
                    "nucleus": int((mass < NUCLEUS).sum()) + 1,
                }
            )
    return pd.DataFrame(rows)


def means(sweep: pd.DataFrame, at: tuple[float, ...] = ASKED) -> pd.DataFrame:
    """Means over prompts (the nucleus: median), a row for each temperature of ``at``."""
    rows = sweep[sweep["temperature"].isin(at)].groupby("temperature")
    columns = rows[["entropy_bits", "top_prob"]].mean()
    return columns.assign(nucleus=rows["nucleus"].median()).reset_index()


def entropy_bits(log_p: Tensor) -> float:
    """Entropy of ``(vocab,)`` natural log-probabilities; ``0 log 0`` is 0."""
    p = log_p.exp()
    return float(-(p * log_p.clamp_min(-1e4)).sum().item() / math.log(2))


@measurement
def top_tokens(
    model: ModelHandle, only: tuple[str, ...], prompts: Path = PROMPTS, k: int = 5
) -> pd.DataFrame:
    """Most likely tokens of the prompts with the ids ``only``, at three temperatures

    Columns: ``prompt``, ``family``, ``text``, ``temperature``, ``place`` (from 1), ``token``,
    ``probability``.
    """
    from internals.tokens import display

    loaded = model.loaded()
    chosen = [prompt for prompt in inputs.prompts(prompts) if prompt.id in only]
    if not chosen:
        raise NotApplicable(f"no prompt in {prompts.name} has one of the ids {', '.join(only)}")
    rows = []
    for prompt, z in zip(chosen, prompt_logits(loaded, chosen), strict=True):
        for t in ASKED:
            p, ids = (z / t).softmax(-1).topk(min(k, len(z)))
            for place, (value, token) in enumerate(zip(p.tolist(), ids.tolist(), strict=True), 1):
                shown = display(loaded.tokenizer, token)
                rows.append((prompt.id, prompt.family, prompt.text, t, place, shown, value))
    columns = ["prompt", "family", "text", "temperature", "place", "token", "probability"]
    return pd.DataFrame(rows, columns=columns)


@measurement
def blank_effect(model: ModelHandle, prompts: Path = PROMPTS) -> pd.DataFrame:
    """How much probability moves when a blank is put at the end of a prompt

    Columns: ``prompt``, ``moved`` (total variation distance, 0 to 1), ``same_ids`` (the tokenizer
    drops the blank, so nothing can move).
    """
    chosen = inputs.prompts(prompts)
    return _moved(model.loaded(), [(p.id, p.text, p.text + " ") for p in chosen])


@measurement
def word_effect(model: ModelHandle, changes: Path = CHANGES) -> pd.DataFrame:
    """How much probability moves when one word of a prompt changes

    Columns as in `blank_effect`; a row for each pair of prompts.
    """
    return _moved(model.loaded(), [(c.id, c.text, c.changed) for c in inputs.changes(changes)])


def _moved(loaded: LoadedModel, pairs: Sequence[tuple[str, str, str]]) -> pd.DataFrame:
    from internals.tokens import prompt_ids

    first, second = ([prompt_ids(loaded.tokenizer, pair[i]) for pair in pairs] for i in (1, 2))
    p, q = (logits_after(loaded, ids).softmax(-1) for ids in (first, second))
    same = [a == b for a, b in zip(first, second, strict=True)]
    moved = 0.5 * (p - q).abs().sum(-1)
    return pd.DataFrame({"prompt": [pair[0] for pair in pairs], "moved": moved, "same_ids": same})


def js_distance(p: Tensor, q: Tensor) -> float:
    """Square root of the Jensen–Shannon divergence in bits (Endres, Schindelin 2003), in [0, 1]."""
    mean = (p + q) / 2

    def kl(a: Tensor) -> float:
        kept = a > 0
        return float((a[kept] * (a[kept] / mean[kept]).log2()).sum().item())

    return math.sqrt(max(0.0, (kl(p) + kl(q)) / 2))
