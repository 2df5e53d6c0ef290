"""What is recorded about the run."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

from internals.run import provenance


def test_versions_are_those_installed():
    versions = provenance.library_versions()
    assert versions["numpy"] == metadata.version("numpy")
    assert set(versions) == set(provenance.LIBRARIES)


def test_machine_names_cores_and_memory():
    machine = provenance.machine()
    assert machine["cores"] >= 1
    assert machine["memory_gib"] > 0
    assert machine["cpu"]


def test_machine_id_changes_with_the_number_of_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one = provenance.machine_id()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert provenance.machine_id() != one


def test_a_checkout_that_is_no_repository_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() is None


def test_a_changed_file_is_marked(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(
        ["git", *who, "commit", "-q", "--allow-empty", "-m", "x"], cwd=tmp_path, check=True
    )
    assert not provenance.commit().endswith("+")
    (tmp_path / "new").write_text("x")
    assert provenance.commit().endswith("+")


def test_provenance_imports_no_torch():
    code = (
        "import sys, internals.run.provenance as p; p.library_versions(); p.machine_id();"
        "print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
