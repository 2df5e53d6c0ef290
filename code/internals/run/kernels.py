"""Several kernels execute the chapters of one build side by side: who has which cores.

Each computes with its share of them. A measurement that takes times has all of them: the other
kernels stand still meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

VARIABLE = "INTERNALS_KERNELS"
"""Number of kernels of a build; missing where none works beside this process."""
MOST = 2
_ROOM_BYTES = 2**30
"""Memory of a kernel beside the weights."""
_COPIES = 3
"""What a kernel holds at most, in sizes of the subject's weights."""

_all_threads = 0
"""What torch takes when it has the machine to itself; 0 before it is loaded."""
_alone = 0
"""Blocks of `alone` that this process is in."""


def how_many(weights_bytes: int) -> int:
    """Kernels for which this machine has cores and memory, at most `MOST`; one with a GPU."""
    from internals.run.provenance import accelerators, cores

    if accelerators():
        return 1
    room = psutil.virtual_memory().available // (_ROOM_BYTES + _COPIES * weights_bytes)
    return max(1, min(MOST, cores(), int(room)))


def share_cores() -> None:
    """Let torch compute with the share of the cores that this process has now."""
    global _all_threads
    number = int(os.environ.get(VARIABLE, 1))
    if number > 1:
        import torch

        _all_threads = _all_threads or torch.get_num_threads()
        torch.set_num_threads(_all_threads if _alone else max(1, _all_threads // number))


@contextmanager
def alone() -> Iterator[None]:
    """All cores for this process, while the other kernels of its build stand still."""
    global _alone
    _alone += 1
    if _alone == 1:
        _others(psutil.Process.suspend)
    if _all_threads:
        share_cores()
    try:
        yield
    finally:
        _alone -= 1
        if _all_threads:
            share_cores()
        if not _alone:
            _others(psutil.Process.resume)


@contextmanager
def waiting() -> Iterator[None]:
    """Inside `alone`: the others go on, for this process waits for what one of them holds."""
    if _alone:
        _others(psutil.Process.resume)
    try:
        yield
    finally:
        if _alone:
            _others(psutil.Process.suspend)


def _others(do: Callable[[psutil.Process], None]) -> None:
    """Suspend or resume the other kernels, which are children of the same process."""
    if VARIABLE not in os.environ:
        return
    for process in psutil.Process(os.getppid()).children():
        with suppress(psutil.Error):  # it has ended, or this system cannot do it
            if process.pid != os.getpid() and "ipykernel_launcher" in process.cmdline():
                do(process)
