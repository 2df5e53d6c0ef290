"""The command line as a user types it, and the targets of the Makefile."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from internals.errors import UserError
from internals.paths import ROOT
from tiny_book import TinyBook

VERBS = (
    *("report", "fetch", "inspect", "test", "check", "lint", "check-book"),
    *("train", "bench", "serve", "clean"),
)


def run(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, "-m", "internals", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_lists_every_verb_with_a_sentence():
    done = run("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert re.search(rf"^\W*{verb}\s+\S.*\S", done.stdout, re.M), verb


def test_without_a_verb_the_help_is_shown():
    assert "Usage" in run().stdout + run().stderr


def test_inspect_prints_facts_and_ledger(tiny_folder):
    done = run("inspect", tiny_folder("llama"))
    assert done.returncode == 0, done.stderr
    for word in ("Llama", "RMSNorm", "rotary", "attention", "token embedding"):
        assert word in done.stdout, word


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("inspect", "no/such-model"), "no/such-model"),
        (("report", "./nowhere"), "nowhere"),
        (("check-book", "nowhere"), "nowhere"),
        (("serve", "--book", "nowhere"), "make report"),
        (("train", "--model", "other"), "There is no recipe for other"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_one(arguments, sentence, tmp_path):
    done = run(*arguments)
    assert done.returncode == 1
    assert sentence in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_the_debug_switch_shows_where():
    done = run("inspect", "no/such-model", INTERNALS_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_full_disk_is_no_error_in_the_program(monkeypatch):
    from internals.run import cli

    def full():
        raise OSError(errno.ENOSPC, "No space left on device", "/a/b")

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit, match=r"^Writing /a/b failed \(No space left on device\); make"):
        cli.main()


def test_an_unknown_quarto_mode_is_one_sentence():
    done = run("report", QUARTO="perhaps")
    assert done.returncode == 1
    assert "perhaps" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_report_of_the_last_bench_is_kept(tmp_path, monkeypatch):
    from internals.run import bench

    monkeypatch.setattr(bench, "BUILD", tmp_path)
    assert bench.recorded() == {}
    (tmp_path / bench.RECORD).write_text('{"reports": [{"what": "x"}], "generation": []}')
    assert bench.recorded()["reports"][0]["what"] == "x"


def test_the_memory_of_a_process_tree_is_counted():
    from internals.run import bench

    grown = subprocess.Popen(
        [sys.executable, "-c", "x = bytearray(100_000_000); print(len(x), flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    grown.stdout.readline()
    assert 95 < bench.tree_mib(grown.pid) < 300
    grown.communicate(b"\n")
    assert bench.tree_mib(grown.pid) == 0


def test_every_verb_of_the_command_line_that_make_has_is_the_same_word():
    targets = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for verb in ("report", "inspect", "test", "check", "train", "bench", "serve", "clean"):
        assert verb in VERBS
        assert f"make {verb} " in targets.stdout


def test_a_bench_is_printed_with_what_it_may_cost(capsys, monkeypatch):
    from internals.run import bench

    monkeypatch.setenv("COLUMNS", "120")
    chapters = {"report/a.qmd": 4.2}
    runs = [bench.Run(*part, 10.0, 100.0, chapters, {part[0]: 1}) for part in bench.PLAN]
    bench.show(runs)
    shown = capsys.readouterr().out
    for model, cache, most in bench.PLAN:
        assert re.search(rf"{model} +│ {cache} +│ +10\.0 +│ +{most:.0f} ", shown), shown
    assert "4.2" in shown
    assert "1 × smollm2" in shown
    first = runs[0]
    assert first.within
    assert not replace(first, loads={"x": 2}).within, "loaded twice"
    assert not replace(first, seconds=first.most_seconds + 1).within
    assert not replace(first, peak_mib=bench.MOST_MIB + 1).within


def test_a_report_is_timed_in_folders_of_its_own_with_what_it_records(tmp_path, monkeypatch):
    from internals.run import bench

    book = TinyBook(tmp_path, "1 / 0")
    monkeypatch.setenv("INTERNALS_ROOT", str(book.root))
    monkeypatch.setenv("QUARTO", "skip")
    with pytest.raises(UserError, match=r"report about fable-gpt2 failed[^$]*ZeroDivisionError"):
        bench.timed("fable-gpt2", "cold", 180.0, tmp_path)


def test_make_help_lists_every_target():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
    for target in targets:
        assert f"make {target}" in listed.stdout, target
