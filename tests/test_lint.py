"""The linter finds each kind of fault, and nothing in a chapter that is as it should be."""

from __future__ import annotations

import pandas as pd
import pytest

from internals.book import limits, lint
from internals.book.lint import extracted, lint_book
from internals.book.source import Chapter

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


def test_extracted_cells_keep_their_line_numbers(tmp_path):
    chapter = Chapter("report/03-probabilities.qmd", GOOD)
    (file,) = extracted([chapter], tmp_path)
    lines, source = file.read_text().splitlines(), GOOD.splitlines()
    code = [(number, line) for number, line in enumerate(lines) if line]
    assert len(code) == 6
    assert all(source[number] == line for number, line in code)


def test_limits_are_told_when_they_are_exceeded(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "report").mkdir()
    (tmp_path / "index.qmd").write_text("# Home\n")
    row = {"chapter": "architecture", "words": 1000, "visible": 9, "hidden": 10, "findings": 3,
           "figures": 1, "tables": 1, "pages": 8}  # fmt: skip
    assert list(limits.exceeded(pd.DataFrame([row]), tmp_path)) == []
    (tmp_path / "code" / "long.py").write_text("\n" * (limits.PYTHON_LINES + 1))
    told = list(
        limits.exceeded(pd.DataFrame([row | {"words": 9000, "pages": 90, "hidden": 999}]), tmp_path)
    )
    assert len(told) == 6
    assert f"{limits.PYTHON_LINES + 1:,} lines of Python" in " ".join(told)


def test_counts_tell_hidden_from_visible_lines(tmp_path, monkeypatch):
    problems(tmp_path, GOOD)
    (row,) = limits.counts(tmp_path, tmp_path).to_dict("records")
    assert (row["visible"], row["hidden"], row["figures"], row["tables"]) == (1, 5, 1, 1)
    assert row["findings"] >= 1
    assert lint.WIDEST_LINE == 88
