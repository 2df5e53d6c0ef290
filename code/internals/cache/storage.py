"""Results on disk, in the store of joblib: found by key, checked by hash, replaced whole.

An entry counts only when its metadata is there and its hash fits, and the metadata is written last:
whatever interrupts a build, an entry is complete or absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from internals import paths
from internals.cache import turns
from internals.run import progress

MAX_BYTES = 2 * 2**30
MAX_AGE = timedelta(days=90)
_PATIENCE_S, _WAIT_S = 60.0, 3600.0
"""Waiting for another process: in silence, and at most."""
_STALE_S = 24 * 3600.0

MISSING: Any = object()
"""What `load` returns when there is no sound entry."""


def location() -> Path:
    """Folder of the stored results."""
    return paths.CACHE / "measurements"


def load(name: str, key: str) -> Any:
    """The stored result, or MISSING; an entry that cannot be trusted is deleted."""
    folder = location() / name / key
    output = folder / "output.pkl"
    if not output.is_file():
        return MISSING
    backend = _backend()
    if _hash(output) != backend.get_metadata([name, key]).get("sha256"):
        backend.clear_item([name, key])
        return MISSING
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = backend.load_item([name, key], verbose=0)
    except Exception:  # a class that moved, another version of pandas …: any failure is a miss
        backend.clear_item([name, key])
        return MISSING
    with contextlib.suppress(OSError):
        os.utime(output)  # last use, for `trim`
    return value


def save(name: str, key: str, value: Any, metadata: dict[str, Any]) -> None:
    """Store a result; a full disk costs the entry, never the build."""
    from joblib.memory import CacheWarning

    backend = _backend()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", CacheWarning)
            warnings.simplefilter("error", FutureWarning)
            backend.dump_item([name, key], value, verbose=0)
    except Warning as problem:
        backend.clear_item([name, key])
        progress.note(f"The result of {name} could not be stored: {problem}")
        return
    fingerprint = _hash(location() / name / key / "output.pkl")
    backend.store_metadata([name, key], {**metadata, "sha256": fingerprint})


@contextlib.contextmanager
def lock(name: str, key: str) -> Iterator[None]:
    """Let one process compute an entry while others wait for it.

    The lock ends with its process. Where files cannot be locked, two builds compute the same thing
    twice, which is harmless.
    """
    import filelock

    folder = paths.CACHE / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    guard = filelock.FileLock(folder / f"{key}.lock")
    with contextlib.suppress(OSError, NotImplementedError):
        try:
            guard.acquire(timeout=0)
        except filelock.Timeout:
            with turns.set_aside():
                _wait(guard, name)
    try:
        yield
    finally:
        guard.release()


def _wait(guard: Any, name: str) -> None:
    """Until another process has measured; after a while the user is told what for."""
    import filelock

    for seconds in (_PATIENCE_S, _WAIT_S):
        with contextlib.suppress(filelock.Timeout):
            guard.acquire(timeout=seconds)
            return
        if seconds == _PATIENCE_S:
            progress.note(f"Another process is measuring {name}; waiting for its result.")


def entries() -> pd.DataFrame:
    """One row per stored result: measurement, model, parameters, size, time, last use."""
    rows = []
    backend = _backend()
    for output in sorted(location().glob("*/*/output.pkl")):
        name, key = output.parts[-3], output.parts[-2]
        metadata = backend.get_metadata([name, key])
        stat = output.stat()
        rows.append(
            {
                "measurement": name,
                "model": metadata.get("model", ""),
                "parameters": metadata.get("parameters", ""),
                "size_kib": stat.st_size / 1024,
                "seconds": metadata.get("seconds", float("nan")),
                "peak_mib": metadata.get("peak_mib", float("nan")),
                "last_used": pd.Timestamp(stat.st_atime, unit="s").floor("s"),
                "key": key,
            }
        )
    return pd.DataFrame(
        rows,
        columns=[
            "measurement",
            "model",
            "parameters",
            "size_kib",
            "seconds",
            "peak_mib",
            "last_used",
            "key",
        ],
    )


def clean(measurement: str | None = None) -> int:
    """Delete stored results (all, or those whose name contains ``measurement``); how many."""
    found = [p.parent for p in location().glob("*/*/output.pkl")]
    doomed = [p for p in found if measurement is None or measurement in p.parent.name]
    for folder in doomed:
        shutil.rmtree(folder, ignore_errors=True)
    if measurement is None:
        shutil.rmtree(location(), ignore_errors=True)
        shutil.rmtree(paths.CACHE / "locks", ignore_errors=True)
    return len(doomed)


def trim(max_bytes: int = MAX_BYTES, max_age: timedelta = MAX_AGE) -> None:
    """Delete results that no build has used for long, then the oldest beyond ``max_bytes``."""
    if not location().is_dir():
        return
    for leftover in location().glob("*/*/*.pkl.*"):  # from a build that was killed while writing
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _STALE_S:
                leftover.unlink()
    _backend().enforce_store_limits(max_bytes, age_limit=max_age)


def _backend() -> Any:
    """joblib's file store; made anew, because tests and users move the cache folder."""
    from joblib import Memory

    return Memory(location(), verbose=0, compress=True).store_backend


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""
