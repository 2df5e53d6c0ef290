"""Folders of a build: only what a build made is replaced, and nothing stays behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from bookbinder import folders
from bookbinder.errors import BookError
from bookbinder.folders import check_output, check_room, own_folder, replace_folder, staged


def made(folder: Path, text: str) -> Path:
    """A book that a build has left."""
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(text)
    folders.mark(folder)
    return folder


def snapshot(root: Path) -> dict[str, str]:
    """Everything below ``root``, with contents and targets of links."""
    return {
        str(path.relative_to(root)): os.readlink(path)
        if path.is_symlink()
        else path.read_text()
        if path.is_file()
        else "folder"
        for path in sorted(root.rglob("*"))
    }


FOREIGN = {
    "a folder with a text": lambda p: (p.mkdir(), (p / "thesis.docx").write_text("years")),
    "a folder with a hidden file": lambda p: (p.mkdir(), (p / ".env").write_text("x")),
    "a site of another": lambda p: (p.mkdir(), (p / "index.html").write_text("x")),
    "another's mark": lambda p: (p.mkdir(), (p / folders.MARK).write_text("a book of mine")),
    "a folder of folders": lambda p: (p / "a" / "b").mkdir(parents=True),
    "a file": lambda p: p.write_text("x"),
    "a link to a book": lambda p: p.symlink_to(made(p.parent / "other", "x")),
    "a link to nothing": lambda p: p.symlink_to(p.parent / "nothing"),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_no_build_made_is_never_touched(kind, tmp_path):
    out = tmp_path / "out"
    FOREIGN[kind](out)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(BookError, match="nothing was touched") as refused:
        check_output(out)
    assert str(refused.value).count(". ") == 0, "one sentence"
    assert str(out) in str(refused.value)
    with pytest.raises(BookError), staged(out):
        pytest.fail("the work must not begin")
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_neither_the_working_folder_nor_one_above_it_or_above_inputs(tmp_path, monkeypatch):
    work = made(tmp_path / "a" / "work", "x")
    monkeypatch.chdir(work)
    for out in (".", "..", "../..", "/", "", work, work.parent):
        with pytest.raises(BookError, match="holds the working folder"):
            check_output(Path(out))
    with pytest.raises(BookError, match="files that the build needs"):
        check_output(made(tmp_path / "b", "x"), needed=[tmp_path / "b" / "data"])


def test_a_missing_an_empty_and_a_marked_folder_are_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    made(tmp_path / "marked", "old")
    for name in ("missing", "empty", "marked", "new/inside"):
        for text in ("one", "two"):
            with staged(tmp_path / name) as staging:
                (staging / "index.html").write_text(text)
            assert (tmp_path / name / "index.html").read_text() == text
    assert not [p for p in tmp_path.rglob(".*") if p.name != folders.MARK]


def test_the_own_output_folder_may_hold_a_book_that_quarto_wrote(tmp_path):
    out = tmp_path / "_book"
    out.mkdir()
    (out / "index.html").write_text("by Quarto")
    check_output(out, own=out)
    (out / "index.html").unlink()
    (out / "thesis.docx").write_text("years")
    with pytest.raises(BookError):
        check_output(out, own=out)


def test_what_others_put_there_during_the_build_stays(tmp_path):
    out = tmp_path / "book"

    def overtaken() -> None:
        with staged(out) as staging:
            (staging / "index.html").write_text("new")
            out.mkdir()
            (out / "notes").write_text("mine")

    with pytest.raises(BookError, match="no build put there"):
        overtaken()
    assert snapshot(tmp_path) == {"book": "folder", "book/notes": "mine"}


def test_a_folder_that_cannot_be_written_is_blamed_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BookError, match=r"Not a directory"):
        check_output(tmp_path / "file" / "book")
    with pytest.raises(BookError, match=r"result folder .*/book cannot be used \(File name too"):
        check_output(tmp_path / ("x" * 300) / "book")
    with pytest.raises(BookError, match=r"cache folder .*/file/x cannot be written"):
        check_room(tmp_path / "file" / "x", "cache")


def test_too_little_room_is_said_with_both_numbers(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 7 * 2**20))
    with pytest.raises(BookError, match="has 7 MB of free space and needs 100 MB"):
        check_output(tmp_path / "book")


def test_a_build_that_ends_early_leaves_no_trace(tmp_path):
    out = made(tmp_path / "book", "old")

    def interrupted() -> None:
        with staged(out) as staging:
            (staging / "new").write_text("new")
            raise KeyboardInterrupt

    before = snapshot(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("stop", [1, 2])
def test_a_stop_between_the_two_renames_keeps_the_former_book(tmp_path, monkeypatch, stop):
    new, old = made(tmp_path / "new", "new"), made(tmp_path / "book", "old")
    rename, calls = os.replace, []

    def stopped(source, goal):
        calls.append(source)
        if len(calls) == stop:
            raise KeyboardInterrupt
        rename(source, goal)

    monkeypatch.setattr(folders.os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        replace_folder(new, old)
    assert (old / "index.html").read_text() == "old"
    assert not list(tmp_path.glob(".book*"))


def test_two_builds_that_end_at_once_leave_one_whole_book(tmp_path, monkeypatch):
    mine, other = made(tmp_path / "mine", "mine"), made(tmp_path / "other", "other")
    out = made(tmp_path / "book", "old")
    rename, met = os.replace, []

    def meets_another(source, goal):
        if source == mine and not met:
            met.append(True)
            rename(other, out)
        rename(source, goal)

    monkeypatch.setattr(folders.os, "replace", meets_another)
    replace_folder(mine, out)
    assert (out / "index.html").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["book"]


def test_a_book_that_a_killed_build_had_moved_aside_comes_back(tmp_path):
    made(tmp_path / ".book.former-x" / "book", "old")
    out = tmp_path / "book"
    with staged(out) as staging:
        assert (out / "index.html").read_text() == "old"
        (staging / "index.html").write_text("new")
    assert (out / "index.html").read_text() == "new"


KILLED = """\
import os, signal, sys
from pathlib import Path
from bookbinder.folders import own_folder

with own_folder(Path(sys.argv[1]), "work-") as folder:
    (folder / "big").write_text("x")
    print(folder.name, flush=True)
    input()
"""


def test_the_next_build_clears_what_a_killed_one_left_and_not_what_a_living_one_uses(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(folders, "_FRESH_S", 0.0)
    (tmp_path / "worker").mkdir()  # a name that is like ours and is not
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    killed, living = (subprocess.Popen(command, **pipes) for _ in range(2))
    names = [process.stdout.readline().strip() for process in (killed, living)]
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert all((tmp_path / name / "big").exists() for name in names)
    with own_folder(tmp_path, "work-"):
        assert not (tmp_path / names[0]).exists()
        assert (tmp_path / names[1] / "big").exists()
    living.communicate("\n")
    assert [p.name for p in tmp_path.iterdir()] == ["worker"]


def test_folders_that_cannot_be_locked_are_left_alone(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError

    (tmp_path / "work-1").mkdir()
    monkeypatch.setattr(folders, "_FRESH_S", 0.0)
    monkeypatch.setattr(folders.fcntl, "flock", no_locks)
    with own_folder(tmp_path, "work-") as folder:
        assert folder.is_dir()
    assert [p.name for p in tmp_path.iterdir()] == ["work-1"]
