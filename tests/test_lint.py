"""The linter of the chapters: every fault is found, with its line, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from internals.evidence.lint import lint_book
from internals.paths import ROOT

HEAD = """\
# Title

```{python}
#| include: false
from internals import book
report = book.start("one")
x = measured()
big = report.claim("big", "It is {value}.", value=x, n=len(x), holds=x > 0)
text = big.value_text
```

"""
SOUND = HEAD + "The value is `{python} text` (@sec-a)`{python} big.ref`.\n\n## A {#sec-a}\n"


def problems(root: Path, chapter: str, allow: str = "") -> list[str]:
    (root / "report").mkdir(exist_ok=True)
    (root / "_quarto.yml").write_text(
        "project: {type: book}\nbook: {chapters: [report/01-one.qmd]}\n"
    )
    (root / "report" / "01-one.qmd").write_text(chapter)
    if allow:
        (root / "report" / "lint-allow.yaml").write_text(allow)
    return [str(p) for p in lint_book(root, facts={"norm_kind"})]


def test_a_sound_chapter_is_clean(tmp_path):
    chapter = SOUND.replace("from internals", "measured = abs\nfrom internals")
    assert problems(tmp_path, chapter) == []


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("It has 12 layers.", "the number “12” is typed by hand"),
        ("A share of 40% is large.", "is typed by hand"),
        ("About ten percent of it.", "is typed by hand"),
        ("See `{python} 12`.", "the inline number “12” is typed by hand"),
        ("See `{python} unknown_name`.", "which no cell of this chapter defines"),
        ("So `{python} text``{python} big.ref`.", "two inline values touch"),
        (
            'So it is [@a][; or not]{.when-claim id="big" verdict="supported"}.',
            "a span touches the citation before it",
        ),
        ("See @fig-gone.", "@fig-gone refers to nothing"),
        ('[x]{.when fact="gone" is="y"}', "models have no fact “gone”"),
        ('[x]{.when fact="norm_kind"}', 'either is="…" or not="…"'),
        ('[x]{.when-claim id="none" verdict="supported"}', "is used but never registered"),
        ('[x]{.when-claim id="big" verdict="true"}', "is not a verdict"),
        ("![](x.png)", "neither caption nor fig-alt"),
        ("```{python}\n#| label: fig-x\nx = 1\n```\n\n@fig-x", "fig-x has no fig-cap"),
        ("```{python}\n#| label: tbl-x\n#| tbl-cap: T\nx = 1\n```", "is never referenced"),
        ("::: {.otherwise}\nx\n:::", ".otherwise must follow directly"),
        ("::: {.callout-note}\nx", "this division is never closed"),
        (
            "```{python}\n#| include: false\n"
            'c = report.claim("lone", "It is {value}.", value=x, n=len(x), holds=x > 0)\n```',
            "claim lone is registered but never cited",
        ),
        (
            "```{python}\n#| include: false\n"
            'c = report.claim("big", "It is {value}.", value=x, n=len(x), holds=x > 0)\n```',
            "claim id big is used before",
        ),
    ],
)
def test_every_fault_is_named(tmp_path, added, message):
    found = problems(tmp_path, f"{SOUND}\n{added}\n")
    assert any(message in line for line in found), found


@pytest.mark.parametrize(
    "sound",
    [
        "The file `data/v2.csv` has a name.",
        "```\n12 lines of code\n```",
        "<!-- 12 in a comment -->",
        "Cited by [@vaswani2017].",
    ],
)
def test_names_code_and_comments_are_no_numbers(tmp_path, sound):
    assert not [p for p in problems(tmp_path, f"{SOUND}\n{sound}\n") if "typed by hand" in p]


def test_an_exception_needs_a_reason_and_a_use(tmp_path):
    text = f"{SOUND}\nThe year 1948 began.\n"
    allow = "- pattern: 'year \\d{4}'\n  reason: a date is no result\n"
    assert not [p for p in problems(tmp_path, text, allow) if "1948" in p]
    unused = problems(tmp_path, SOUND, allow)
    assert any("nothing needs the exception" in p for p in unused)
    bare = problems(tmp_path, text, "- pattern: 'year \\d{4}'\n")
    assert any("an exception needs a pattern and a reason" in p for p in bare)


def test_the_line_is_that_of_the_file(tmp_path):
    found = problems(tmp_path, f"{SOUND}\nfirst\n\nIt has 12 layers.\n")
    line = f"{SOUND}\nfirst\n\n".count("\n") + 1
    assert any(p.startswith(f"report/01-one.qmd:{line}: the number") for p in found)


def test_the_chapters_of_this_book_are_clean():
    assert lint_book(ROOT) == []
