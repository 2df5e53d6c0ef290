"""Progress: plain lines without a terminal, events of kernels shown by the parent."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from internals.run import progress


@pytest.fixture
def shown(monkeypatch):
    """A fresh screen; what it has been told, in order."""
    screen = progress.Screen()
    events, show = [], screen.show
    screen.show = lambda event: (events.append(event), show(event))
    monkeypatch.setattr(progress, "screen", lambda: screen)
    monkeypatch.delenv(progress.VARIABLE, raising=False)
    return events


def test_a_task_that_took_long_is_one_line_and_a_short_one_is_none(capsys, monkeypatch, shown):
    with progress.task("Quick"):
        pass
    monkeypatch.setattr(progress, "_WORTH_A_LINE_S", 0.0)
    with progress.task("Counting [red] things"):
        progress.note("a remark with [/bold]")
    assert capsys.readouterr().err == "a remark with [/bold]\nCounting [red] things: 0.0 s\n"


def test_a_long_line_is_not_broken(capsys, shown):
    text = "word " * 100
    progress.note(text)
    assert capsys.readouterr().err.count("\n") == 1


def test_what_a_kernel_reports_is_shown_by_the_parent(tmp_path, monkeypatch, shown):
    with progress.Monitor(tmp_path / "p.jsonl") as monitor:
        monkeypatch.setenv(*next(iter(monitor.environment.items())))
        with progress.task("Tokens"):
            progress.note("hello")
    assert [sorted(event) for event in shown] == [
        ["task", "what"],
        ["note"],
        ["seconds", "task", "what"],
    ]


def test_a_killed_kernel_leaves_no_open_task(tmp_path, shown):
    file = tmp_path / "p.jsonl"
    with progress.Monitor(file):
        record = json.dumps({"task": "1-1", "what": "x"})
        file.write_text(f"{record}\nno json\n[1]\n{{}}\n")
    assert progress.screen()._running == {}


def test_an_error_inside_a_task_ends_it(shown):
    with pytest.raises(RuntimeError), progress.task("Work"):
        raise RuntimeError
    assert "seconds" in shown[-1]
    assert progress.screen()._running == {}


def test_a_full_disk_does_not_stop_a_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "nowhere" / "p.jsonl"))
    with progress.task("Work"):
        progress.note("hello")


def test_a_terminal_shows_what_runs_and_is_left_clean():
    main, side = pty.openpty()
    code = (
        "import time; from internals.run import progress\n"
        "with progress.task('Looking around'): time.sleep(0.5)\n"
        "try:\n"
        "    with progress.task('Stopped'): raise KeyboardInterrupt\n"
        "except KeyboardInterrupt: pass"
    )
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    subprocess.run([sys.executable, "-c", code], stderr=side, env=env, check=True)
    os.close(side)
    text = os.read(main, 100_000).decode()
    os.close(main)
    assert "Looking around" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l"), "the cursor is back"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (12.3, "12 s"), (185, "3 min 05 s"), (59.7, "1 min 00 s")],
)
def test_times_are_readable(seconds, text):
    assert progress.clock(seconds) == text
