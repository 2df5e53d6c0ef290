"""What is running and for how long: a line that moves on a terminal, elsewhere a line at the end.

Inside a notebook kernel, whose output is a page, events go as JSON lines to the file named by
INTERNALS_PROGRESS, which the parent process shows with `Monitor`. A kernel without it is silent.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

VARIABLE = "INTERNALS_PROGRESS"
_WORTH_A_LINE_S = 1.0
_LOOK_S = 0.2
_ids = itertools.count()


@contextmanager
def task(what: str) -> Iterator[None]:
    """Show ``what`` while the block runs."""
    began, id = time.monotonic(), f"{os.getpid()}-{next(_ids)}"
    _tell({"task": id, "what": what})
    try:
        yield
    finally:
        _tell({"task": id, "what": what, "seconds": round(time.monotonic() - began, 3)})


def note(text: str) -> None:
    """Tell the user one line, wherever progress goes."""
    _tell({"note": text})


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line in one write; several processes may append to the same file."""
    data = json.dumps(record, ensure_ascii=False).encode("utf-8") + b"\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)


def _tell(event: dict[str, Any]) -> None:
    if path := os.environ.get(VARIABLE):
        with suppress(OSError):  # a full disk
            append_line(Path(path), event)
    elif not _in_kernel():
        screen().show(event)


def _in_kernel() -> bool:
    """Whether this process is a notebook kernel (and not an IPython terminal)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class Screen:
    """Shows events on standard error: spinners of rich on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False))
        self._lines = Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True)
        self._running: dict[str, Any] = {}
        self._lock = threading.Lock()

    def show(self, event: dict[str, Any]) -> None:
        """Show a note, or the start or the end of a task."""
        with self._lock:
            if "note" in event:
                self._console.print(event["note"], markup=False)
            elif "seconds" not in event:
                self._start(event["task"], event["what"])
            elif event["task"] in self._running:
                self._end(event["task"], event["what"], event["seconds"])

    def end_all(self) -> None:
        """Take away tasks whose process was killed."""
        with self._lock:
            for task in list(self._running):
                self._end(task, "", 0.0)

    def _start(self, task: str, what: str) -> None:
        if not self._running and self._console.is_terminal:
            self._lines.start()
        self._running[task] = self._lines.add_task(what, total=None)

    def _end(self, task: str, what: str, seconds: float) -> None:
        self._lines.remove_task(self._running.pop(task))
        if not self._running and self._console.is_terminal:
            self._lines.stop()
        if seconds >= _WORTH_A_LINE_S and not self._console.is_terminal:
            self._console.print(f"{what}: {clock(seconds)}", markup=False)


@cache
def screen() -> Screen:
    """The screen of this process."""
    return Screen()


class Monitor:
    """Shows in this process what kernels report: `with Monitor(path) as monitor:`.

    Give the kernels ``monitor.environment``; their events are read until the block ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        """What a kernel needs in its environment."""
        return {VARIABLE: str(self._path)}

    def __enter__(self) -> Monitor:
        self._path.write_text("", "utf-8")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        screen().end_all()

    def _follow(self) -> None:
        rest = b""
        with self._path.open("rb") as stream:
            while True:
                last = self._stop.is_set()
                *lines, rest = (rest + stream.read()).split(b"\n")
                for line in lines:
                    with suppress(ValueError, KeyError, TypeError):  # a line that is not ours
                        screen().show(json.loads(line))
                if last:
                    return
                self._stop.wait(_LOOK_S)


def clock(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
