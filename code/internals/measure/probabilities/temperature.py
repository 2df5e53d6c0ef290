"""What temperature does to a distribution, over many prompts: whole vocabulary, no sampling.

The unit is the prompt; families of prompts are compared. Temperatures divide the logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import inputs
from internals.cache import measurement

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel, ModelHandle

PROMPTS = inputs.PROMPTS / "next_token.yaml"
CHANGES = inputs.PROMPTS / "changes.yaml"
GRID = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
ASKED = (0.1, 1.0, 2.0)
"""The temperatures that the assignment names."""
NUCLEUS = 0.9


def next_logits(loaded: LoadedModel, text: str, start: tuple[int, ...] = ()) -> Tensor:
    """``(vocab,)`` logits after a text in float64; ``start`` is put before its ids."""
    import torch

    ids = [*start, *loaded.tokenizer(text)["input_ids"]]
    with torch.inference_mode():
        row = torch.tensor([ids], device=loaded.model.device)
        return loaded.model(row, use_cache=False).logits[0, -1].double().cpu()


@measurement
def sweep(model: ModelHandle, prompts: Path = PROMPTS) -> pd.DataFrame:
    """Entropy, top mass and nucleus of many prompts by temperature

    Columns: ``prompt`` (id), ``family``, ``temperature``, ``entropy_bits``, ``top_prob``,
    ``kl_bits`` (from the distribution at this temperature to that at 1), ``nucleus`` (fewest tokens
    that hold 0.9 of the mass), ``order_kept`` (no less likely token overtook a more likely one),
    ``lead`` (nats by which the largest logit exceeds the second, the same at every temperature).
    """
    loaded = model.loaded()
    rows = []
    for prompt in inputs.prompts(prompts):
        z = next_logits(loaded, prompt.text)
        order = z.argsort(descending=True)
        base = z.log_softmax(-1)
        lead = (z[order[0]] - z[order[1]]).item()
        for t in GRID:
            lp = (z / t).log_softmax(-1)
            p = lp.exp()
            ordered = p[order]
            rows.append(
                {
                    "prompt": prompt.id,
                    "family": prompt.family,
                    "temperature": t,
                    "entropy_bits": entropy_bits(lp),
                    "top_prob": ordered[0].item(),
                    "kl_bits": (p * (lp - base)).sum().clamp_min(0).item() / math.log(2),
                    "nucleus": int((ordered.cumsum(0) < NUCLEUS).sum()) + 1,
                    "order_kept": bool((ordered.diff() <= 0).all()),
                    "lead": lead,
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
    model: ModelHandle, only: tuple[str, ...] = (), prompts: Path = PROMPTS, k: int = 8
) -> pd.DataFrame:
    """Most likely tokens of prompts (all, or those with the ids ``only``) at three temperatures

    Columns: ``prompt``, ``family``, ``text``, ``temperature``, ``place`` (from 1), ``token``,
    ``probability``.
    """
    from internals.tokens import display

    loaded = model.loaded()
    rows = []
    for prompt in inputs.prompts(prompts):
        if only and prompt.id not in only:
            continue
        z = next_logits(loaded, prompt.text)
        for t in ASKED:
            p, ids = (z / t).softmax(-1).topk(k)
            for place, (value, token) in enumerate(zip(p.tolist(), ids.tolist(), strict=True), 1):
                shown = display(loaded.tokenizer, token)
                rows.append((prompt.id, prompt.family, prompt.text, t, place, shown, value))
    columns = ["prompt", "family", "text", "temperature", "place", "token", "probability"]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class Identities:
    """What must hold for any logits, checked on all prompts; largest deviations."""

    prompts: int
    power: float
    """``softmax(z / T)`` against ``p^(1/T)`` renormalised, over the grid."""
    divided: float
    """``p / T`` renormalised against ``p``: dividing probabilities changes nothing."""
    shift: float
    """``softmax(z + 100)`` against ``softmax(z)``."""
    cold: float
    """Mass outside the first choice at T = 0.001 (largest over prompts without a near-tie)."""
    near_ties: int
    """Prompts whose two largest logits differ by less than 0.02."""
    hot: float
    """Total variation distance to the uniform distribution at T = 10,000."""


@measurement
def identities(model: ModelHandle, prompts: Path = PROMPTS) -> Identities:
    """Identities and limits of temperature"""
    import torch

    loaded = model.loaded()
    power = divided = shift = cold = hot = 0.0
    ties = 0
    chosen = inputs.prompts(prompts)
    for prompt in chosen:
        z = next_logits(loaded, prompt.text)
        p = z.softmax(-1)
        for t in GRID:
            # Scaled by the largest entry first: p^(1/T) underflows for small T.
            root = (z.log_softmax(-1) / t - (z.log_softmax(-1) / t).max()).exp()
            power = max(power, (root / root.sum() - (z / t).softmax(-1)).abs().max().item())
            divided = max(divided, ((p / t) / (p / t).sum() - p).abs().max().item())
        shift = max(shift, ((z + 100).softmax(-1) - p).abs().max().item())
        two = z.topk(2).values
        if (two[0] - two[1]).item() < 0.02:
            ties += 1
        else:
            cold = max(cold, 1 - (z / 0.001).softmax(-1).max().item())
        uniform = torch.full_like(p, 1 / len(p))
        hot = max(hot, 0.5 * ((z / 10_000).softmax(-1) - uniform).abs().sum().item())
    return Identities(len(chosen), power, divided, shift, cold, ties, hot)


@measurement
def changed_words(model: ModelHandle, changes: Path = CHANGES) -> pd.DataFrame:
    """How far a distribution moves when one word of the prompt changes

    Columns: ``id``, ``text``, ``changed``, ``distance`` (Jensen–Shannon distance, square root of
    the divergence in bits, 0 to 1), ``control`` (distance to the next pair's prompt), ``top``,
    ``top_changed`` (most likely tokens).
    """
    from internals.tokens import display

    loaded = model.loaded()
    pairs = inputs.changes(changes)
    first = [next_logits(loaded, pair.text).softmax(-1) for pair in pairs]
    second = [next_logits(loaded, pair.changed).softmax(-1) for pair in pairs]
    rows = []
    for i, pair in enumerate(pairs):
        rows.append(
            {
                "id": pair.id,
                "text": pair.text,
                "changed": pair.changed,
                "distance": js_distance(first[i], second[i]),
                "control": js_distance(first[i], second[(i + 4) % len(pairs)]),
                "top": display(loaded.tokenizer, int(first[i].argmax())),
                "top_changed": display(loaded.tokenizer, int(second[i].argmax())),
            }
        )
    return pd.DataFrame(rows)


def js_distance(p: Tensor, q: Tensor) -> float:
    """Square root of the Jensen–Shannon divergence in bits (Endres, Schindelin 2003), in [0, 1]."""
    mean = (p + q) / 2

    def kl(a: Tensor) -> float:
        kept = a > 0
        return float((a[kept] * (a[kept] / mean[kept]).log2()).sum().item())

    return math.sqrt(max(0.0, (kl(p) + kl(q)) / 2))


@dataclass(frozen=True)
class Explorer:
    """What a page needs to draw any temperature, top-k or top-p without the whole vocabulary."""

    tokens: pd.DataFrame
    """``prompt``, ``place``, ``id``, ``token``, ``logit`` relative to the largest."""
    rest: pd.DataFrame
    """``prompt``, ``beta`` (1/T), ``log_sum_exp`` of ``beta · logit`` over the tokens left out,
    and its ``slope`` in beta; minus infinity and 0 where nothing is left out."""


BETAS = tuple(np.round(np.geomspace(1 / GRID[-1], 1 / GRID[0], 40), 6).tolist())


@measurement
def explorer(model: ModelHandle, prompts: Path = PROMPTS, k: int = 2000) -> Explorer:
    """Leading logits of every prompt and the weight of the rest"""
    import torch

    from internals.tokens import display

    loaded = model.loaded()
    tokens: list[tuple[Any, ...]] = []
    rest: list[tuple[Any, ...]] = []
    betas = torch.tensor(BETAS, dtype=torch.float64)
    for prompt in inputs.prompts(prompts):
        z = next_logits(loaded, prompt.text)
        order = z.argsort(descending=True)
        z = z - z[order[0]]
        lead = order[:k].tolist()
        tokens += [
            (prompt.id, i, t, display(loaded.tokenizer, t), z[t].item())
            for i, t in enumerate(lead, 1)
        ]
        tail = z[order[k:]]
        for beta in betas:
            value = (beta * tail).logsumexp(0).item() if len(tail) else -math.inf
            slope = ((beta * tail).softmax(0) @ tail).item() if len(tail) else 0.0
            rest.append((prompt.id, beta.item(), value, slope))
    return Explorer(
        pd.DataFrame(tokens, columns=["prompt", "place", "id", "token", "logit"]),
        pd.DataFrame(rest, columns=["prompt", "beta", "log_sum_exp", "slope"]),
    )


def rest_between(rest: pd.DataFrame, beta: float) -> tuple[float, float]:
    """Lower and upper bound on the log-sum-exp of the rest of one prompt at any ``beta``.

    The log-sum-exp is convex in beta, so the chord between two grid points lies above it and the
    tangents at both lie below it. Outside the grid only the tangent is known (upper is infinite).
    """
    table = rest.sort_values("beta")
    b, v, s = (table[c].to_numpy() for c in ("beta", "log_sum_exp", "slope"))
    tangents = v + s * (beta - b)
    if not np.isfinite(v).all():
        return -math.inf, -math.inf
    if beta < b[0] or beta > b[-1]:
        return float(tangents.max()), math.inf
    return float(tangents.max()), float(np.interp(beta, b, v))
