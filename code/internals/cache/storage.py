"""Results on disk: found by key, checked by hash, replaced whole.

An entry is one file, written beside its place and then moved there: whatever interrupts a build, it
is complete or absent. Where the disk takes no more, results are kept in memory as long as the
process lives.
"""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import time
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internals import paths
from internals.run import kernels, progress

if TYPE_CHECKING:
    import filelock

MAX_BYTES = 2 * 2**30
MAX_AGE_S = 90 * 24 * 3600.0
_PATIENCE_S, _WAIT_S = 60.0, 3600.0
"""Waiting for another process: in silence, and at most."""
_STALE_S = 24 * 3600.0
_DIGEST_BYTES = 32

MISSING: Any = object()
"""What `load` returns when there is no sound entry."""

_in_memory: dict[Path, Any] = {}
"""What could not be written, by the file where it would be."""
_said: set[str] = set()


def location() -> Path:
    """Folder of the stored results."""
    return paths.CACHE / "measurements"


def _file(name: str, key: str) -> Path:
    return location() / name / f"{key}.pkl"


def load(name: str, key: str) -> Any:
    """The stored result, or MISSING; an entry that cannot be trusted is deleted."""
    file = _file(name, key)
    if file in _in_memory:
        return copy.deepcopy(_in_memory[file])
    try:
        content = file.read_bytes()
    except OSError:
        return MISSING
    digest, packed = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    try:
        if hashlib.sha256(packed).digest() != digest:
            raise ValueError("damaged")
        value = pickle.loads(zlib.decompress(packed))
    except Exception:  # also a class that moved, another version of pandas …: all that is a miss
        with suppress(OSError):
            file.unlink()
        return MISSING
    with suppress(OSError):
        os.utime(file)  # last use, for `trim`
    return value


def save(name: str, key: str, value: Any) -> None:
    """Store a result; a full disk costs the entry and one note, never the build."""
    packed = zlib.compress(pickle.dumps(value, protocol=5), level=3)
    file = _file(name, key)
    try:
        paths.write_whole(file, hashlib.sha256(packed).digest() + packed)
    except OSError as error:
        note = f"The cache {location()} takes no more results ({error.strerror}); this run goes on "
        if note not in _said:
            progress.note(f"{note}without, and the next one measures again.")
        _said.add(note)
        _in_memory[file] = copy.deepcopy(value)


def lock(name: str, key: str) -> AbstractContextManager[None]:
    """Let one process compute an entry while others wait for it."""
    return _held(key, f"Another process is measuring {name}; waiting for its result.")


@contextmanager
def alone() -> Iterator[None]:
    """One process at a time takes times, and the other kernels of its build stand still.

    What else other builds do meanwhile disturbs it as any program on this machine would.
    """
    with _held("timing", "Another process takes times; waiting until it is done."), kernels.alone():
        yield


@contextmanager
def _held(name: str, note: str) -> Iterator[None]:
    """Hold a lock, which ends with its process; the same process may take it again inside.

    Where files cannot be locked, or another process holds it for an hour, it goes on without:
    then two builds compute the same thing twice, which is harmless.
    """
    import filelock

    file = paths.CACHE / "locks" / f"{name}.lock"
    guard = filelock.FileLock(file, is_singleton=True)
    with suppress(OSError, NotImplementedError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            guard.acquire(blocking=False)
        except filelock.Timeout:
            with kernels.waiting():
                _wait_for(guard, note)
    try:
        yield
    finally:
        guard.release()


def _wait_for(guard: filelock.BaseFileLock, note: str) -> None:
    import filelock

    try:
        guard.acquire(timeout=_PATIENCE_S)
    except filelock.Timeout:
        progress.note(note)
        guard.acquire(timeout=_WAIT_S)


def trim(max_bytes: int = MAX_BYTES, max_age_s: float = MAX_AGE_S) -> None:
    """Delete results that no build has used for long, then the oldest beyond ``max_bytes``.

    With them go locks that nobody has taken for long, and what a killed build left half written.
    """
    now, total = time.time(), 0
    with suppress(OSError):  # another build may delete at the same time
        files = [(file.stat(), file) for file in location().rglob("*") if file.is_file()]
        for stat, file in sorted(files, key=lambda pair: -pair[0].st_mtime):
            total += stat.st_size
            age = now - stat.st_mtime
            if age > (_STALE_S if file.name.startswith(".") else max_age_s) or total > max_bytes:
                file.unlink(missing_ok=True)
        for file in paths.CACHE.glob("locks/*.lock"):
            if now - file.stat().st_mtime > _STALE_S:
                file.unlink(missing_ok=True)
