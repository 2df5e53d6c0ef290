"""One kernel for all chapters: what it keeps, in which order, and how it ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from bookbinder.errors import BookError
from bookbinder.execute import execute_book
from bookbinder.model import ChapterSource, ExecutedChapter
from bookbinder.parse import parse_chapter
from bookbinder.project import load_project

FIXTURE = Path(__file__).parent / "book_fixture"


def run(sources: list[ChapterSource], **options) -> list[ExecutedChapter]:
    return execute_book(load_project(FIXTURE), sources, **options)


def chapter(folder: Path, name: str, code: str) -> ChapterSource:
    (folder / f"{name}.qmd").write_text(f"# T\n\n```{{python}}\n{code}\n```\n")
    return parse_chapter(folder, f"{name}.qmd")


def printed(chapters: list[ExecutedChapter]) -> list[str]:
    return [r.outputs[0]["text"] for c in chapters for r in c.results]


def test_chapters_share_modules_and_no_names(tmp_path):
    (tmp_path / "costly_of_test.py").write_text("loads = []\nloads.append(1)\n")
    use = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import costly_of_test as m"
    count = f"{use}; m.loads.append(1); mine = 1; print(len(m.loads))"
    look = f"{use}; print(len(m.loads), 'mine' in globals())"
    sources = [chapter(tmp_path, "a", count), chapter(tmp_path, "b", look)]
    assert printed(run(sources)) == ["2\n", "2 False\n"]


def test_what_reads_the_others_runs_last_and_stands_in_its_place(tmp_path):
    log = tmp_path / "log"
    names = ["a", "last", "b"]
    sources = [
        chapter(tmp_path, name, f"open({str(log)!r}, 'a').write('{name} ')") for name in names
    ]
    started: list[tuple[str, int, int]] = []
    done = run(sources, after=["last.qmd"], event=lambda *what: started.append(what))
    assert [c.source.path for c in done] == ["a.qmd", "last.qmd", "b.qmd"]
    assert log.read_text().split() == ["a", "b", "last"]
    assert started == [("a.qmd", 1, 3), ("b.qmd", 2, 3), ("last.qmd", 3, 3)]


def test_the_first_failure_stops_the_book(tmp_path):
    later = tmp_path / "later"
    sources = [
        chapter(tmp_path, "wrong", "1 / 0"),
        chapter(tmp_path, "next", f"open({str(later)!r}, 'w')"),
    ]
    with pytest.raises(BookError, match=r"wrong\.qmd:3: cell 1 failed: ZeroDivisionError"):
        run(sources)
    assert not later.exists()


def test_a_kernel_that_dies_is_told_and_not_waited_for(tmp_path):
    dead = chapter(tmp_path, "dead", "import os; os._exit(3)")
    with pytest.raises(BookError, match="ended by itself"):
        run([dead])


def test_an_interrupt_ends_the_kernel(tmp_path):
    """The user's Ctrl-C comes while a cell runs."""
    pid = tmp_path / "pid"
    wait = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"

    def interrupt() -> None:
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.05)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run([chapter(tmp_path, "a", wait)])
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
