"""Pages of the PDF: what stays together, what is set apart, and how full they are."""

from __future__ import annotations

from types import SimpleNamespace

import pypdf
import pytest

from bookbinder.build import build_book
from bookbinder.pdf.writer import _floating

WORDS = "A sentence of some length, so that a paragraph of it fills a line or two of the page. "


def section(chapter: int, number: int) -> str:
    return f"## Heading {chapter}.{number} here\n\n{WORDS * 5}\n\n"


def rows(count: int) -> str:
    row = "| begin{0}x " + WORDS + "end{0}x | " + WORDS + " | {0} |\n"
    return "| words | more | n |\n|---|---|--:|\n" + "".join(map(row.format, range(count)))


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> list[pypdf.PageObject]:
    root = tmp_path_factory.mktemp("pages") / "book"
    root.mkdir()
    names = ["index", *(f"c{i}" for i in range(1, 8))]
    files = ", ".join(f"{name}.qmd" for name in names[1:])
    (root / "_quarto.yml").write_text(
        "project: {type: book}\nbook:\n  title: T\n  chapters:\n    - index.qmd\n"
        f"    - part: All\n      chapters: [{files}]\n"
    )
    (root / "index.qmd").write_text(f"# Home {{.unnumbered}}\n\n{WORDS}\n")
    for chapter in range(1, 8):
        body = "".join(section(chapter, i) for i in range(1, 3 * chapter % 11 + 2))
        (root / f"c{chapter}.qmd").write_text(f"# Chapter {chapter}\n\n{body}")
    with (root / "c3.qmd").open("a") as file:
        file.write("## Table\n\n" + rows(60))
    build_book(root, formats=("pdf",))
    return list(pypdf.PdfReader(next((root / "_book").glob("*.pdf"))).pages)


def text_of(page: pypdf.PageObject) -> str:
    return page.extract_text().replace("\n", " ")


def heights(page: pypdf.PageObject) -> list[tuple[float, str]]:
    found: list[tuple[float, str]] = []

    def visit(text, cm, tm, _font, _size):
        if text.strip():
            found.append((tm[5] * cm[3] + cm[5], text))

    page.extract_text(visitor_text=visit)
    return found


def test_a_row_stays_on_one_page_and_the_head_stands_on_each(pages):
    texts = [text_of(p) for p in pages]
    for number in range(60):
        whole = [f"begin{number}x" in t and f"end{number}x" in t for t in texts]
        part = [f"begin{number}x" in t or f"end{number}x" in t for t in texts]
        assert whole == part
        assert sum(whole) == 1
    with_rows = [t for t in texts if "begin" in t]
    assert len(with_rows) > 1
    assert all("words more n" in " ".join(t.split()) for t in with_rows)


def test_at_most_three_pages_are_more_than_half_empty(pages):
    body = pages[2:]  # after the title and the contents
    empty = 0
    for page in body:
        middle = float(page.mediabox.height) / 2
        footer = 75
        lowest = min(y for y, _ in heights(page) if y > footer)
        empty += lowest > middle
    assert len(body) > 10
    assert empty <= 3


def test_no_heading_is_the_last_line_of_a_page(pages):
    for page in pages[2:]:
        lines = sorted((y, text) for y, text in heights(page) if y > 75)
        assert "Heading" not in lines[0][1]


def test_a_part_has_no_page_of_its_own(pages):
    assert all(len(text_of(page)) > 60 for page in pages[1:])


@pytest.mark.parametrize(
    ("gaps", "floating"),
    [
        ((100, 5000, 5000, 5000), {"b", "c"}),
        ((5000, 5000, 1000), {"a"}),
        ((5000,), set()),
        ((), set()),
    ],
)
def test_figures_move_only_where_they_keep_their_order(gaps, floating):
    """Not on the first page, not the last, and not the one before it if both are on one page."""
    blocks = []
    for name, gap in zip("abcd", gaps, strict=False):
        blocks.append({"t": "Para", "c": [{"t": "Str", "c": "x" * gap}]})
        blocks.append({"t": "Div", "c": [[name, ["bb-float"], [["kind", "fig"]]], []]})
    assert _floating(SimpleNamespace(blocks=blocks)) == floating
