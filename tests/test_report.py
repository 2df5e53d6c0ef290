"""The whole report about tiny models of other families, and what becomes of it when it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from internals.paths import ROOT
from internals.run.checkbook import check_book


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
        # A suite that runs in the background would hand down that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
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
    verdicts = {c["id"]: c["verdict"] for c in evidence["claims"]}
    assert verdicts["ledger-total"] == "supported"
    assert verdicts["own-norm-isolated"] == "supported"
    assert verdicts["recall-often"] == "not applicable", "nobody knows what this model read"
    home = (out / "index.html").read_text("utf-8")
    assert f"tiny {family}" in home
    assert "trained this model itself" not in home
    page = (out / "report" / "01-architecture.html").read_text("utf-8")
    norm = evidence["facts"]["norm_kind"]
    assert ("root mean square norms" in page) == (norm == "RMSNorm")
    record = json.loads((out / "build.json").read_text("utf-8"))
    assert set(record["model_loads"].values()) <= {1}, "chapters share a loaded model"


def test_a_failed_report_leaves_the_former_one(tmp_path):
    out = tmp_path / "book"
    out.mkdir()
    (out / "index.html").write_text("the former report")
    done = report(tmp_path / "no such model", out, tmp_path)
    output, errors = done.communicate(timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in output + errors
    assert errors.strip().count("\n") == 0
    assert (out / "index.html").read_text() == "the former report"


def test_a_stopped_report_leaves_the_former_one_and_no_kernel(tiny_folder, tmp_path):
    out = tmp_path / "book"
    out.mkdir()
    (out / "index.html").write_text("the former report")
    running = report(tiny_folder("gpt2"), out, tmp_path)
    for line in running.stdout:
        if line.startswith("[1/"):
            break
    time.sleep(1.0)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "Traceback" not in errors
    assert (out / "index.html").read_text() == "the former report"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".book")] == []


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
