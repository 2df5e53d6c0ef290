"""How long the book is, chapter by chapter, and how long it may be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from internals import paths
from internals.book import evidence
from internals.book.lint import book_chapters
from internals.findings import chapters, findings_of, sections

PAGES = {
    "architecture": 8, "tokenization": 9, "probabilities": 9, "generation": 10, "behaviour": 10,
    "attention": 6, "layers": 6, "models": 6,
}  # fmt: skip
PAGES_OF_FIVE, PAGES_IN_ALL = 46, 85
WORDS_A_MINUTE, MINUTES = 230, 12
HIDDEN_LINES = 250
REPORT_LINES = 4_000
PYTHON_LINES = 30_000
"""The aim is 25,000; until it is reached, no more than there are."""


def counts(root: Path | None = None, book: Path | None = None) -> pd.DataFrame:
    """A row for each page of the book: words, lines of code, findings, figures, tables, pages.

    ``pages`` is missing where the book has no PDF yet.
    """
    pages = pages_by_title(book or paths.BOOK)
    rows = []
    for chapter in book_chapters(root):
        id = evidence.chapter_id(chapter.name)
        modules = sections(id) if id in chapters() else []
        lines = {True: 0, False: 0}
        for cell in chapter.cells:
            lines[cell.hidden] += len(cell.lines)
        kinds = [label.partition("-")[0] for label in chapter.labels]
        rows.append(
            {
                "chapter": id,
                "words": chapter.words,
                "visible": lines[False],
                "hidden": lines[True],
                "findings": sum(len(findings_of(module)) for module in modules),
                "figures": kinds.count("fig"),
                "tables": kinds.count("tbl"),
                "pages": pages.get(_title(chapter.text)),
            }
        )
    return pd.DataFrame(rows)


def exceeded(table: pd.DataFrame, root: Path | None = None) -> Iterator[str]:
    """One sentence for each limit that is not kept."""
    root = root or paths.ROOT
    for row in table.itertuples():
        if row.chapter in PAGES and row.words > WORDS_A_MINUTE * MINUTES:
            yield f"{row.chapter}: {row.words} words take more than {MINUTES} minutes to read."
        if row.chapter in PAGES and row.pages and row.pages > PAGES[row.chapter]:
            yield f"{row.chapter}: {row.pages:.0f} pages, {PAGES[row.chapter]} are allowed."
    five = table[table["chapter"].isin(list(PAGES)[:5])]["pages"].sum()
    in_all = table["pages"].sum()
    python = sum(_lines(path) for path in (root / "code").rglob("*.py"))
    report = sum(_lines(path) for path in [root / "index.qmd", *(root / "report").glob("*.qmd")])
    limits = (
        ("hidden lines of code", table["hidden"].sum(), HIDDEN_LINES),
        ("pages of chapters 1 to 5", five, PAGES_OF_FIVE),
        ("pages of the PDF", in_all, PAGES_IN_ALL),
        ("lines of Python in code/", python, PYTHON_LINES),
        ("lines of the chapters", report, REPORT_LINES),
    )
    for what, found, limit in limits:
        if found > limit:
            yield f"{found:,.0f} {what}, {limit:,} are allowed."


def pages_by_title(book: Path) -> dict[str, int]:
    """Pages of each chapter of the PDF, from its outline; empty without a PDF."""
    file = book / "report.pdf"
    if not file.is_file():
        return {}
    from pypdf import PdfReader

    reader = PdfReader(file)
    tops = [entry for entry in reader.outline if not isinstance(entry, list)]
    starts = [(str(e.title), reader.get_destination_page_number(e) or 0) for e in tops]
    ends = [*(page for _, page in starts[1:]), len(reader.pages)]
    return {
        _bare(title): max(end - start, 1) for (title, start), end in zip(starts, ends, strict=True)
    }


def _title(text: str) -> str:
    line = next((line for line in text.splitlines() if line.startswith("# ")), "# ")
    return _bare(line[2:].partition("{")[0])


def _bare(title: str) -> str:
    """Letters alone, so that numbers and marks before a title do not matter."""
    return "".join(c for c in title.lower() if c.isalpha())


def _lines(path: Path) -> int:
    return path.read_text("utf-8").count("\n")
