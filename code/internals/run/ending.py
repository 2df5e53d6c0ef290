"""Signals that end a command clean up as Ctrl-C does: children first, then every open block."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE_S = 5.0
"""What a child gets for its own clean-up."""


@contextmanager
def clean_end() -> Iterator[None]:
    """Leave the block by an exception at SIGINT, SIGTERM and SIGHUP, with no child left.

    A signal that is ignored, as `nohup` has it, stays so.
    """
    heard = [n for n in _SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
    former = {number: signal.signal(number, _leave) for number in heard}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)  # a second one would stop the cleaning
    _end_children()
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _end_children() -> None:
    """End the kernel and whatever else runs for this process, before its folders are deleted."""
    import psutil

    children = psutil.Process().children(recursive=True)
    for kill in (psutil.Process.terminate, psutil.Process.kill):
        for child in children:
            try:
                kill(child)
                child.resume()  # it may stand still while another takes times
            except psutil.Error:
                continue  # it has ended
        _, children = psutil.wait_procs(children, timeout=_PATIENCE_S)
