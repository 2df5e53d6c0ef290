"""How attention scales with length: scores and values alone, the MLP alone, the whole model.

Scores and values are timed on synthetic tensors of the model's widths, so that lengths beyond the
model's context can be reached. Axes: ``heads``, ``n`` tokens, ``d_head``.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure.efficiency.clock import REPEATS, interleaved

if TYPE_CHECKING:
    from internals.models import ModelHandle

LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
HELD = 300 * 2**20
"""Bytes that a score matrix may take; longer lengths of the plain form are left out."""


@measurement(timing=True)
def scaling(model: ModelHandle, repeats: int = REPEATS) -> pd.DataFrame:
    """Time of attention and MLP alone by length

    Columns: ``part`` (scores and values, plain; scores and values, fused; MLP), ``length``,
    ``repeat``, ``seconds``; one block's worth each.
    """
    import torch

    loaded = model.loaded()
    facts = loaded.facts
    tasks: dict[Any, Callable[[], Any]] = {}
    generator = torch.Generator().manual_seed(0)
    for n in LENGTHS:
        shape = (1, facts.n_heads, n, facts.d_head)
        q, k, v = (torch.randn(shape, generator=generator).to(loaded.model.device) for _ in "qkv")
        if 4 * facts.n_heads * n * n <= HELD:
            tasks["scores and values, plain", n] = partial(plain, q, k, v)
        tasks["scores and values, fused", n] = partial(fused, q, k, v)
        tasks["MLP", n] = _mlp(loaded, n)
    with torch.inference_mode():
        table = interleaved(tasks, repeats=repeats, warm_up=2)
    table[["part", "length"]] = table.pop("task").tolist()
    return table


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
    import torch

    facts = loaded.facts
    device = loaded.model.device
    x = torch.randn(n, facts.d_model, device=device)
    up = torch.randn(facts.d_model, facts.d_mlp, device=device)
    down = torch.randn(facts.d_mlp, facts.d_model, device=device)
    gated = facts.mlp_kind == "gated"

    def run() -> Any:
        inner = x @ up
        return ((x @ up) * inner if gated else inner) @ down

    return run


def slopes(table: pd.DataFrame) -> pd.DataFrame:
    """Local log-log slope between neighbouring lengths, with an interval over repeats.

    Columns: ``part``, ``length`` (geometric mean), ``slope``, ``low``, ``high``, ``n``. A slope of
    2 means four times the time for twice the length.
    """
    rows = []
    for part, own in table.groupby("part", sort=False):
        wide = own.pivot(index="repeat", columns="length", values="seconds")
        for a, b in zip(wide.columns[:-1], wide.columns[1:], strict=True):
            ratio = np.log(wide[b] / wide[a]) / math.log(b / a)
            found = stats.bootstrap_ci(ratio.to_numpy(), np.median, unit="repeats", n_resamples=500)
            rows.append((part, math.sqrt(a * b), found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=["part", "length", "slope", "low", "high", "n"])


_PROBE = """
import math, sys, threading, psutil, torch
kind, heads, n, width = sys.argv[1], *map(int, sys.argv[2:])
q, k, v = (torch.randn(1, heads, n, width) for _ in range(3))
process, peak, done = psutil.Process(), [0], threading.Event()

def plain(q, k, v):
    scores = q @ k.transpose(-1, -2) / math.sqrt(width)
    future = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).triu(1)
    return scores.masked_fill_(future, -math.inf).softmax(-1) @ v

def fused(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

def watch():
    while not done.is_set():
        peak[0] = max(peak[0], process.memory_info().rss)
        done.wait(0.0005)

attend = {"plain": plain, "fused": fused}[kind]
with torch.inference_mode():
    attend(q[:, :, :32], k[:, :, :32], v[:, :, :32])
    before = process.memory_info().rss
    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(3):
        attend(q, k, v)
    done.set()
    watcher.join()
print(peak[0] - before)
"""


@measurement(timing=True)
def peak_memory(model: ModelHandle, length: int = 2048) -> pd.DataFrame:
    """Peak memory of attention in its plain and its fused form

    Columns: ``form``, ``length``, ``peak_mib`` (rise of the resident memory of a process of
    its own, sampled), ``matrix_mib`` (one score matrix: heads × n² × 4 bytes).
    """
    facts = model.facts
    rows = []
    for form in ("plain", "fused"):
        arguments = [form, str(facts.n_heads), str(length), str(facts.d_head)]
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, *arguments], capture_output=True, text=True, check=True
        )
        matrix = 4 * facts.n_heads * length**2 / 2**20
        rows.append((form, length, int(done.stdout) / 2**20, matrix))
    return pd.DataFrame(rows, columns=["form", "length", "peak_mib", "matrix_mib"])
