"""Builds side by side: who takes times is alone, the others share, and nobody waits for ever."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

from internals.cache import turns

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
