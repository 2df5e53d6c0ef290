"""Which Quarto is taken, and what is said when there is none."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bookbinder import fonts, pandoc
from bookbinder.execute import execute_book
from bookbinder.frozen import freeze
from bookbinder.model import Entry
from bookbinder.parse import parse_chapter
from internals.book import evidence
from internals.run import build, post_render, pre_render, quarto


def executable(folder: Path, answer: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "quarto"
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("answer", "version"),
    [("1.9.36", "1.9.36"), ("1.11", "1.11"), ("99.9.9", "99.9.9"), ("1.8.27", None), ("", None)],
)
def test_only_versions_that_render_typst_books_are_taken(tmp_path, answer, version):
    assert quarto.version_of(executable(tmp_path, answer)) == version


def test_a_file_that_does_not_run_is_no_quarto(tmp_path):
    broken = tmp_path / "quarto"
    broken.write_text("not a program")
    assert quarto.version_of(broken) is None


def test_quarto_on_path_is_found_even_in_a_folder_with_spaces(tmp_path):
    path = executable(tmp_path / "a folder", "1.10.19")
    assert quarto.find({"PATH": str(path.parent)}) == quarto.Quarto(path, "1.10.19")


def test_skip_does_not_look_for_quarto(monkeypatch):
    monkeypatch.setattr(quarto, "find", lambda: pytest.fail("looked for Quarto"))
    found, line = quarto.obtain("skip")
    assert found is None
    assert "QUARTO=skip" in line


def test_the_package_is_tried_once_and_again_only_on_demand(tmp_path, monkeypatch):
    tries: list[float] = []
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(quarto, "find", lambda: None)
    monkeypatch.setattr(quarto, "_install", lambda seconds: tries.append(seconds))
    for mode in ("auto", "auto", "install"):
        found, line = quarto.obtain(mode)
        assert found is None
        assert "QUARTO=install" in line
    assert tries == [quarto.FIRST_TRY_SECONDS, quarto.SECOND_TRY_SECONDS]


def test_a_try_that_hangs_is_ended_in_time(tmp_path, monkeypatch):
    """The interpreter stands for a pip that never answers."""
    import time

    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hanging))
    began = time.monotonic()
    assert quarto._install(0.3) is False
    assert time.monotonic() - began < 10


def test_a_try_that_works_gives_quarto(tmp_path, monkeypatch):
    found = quarto.Quarto(tmp_path / "quarto", "1.10.19")
    answers = iter([None, found])
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(quarto, "find", lambda: next(answers))
    monkeypatch.setattr(quarto, "_install", lambda seconds: True)
    assert quarto.obtain("auto") == (found, "Rendering with Quarto 1.10.19.")


def test_a_mistyped_mode_is_named():
    with pytest.raises(quarto.QuartoModeError, match="QUARTO=yes is not known; use QUARTO=auto"):
        quarto.obtain("yes")


def test_quarto_prints_inline_strings_with_their_no_break_spaces(monkeypatch):
    """Quarto takes the kernel's text of a string without its quotation marks."""
    from jupyter_client.manager import start_new_kernel

    monkeypatch.setenv("QUARTO_DOCUMENT_PATH", "report")
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        text = "5\u00a0bits, it's \u2060so"
        client.execute_interactive(
            f"from internals import book; book._plain_strings(); s = {text!r}"
        )
        client.execute("", user_expressions={"0": "s", "1": "str()"})
        reply = client.get_shell_msg(timeout=60)
        while "0" not in reply["content"].get("user_expressions", {}):
            reply = client.get_shell_msg(timeout=60)
        answers = reply["content"]["user_expressions"]
        shown, nothing = (answers[key]["data"]["text/plain"] for key in ("0", "1"))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert shown == f"'{text}'"
    assert nothing == "'\u2060'", "of an empty string Quarto would print the expression"


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(("there", "code"), [(True, 0), (False, 1)])
def test_a_missing_environment_is_told_before_quarto_renders(tmp_path, there, code):
    python = tmp_path / "an environment" / "python"
    if there:
        python.parent.mkdir()
        python.touch()
    done = subprocess.run(
        [pandoc.executable(), "lua", ROOT / "code/internals/run/check_environment.lua"],
        env={"QUARTO_PYTHON": str(python)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code
    assert ("`make env` makes it" in done.stderr) != there


def page(folder: Path, body: str, name: str = "page.html") -> Path:
    file = folder / name
    file.write_text(f"<html><body>{body}</body></html>", "utf-8")
    return file


def test_pages_of_quarto_ask_no_other_host():
    cdn = (
        '<script src="https://cdn.jsdelivr.net/npm/jquery@3.5.1/dist/jquery.min.js" x="y"></script>'
    )
    define = "<script type=\"application/javascript\">define('jquery', [],function() {})</script>"
    own = "<script>define(1)</script>"
    assert post_render.without_foreign_scripts(f"a{cdn}\n{define}\n{own}b") == f"a{own}b"


def test_references_to_which_quarto_gives_a_title_get_a_number(tmp_path):
    page(tmp_path, '<section id="sec-a" class="level2" data-number="4.2"></section>', "four.html")
    title = '<h1 class="title"><span id="x"><span class="chapter-number">4</span> Four</span></h1>'
    page(tmp_path, title, "whole.html")
    page(tmp_path, '<h1 class="title"><span id="x">Appendix B — More</span></h1>', "more.html")

    def link(goal: str, words: str) -> str:
        return f'<a href="{goal}" class="quarto-xref"><span>{words}</span></a>'

    goals = ("four.html#sec-a", "whole.html", "more.html", "gone.html#sec-b")
    text = " ".join(link(goal, "A title") for goal in goals)
    mended = post_render.with_numbers(text, tmp_path / "index.html")
    words = ("Section 4.2", "Chapter 4", "Appendix B", "A title")
    assert mended == " ".join(map(link, goals, words))
    assert post_render.with_numbers(mended, tmp_path / "index.html") == mended


@pytest.fixture
def before(tmp_path, monkeypatch):
    """``before(state)`` prepares a render and says how often chapters were executed by now."""
    monkeypatch.setattr(pre_render, "ROOT", tmp_path)
    monkeypatch.setattr(pre_render, "FROZEN", tmp_path / "_freeze")
    (tmp_path / "index.qmd").write_text("# One\n")
    (tmp_path / "_quarto.yml").write_text("")
    (tmp_path / "evidence").mkdir()
    monkeypatch.setenv("QUARTO_PROJECT_RENDER_ALL", "1")
    monkeypatch.delenv("INTERNALS_BUILD", raising=False)
    calls = []

    def execute(*_):
        calls.append(1)
        pre_render.RECORDS.mkdir()

    monkeypatch.setattr(pre_render, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(pre_render, "execute", execute)
    monkeypatch.setattr(build, "checked", lambda spec, tokenizers: (None, None))
    monkeypatch.setattr(evidence, "folder", lambda: tmp_path / "evidence")

    def prepare(state: str) -> int:
        monkeypatch.setattr(pre_render, "state", lambda handle: state)
        pre_render.main()
        return len(calls)

    return prepare


def test_pages_stay_executed_as_long_as_nothing_has_changed(before, tmp_path, monkeypatch):
    page = tmp_path / "_freeze/index/execute-results/html.json"

    def executed() -> None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("{}")

    assert before("a") == 1
    executed()
    assert before("a") == 1
    assert page.exists()
    (tmp_path / "index.qmd").write_text("# Two\n")  # Quarto itself sees that
    assert before("a") == 2, "the notebook is of the new text"
    assert page.exists()
    assert before("b") == 3
    assert not page.exists(), "another model, or other code"
    executed()
    (tmp_path / "evidence").rmdir()
    before("b")
    assert not page.exists(), "its evidence is gone"


def test_the_filter_finds_the_evidence_of_a_model_that_nobody_named(before, tmp_path, monkeypatch):
    def checked(spec, tokenizers):
        monkeypatch.setenv("REPORT_MODEL", "smollm2")
        return None, None

    def execute(*_):
        evidence.folder().mkdir(parents=True)
        (evidence.folder() / "index.json").touch()

    monkeypatch.delenv("REPORT_MODEL", raising=False)
    monkeypatch.setattr(build, "checked", checked)
    monkeypatch.setattr(pre_render, "execute", execute)
    monkeypatch.setattr(
        evidence, "folder", lambda: tmp_path / os.environ.get("REPORT_MODEL", "default")
    )
    before("a")
    assert (tmp_path / "default/index.json").exists()


@pytest.mark.parametrize("name", ["QUARTO_PROJECT_RENDER_ALL", "INTERNALS_BUILD"])
def test_one_page_and_a_report_execute_no_chapters_before(before, monkeypatch, name):
    monkeypatch.setenv(name, "0")
    assert before("a") == 0


def test_what_executed_pages_depend_on_has_a_mark(tmp_path, monkeypatch):
    code = tmp_path / "code" / "a.py"
    code.parent.mkdir()
    code.write_text("x = 1")
    monkeypatch.setattr(pre_render, "ROOT", tmp_path)
    monkeypatch.delenv("REPORT_EFFORT", raising=False)
    marks = [pre_render.state(SimpleNamespace(fingerprint="f"))]
    assert pre_render.state(SimpleNamespace(fingerprint="f")) == marks[0]
    marks.append(pre_render.state(SimpleNamespace(fingerprint="g")))
    code.write_text("x = 12")
    marks.append(pre_render.state(SimpleNamespace(fingerprint="f")))
    monkeypatch.setenv("REPORT_EFFORT", "0.5")
    marks.append(pre_render.state(SimpleNamespace(fingerprint="f")))
    assert len(set(marks)) == 4


PAGE = """# One {#sec-one}

```{python}
#| label: tbl-a
#| tbl-cap: "It's a table"
from IPython.display import Markdown
print("```")
Markdown("| a |\\n|---|\\n| 1 |\\n")
```

Two and two is `{python} 2 + 2`.

```{python}
#| include: false
print("not to be seen")
```
"""


def test_executed_chapters_are_pages_that_quarto_keeps(tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report/one.qmd").write_bytes(PAGE.replace("\n", "\r\n").encode())
    source = parse_chapter(tmp_path, "report/one.qmd")
    kept = tmp_path / "_freeze"
    (tmp_path / "index.qmd").write_text("A book.\n\n## Results\n")
    home = parse_chapter(tmp_path, "index.qmd")
    project = SimpleNamespace(root=tmp_path, entries=[Entry("index.qmd", "index", "Start")])
    freeze(execute_book(project, [home, source]), project, kept)
    pages = [kept / f"index/execute-results/{name}.json" for name in ("html", "typ")]
    titled = [json.loads(p.read_text("utf-8"))["result"]["markdown"][:8] for p in pages]
    assert titled == ["A book.\n", "# Start "], "else the PDF would call it Results"
    for name in ("html", "typ"):
        page = json.loads((kept / f"report/one/execute-results/{name}.json").read_text("utf-8"))
        assert page["hash"] == hashlib.md5(PAGE.encode()).hexdigest(), "of lines that end with LF"
        text = page["result"]["markdown"]
        assert "::: {#tbl-a .cell tbl-cap='It\\'s a table'}" in text
        assert "````\n```\n````" in text
        assert "| 1 |" in text
        assert "Two and two is 4." in text
        assert "not to be seen" not in text


def test_notebook_and_records_go_beside_every_render_of_the_whole_book(tmp_path, monkeypatch):
    records, out = tmp_path / "records", tmp_path / "_book"
    out.mkdir()
    records.mkdir()
    (records / "report.ipynb").write_text("{}")
    monkeypatch.setattr(post_render, "RECORDS", records)
    monkeypatch.setenv("QUARTO_PROJECT_OUTPUT_DIR", str(out))
    for whole in (False, True):
        if whole:
            monkeypatch.setenv("QUARTO_PROJECT_RENDER_ALL", "1")
        post_render.main()
        assert (out / "report.ipynb").exists() == whole


def test_the_pdf_of_quarto_takes_the_fonts_of_ours():
    source = (ROOT / "code/bookbinder/pdf/quarto/typst-show.typ").read_text("utf-8")
    names = source[source.index("other-scripts = (") : source.index("#let body-fonts")]
    shared = [
        name for name in fonts.families(mono=True) if name not in fonts.families(mono=True)[:2]
    ]
    assert re.findall(r'"([^"]+)"', names) == shared
