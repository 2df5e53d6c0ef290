"""Progress: plain lines without a terminal, events of kernels shown by the parent."""

from __future__ import annotations

import io
import json

import pytest

from internals.run import progress


class Recorder:
    """A sink that remembers."""

    def __init__(self):
        self.events = []

    def start(self, task, what, total):
        self.events.append(("start", what, total))

    def advance(self, task, done):
        self.events.append(("advance", done))

    def end(self, task, seconds):
        self.events.append(("end",))

    def note(self, text):
        self.events.append(("note", text))


def test_lines_say_what_how_far_and_how_long():
    stream = io.StringIO()
    sink = progress.LinesSink(stream, every_s=0.0)
    sink.start(1, "Counting", 4)
    sink.advance(1, 1)
    sink.note("a remark")
    sink.end(1, 75.0)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("Counting: 1 of 4 (25%), about ")
    assert lines[0].endswith(" left")
    assert lines[1:] == ["a remark", "Counting: 1 min 15 s"]


def test_short_work_is_not_worth_a_line():
    stream = io.StringIO()
    sink = progress.LinesSink(stream)
    sink.start(1, "Quick", None)
    sink.advance(1, 1)
    sink.end(1, 0.2)
    assert stream.getvalue() == ""


def test_what_a_kernel_reports_is_shown_by_the_parent(tmp_path, monkeypatch):
    shown = Recorder()
    with progress.ProgressMonitor(tmp_path / "p.jsonl", shown, every_s=0.01) as monitor:
        monkeypatch.setenv(*next(iter(monitor.environment.items())))
        for _ in progress.track(range(3), "Tokens"):
            pass
        progress.note("hello")
    kinds = [event[0] for event in shown.events]
    assert shown.events[0] == ("start", "Tokens", 3)
    assert ("advance", 3.0) in shown.events
    assert kinds[-2:] == ["end", "note"]


def test_a_killed_kernel_leaves_no_open_task(tmp_path):
    shown = Recorder()
    file = tmp_path / "p.jsonl"
    with progress.ProgressMonitor(file, shown, every_s=0.01):
        record = {"event": "start", "task": 1, "what": "x", "total": None, "pid": 1}
        file.write_text(json.dumps(record) + "\nno json\n")
    assert [event[0] for event in shown.events] == ["start", "end"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (12.3, "12 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_times_are_readable(seconds, text):
    assert progress.clock(seconds) == text


def test_an_error_inside_a_task_ends_it(tmp_path, monkeypatch):
    shown = Recorder()
    monkeypatch.setattr(progress, "current_sink", lambda: shown)
    with pytest.raises(RuntimeError), progress.task("Work"):
        raise RuntimeError
    assert shown.events == [("start", "Work", None), ("end",)]
