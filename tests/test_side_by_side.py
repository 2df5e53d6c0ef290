"""Chapters in several kernels: same book, one error, and times taken alone."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from bookbinder.errors import BookError
from bookbinder.execute import execute_book
from bookbinder.model import ChapterSource, ExecutedChapter
from bookbinder.parse import parse_chapter
from bookbinder.project import load_project, walk_entries
from internals import report
from internals.cache import keys, turns

FIXTURE = Path(__file__).parent / "book_fixture"


def run(sources: list[ChapterSource], **options) -> list[ExecutedChapter]:
    return execute_book(load_project(FIXTURE), sources, **options)


def chapter(folder: Path, name: str, code: str) -> ChapterSource:
    (folder / f"{name}.qmd").write_text(f"# T\n\n```{{python}}\n{code}\n```\n")
    return parse_chapter(folder, f"{name}.qmd")


def shown(chapters: list[ExecutedChapter]) -> list:
    """Inline values and what is displayed; execution numbers depend on the kernel, and a vector
    picture of matplotlib holds the time."""
    texts = [
        [o.get("text") or {k: v for k, v in o["data"].items() if "svg" not in k}
         for r in c.results for o in r.outputs]
        for c in chapters
    ]  # fmt: skip
    return [(c.source.path, c.inline, t) for c, t in zip(chapters, texts, strict=True)]


def test_two_kernels_give_the_same_chapters_in_the_same_order():
    project = load_project(FIXTURE)
    sources = [parse_chapter(FIXTURE, e.path) for e in walk_entries(project.entries) if e.path]
    assert shown(run(sources, kernels=2)) == shown(run(sources))


def test_chapters_share_the_work_and_what_reads_the_others_comes_last(tmp_path):
    log = tmp_path / "log"
    code = (
        "import os, time\ntime.sleep(0.3)\n"
        f"open({str(log)!r}, 'a').write('%s %d;' % ({{name!r}}, os.getpid()))"
    )
    names = ["a", "last", "b", "c", "d"]
    sources = [chapter(tmp_path, name, code.format(name=name)) for name in names]
    done = run(sources, kernels=2, after=["last.qmd"])
    assert [c.source.path for c in done] == [s.path for s in sources]
    lines = [line.split() for line in log.read_text().strip(";").split(";")]
    assert lines[-1][0] == "last"
    assert sorted(name for name, _ in lines) == sorted(names)
    assert len({pid for _, pid in lines}) == 2


def test_the_first_failure_stops_every_kernel(tmp_path):
    sources = [
        chapter(tmp_path, "wrong", "1 / 0"),
        chapter(tmp_path, "long", "import time; time.sleep(600)"),
    ]
    with pytest.raises(BookError, match=r"wrong\.qmd:3: cell 1 failed: ZeroDivisionError"):
        run(sources, kernels=2)


def test_a_kernel_that_dies_is_told_and_not_waited_for(tmp_path):
    dead = chapter(tmp_path, "dead", "import os; os._exit(3)")
    with pytest.raises(BookError, match="ended by itself"):
        run([dead])


def test_an_interrupt_ends_the_kernels(tmp_path, monkeypatch):
    """The user's Ctrl-C comes while the main thread waits for the kernels."""
    pids = tmp_path / "pids"
    wait = f"import os, time; open({str(pids)!r}, 'a').write('%d;' % os.getpid()); time.sleep(600)"
    sources = [chapter(tmp_path, "a", wait), chapter(tmp_path, "b", wait)]
    join = threading.Thread.join

    def interrupted(self, timeout=None):
        if timeout is not None and pids.exists() and pids.read_text().count(";") == 2:
            raise KeyboardInterrupt
        join(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(sources, kernels=2)
    for pid in filter(None, pids.read_text().split(";")):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


WORKER = """\
import sys, time
from internals.cache import turns

kind, times, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
for _ in range(times):
    if kind == "alone":
        with turns.alone():
            began = time.time()
            time.sleep(seconds)
            print(kind, began, time.time())
    else:
        turns._place.take("shared")
        began = time.time()
        time.sleep(seconds)
        ended = time.time()
        if kind == "nested":  # a timing inside a cell
            print("shared", began, ended)
            with turns.alone():
                began = time.time()
                time.sleep(seconds)
                print("alone", began, time.time())
        else:
            print(kind, began, ended)
        turns._place.leave()
"""


def intervals(cache: Path, *workers: tuple[str, int, float]) -> list[tuple[str, float, float]]:
    env = {**os.environ, "INTERNALS_CACHE": str(cache)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, *map(str, worker)],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        for worker in workers
    ]
    lines = [line for p in running for line in p.communicate(timeout=60)[0].splitlines()]
    assert all(p.returncode == 0 for p in running)
    return [(k, float(a), float(b)) for k, a, b in map(str.split, lines)]


def overlaps(first, second) -> bool:
    return first[1] < second[2] and second[1] < first[2]


def test_who_takes_times_is_alone_and_others_share(tmp_path):
    found = intervals(tmp_path, ("shared", 12, 0.1), ("shared", 12, 0.1), ("alone", 2, 0.3))
    alone = [i for i in found if i[0] == "alone"]
    shared = [i for i in found if i[0] == "shared"]
    assert (len(alone), len(shared)) == (2, 24)
    assert not any(overlaps(a, s) for a in alone for s in shared)
    assert any(overlaps(a, b) for a, b in itertools.combinations(shared, 2))


def test_two_who_want_to_be_alone_inside_their_cells_do_not_wait_for_ever(tmp_path):
    found = intervals(tmp_path, ("nested", 4, 0.1), ("nested", 4, 0.1))
    alone = [i for i in found if i[0] == "alone"]
    assert len(found) == 16
    assert not any(overlaps(a, b) for a in alone for b in found if a is not b)


def test_alone_inside_alone_and_waiting_inside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(turns.paths, "CACHE", tmp_path)
    assert turns._place.hold is None
    with turns.alone():
        with turns.alone():
            assert turns._place.hold == "alone"
        assert turns._place.hold == "alone"
        with turns.set_aside():
            assert turns._place.hold is None
        assert turns._place.hold == "alone"
    assert turns._place.hold is None


def test_a_kernel_that_shares_takes_its_part_of_the_threads_and_times_take_all(
    tmp_path, monkeypatch
):
    import torch

    monkeypatch.setattr(turns.paths, "CACHE", tmp_path)
    monkeypatch.setattr(turns, "_own_choice", 0)
    all_threads = torch.get_num_threads()
    monkeypatch.setenv(turns.THREADS, "1")
    with turns.as_shared():
        assert torch.get_num_threads() == 1
        with turns.alone():
            assert torch.get_num_threads() == all_threads
            with turns.as_shared():
                assert torch.get_num_threads() == all_threads
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == all_threads
    assert turns.environment(1) == {}


PICTURES = """\
import json, sys
from pathlib import Path
import pandas as pd
from internals.figures import stored, style

drawn = []

def draw(table, label=""):
    drawn.append(label)
    fig, axes = style.figure()
    axes.plot(table["x"], table["y"], label=label)
    return fig

text = "".join(["two ", "words"])  # equal strings that are different objects
table = pd.DataFrame({"x": [1, 2], "y": [1.0, float("nan")], "what": [("a", text), None]})
made = stored.picture(style.render, draw, [table], {"label": sys.argv[1]}, sys.argv[2])
print(json.dumps({"drawn": len(drawn), "svg": made.svg, "png": made.png is not None}))
"""


@pytest.mark.parametrize(
    ("cores", "accelerators", "free_mib", "weights_mib", "kernels"),
    [
        (2, [], 8192, 30, 2),
        (1, [], 8192, 30, 1),  # a core would have to be shared
        (2, ["a GPU"], 8192, 30, 1),  # its memory would have to be shared
        (2, [], 128, 30, 1),  # too little memory for the weights twice
        (2, [], 65536, 500, 1),  # a large model keeps all cores busy by itself
    ],
)
def test_chapters_run_side_by_side_where_that_helps(
    monkeypatch, cores, accelerators, free_mib, weights_mib, kernels
):
    import psutil

    free = SimpleNamespace(available=free_mib * 2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(report.provenance, "cores", lambda: cores)
    monkeypatch.setattr(report.provenance, "accelerators", lambda: accelerators)
    monkeypatch.setattr(report, "weight_files", lambda source: [])
    monkeypatch.setattr(report, "needed_bytes", lambda files, size: weights_mib * 2**20)
    assert report.side_by_side(SimpleNamespace(source=None)) == kernels


def test_a_picture_is_drawn_once_for_the_same_table_options_and_theme(tmp_path):
    script = tmp_path / "draw.py"
    script.write_text(PICTURES)
    env = {**os.environ, "INTERNALS_CACHE": str(tmp_path / "cache")}

    def draw(label: str, mode: str) -> dict:
        command = [sys.executable, str(script), label, mode]
        return json.loads(subprocess.run(command, env=env, capture_output=True, check=True).stdout)

    first = draw("one", "light")
    assert (first["drawn"], first["png"]) == (1, True)
    assert draw("one", "light") == {**first, "drawn": 0}
    assert draw("two", "light")["drawn"] == 1
    assert draw("one", "dark")["drawn"] == 1
    script.write_text(PICTURES.replace('table["y"], label', 'table["x"], label'))
    assert draw("one", "light")["drawn"] == 1


def test_tables_are_equal_by_content_and_not_by_object():
    import pandas as pd

    one, same = "x y", " ".join(["x", "y"])
    table = pd.DataFrame({"a": [one, one], "b": [(1, one), None]}, dtype=object)
    copy = pd.DataFrame({"a": [one, same], "b": [(1, same), None]}, dtype=object)
    assert keys.canonical(table) == keys.canonical(copy)
    other = [
        table.rename(columns={"a": "c"}),
        table.set_index("a"),
        table.iloc[::-1],
        table.assign(a="z"),
    ]
    assert len({str(keys.canonical(t)) for t in [table, *other]}) == 5
