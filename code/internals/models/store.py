"""Models that were fetched or converted, kept in the user's cache for every checkout.

A folder is made aside and renamed when it is whole, by one process at a time; so what stands under
its name is whole, and what a killed process left has another name and is cleared by the next one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from internals import paths
from internals.errors import ModelError

Say = Callable[[str], None]
"""Takes a line about what is going on."""

_LIST = "files.json"
"""Names and sizes of a folder's files; written last."""
_REMEDY = "or name another folder in the environment variable INTERNALS_MODELS"
_SPARE_BYTES = 50_000_000
_FULL = (errno.ENOSPC, errno.EDQUOT)


def tell(line: str) -> None:
    """Print a line at once, also where the output is no terminal."""
    print(line, flush=True)


def kept(name: str, make: Callable[[Path], None], say: Say = tell) -> Path:
    """The folder ``name`` of the user's cache; ``make`` fills it where it is missing or damaged.

    Args:
        name: of the folder; it must change whenever other contents are wanted.
        make: writes everything into the empty folder that it is given.
        say: told when another process is at it and this one waits.

    Raises:
        ModelError: the cache cannot be written or is full.
        ModelError: whatever ``make`` raises.
    """
    place = paths.USER_MODELS / name
    if is_whole(place):
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _turn(place, say):
            if not is_whole(place):  # another process may have made it in the meantime
                _make(place, make)
    except (OSError, NotImplementedError) as error:  # the second where a disk knows no locks
        raise storage_error(error) from error
    return place


def is_whole(folder: Path) -> bool:
    """Whether every file is there that was there when the folder was finished, in its size."""
    try:
        sizes = dict(json.loads((folder / _LIST).read_text("utf-8")))
        return bool(sizes) and all(
            (folder / file).stat().st_size == size for file, size in sizes.items()
        )
    except (OSError, ValueError, TypeError):
        return False


def require_room(what: str, n_bytes: int) -> None:
    """Refuse before the work what the disk has no room for.

    Raises:
        ModelError: fewer than ``n_bytes`` are free.
    """
    free = shutil.disk_usage(paths.USER_MODELS).free
    if free < n_bytes + _SPARE_BYTES:
        raise ModelError(
            f"{what} needs {megabytes(n_bytes + _SPARE_BYTES)} in {paths.USER_MODELS}, where "
            f"{megabytes(free)} are free; free some space {_REMEDY}."
        )


def storage_error(error: Exception | str) -> ModelError:
    """What a failure to write into the cache, or what a program said of it, means to a user."""
    if is_full(error):
        return ModelError(f"The disk of {paths.USER_MODELS} is full; free some space {_REMEDY}.")
    text = getattr(error, "strerror", None) or type(error).__name__
    return ModelError(
        f"The folder {paths.USER_MODELS} for models cannot be used ({text}); make it writable "
        f"{_REMEDY}."
    )


def is_full(error: Exception | str) -> bool:
    """Whether a disk or a quota is used up; some libraries say so only in words."""
    return getattr(error, "errno", None) in _FULL or "No space left" in str(error)


def megabytes(n_bytes: float) -> str:
    """Bytes as ``93 MB`` (millions, as downloads are stated)."""
    return f"{n_bytes / 1e6:,.0f} MB"


@contextmanager
def _turn(place: Path, say: Say) -> Iterator[None]:
    """Hold the lock of a folder; it is released when the process ends, however it ends."""
    import filelock

    lock = filelock.FileLock(place.parent / f".{place.name}.lock")
    try:
        lock.acquire(timeout=0.2)
    except filelock.Timeout:
        say(f"Another process is making {place.name}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make(place: Path, make: Callable[[Path], None]) -> None:
    """Fill a folder aside and rename it; the lock is held, so no other part folder is alive."""
    prefix = f".{place.name}.part-"
    for dead in place.parent.glob(f"{prefix}*"):
        shutil.rmtree(dead, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=prefix, dir=place.parent))
    try:
        make(part)
        _finish(part)
        if place.exists():  # damaged
            os.replace(place, part.with_name(f"{part.name}-old"))
        os.replace(part, place)
    finally:
        for left in place.parent.glob(f"{prefix}*"):
            shutil.rmtree(left, ignore_errors=True)


def _finish(folder: Path) -> None:
    """Write the list of files, and everything to the disk before the folder gets its name."""
    files = {f.name: f.stat().st_size for f in sorted(folder.iterdir()) if f.is_file()}
    (folder / _LIST).write_text(json.dumps(files, indent=1) + "\n", "utf-8")
    for file in folder.iterdir():
        with suppress(OSError), file.open("rb") as stream:  # not every disk can
            os.fsync(stream.fileno())
