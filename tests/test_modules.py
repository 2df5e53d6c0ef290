"""The version of a function: which modules it takes in, and what an edit of them means."""

from __future__ import annotations

import importlib
import itertools
import os
import pkgutil
import sys
import time
from pathlib import Path

import pytest

import internals.measure
from internals.cache import modules
from internals.cache.modules import version_of

_numbers = itertools.count()

FILES = {
    "__init__.py": "",
    "work.py": """\
from __future__ import annotations
import os, json
from typing import TYPE_CHECKING
import {name}.whole
from {name}.named import thing
from {name} import part
from . import beside
from .inner import deep
import {name}.passive
if TYPE_CHECKING:
    from {name} import typing_only

def main():
    import {name}.lazy
    try:
        from {name}.tried import x
    except ImportError:
        pass
    match 1:
        case _:
            from {name}.matched import y
    return thing
""",
    "whole.py": "from {name}.indirect import x\n",
    "named.py": "thing = 1\n",
    "part.py": "",
    "beside.py": "",
    "inner/__init__.py": "from .sibling import deep\nfrom ..upward import z\n",
    "inner/sibling.py": "deep = 1\n",
    "indirect.py": "import {name}.work  # a circle\nx = 1\n",
    "upward.py": "z = 1\n",
    "lazy.py": "",
    "tried.py": "x = 1\n",
    "matched.py": "y = 1\n",
    "passive.py": "from {name}.behind import b\n",
    "behind.py": "b = 1\n",
    "typing_only.py": "",
    "stranger.py": "",
}
COUNTED = {
    *("work.py", "whole.py", "named.py", "part.py", "beside.py", "inner/__init__.py"),
    *("inner/sibling.py", "indirect.py", "upward.py", "lazy.py", "tried.py", "matched.py"),
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of its own name, since modules are read once in a process."""
    name = f"probe{next(_numbers)}"
    for file, text in FILES.items():
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(modules, "INERT", ())
    yield tmp_path / name
    for loaded in [m for m in sys.modules if m.partition(".")[0] == name]:
        del sys.modules[loaded]


def forget() -> None:
    """As a new process knows nothing."""
    for function in (modules._reached, modules._imports, modules._file, modules._digest):
        function.cache_clear()


def digest(package: Path) -> str:
    forget()
    main = importlib.import_module(f"{package.name}.work").main
    return version_of(main, inert=(f"{package.name}.passive",)).digest


@pytest.mark.parametrize("file", FILES)
def test_all_that_is_imported_counts_and_nothing_else(package, file):
    before = digest(package)
    assert digest(package) == before
    path = package / file
    path.write_text(path.read_text() + "# a remark\n")
    assert (digest(package) != before) == (file in COUNTED)


def test_nothing_is_imported_for_it(package):
    digest(package)
    assert f"{package.name}.lazy" not in sys.modules


def test_a_file_that_changes_while_the_process_runs_is_noticed(package, monkeypatch):
    main = importlib.import_module(f"{package.name}.work").main
    monkeypatch.setattr(modules, "_STARTED_S", time.time() + 0.01)
    assert not version_of(main).edited
    lazy = package / "lazy.py"
    os.utime(lazy, (time.time() + 0.02,) * 2)
    time.sleep(0.05)
    assert version_of(main).edited
    os.utime(lazy, (time.time() + 3600,) * 2)  # a clock that is wrong
    assert not version_of(main).edited


def other():
    return 1


def makers():
    return [
        lambda: 1,
        lambda: 2,
    ]


def test_functions_of_one_module_differ():
    first, second = makers()
    found = [version_of(f).digest for f in (other, makers, first, second)]
    assert len(set(found)) == 4


def test_what_has_no_source_is_refused():
    space: dict = {"__name__": "nowhere"}
    exec("def f(): pass", space)
    with pytest.raises(TypeError, match="cannot be read, so its results cannot be stored"):
        version_of(space["f"])


def test_no_measurement_depends_on_a_picture_or_a_sentence():
    found = pkgutil.walk_packages(internals.measure.__path__, f"{internals.measure.__name__}.")
    for module in found:
        reached = modules._reached(module.name, modules.INERT)
        assert module.name in reached
        rooms = {name.split(".")[1] for name in reached if name.startswith("internals.")}
        assert not rooms & {"figures", "findings", "book", "cache", "run"}


def test_a_finding_depends_on_what_it_measures():
    name = "internals.findings.behaviour.artefacts"
    reached = modules._reached(name, modules.INERT)
    assert {name, "internals.measure.behaviour.artefacts", "internals.tokens"} <= set(reached)


def test_a_second_look_takes_no_time():
    from internals.models import open_model

    assert len(version_of(open_model).files) >= 5
    began = time.perf_counter()
    for _ in range(10):
        _ = version_of(open_model).edited
    assert time.perf_counter() - began < 0.5
