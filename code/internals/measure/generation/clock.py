"""Honest timing: warm-up, interleaved repeats, garbage collector off, spread reported.

Interleaving puts every task under the same drift of the machine; the first rounds are dropped.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals.measure import effort

if TYPE_CHECKING:
    from internals.models import ModelFacts

REPEATS, WARM_UP = 10, 3


def interleaved(
    tasks: Mapping[Hashable, Callable[[], Any]],
    *,
    repeats: int = REPEATS,
    warm_up: int = WARM_UP,
    clock: Callable[[], float] = time.perf_counter,
) -> pd.DataFrame:
    """Run all tasks in turn, ``warm_up + repeats`` times.

    Returns:
        columns ``task``, ``repeat`` (from 0), ``seconds``; warm-up rounds are left out.
    """
    rows = []
    enabled = gc.isenabled()
    gc.disable()
    try:
        for number in range(warm_up + repeats):
            for name, task in tasks.items():
                synchronise()
                began = clock()
                task()
                synchronise()
                seconds = clock() - began
                if number >= warm_up:
                    rows.append((name, number - warm_up, seconds))
    finally:
        if enabled:
            gc.enable()
    return pd.DataFrame(rows, columns=["task", "repeat", "seconds"])


def rounds(facts: ModelFacts, wanted: int = REPEATS) -> int:
    """Repeats for this model: fewer where one is long, since its spread is then small."""
    return effort.units(facts, wanted, least=5)


def synchronise() -> None:
    """Wait for work that a GPU has queued; nothing to do on a CPU."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def spread(table: pd.DataFrame, by: list[str] | None = None) -> pd.DataFrame:
    """Median and quartiles of the seconds: the columns ``by`` (default ``task``), ``median``,
    ``low``, ``high``, ``n``."""
    keys = by or ["task"]
    grouped = table.groupby(keys, sort=False)["seconds"]
    found = grouped.quantile([0.25, 0.5, 0.75]).unstack()
    found.columns = pd.Index(["low", "median", "high"])
    return found.assign(n=grouped.size()).reset_index()
