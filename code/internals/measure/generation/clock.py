"""Honest timing: warm-up, interleaved repeats, garbage collector off, spread reported.

Interleaving puts every task under the same drift of the machine; the first rounds are dropped.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd

REPEATS, WARM_UP = 10, 3


@contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection and no gradients inside."""
    import torch

    enabled = gc.isenabled()
    gc.disable()
    try:
        with torch.inference_mode():
            yield
    finally:
        if enabled:
            gc.enable()


def interleaved(
    tasks: Mapping[Any, Callable[[], Any]],
    *,
    repeats: int = REPEATS,
    warm_up: int = WARM_UP,
    clock: Callable[[], float] = time.perf_counter,
    columns: Sequence[str] = ("task",),
) -> pd.DataFrame:
    """Run all tasks in turn, ``warm_up + repeats`` times: ``columns`` (the name of a task, or its
    parts), ``repeat`` (from 0), ``seconds``; warm-up rounds are left out."""
    rows = []
    with quiet():
        for number in range(-warm_up, repeats):
            for name, task in tasks.items():
                synchronise()
                began = clock()
                task()
                synchronise()
                rows.append((name, number, clock() - began))
    flat = [(*(name if len(columns) > 1 else (name,)), *rest) for name, *rest in rows]
    table = pd.DataFrame(flat, columns=[*columns, "repeat", "seconds"])
    return table[table["repeat"] >= 0].reset_index(drop=True)


def synchronise() -> None:
    """Wait for work that a GPU has queued; nothing to do on a CPU."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def spread(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Median and quartiles of ``seconds``: the columns ``by``, ``median``, ``low``, ``high``."""
    found = table.groupby(by, sort=False)["seconds"].quantile([0.25, 0.5, 0.75]).unstack()
    return found.set_axis(["low", "median", "high"], axis=1).reset_index()
