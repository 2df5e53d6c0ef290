"""How attention scales with length: scores and values alone, the MLP alone, the whole model.

Scores and values are timed on synthetic tensors of the model's widths, so that lengths beyond the
model's context can be reached. Axes: ``heads``, ``n`` tokens, ``d_head``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure.generation.clock import REPEATS, interleaved, rounds
from internals.measure.generation.operations import cost_of
from internals.measure.generation.watched import lines_of, rise

if TYPE_CHECKING:
    from internals.models import ModelHandle

LONGEST = 8192
"""Tokens of the longest timed text."""
HELD = 2**27
"""Bytes that the score matrices of a call may take, that of one head apart; where all heads of
the longest text need more, fewer are timed and the time is multiplied, as if heads shared
nothing."""
SAME_HEADS_FROM = 512
"""Tokens from which on the number of timed heads is the same, so that slopes do not compare times
of different numbers of heads."""


def lengths(crossover: float) -> list[int]:
    """Doublings from 64 tokens to well over the crossover, within the largest timed length."""
    found = [64, 128, 256, 512]
    while found[-1] < min(2.5 * crossover, LONGEST):
        found.append(2 * found[-1])
    return found


def heads_timed(n_heads: int, n: int, longest: int) -> int:
    """Heads whose scores and values are timed at ``n`` tokens; `HELD` has the reason.

    All of them in short texts, where a call is so short that its fixed cost would be multiplied.
    """
    if n < SAME_HEADS_FROM:
        return n_heads
    return min(n_heads, max(1, HELD // (4 * longest * longest)))


@measurement(timing=True)
def scaling(model: ModelHandle, repeats: int = REPEATS) -> pd.DataFrame:
    """Time of attention, of the MLP and of a whole block by length

    Columns: ``part`` (scores and values, plain; scores and values, fused; MLP; whole block; one
    new token: the scores and values of a step with a cache), ``length``, ``repeat``, ``seconds``,
    ``heads`` (that were timed); one layer's worth each, on random tensors of the model's widths.
    """
    import torch

    loaded = model.loaded()
    facts = loaded.facts
    tasks: dict[Any, Callable[[], Any]] = {}
    timed: dict[Any, int] = {}
    wanted = lengths(cost_of(facts).crossover)
    for n in wanted:
        heads = heads_timed(facts.n_heads, n, wanted[-1])
        q, k, v = (_random(loaded, 1, heads, n, facts.d_head) for _ in "qkv")
        own: dict[str, Callable[[], Any]] = {
            "scores and values, plain": partial(plain, q, k, v),
            "scores and values, fused": partial(fused, q, k, v),
        }
        timed |= {(part, n): heads for part in own}
        own["one new token"] = _one_row(loaded, n)
        own["MLP"] = _mlp(loaded, n)
        own["whole block"] = _block(loaded, n)
        tasks |= {(part, n): task for part, task in own.items()}
    with torch.inference_mode():
        table = interleaved(tasks, repeats=rounds(facts, repeats))
    table["heads"] = [timed.get(task, facts.n_heads) for task in table["task"]]
    table["seconds"] *= facts.n_heads / table["heads"]
    table[["part", "length"]] = table.pop("task").tolist()
    return table.astype({"length": int})


def _random(loaded: Any, *shape: int) -> Any:
    """Small random numbers on the model's device; times do not depend on which."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(loaded.model.device) / math.sqrt(shape[-1])


def _one_row(loaded: Any, n: int) -> Callable[[], Any]:
    """Scores and values of one new token that looks at ``n``, all heads."""
    facts = loaded.facts
    q = _random(loaded, 1, facts.n_heads, 1, facts.d_head)
    k, v = (_random(loaded, 1, facts.n_heads, n, facts.d_head) for _ in "kv")
    return partial(_look, q, k, v)


def _look(q: Any, k: Any, v: Any) -> Any:
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v


def plain(q: Any, k: Any, v: Any) -> Any:
    """Causal attention with its score matrix written out (Vaswani et al. 2017)."""
    import torch

    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    future = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill_(future, -math.inf).softmax(-1) @ v


def fused(q: Any, k: Any, v: Any) -> Any:
    """The same without ever holding the score matrix (Dao et al. 2022)."""
    import torch

    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def _mlp(loaded: Any, n: int) -> Callable[[], Any]:
    """The two or three matrix products of one MLP on ``n`` tokens, without its activation."""
    facts = loaded.facts
    x = _random(loaded, n, facts.d_model)
    up = _random(loaded, facts.d_model, facts.d_mlp)
    down = _random(loaded, facts.d_mlp, facts.d_model)
    gated = facts.mlp_kind == "gated"

    def run() -> Any:
        inner = x @ up
        return ((x @ up) * inner if gated else inner) @ down

    return run


def _block(loaded: Any, n: int) -> Callable[[], Any]:
    """All matrix products of one block on ``n`` tokens, attention in its fused form."""
    facts = loaded.facts
    x = _random(loaded, n, facts.d_model)
    heads, kv_heads, width = facts.n_heads, facts.n_kv_heads, facts.d_head
    w_q = _random(loaded, facts.d_model, heads * width)
    w_kv = _random(loaded, facts.d_model, 2 * kv_heads * width)
    w_o = _random(loaded, heads * width, facts.d_model)
    mlp = _mlp(loaded, n)

    def run() -> Any:
        q = (x @ w_q).view(1, n, heads, width).transpose(1, 2)
        k, v = (x @ w_kv).view(1, n, 2, kv_heads, width).permute(2, 0, 3, 1, 4)
        k, v = (part.repeat_interleave(heads // kv_heads, dim=1) for part in (k, v))
        mixed = fused(q, k, v).transpose(1, 2).reshape(n, heads * width) @ w_o
        return mixed, mlp()

    return run


def slopes(table: pd.DataFrame) -> pd.DataFrame:
    """Local log-log slope between neighbouring lengths, with an interval over repeats.

    Columns: ``part``, ``length`` (geometric mean), ``slope``, ``low``, ``high``, ``n``. A slope of
    2 means four times the time for twice the length. Where the number of timed heads changes there
    is none.
    """
    rows = []
    for part, own in table.groupby("part", sort=False):
        wide = own.pivot(index="repeat", columns="length", values="seconds")
        heads = own.groupby("length")["heads"].first()
        for a, b in itertools.pairwise(wide.columns):
            if heads[a] != heads[b]:
                continue
            ratio = np.log(wide[b] / wide[a]) / math.log(b / a)
            found = stats.bootstrap_ci(ratio.to_numpy(), np.median, unit="repeats")
            rows.append((part, math.sqrt(a * b), found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=["part", "length", "slope", "low", "high", "n"])


_PROBE = """
import json, math, sys, torch
from internals.measure.generation.watched import rise
heads, width, *lengths = map(int, sys.argv[1:])

def plain(q, k, v):
    scores = q @ k.transpose(-1, -2) / math.sqrt(width)
    future = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).triu(1)
    return scores.masked_fill_(future, -math.inf).softmax(-1) @ v

def fused(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

def three_times(attend, *qkv):
    for _ in range(3):
        attend(*qkv)

with torch.inference_mode():
    for attend in (plain, fused):
        attend(*(torch.randn(1, heads, 32, width) for _ in range(3)))
    # The lean form first: memory that the plain one gave back would hide what it takes.
    for attend in (fused, plain):
        for n in lengths:
            qkv = [torch.randn(1, heads, n, width) for _ in range(3)]
            print(json.dumps([attend.__name__, n, rise(lambda: three_times(attend, *qkv))[0]]))
"""


@measurement(timing=True, version_of=[rise])
def peak_memory(model: ModelHandle, lengths: tuple[int, ...] = (512, 1024, 2048)) -> pd.DataFrame:
    """Peak memory of attention in its plain and its fused form

    Columns: ``form``, ``length``, ``peak_mib`` (rise of the resident memory of a process of
    its own, sampled over three calls), ``matrix_mib`` (the score matrices of all heads: heads × n²
    × 4 bytes).
    """
    facts = model.facts
    rows = [
        (form, n, size / 2**20, 4 * facts.n_heads * n * n / 2**20)
        for form, n, size in lines_of(_PROBE, [facts.n_heads, facts.d_head, *lengths])
    ]
    return pd.DataFrame(rows, columns=["form", "length", "peak_mib", "matrix_mib"])
