"""The whole report about tiny models of other families, and what becomes of it when it fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bookbinder.folders import MARK, mark
from internals.paths import DATA, ROOT
from internals.run.checkbook import check_book
from tiny_book import TinyBook, wait_for


def report(spec, out, scratch, **environment):
    env = {
        **os.environ,
        "QUARTO": "skip",
        "INTERNALS_BUILD": str(scratch / "build"),
        "REPORT_EFFORT": "0.1",
        **environment,
    }
    command = [sys.executable, "-m", "internals", "report", str(spec), "--out", str(out)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


OTHERS = (
    "gpt2",
    "gemma2",
    "opt-post",
    "phi",
    "gpt_neox",
    "qwen3",
    "gemma3_text",
    "phi3",
    "mistral",
)


@pytest.mark.parametrize(
    "family", ["llama", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_the_whole_book_is_made_about_any_family(family, tiny_folder, tmp_path):
    out = tmp_path / "a book"
    done = report(tiny_folder(family), out, tmp_path)
    _, errors = done.communicate(timeout=500)
    assert done.returncode == 0, errors
    assert check_book(out) == []
    evidence = json.loads((out / "evidence.json").read_text("utf-8"))
    assert evidence["model"]["name"] == f"tiny {family}"
    home = (out / "index.html").read_text("utf-8")
    assert f"tiny {family}" in home
    assert "trained this model itself" not in home
    record = json.loads((out / "build.json").read_text("utf-8"))
    assert set(record["model_loads"].values()) <= {1}, "chapters share a loaded model"


WITHOUT_FINDINGS = """\
from internals.book import evidence
evidence.export = lambda model, path: path.write_text("{}")
from internals.run.cli import main
main()
"""


def test_a_report_replaces_the_former_one_and_leaves_only_its_records(tmp_path):
    book = TinyBook(tmp_path, "print('hello')")
    former(book)
    (book.out / "old.html").write_text("old")
    for _ in range(2):
        running = book.report("-c", WITHOUT_FINDINGS)
        output, errors = running.communicate(timeout=120)
        assert running.returncode == 0, errors
        names = {path.name for path in book.out.iterdir()}
        assert {"index.html", "build.json", "evidence.json", MARK} <= names
        assert {path.suffix for path in book.out.iterdir()} >= {".pdf", ".ipynb"}
        assert "old.html" not in names
        assert leftovers(book) == []
        assert {p.name for p in book.build.iterdir()} <= {"evidence", "measurements.jsonl"}
    assert "[1/1] index.qmd" in output


SLEEP = "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(90)"


def leftovers(book: TinyBook) -> list[str]:
    """What a build has left beside its records, and beside the former book."""
    places = (*book.build.glob("run-*"), *book.temporary.iterdir(), *book.out.parent.iterdir())
    return [str(p) for p in places if p != book.out]


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def former(book: TinyBook) -> Path:
    book.out.mkdir(parents=True)
    mark(book.out)
    page = book.out / "index.html"
    page.write_text("the former report")
    return page


MEASURED = """\
from internals.cache import measurement

@measurement
def one(x):
    "One number"
    return {"x": x}

one(1)"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_report_leaves_the_former_one_and_what_was_measured(tmp_path, number):
    book = TinyBook(tmp_path, MEASURED, SLEEP)
    page = former(book)
    running = book.report()
    wait_for(running, "[1/1]")
    while not (kernel := book.root / "pid").exists():
        time.sleep(0.1)
    running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert running.returncode in (1, 128 + number)
    assert "Traceback" not in errors
    assert page.read_text() == "the former report"
    assert leftovers(book) == []
    assert not is_alive(int(kernel.read_text()))
    assert len(list(book.cache.glob("measurements/*/*.pkl"))) == 1


def test_a_closed_terminal_ends_a_command_too_unless_it_is_ignored():
    code = (
        "import signal, sys; from internals.run.ending import clean_end\n"
        "signal.signal(signal.SIGHUP, getattr(signal, sys.argv[1]))\n"
        "try:\n"
        "    with clean_end(): signal.raise_signal(signal.SIGHUP); print('still there')\n"
        "finally: print('clean')"
    )
    for handler, said, status in (("SIG_DFL", "clean", 129), ("SIG_IGN", "still there\nclean", 0)):
        command = [sys.executable, "-c", code, handler]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.stdout.strip(), done.returncode) == (said, status)


DEAF = """\
import signal, subprocess, sys
from internals.run import ending

ending._PATIENCE_S = 0.3
former = signal.getsignal(signal.SIGTERM)
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=1); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
child.stdout.readline()
try:
    with ending.clean_end():
        signal.raise_signal(signal.SIGTERM)
except SystemExit as left:
    print(left.code, child.pid, signal.getsignal(signal.SIGTERM) == former)
"""


def test_a_child_that_does_not_listen_is_ended_and_handlers_come_back():
    done = subprocess.run([sys.executable, "-c", DEAF], capture_output=True, text=True)
    code, pid, restored = done.stdout.split()
    assert (code, restored) == ("143", "True")
    assert not is_alive(int(pid))


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_report_that_is_stopped_while_its_kernel_starts_leaves_no_kernel(tmp_path, seconds):
    book = TinyBook(tmp_path, SLEEP)
    running = book.report()
    wait_for(running, "Report about")
    time.sleep(seconds)
    children = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert not any(is_alive(child.pid) for child in children)
    assert list(book.build.glob("run-*")) == []


def test_what_a_killed_report_leaves_is_cleared_by_the_next(tmp_path):
    book = TinyBook(tmp_path, SLEEP)
    page = former(book)
    killed = book.report()
    wait_for(killed, "[1/1]")
    while not (kernel := book.root / "pid").exists():
        time.sleep(0.1)
    killed.kill()
    killed.communicate()
    (left,) = book.build.glob("run-*")
    for _ in range(100):
        if not is_alive(int(kernel.read_text())):
            break
        time.sleep(0.2)
    assert not is_alive(int(kernel.read_text())), "a kernel ends with its parent"
    os.utime(left, (0, 0))  # as if some seconds had passed
    following = book.report()
    wait_for(following, "[1/1]")
    assert not left.exists()
    following.send_signal(signal.SIGTERM)
    following.communicate(timeout=60)
    assert list(book.build.glob("run-*")) == []
    assert page.read_text() == "the former report"


def spoil_out(book: TinyBook) -> None:
    book.out.mkdir(parents=True)
    (book.out / "thesis.docx").write_text("years")


def spoil_cache(book: TinyBook) -> None:
    book.cache.write_text("a file")


def spoil_build(book: TinyBook) -> None:
    book.build.write_text("a file")


def spoil_input(book: TinyBook) -> None:
    (book.root / "data").unlink()
    shutil.copytree(DATA / "prompts", book.root / "data" / "prompts")
    (book.root / "data" / "prompts" / "samples.yaml").write_bytes(b"# Z\xfcrich\n")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_out, r"result folder .*out/book holds files that no build put there \(thesis.docx"),
        (spoil_cache, r"cache folder .*/cache cannot be written \(Not a directory\)"),
        (spoil_build, r"build folder .*/build cannot be written \(Not a directory\)"),
        (spoil_input, r"^data/prompts/samples.yaml, line 1: this is not UTF-8"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_measured(tmp_path, spoil, sentence):
    book = TinyBook(tmp_path, SLEEP)
    spoil(book)
    done = book.report()
    output, errors = done.communicate(timeout=60)
    assert done.returncode == 1
    assert re.search(sentence, errors)
    assert errors.strip().count("\n") == 0, "one sentence"
    assert "Report about" not in output


def test_a_failed_report_leaves_the_former_one(tmp_path):
    book = TinyBook(tmp_path, "1 / 0")
    page = former(book)
    done = book.report()
    _, errors = done.communicate(timeout=60)
    assert done.returncode == 1
    assert errors.startswith("index.qmd:3: cell 1 failed: ZeroDivisionError")
    assert page.read_text() == "the former report"
    assert leftovers(book) == []


def test_a_build_has_records_of_its_own_and_leaves_the_latest(tmp_path, monkeypatch):
    from internals.run import build as reports

    monkeypatch.setattr(reports, "BUILD", tmp_path / "build")
    with reports._own_folder() as one, reports._own_folder() as two:
        assert one != two
        for folder in (one, two):
            (folder / "evidence").mkdir()
            (folder / "evidence" / "a.json").write_text(folder.name)
            (folder / "measurements.jsonl").write_text(folder.name)
    # The one that ended last counts, whole.
    kept = tmp_path / "build"
    assert (kept / "evidence" / "a.json").read_text() == one.name
    assert (kept / "measurements.jsonl").read_text() == one.name
    assert sorted(p.name for p in kept.iterdir()) == ["evidence", "measurements.jsonl"]


def test_evidence_about_another_model_stays(tmp_path, monkeypatch):
    from internals.run import build as reports

    monkeypatch.setattr(reports, "BUILD", tmp_path)
    for model, text in (("one", "old"), ("other", "x"), ("one", "new")):
        with reports._own_folder() as folder:
            (folder / "evidence" / model).mkdir(parents=True)
            (folder / "evidence" / model / f"{text}.json").write_text(text)
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.json"))
    assert found == ["evidence/one/new.json", "evidence/other/x.json"]


def stopped(reports):
    with reports._own_folder() as folder:
        (folder / "measurements.jsonl").write_text("half")
        raise KeyboardInterrupt


def test_a_build_that_is_stopped_leaves_the_records_of_the_former(tmp_path, monkeypatch):
    from internals.run import build as reports

    monkeypatch.setattr(reports, "BUILD", tmp_path)
    (tmp_path / "measurements.jsonl").write_text("former")
    with pytest.raises(KeyboardInterrupt):
        stopped(reports)
    assert [p.name for p in tmp_path.iterdir()] == ["measurements.jsonl"]
    assert (tmp_path / "measurements.jsonl").read_text() == "former"


@pytest.mark.slow
def test_two_reports_at_once_about_two_models_do_not_mix(tiny_folder, tmp_path):
    both = {
        name: report(tiny_folder(name), tmp_path / name, tmp_path) for name in ("gpt2", "llama")
    }
    for name, running in both.items():
        _, errors = running.communicate(timeout=900)
        assert running.returncode == 0, errors
        assert check_book(tmp_path / name) == []
        evidence = json.loads((tmp_path / name / "evidence.json").read_text("utf-8"))
        assert evidence["model"]["name"] == f"tiny {name}"
