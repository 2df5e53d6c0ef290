"""The check of a rendered report finds what a reader would stumble over."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from internals.book import lint
from internals.book.source import Chapter
from internals.run.checkbook import check_book, run_notebook
from internals.stats.intervals import QUARTILES


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A complete report without evidence, which has tests of its own."""
    (tmp_path / "report").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top">Home</h1><a href="report/one.html#sec-a">one</a>'
        '<a href="https://example.org/x">away</a><a href="#top">up</a>'
    )
    (tmp_path / "report" / "one.html").write_text(
        '<h2 id="sec-a">One</h2><img src="a%20b.png" alt="A curve."><a href="../index.html">up</a>'
    )
    (tmp_path / "report" / "a b.png").write_bytes(b"")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7")
    cell = nbformat.v4.new_code_cell("1 + 1", execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "report.ipynb")
    keys = ("rendered_with", "model", "libraries", "machine", "seconds")
    (tmp_path / "build.json").write_text(json.dumps({key: {} for key in keys}))
    return tmp_path


def problems(book: Path) -> list[str]:
    return [p for p in check_book(book) if "evidence.json" not in p]


def test_a_complete_report_has_no_problem(book):
    assert problems(book) == []


@pytest.mark.parametrize("name", ["index.html", "report.pdf", "report.ipynb", "build.json"])
def test_a_missing_file_is_named(book, name):
    (book / name).unlink()
    assert any(p.startswith(f"{name} is missing") for p in problems(book))


def test_a_link_to_a_missing_page_is_found(book):
    (book / "report" / "one.html").write_text('<a href="two.html">two</a>')
    assert "report/one.html links to two.html, which does not exist." in problems(book)


def test_a_link_to_a_missing_anchor_is_found(book):
    (book / "report" / "one.html").write_text("<p>no anchor</p>")
    assert (
        "index.html links to report/one.html#sec-a, but that page has no such anchor."
        in problems(book)
    )


def test_an_image_without_alt_text_is_found(book):
    (book / "report" / "one.html").write_text('<h2 id="sec-a">x</h2><img src="a%20b.png">')
    assert problems(book) == ["report/one.html has 1 image(s) without alt text."]


def test_an_unresolved_reference_is_found_in_text_but_not_in_code(book):
    page = book / "report" / "one.html"
    page.write_text('<h2 id="sec-a">x</h2><script>"?@fig-x"</script>')
    assert problems(book) == []
    page.write_text('<h2 id="sec-a">x</h2><p>see ?@fig-x</p>')
    assert len(problems(book)) == 1


def test_a_cell_that_failed_or_never_ran_is_found(book):
    failed = nbformat.v4.new_code_cell(
        "1 / 0",
        execution_count=1,
        outputs=[nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])],
    )
    unrun = nbformat.v4.new_code_cell("1")
    nbformat.write(nbformat.v4.new_notebook(cells=[failed, unrun]), book / "report.ipynb")
    assert problems(book) == [
        "Cell 1 of report.ipynb ended in an error.",
        "Cell 2 of report.ipynb was not executed.",
    ]


def test_a_file_that_is_no_pdf_is_found(book):
    (book / "report.pdf").write_text("<html>")
    assert problems(book) == ["report.pdf is no PDF."]


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("from pathlib import Path\nassert Path('_quarto.yml').is_file()", None),
        ("import os\nassert 'notebook-' in os.environ['INTERNALS_BUILD']", None),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_the_notebook_is_run_from_the_top_in_the_project(book, code, fault):
    cell = nbformat.v4.new_code_cell(code, execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), book / "report.ipynb")
    found = list(run_notebook(book))
    if fault is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith("report.ipynb does not run from the top")
        assert fault in found[0]


def test_a_paragraph_that_findings_replace_is_named_unless_it_is_about_times(book, monkeypatch):
    text = (
        '# One\n\n::: {.holds claims="a-rises !a-falls"}\nx\n:::\n\n'
        '::: {.holds claims="a-rises b-faster"}\ny\n:::\n'
    )
    monkeypatch.setattr(lint, "book_chapters", lambda: [Chapter("report/01-one.qmd", text)])
    kinds = {"a-rises": "exact", "a-falls": "exact", "b-faster": QUARTILES}

    def named(spec="smollm2", **verdicts):
        findings = [
            {"id": id, "interval_kind": kind, "n_unit": "texts", "verdict": verdicts[id[0] + id[2]]}
            for id, kind in kinds.items()
        ]
        record = {"model": {"spec": spec}, "findings": findings}
        (book / "evidence.json").write_text(json.dumps(record))
        return [p for p in problems(book) if p.startswith("report/")]

    good = {"ar": "supported", "af": "not supported", "bf": "supported"}
    assert named(**good) == []
    assert named(**(good | {"bf": "not supported"})) == []
    (first,) = named(**(good | {"af": "supported"}))
    assert first == "report/01-one.qmd, line 3: not as written: a-falls is supported."
    assert len(named(**(good | {"ar": "not applicable"}))) == 1
    assert named("gpt2", **(good | {"ar": "not applicable"})) == []
