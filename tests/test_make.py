"""Values of make variables reach the program as they were typed, and nothing else reads them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from internals.paths import ROOT

TARGETS = ("report", "inspect", "train", "train-twins", "train-ladder", "compare", "bench", "serve")
RECORDER = """#!/bin/sh
printf '%s\\0' "$@" > "$RECORD.arguments"
env -0 > "$RECORD.environment"
"""
ARRIVES = {
    "MODEL": "REPORT_MODEL",
    "TOKENIZER": "REPORT_TOKENIZERS",
    "EFFORT": "REPORT_EFFORT",
    **{name: name for name in ("CORPUS", "QUARTO", "PORT", "PYTHON", "TORCH_INDEX")},
    **{name: name for name in ("MODELS", "SCHEDULER", "TABLE")},
}
"""What a user sets and where the program finds it."""


@pytest.fixture
def make(tmp_path):
    """Run a target of the Makefile with a Python that only writes down how it was called."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(RECORDER, "utf-8")
    python.chmod(0o755)
    (tmp_path / "venv" / ".ready").write_text("")
    ours = {*ARRIVES, *ARRIVES.values()}
    plain = {k: v for k, v in os.environ.items() if k not in ours and not k.startswith("M")}

    def run(target, *given, **environment):
        record = tmp_path / "record"
        done = subprocess.run(
            ["make", target, f"VENV={tmp_path / 'venv'}", *given],
            cwd=ROOT,
            env={**plain, "RECORD": str(record), **environment},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
        arguments = Path(f"{record}.arguments").read_text("utf-8").split("\0")[:-1]
        seen = Path(f"{record}.environment").read_text("utf-8").split("\0")[:-1]
        return arguments, dict(entry.split("=", 1) for entry in seen)

    return run


HOSTILE = (
    "$(touch {mark})",
    "$(shell touch {mark})",
    "`touch {mark}`",
    "$$(touch {mark})",
    "x; touch {mark}",
    "x' ; touch {mark} ; '",
    'x" ; touch {mark} ; "',
    "x && touch {mark} #",
    "${{shell touch {mark}}}",
    "$x ${{HOME}} $(HOME) $$ $1 $@",
    'it\'s a "quoted" name',
    "a folder/with  two spaces ",
    " leading blank",
    "back\\slash \\n %s ~ * ? [red] {{a,b}} !",
    "comma, (parenthesis) = : ? + #hash",
    "name\nwith a line break",
    "naïve/中文.gguf",
)


def rotated(number, mark):
    """Another hostile value for each variable; every variable meets each of them once."""
    return {
        name: HOSTILE[(number + i) % len(HOSTILE)].format(mark=mark)
        for i, name in enumerate(ARRIVES)
    }


@pytest.mark.parametrize("number", range(len(HOSTILE)))
@pytest.mark.parametrize("way", ["arguments", "environment"])
def test_values_arrive_as_they_were_typed_and_run_nothing(make, tmp_path, number, way):
    mark = tmp_path / "mark"
    values = rotated(number, mark)
    if way == "arguments":
        arguments, seen = make("report", *(f"{name}={value}" for name, value in values.items()))
        # make itself takes blanks in front of the value of an argument for part of the `=`.
        values = {name: value.lstrip(" ") for name, value in values.items()}
    else:
        arguments, seen = make("report", **values)
    assert {name: seen[ARRIVES[name]] for name in values} == values
    assert arguments == ["-m", "internals", "report"]
    assert not mark.exists(), "something was run"


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_the_same_for_the_variable_of_the_program(make, tmp_path, way):
    mark = tmp_path / "mark"
    value = f"$(shell touch {mark})`touch {mark}`\"'; touch {mark} # $x $$"
    if way == "argument":
        _, seen = make("report", f"REPORT_MODEL={value}")
    else:
        _, seen = make("report", REPORT_MODEL=value)
    assert seen["REPORT_MODEL"] == value
    assert not mark.exists()


@pytest.mark.parametrize("target", TARGETS)
def test_no_recipe_names_a_value(make, tmp_path, target):
    mark = tmp_path / "mark"
    value = f"$(shell touch {mark})`touch {mark}`\"'; touch {mark} #"
    arguments, seen = make(target, *(f"{name}={value}" for name in ARRIVES))
    assert {seen[name] for name in ARRIVES.values()} == {value}
    assert not any("touch" in argument for argument in arguments)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("given", "environment", "model"),
    [
        ((), {}, ""),
        (("MODEL=",), {}, ""),
        ((), {"REPORT_MODEL": "gpt2"}, "gpt2"),
        (("MODEL=",), {"REPORT_MODEL": "gpt2"}, "gpt2"),
        (("MODEL=org/name",), {"REPORT_MODEL": "gpt2"}, "org/name"),
        (("MODEL=org/name@v1",), {"MODEL": "gpt2"}, "org/name@v1"),
    ],
)
def test_a_model_that_was_not_named_is_the_programs_business(make, given, environment, model):
    _, seen = make("report", *given, **environment)
    assert seen["REPORT_MODEL"] == model


def test_defaults_stay_where_nothing_is_given(make):
    _, seen = make("serve")
    assert (seen["PORT"], seen["QUARTO"]) == ("8000", "auto")
