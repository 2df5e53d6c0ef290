"""Kernels of chapters: what they keep, in which order, side by side, and how they end."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bookbinder.errors import BookError
from bookbinder.execute import execute_book
from bookbinder.model import ChapterSource, ExecutedChapter
from bookbinder.parse import parse_chapter
from bookbinder.project import load_project
from internals.run import kernels, provenance

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


MEET = """
import pathlib, time
pathlib.Path({mine!r}).touch()
began = time.monotonic()
while not pathlib.Path({other!r}).exists():
    assert time.monotonic() < began + 60, "nobody came"
    time.sleep(0.02)
print({mine!r} > {other!r})
"""


def test_kernels_side_by_side_share_the_chapters(tmp_path):
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    sources = [
        chapter(tmp_path, "one", MEET.format(mine=a, other=b)),
        chapter(tmp_path, "last", f"import pathlib; print(pathlib.Path({b!r}).exists())"),
        chapter(tmp_path, "two", MEET.format(mine=b, other=a)),
    ]
    assert printed(run(sources, kernels=2, after=["last.qmd"])) == ["False\n", "True\n", "True\n"]


def test_a_failure_in_one_kernel_ends_the_other(tmp_path):
    pid, fail = tmp_path / "pid", tmp_path / "fail"
    slow = (
        "import os, pathlib, time\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        f"pathlib.Path({str(fail)!r}).touch()\ntime.sleep(600)"
    )
    wrong = f"import os, time\nwhile not os.path.exists({str(fail)!r}): time.sleep(0.02)\n1 / 0"
    began = time.monotonic()
    with pytest.raises(BookError, match=r"wrong\.qmd:3: cell 1 failed: ZeroDivisionError"):
        run([chapter(tmp_path, "slow", slow), chapter(tmp_path, "wrong", wrong)], kernels=2)
    assert time.monotonic() - began < 60
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


TICK = """
import os, time
from internals.cache import storage
ticks = []
with storage.lock("m", "held by the other"):
    open({ready!r}, "w").close()
    while not os.path.exists({done!r}):
        ticks.append(time.monotonic())
        time.sleep(0.01)
print(*ticks)
"""
TIMED = """
import os, time
from internals.cache import storage
while not os.path.exists({ready!r}): time.sleep(0.02)
with storage.alone():
    time.sleep(0.1)
    began = time.monotonic()
    time.sleep(1)
    with storage.alone():
        ended = time.monotonic()
print(began, ended)
"""


def test_who_takes_times_lets_the_other_kernel_stand_still(tmp_path):
    names = {"ready": str(tmp_path / "ready"), "done": str(tmp_path / "done")}
    timed = TIMED.format(**names) + f"time.sleep(0.2)\nopen({names['done']!r}, 'w').close()"
    sources = [chapter(tmp_path, "a", TICK.format(**names)), chapter(tmp_path, "b", timed)]
    env = {kernels.VARIABLE: "2", "INTERNALS_CACHE": str(tmp_path / "cache")}
    ticks, interval = (
        map(float, text.split()) for text in printed(run(sources, kernels=2, env=env))
    )
    began, ended = interval
    ticks = list(ticks)
    assert any(tick < began for tick in ticks)
    assert any(tick > ended for tick in ticks), "it goes on afterwards"
    assert not [tick for tick in ticks if began <= tick <= ended]


def test_who_takes_times_may_wait_for_what_the_other_kernel_holds(tmp_path):
    names = {"ready": str(tmp_path / "ready"), "done": str(tmp_path / "done")}
    hold = (
        "import time\nfrom internals.cache import storage\n"
        f"with storage.lock('m', 'wanted'):\n    open({names['ready']!r}, 'w').close()\n"
        "    for _ in range(50): time.sleep(0.02)\nprint('given')"
    )
    want = (
        "import os, time\nfrom internals.cache import storage\n"
        f"while not os.path.exists({names['ready']!r}): time.sleep(0.02)\n"
        "with storage.alone(), storage.lock('m', 'wanted'):\n    print('had')"
    )
    env = {kernels.VARIABLE: "2", "INTERNALS_CACHE": str(tmp_path / "cache")}
    sources = [chapter(tmp_path, "a", hold), chapter(tmp_path, "b", want)]
    assert printed(run(sources, kernels=2, env=env)) == ["given\n", "had\n"]


def test_a_kernel_computes_with_its_share_of_the_cores_and_takes_times_with_all(
    tmp_path, monkeypatch
):
    import torch

    monkeypatch.setenv(kernels.VARIABLE, "2")
    monkeypatch.setattr(kernels, "_all_threads", 0)
    monkeypatch.setattr(kernels, "_others", lambda do: None)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        with kernels.alone():
            kernels.share_cores()
            assert torch.get_num_threads() == 4
        assert torch.get_num_threads() == 2
        with kernels.alone(), kernels.alone():
            assert torch.get_num_threads() == 4
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cores", "free_gib", "gpus", "number"),
    [(2, 8, [], 2), (16, 64, [], 2), (1, 64, [], 1), (8, 4, [], 1), (8, 64, ["one"], 1)],
)
def test_as_many_kernels_as_cores_and_memory_allow(monkeypatch, cores, free_gib, gpus, number):
    monkeypatch.setattr(provenance, "cores", lambda: cores)
    monkeypatch.setattr(provenance, "accelerators", lambda: gpus)
    memory = SimpleNamespace(available=free_gib * 2**30)
    monkeypatch.setattr(kernels.psutil, "virtual_memory", lambda: memory)
    assert kernels.how_many(2**29) == number
