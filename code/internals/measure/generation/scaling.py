"""How attention scales with length: scores and values alone, beside kernels whose power is known.

Everything runs on random tensors of the model's widths, so that lengths beyond its context can be
reached, and writes into memory that is reserved once: fresh memory costs page faults, which grow
faster than the work. Axes: ``heads``, ``n`` tokens, ``d_head``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.measure import effort
from internals.measure.generation.clock import REPEATS, interleaved
from internals.measure.generation.operations import cost_of

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import ModelFacts, ModelHandle

LENGTHS = (512, 1024, 2048, 4096)
HEADS = 2
"""Heads whose scores and values are timed; the score matrices of all would not fit everywhere."""
PLAIN, FUSED = "plain attention", "fused attention"
LINEAR, QUADRATIC = "linear kernel (MLP)", "quadratic kernel"
POWERS = {PLAIN: 2, FUSED: 2, LINEAR: 1, QUADRATIC: 2}
"""Power of the length in the counted operations."""


@measurement(timing=True)
def times(model: ModelHandle, repeats: int = REPEATS) -> pd.DataFrame:
    """Time of attention and of kernels with a known power, by length

    Columns: ``part`` (a key of `POWERS`), ``length``, ``repeat``, ``seconds``. Attention is causal,
    on `HEADS` heads (or all, if there are fewer); the MLP is one layer's matrix products.
    """
    facts, device = model.facts, model.loaded().model.device
    tasks: dict[Any, Callable[[], Any]] = {}
    for n in LENGTHS:
        tasks |= {(part, n): task for part, task in kernels(facts, n, device).items()}
    count = effort.units(facts, repeats, least=5)
    return interleaved(tasks, repeats=count, warm_up=1, columns=["part", "length"])


def kernels(facts: ModelFacts, n: int, device: Any) -> dict[str, Callable[[], Tensor]]:
    """One task for each part at ``n`` tokens; none but the fused one takes new memory."""
    import torch

    heads, width = min(HEADS, facts.n_heads), facts.d_head
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device) / math.sqrt(shape[-1])

    q, k, v = (random(1, heads, n, width) for _ in "qkv")
    scores, weights = (torch.full((1, heads, n, n), 1 / n, device=device) for _ in range(2))
    mixed = torch.empty_like(q)
    future = torch.ones(n, n, dtype=torch.bool, device=device).triu(1)
    x, up, down = (
        random(*s)
        for s in ((n, facts.d_model), (facts.d_model, facts.d_mlp), (facts.d_mlp, facts.d_model))
    )
    inner, out = torch.empty(n, facts.d_mlp, device=device), torch.empty_like(x)

    def plain() -> Tensor:
        """Causal attention with its score matrix written out (Vaswani et al. 2017)."""
        torch.matmul(q, k.transpose(-1, -2), out=scores)
        scores.div_(math.sqrt(width)).masked_fill_(future, -math.inf)
        torch.softmax(scores, -1, out=weights)
        return torch.matmul(weights, v, out=mixed)

    def fused() -> Tensor:
        """The same block by block, without the matrix (Dao et al. 2022)."""
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    def mlp() -> Tensor:
        return torch.mm(torch.mm(x, up, out=inner), down, out=out)

    def known() -> Tensor:
        return torch.matmul(weights, v, out=mixed)

    return {PLAIN: plain, FUSED: fused, LINEAR: mlp, QUADRATIC: known}


def exponents(times: pd.DataFrame) -> pd.DataFrame:
    """Power of the length by least squares on logarithms, for each part and repeat.

    Columns: ``part``, ``repeat``, ``power``.
    """
    wide = times.pivot(index=["part", "repeat"], columns="length", values="seconds")
    x, y = np.log(wide.columns.to_numpy(float)), np.log(wide.to_numpy(float))
    slope = (y - y.mean(1, keepdims=True)) @ (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return pd.DataFrame({"power": slope}, index=wide.index).reset_index()


def powers(times: pd.DataFrame) -> pd.DataFrame:
    """Median and quartiles of the powers: ``part``, ``counted``, ``power``, ``low``, ``high``."""
    found = exponents(times).groupby("part")["power"].quantile([0.25, 0.5, 0.75]).unstack()
    found = found.loc[list(POWERS)].set_axis(["low", "power", "high"], axis=1).reset_index()
    return found.assign(counted=list(POWERS.values()))


def shares(facts: ModelFacts) -> pd.DataFrame:
    """What counted operations say of the whole model, from a short text to its full context.

    Columns: ``tokens``, ``linear_gflop``, ``attention_gflop``, ``share`` (of scores and values in
    the blocks), ``power`` (local exponent of a whole pass), ``matrix_mib`` (scores of all heads of
    one layer, if they were written out).
    """
    cost, full = cost_of(facts), facts.context_length
    n = np.array(sorted({min(n, full) for n in (128, 1024, round(cost.crossover), full)}))
    linear, square = n * cost.linear, n**2 * cost.attention
    share = square / (linear + square)
    return pd.DataFrame(
        {
            "tokens": n,
            "linear_gflop": linear / 1e9,
            "attention_gflop": square / 1e9,
            "share": share,
            "power": 1 + share,  # d log(operations) / d log(n) of the blocks
            "matrix_mib": facts.n_heads * n**2 * 4 / 2**20,
        }
    )
