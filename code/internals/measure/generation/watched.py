"""Peak memory: of code in a process of its own, where nothing else takes memory, or of a GPU."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import psutil

T = TypeVar("T")
_LOOK_S = 0.0005


def rise(action: Callable[[], T]) -> tuple[int, T]:
    """How far the resident memory of this process rises while ``action`` runs (bytes, sampled),
    and what it returns."""
    process = psutil.Process()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(_LOOK_S):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        held = action()
    finally:
        done.set()
        watcher.join()
    return peak - before, held


def give_back() -> None:
    """Return freed memory to the system, so that it does not hide the next rise."""
    with suppress(AttributeError, OSError, TypeError):  # only some C libraries can
        ctypes.CDLL(None).malloc_trim(0)


def rise_of_device(action: Callable[[], T]) -> tuple[int, T]:
    """How far the memory that torch has given out on all GPUs rises while ``action`` runs (bytes),
    and what it returns."""
    import torch

    gpus = range(torch.cuda.device_count())
    for gpu in gpus:
        torch.cuda.synchronize(gpu)
        torch.cuda.reset_peak_memory_stats(gpu)
    before = sum(torch.cuda.memory_allocated(gpu) for gpu in gpus)
    held = action()
    for gpu in gpus:
        torch.cuda.synchronize(gpu)
    return sum(torch.cuda.max_memory_allocated(gpu) for gpu in gpus) - before, held


def lines_of(script: str, arguments: Sequence[object]) -> list[Any]:
    """Run a Python ``script`` in a new process; what it prints, one JSON value a line."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
