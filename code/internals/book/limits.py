"""How long the book is, chapter by chapter, and how long it may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pypdf import PdfReader

from internals import paths
from internals.book import evidence
from internals.book.lint import WIDEST_LINE, book_chapters
from internals.findings import chapters, findings_of, sections

PAGES = {
    "architecture": 8, "tokenization": 9, "probabilities": 9, "generation": 10, "behaviour": 10,
    "attention": 6, "layers": 6, "models": 6,
}  # fmt: skip
"""Chapters, and how many pages of the PDF each may have."""
FIVE = list(PAGES)[:5]
"""The chapters that answer the assignment; the others are extensions."""
WORDS_A_MINUTE, MINUTES = 230, 12
_ROOMS = ("measure", "findings", "figures")
"""Where the code of single chapters lies."""


@dataclass(frozen=True)
class Limit:
    """A size of the whole book."""

    what: str
    found: float
    most: int

    def __str__(self) -> str:
        return f"{self.what}: {self.found:,.0f} of {self.most:,}"


def counts(root: Path | None = None, book: Path | None = None) -> pd.DataFrame:
    """A row for each page of the book: words, lines of code, findings, figures, tables, pages.

    ``notebook`` and ``pages`` are missing where the book has no notebook and no PDF yet.
    """
    book = book or paths.BOOK
    sources = book_chapters(root)
    pdf = PdfReader(book / "report.pdf") if (book / "report.pdf").is_file() else None
    pages = pages_by_title(pdf, [_title(chapter.text) for chapter in sources]) if pdf else {}
    cells = notebook_lines(book)
    rows = []
    for chapter in sources:
        id = evidence.chapter_id(chapter.name)
        modules = sections(id) if id in chapters() else []
        lines = Counter(cell.hidden for cell in chapter.cells for _ in cell.lines)
        kinds = [label.partition("-")[0] for label in chapter.labels]
        in_notebook = cells.get(Path(chapter.name).stem, []) if cells else None
        rows.append(
            {
                "chapter": id,
                "words": chapter.words,
                "visible": lines[False],
                "hidden": lines[True],
                "notebook": None if in_notebook is None else len(in_notebook),
                "widest": None if in_notebook is None else max(map(len, in_notebook), default=0),
                "findings": sum(len(findings_of(module)) for module in modules),
                "figures": kinds.count("fig"),
                "tables": kinds.count("tbl"),
                "pages": pages.get(_title(chapter.text)),
            }
        )
    table = pd.DataFrame(rows)
    table.attrs["pages"] = len(pdf.pages) if pdf else 0
    return table


def limits(table: pd.DataFrame, root: Path | None = None) -> list[Limit]:
    """Sizes of the book, from `counts` and from the files below ``root``; those that are known."""
    root = root or paths.ROOT
    five = table[table["chapter"].isin(FIVE)].sum(numeric_only=True)
    all_ = table.sum(numeric_only=True)
    python = {path: _lines(path) for path in (root / "code").rglob("*.py")}
    extensions = sum(n for path, n in python.items() if _extends(path.relative_to(root / "code")))
    report = sum(_lines(path) for path in [root / "index.qmd", *(root / "report").glob("*.qmd")])
    found = [
        *(
            Limit(f"pages of {row.chapter}", row.pages, PAGES[row.chapter])
            for row in table.itertuples()
            if row.pages and row.chapter in PAGES
        ),
        Limit("hidden lines of code", all_["hidden"], 250),
        Limit("pages of chapters 1 to 5", five.get("pages", 0), 46),
        Limit("pages of the PDF", table.attrs.get("pages", 0), 85),
        Limit("lines of code of chapters 1 to 5 in the notebook", five.get("notebook", 0), 399),
        Limit("lines of code in the notebook", all_.get("notebook", 0), 549),
        Limit("lines of the chapters", report, 4_000),
        Limit("lines of Python in code/", sum(python.values()), 28_000),
        Limit("lines of Python without extensions", sum(python.values()) - extensions, 25_000),
    ]
    return [limit for limit in found if limit.found]


def exceeded(table: pd.DataFrame, found: Iterable[Limit]) -> Iterator[str]:
    """One sentence for each limit that is not kept."""
    for row in table.itertuples():
        if row.chapter in PAGES and row.words > WORDS_A_MINUTE * MINUTES:
            yield f"{row.chapter}: {row.words} words take more than {MINUTES} minutes to read."
        if row.widest and row.widest > WIDEST_LINE:
            yield f"{row.chapter}: a line of {row.widest:.0f} columns in the notebook."
    for limit in found:
        if limit.found > limit.most:
            yield f"More than is allowed: {limit}."


def pages_by_title(reader: PdfReader, titles: Iterable[str]) -> dict[str, int]:
    """Pages of each chapter of a PDF, from its outline.

    Chapters stand at the top of the outline or inside of parts, always in the order of the book.
    """
    entries = list(_flat(reader.outline))
    starts: list[tuple[str, int]] = []
    for title in titles:
        for at, entry in enumerate(entries):
            # "A Training" and "1 Architecture" begin with their numbers.
            if title in (_bare(str(entry.title)), _bare(str(entry.title).partition(" ")[2])):
                starts.append((title, reader.get_destination_page_number(entry) or 0))
                entries = entries[at + 1 :]
                break
    ends = [*(page for _, page in starts[1:]), len(reader.pages)]
    return {title: max(end - start, 1) for (title, start), end in zip(starts, ends, strict=True)}


def notebook_lines(book: Path) -> dict[str, list[str]]:
    """Lines of code of each chapter in the notebook, by the stem of its file; empty without one."""
    file = book / "report.ipynb"
    if not file.is_file():
        return {}
    import nbformat

    found: dict[str, list[str]] = {}
    for cell in nbformat.read(file, as_version=4).cells:
        if cell.cell_type == "code":
            lines = [line for line in cell.source.splitlines() if line.strip()]
            found.setdefault(cell.id.rpartition("-")[0], []).extend(lines)
    return found


def _flat(outline: list[Any]) -> Iterator[Any]:
    for entry in outline:
        if isinstance(entry, list):
            yield from _flat(entry)
        else:
            yield entry


def _extends(path: Path) -> bool:
    """Whether a file of ``code/`` belongs to the chapter of an extension."""
    own = path.parts[2:] if path.parts[1:2] and path.parts[1] in _ROOMS else ()
    return bool({part.removesuffix(".py") for part in own} & set(PAGES) - set(FIVE))


def _title(text: str) -> str:
    line = next((line for line in text.splitlines() if line.startswith("# ")), "# Home")
    return _bare(line[2:].partition("{")[0])


def _bare(title: str) -> str:
    """Letters alone, so that numbers and marks before a title do not matter."""
    return "".join(c for c in title.lower() if c.isalpha())


def _lines(path: Path) -> int:
    return path.read_text("utf-8").count("\n")
