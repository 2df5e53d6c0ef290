"""Peak memory of code that runs in a process of its own, where nothing else takes memory."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
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


def lines_of(script: str, arguments: Sequence[object]) -> list[Any]:
    """Run a Python ``script`` in a new process; what it prints, one JSON value a line."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
