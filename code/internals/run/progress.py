"""Progress of long work: what is running, how far it is, how long it still takes.

On a terminal rich draws bars; elsewhere plain lines appear every few seconds; inside a notebook
kernel events go as JSON lines to the file named by INTERNALS_PROGRESS, which the parent process
shows with `ProgressMonitor`. A kernel without that variable stays silent, for its output is a page.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

T = TypeVar("T")

VARIABLE = "INTERNALS_PROGRESS"
_EVENTS_PER_SECOND = 10


class Sink(Protocol):
    """Where progress goes."""

    def start(self, task: int, what: str, total: float | None) -> None:
        """A task begins; ``total`` steps are ahead, or nobody knows how many."""

    def advance(self, task: int, done: float) -> None:
        """``done`` steps lie behind."""

    def end(self, task: int, seconds: float) -> None:
        """The task is over, finished or not."""

    def note(self, text: str) -> None:
        """One line for the user."""


class Task:
    """A piece of work in progress; made by `task`."""

    def __init__(self, sink: Sink, what: str, total: float | None) -> None:
        self._sink = sink
        self._id = _next_id()
        self._done = 0.0
        self._total = total
        self._shown = 0.0
        self._started = time.monotonic()
        sink.start(self._id, what, total)

    def advance(self, steps: float = 1) -> None:
        """Tell that ``steps`` more are done; cheap enough for inner loops."""
        self._done += steps
        now = time.monotonic()
        if self._done == self._total or now - self._shown >= 1 / _EVENTS_PER_SECOND:
            self._shown = now
            self._sink.advance(self._id, self._done)

    def _end(self) -> None:
        self._sink.end(self._id, time.monotonic() - self._started)


@contextmanager
def task(what: str, total: float | None = None) -> Iterator[Task]:
    """Show ``what`` while the block runs; call ``advance`` on what it yields."""
    running = Task(current_sink(), what, total)
    try:
        yield running
    finally:
        running._end()


def track(iterable: Iterable[T], what: str, total: float | None = None) -> Iterator[T]:
    """Yield the items of ``iterable`` and show how far it is."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with task(what, total) as running:
        for item in iterable:
            yield item
            running.advance()


def note(text: str) -> None:
    """Tell the user one line, wherever progress goes."""
    current_sink().note(text)


def current_sink() -> Sink:
    """The sink for this process, chosen once for each place that progress can go."""
    path = os.environ.get(VARIABLE, "")
    if path:
        return _sink(f"file:{path}")
    if _in_kernel():
        return _sink("null")
    return _sink("terminal" if sys.stderr.isatty() else "lines")


class NullSink:
    """Says nothing."""

    def start(self, task: int, what: str, total: float | None) -> None:
        """Nothing."""

    def advance(self, task: int, done: float) -> None:
        """Nothing."""

    def end(self, task: int, seconds: float) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class FileSink:
    """One JSON object per line; each line is written in one call, so processes may share a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def start(self, task: int, what: str, total: float | None) -> None:
        """Event ``start``."""
        self._write(event="start", task=task, what=what, total=total)

    def advance(self, task: int, done: float) -> None:
        """Event ``advance``."""
        self._write(event="advance", task=task, done=done)

    def end(self, task: int, seconds: float) -> None:
        """Event ``end``."""
        self._write(event="end", task=task, seconds=round(seconds, 3))

    def note(self, text: str) -> None:
        """Event ``note``."""
        self._write(event="note", text=text)

    def _write(self, **event: Any) -> None:
        append_line(self._path, {**event, "pid": os.getpid()})


class TerminalSink:
    """Bars of rich with elapsed and remaining time; finished tasks leave the screen."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._lock = threading.Lock()
        self._tasks: dict[int, Any] = {}
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left", style="dim"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )

    def start(self, task: int, what: str, total: float | None) -> None:
        """Add a bar."""
        with self._lock:
            if not self._tasks:
                self._bars.start()
            self._tasks[task] = self._bars.add_task(what, total=total)

    def advance(self, task: int, done: float) -> None:
        """Move the bar."""
        with self._lock:
            if task in self._tasks:
                self._bars.update(self._tasks[task], completed=done)

    def end(self, task: int, seconds: float) -> None:
        """Take the bar away."""
        with self._lock:
            bar = self._tasks.pop(task, None)
            if bar is not None:
                self._bars.remove_task(bar)
            if not self._tasks:
                self._bars.stop()

    def note(self, text: str) -> None:
        """Print above the bars."""
        self._bars.console.print(text, markup=False, highlight=False)


class LinesSink:
    """Plain lines for logs: a line every few seconds, and one when a longer task ends."""

    def __init__(self, stream: IO[str] | None = None, every_s: float = 5.0) -> None:
        self._stream = stream
        self._every_s = every_s
        self._tasks: dict[int, tuple[str, float | None, float, float]] = {}

    def start(self, task: int, what: str, total: float | None) -> None:
        """Remember; short work is not worth a line."""
        now = time.monotonic()
        self._tasks[task] = (what, total, now, now)

    def advance(self, task: int, done: float) -> None:
        """A line if the last one is old."""
        if task not in self._tasks:
            return
        what, total, began, shown = self._tasks[task]
        now = time.monotonic()
        if now - shown < self._every_s:
            return
        self._tasks[task] = (what, total, began, now)
        self._print(f"{what}: {_how_far(done, total, now - began)}")

    def end(self, task: int, seconds: float) -> None:
        """A line if it took long enough to be noticed."""
        what = self._tasks.pop(task, ("", None, 0.0, 0.0))[0]
        if what and seconds >= min(1.0, self._every_s):
            self._print(f"{what}: {clock(seconds)}")

    def note(self, text: str) -> None:
        """The line itself."""
        self._print(text)

    def _print(self, line: str) -> None:
        print(line, file=self._stream or sys.stderr, flush=True)


class ProgressMonitor:
    """Show in this process what kernels report: `with ProgressMonitor(path) as monitor:`.

    Give the kernels ``monitor.environment``; their events are read until the block ends.
    """

    def __init__(self, path: Path, sink: Sink | None = None, every_s: float = 0.2) -> None:
        self.path = path
        self._sink = sink or current_sink()
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._open: dict[tuple[int, int], int] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What a kernel needs in its environment."""
        return {VARIABLE: str(self.path)}

    def __enter__(self) -> ProgressMonitor:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("", "utf-8")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for task in self._open.values():  # a kernel that was killed leaves its tasks open
            self._sink.end(task, 0.0)

    def _follow(self) -> None:
        rest = b""
        with self.path.open("rb") as stream:
            while True:
                last = self._stop.is_set()
                *lines, rest = (rest + stream.read()).split(b"\n")
                for line in lines:
                    self._show(line)
                if last:
                    return
                self._stop.wait(self._every_s)

    def _show(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind = event["event"]
            if kind == "note":
                self._sink.note(str(event["text"]))
                return
            key = (int(event["pid"]), int(event["task"]))
            if kind == "start":
                self._open[key] = _next_id()
                self._sink.start(self._open[key], str(event["what"]), event["total"])
            elif kind == "advance" and key in self._open:
                self._sink.advance(self._open[key], float(event["done"]))
            elif kind == "end" and key in self._open:
                self._sink.end(self._open.pop(key), float(event["seconds"]))
        except (ValueError, KeyError, TypeError):
            return  # a line that is not ours is no reason to stop a build


def clock(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line in one write; several processes may append to the same file."""
    data = json.dumps(record, ensure_ascii=False).encode("utf-8") + b"\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)


_sinks: dict[str, Sink] = {}
_sinks_lock = threading.Lock()
_last_id = 0


def _sink(kind: str) -> Sink:
    with _sinks_lock:
        if kind not in _sinks:
            _sinks[kind] = _make_sink(kind)
        return _sinks[kind]


def _make_sink(kind: str) -> Sink:
    if kind.startswith("file:"):
        return FileSink(Path(kind.removeprefix("file:")))
    if kind == "terminal":
        return TerminalSink()
    return LinesSink() if kind == "lines" else NullSink()


def _next_id() -> int:
    global _last_id
    with _sinks_lock:
        _last_id += 1
        return _last_id


def _in_kernel() -> bool:
    """Whether this process is a notebook kernel (and not an IPython terminal)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def _how_far(done: float, total: float | None, seconds: float) -> str:
    if not total:
        return f"{done:,.0f} done, {clock(seconds)}"
    left = clock(seconds * (total - done) / done) if done > 0 else "?"
    return f"{done:,.0f} of {total:,.0f} ({done / total:.0%}), about {left} left"
