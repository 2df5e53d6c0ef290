"""The linter finds each kind of fault, and nothing in a chapter that is as it should be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pypdf
import pytest

from bookbinder.build import build_book
from internals.book import limits, lint
from internals.book.lint import extracted, lint_book
from internals.book.source import Chapter
from internals.errors import UserError

GOOD = """# Probabilities {#sec-probabilities}

```{python}
#| include: false
from internals import book
report = book.start("probabilities")
```

## Temperature {#sec-temperature}

> What happens at 2.0 %?

```{python}
#| include: false
from internals.findings.probabilities import temperature as found
f = report.findings(found)
```

::: {.holds claims="temperature-entropy !temperature-uneven"}
**In short.** It rises by `{python} f.entropy` (@tbl-one, @fig-one); for 10 tokens nobody measured.
:::

```{python}
#| label: tbl-one
#| tbl-cap: "A table."
table = [1, 2]
```

::: {#fig-one}

```{python}
#| echo: false
#| renderings: [light, dark]
#| fig-alt: "Bars."
print(table)
```

A caption.
:::
""".replace("; for 10 tokens nobody measured", "")


ANCHORS = {
    "CELL": "```{python}\n#| echo: false",
    "TABLE": "```{python}\n#| label",
    "FOUND": "```{python}\n#| include: false\nfrom internals.findings",
}


def problems(tmp_path, text):
    (tmp_path / "report").mkdir(exist_ok=True)
    (tmp_path / "_quarto.yml").write_text("book: {chapters: [report/03-probabilities.qmd]}")
    (tmp_path / "report" / "03-probabilities.qmd").write_text(text)
    return [str(problem) for problem in lint_book(tmp_path)]


def test_a_chapter_in_good_form_has_no_problem(tmp_path):
    assert problems(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "anchor", "message"),
    [
        ("print(table)", "print([x for x in table])", "CELL", "computes (ListComp)"),
        ("print(table)", "a = 1\nb = 2\nc = 3\nprint(table)", "CELL", "a hidden cell of 4 lines"),
        ("print(table)", "print(table", "CELL", "is no Python"),
        ("table = [1, 2]", f"table = [{'1, ' * 40}]", "TABLE", "a line of"),
        ("**In short.** ", "", "## Temp", "needs “**In short.**”"),
        ("f.entropy`", "f.enthalpy`", "It rises", "f has no finding “enthalpy”"),
        ("f.entropy`", "g.entropy`", "It rises", "no cell binds g"),
        ("f.entropy`", "3`", "It rises", "typed by hand"),
        ("f.entropy`", "f.entropy if f else 1`", "It rises", "chooses its words"),
        ("f.entropy`", "f.entropy``{python} f.uneven`", "It rises", "touch"),
        (
            "temperature-entropy",
            "temperature-lead",
            "::: {.",
            "no finding temperature-lead",
        ),
        ("rises by", "rises by 12.5 bits or", "It rises", "“12.5 bits” is typed by hand"),
        ("{#sec-temperature}", "{#sec-heat}", "FOUND", "need a section with the label"),
        ("@tbl-one", "@tbl-two", "It rises", "@tbl-two refers to nothing"),
        (", @fig-one", "", "::: {#fig", "fig-one is never referred to"),
        (", @fig-one", "; [@guo2017; @fig-one]", "It rises", "in one bracket with a citation"),
        ('#| tbl-cap: "A table."\n', "", "TABLE", "has no tbl-cap"),
        ('#| fig-alt: "Bars."\n', "", "CELL", "no fig-alt"),
        (
            '.holds claims="temperature-entropy',
            '.when fact="colour" x="',
            "::: {.",
            "no fact “colour”",
        ),
    ],
)
def test_each_kind_of_fault_is_found_at_its_line(tmp_path, old, new, anchor, message):
    assert old in GOOD
    text = GOOD.replace(old, new)
    found = [p for p in problems(tmp_path, text) if message in p]
    assert found
    line = text[: text.index(ANCHORS.get(anchor, anchor))].count("\n") + 1
    assert found[0].startswith(f"report/03-probabilities.qmd:{line}:")


def test_findings_of_several_modules_and_in_blocks_of_their_own_are_known(tmp_path):
    text = GOOD.replace(
        "import temperature as found\n", "import confidence, temperature as found\n"
    )
    text = text.replace("f.entropy`", "g.sydney`").replace(
        "report.findings(found)\n", "report.findings(found)\ng = report.findings(confidence)\n"
    )
    text += '\n## Sure {#sec-confidence}\n\n::: {.findings claims="temperature-entropy"}\n:::\n'
    assert problems(tmp_path, text) == []
    assert "g has no finding “perth”" in problems(tmp_path, text.replace("g.sydney", "g.perth"))[0]
    (fault,) = problems(tmp_path, text.replace('"temperature-entropy"', '"temperature-lead"'))
    assert "no finding temperature-lead" in fault


def test_a_cell_that_cannot_be_read_is_named_with_its_line(tmp_path):
    with pytest.raises(UserError, match=r"03-probabilities\.qmd:3: this code fence is not closed"):
        problems(tmp_path, "# T\n\n```{python}\n1\n")


def test_extracted_cells_keep_their_line_numbers(tmp_path):
    chapter = Chapter("report/03-probabilities.qmd", GOOD)
    (file,) = extracted([chapter], tmp_path)
    lines, source = file.read_text().splitlines(), GOOD.splitlines()
    code = [(number, line) for number, line in enumerate(lines) if line]
    assert len(code) == 6
    assert all(source[number] == line for number, line in code)


def row(**changed):
    usual = {"chapter": "architecture", "words": 1000, "visible": 9, "hidden": 10, "notebook": 30,
             "widest": 80, "findings": 3, "figures": 1, "tables": 1, "pages": 8}  # fmt: skip
    return usual | changed


def test_limits_are_told_when_they_are_exceeded(tmp_path):
    (tmp_path / "code/internals/measure").mkdir(parents=True)
    (tmp_path / "report").mkdir()
    (tmp_path / "index.qmd").write_text("# Home\n")

    def told(**changed):
        table = pd.DataFrame([row(**changed)])
        table.attrs["pages"] = table["pages"].sum()
        return list(limits.exceeded(table, limits.limits(table, tmp_path)))

    assert told() == []
    assert len(told(chapter="probabilities", pages=10)) == 1, "a chapter has its own limit"
    assert len(told(pages=86)) == 3, "so have five chapters, and the book"
    assert len(told(words=9000, hidden=999, widest=89)) == 3
    assert len(told(chapter="layers", pages=6, notebook=500)) == 0, "an extension"
    assert len(told(notebook=500)) == 1
    (tmp_path / "code/internals/measure/layers.py").write_text("\n" * 26_000)
    assert told() == [], "an extension"
    (tmp_path / "code/internals/layers.py").write_text("\n" * 26_000)
    assert [sentence.split(": ")[1] for sentence in told()] == [
        "lines of Python in code/",
        "lines of Python without extensions",
    ]


def test_counts_tell_hidden_from_visible_lines(tmp_path):
    problems(tmp_path, GOOD)
    (row,) = limits.counts(tmp_path, tmp_path).to_dict("records")
    assert (row["visible"], row["hidden"], row["figures"], row["tables"]) == (1, 5, 1, 1)
    assert row["findings"] >= 1
    assert row["pages"] is row["notebook"] is None
    assert lint.WIDEST_LINE == 88


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A book with a part, and with a section that is called like a chapter."""
    root = tmp_path_factory.mktemp("limits") / "book"
    root.mkdir()
    names = ("index", "one", "two", "last")
    (root / "_quarto.yml").write_text(
        "book:\n  title: T\n  output-file: report\n  chapters:\n    - index.qmd\n"
        "    - part: All\n      chapters: [one.qmd, two.qmd]\n  appendices: [last.qmd]\n"
    )
    code = "```{python}\n#| include: false\nx = 1\n```\n\n```{python}\nprint(x)\n\nx + 1\n```\n"
    for length, name in enumerate(names):
        text = "A sentence that fills a line or two of the page. " * 60 * length
        body = f"# {name.title()}\n\n## Two {name}\n\n{text}\n\n" + "x.\n\n" * 50 * length
        (root / f"{name}.qmd").write_text(body + (code if name == "one" else ""))
    build_book(root, formats=("pdf", "ipynb"))
    return root


def test_pages_are_counted_inside_of_parts(book):
    reader = pypdf.PdfReader(book / "_book/report.pdf")
    pages = limits.pages_by_title(reader, ["index", "one", "gone", "two", "last"])
    assert pages == {"index": 1, "one": 2, "two": 4, "last": 5}
    assert sum(pages.values()) == len(reader.pages) - 1


def test_code_of_the_notebook_is_counted_by_chapter(book):
    assert limits.notebook_lines(book / "_book")["one"] == ["x = 1", "print(x)", "x + 1"]


def test_mypy_finds_unknown_attributes_and_wrong_calls_in_cells(tmp_path):
    cells = """# T

```{python}
from os import path as found
from pathlib import Path
found.isfile("x")
```

```{python}
from shutil import which as found
found("x")
Path("x").reed_text()
value = Path("x").read_text(encode="utf-8")
value = 1
```
"""
    (file,) = extracted([Chapter("one.qmd", cells)], tmp_path / "cells")
    config = Path(lint.__file__).parents[3] / "pyproject.toml"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", f"--config-file={config}", "--no-error-summary",
         f"--cache-dir={tmp_path}", str(file)],
        capture_output=True,
        text=True,
    )  # fmt: skip
    found = [line.partition("cells/")[2] for line in done.stdout.splitlines() if "error" in line]
    assert len(found) == 2, done.stdout + done.stderr
    assert found[0].startswith('one.py:12: error: "Path" has no attribute "reed_text"')
    assert found[1].startswith("one.py:13: error: Unexpected keyword argument")
