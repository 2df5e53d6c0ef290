"""Folders of a build: its result takes the place of the former one, and what others made stays.

A folder that a build works in is locked while its process lives. So the next build knows what a
killed one has left, and clears that away.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bookbinder.errors import BookError

MARK = ".book"
"""File that says: a build made this folder, the next one may replace it."""
_MARK_TEXT = "Made by a build of the book; the next build replaces the whole folder.\n"
ROOM_BYTES = 100 * 2**20
"""Free space that a result needs while the former one is still there."""
_FRESH_S = 5.0
"""A folder as young as this may be one that its process has not locked yet."""


def mark(folder: Path) -> None:
    """Say that the folder is the result of a build."""
    (folder / MARK).write_text(_MARK_TEXT, "utf-8")


def check_output(out: Path, *, needed: Iterable[Path] = (), own: Path | None = None) -> None:
    """Refuse a folder that a result may not replace or cannot replace; nothing is touched.

    Args:
        out: a missing folder, an empty one, or one that a build has marked.
        needed: folders that must stay, so ``out`` may not hold them.
        own: the project's own output folder, which Quarto empties too: a book in it counts as
            marked.

    Raises:
        BookError: it is anything else, or no folder can be made there.
    """
    try:
        fault = _why_not(out, needed, own)
    except OSError as error:
        fault = f"cannot be used ({error.strerror})"
    if fault:
        raise BookError(
            f"The result folder {out} {fault}; nothing was touched, name another folder."
        )
    check_room(out.resolve().parent, "result", ROOM_BYTES)


def _why_not(out: Path, needed: Iterable[Path], own: Path | None) -> str | None:
    if out.is_symlink():
        return "is a link"
    path = out.resolve()
    if any(p.resolve().is_relative_to(path) for p in (Path.cwd(), *needed)):
        return "holds the working folder or files that the build needs"
    if not path.exists():
        return None
    if not path.is_dir():
        return "is a file"
    if path.is_mount():
        return "is a mount point, which cannot be replaced"
    rendered = own is not None and path == own.resolve() and (path / "index.html").is_file()
    if rendered or _marked(path) or not (there := sorted(p.name for p in path.iterdir())):
        return None
    return f"holds files that no build put there ({there[0]}, for one)"


def _marked(folder: Path) -> bool:
    file = folder / MARK
    return file.is_file() and file.read_bytes() == _MARK_TEXT.encode()


def check_room(folder: Path, what: str, least_bytes: int = 0) -> None:
    """Refuse a folder in which no file can be written, or too little.

    Args:
        folder: it or the nearest folder above it that exists is tried.
        what: the use of the folder, in a word.
        least_bytes: free space that is needed.

    Raises:
        BookError: it names the folder and the reason.
    """
    try:
        there = next(p for p in (folder, *folder.parents) if p.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0" * 4096)
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise BookError(
            f"The {what} folder {folder} cannot be written ({error.strerror}); mend that or name "
            "another folder."
        ) from error
    if free < least_bytes:
        raise BookError(
            f"The {what} folder {folder} has {free / 2**20:,.0f} MB of free space and needs "
            f"{least_bytes / 2**20:,.0f} MB; make room or name another folder."
        )


@contextmanager
def own_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder that is gone after the block; those of processes that were killed go as well.

    ``prefix`` must be a name that nobody else gives.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{glob.escape(prefix)}*"):
        if _abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle)
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _lock(handle: int) -> bool:
    """Lock a folder until its process ends, however it ends; False if that is not possible."""
    with suppress(OSError):  # another holds it, or folders cannot be locked here
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _abandoned(folder: Path) -> bool:
    """Whether the process that made the folder has ended."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return False  # it is gone
    try:
        return _lock(handle) and time.time() - os.stat(handle).st_mtime > _FRESH_S
    finally:
        os.close(handle)


@contextmanager
def staged(out: Path, *, own: Path | None = None) -> Iterator[Path]:
    """A new folder that takes the place of ``out`` if the block ends without an error.

    For ``own`` and the errors raised see `check_output`.
    """
    check_output(out, own=own)
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    _recover(out)
    with own_folder(out.parent, f".{out.name}.staging-") as staging:
        yield staging
        mark(staging)
        check_output(out, own=own)  # minutes later somebody may have put files there
        replace_folder(staging, out)


def replace_folder(new: Path, old: Path) -> None:
    """Put ``new`` in the place of ``old`` by two renames; what stops it puts ``old`` back.

    Another build may put its book there between the two: then it is tried again.

    Raises:
        BookError: others are always faster.
    """
    for _ in range(20):
        with own_folder(old.parent, _former(old)) as gone:
            try:
                if old.exists():
                    os.replace(old, gone / "book")
                os.replace(new, old)
                return
            except FileNotFoundError:
                if not new.exists():
                    raise
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            finally:
                if not old.exists() and (gone / "book").exists():
                    os.replace(gone / "book", old)
    raise BookError(f"{old} cannot be replaced, because other builds keep writing it.")


def _former(out: Path) -> str:
    return f".{out.name}.former-"


def _recover(out: Path) -> None:
    """Put a book back that a killed build had moved aside."""
    for left in sorted(out.parent.glob(f"{glob.escape(_former(out))}*/book")):
        with suppress(OSError):  # its own build may be faster
            if not out.exists():
                os.replace(left, out)
