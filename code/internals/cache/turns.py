"""Several builds may work side by side; whoever takes times has the machine for itself.

A notebook cell holds the machine *shared* while it runs (`share_during_cells`), a measurement of
time holds it *alone*. Who waits for something else holds nothing (`set_aside`), so that nobody
waits in a circle. The locks are files: they end with their process.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from internals import paths

_GATE, _HALL = "gate.lock", "hall.lock"
_SHARED, _ALONE = "shared", "alone"


class _Place:
    """This process among those that share a machine; at most one hold at a time."""

    def __init__(self) -> None:
        self.hold: str | None = None
        self._files: dict[Path, int] = {}

    def take(self, hold: str) -> None:
        """Wait until the machine can be had.

        Newcomers pass a gate; who wants to be alone stands in it, so that a chain of newcomers
        cannot keep him waiting. He holds nothing while he waits.
        """
        if self.hold is not None:
            self.leave()
        gate, hall = self._file(_GATE), self._file(_HALL)
        _flock(gate, fcntl.LOCK_EX)
        try:
            _flock(hall, fcntl.LOCK_EX if hold == _ALONE else fcntl.LOCK_SH)
        finally:
            _flock(gate, fcntl.LOCK_UN)
        self.hold = hold

    def leave(self) -> None:
        """Let others go on."""
        _flock(self._file(_HALL), fcntl.LOCK_UN)
        self.hold = None

    def restore(self, hold: str | None) -> None:
        """Come back to an earlier state."""
        if hold == self.hold:
            return
        if hold is None:
            self.leave()
        else:
            self.take(hold)

    def _file(self, name: str) -> int:
        path = paths.CACHE / "locks" / name
        if path not in self._files:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[path] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        return self._files[path]


_place = _Place()


def _flock(file: int, how: int) -> None:
    """Lock or unlock; where files cannot be locked, builds side by side disturb their timings."""
    with suppress(OSError):
        fcntl.flock(file, how)


@contextmanager
def alone() -> Iterator[None]:
    """Within this scope no cell of any other build of this checkout runs."""
    before = _place.hold
    if before == _ALONE:
        yield
        return
    _place.take(_ALONE)
    try:
        yield
    finally:
        _place.restore(before)


@contextmanager
def set_aside() -> Iterator[None]:
    """Hold nothing while waiting for another process; afterwards the hold is as before."""
    before = _place.hold
    if before is not None:
        _place.leave()
    try:
        yield
    finally:
        _place.restore(before)


def share_during_cells() -> None:
    """In a notebook kernel: hold the machine, shared, while a cell runs; elsewhere nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "kernel") or getattr(shell, "_internals_turns", False):
        return
    shell._internals_turns = True
    shell.events.register("pre_run_cell", lambda _info: _place.take(_SHARED))
    shell.events.register("post_run_cell", lambda _result: _place.leave())
    _place.take(_SHARED)  # the cell that asks is running
