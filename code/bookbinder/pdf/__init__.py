"""The book as one PDF: Pandoc writes Typst source, the `typst` package sets it.

Only fonts of the book are used, so that the PDF is the same on every machine; a character that
ends as an empty box is an error.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bookbinder import ast, fonts, pandoc
from bookbinder.errors import BookError
from bookbinder.model import Book
from bookbinder.pdf import check, markup
from bookbinder.pdf.writer import Writer

_HERE = Path(__file__).parent
_PAPERS = {"a4": 297, "a5": 210, "us-letter": 279.4}
"""Height in mm by Typst's name."""
_MARGINS_MM = 54
_TEXT_WIDTHS = {"a4": 150, "a5": 88, "us-letter": 155.9}
_WORDS = {
    "de": {"chapter": "Kapitel", "appendix": "Anhang", "contents": "Inhalt"},
    "fr": {"chapter": "Chapitre", "appendix": "Annexe", "contents": "Table des matières"},
    "es": {"chapter": "Capítulo", "appendix": "Apéndice", "contents": "Índice"},
}
_ENGLISH = {"chapter": "Chapter", "appendix": "Appendix", "contents": "Contents"}


def write_pdf(
    book: Book, out_file: Path, *, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Set ``book`` (its ``typst`` view) as a PDF.

    Args:
        book: The resolved book.
        out_file: Where the PDF goes; written only when it is complete and checked.
        progress: Told what happens, in a few words.

    Returns:
        Facts for the record of the build: ``pages``, ``bytes``, ``replaced`` (characters that
        were printed as their numbers), ``warnings`` of Typst.

    Raises:
        BookError: Pandoc or Typst could not make sense of something, an image is missing, or a
            character has no glyph.
    """
    tell = progress or (lambda _: None)
    tell("writing Typst source")
    writer = Writer(book)
    source = typst_source(book, writer)
    tell("setting the PDF")
    pdf, warnings = compile_source(source, book.assets)
    tell("checking the PDF")
    if pages := check.pages_with_missing_glyphs(pdf):
        raise BookError(
            f"the PDF has a character without a glyph on page {pages[0]}; use a character that "
            "the book's fonts draw (in figures: turn text into outlines)"
        )
    out_file.parent.mkdir(parents=True, exist_ok=True)
    out_file.write_bytes(pdf)
    return {
        "pages": check.page_count(pdf),
        "bytes": len(pdf),
        "replaced": sorted(fonts.code_point(char) for char in writer.replaced),
        "warnings": warnings,
    }


def typst_source(book: Book, writer: Writer | None = None) -> str:
    """The whole document: settings, template and chapters."""
    writer = writer or Writer(book)
    _check_images(book)
    body = pandoc.run(
        ["-f", "json", "-t", "typst", "--wrap=none", "--fail-if-warnings"],
        pandoc.document(writer.whole_book()),
    )
    template = (_HERE / "template.typ").read_text(encoding="utf-8")
    options = f"#let settings = {markup.literal(_settings(book))}\n"
    return options + template + "\n#show: book\n\n" + body


def compile_source(source: str, root: Path) -> tuple[bytes, list[str]]:
    """PDF and warnings of a Typst document whose images lie below ``root``.

    The PDF follows PDF/UA-1 (tags, alternative texts, title, language) unless the contents do not
    allow it, and has no tags at all if Typst trips over its own; a warning says so then.

    Raises:
        BookError: Typst refused the document.
    """
    import typst

    text: Any = source.encode("utf-8")  # the stubs of typst name no type that bytes would match
    chosen = fonts.for_typst()
    notes: list[str] = []
    attempts: tuple[tuple[list[typst.PDFStandard], bool], ...] = (
        (["ua-1"], True),
        ([], True),
        ([], False),
    )
    for standards, tags in attempts:
        try:
            pdf, warnings = typst.compile_with_warnings(
                text,
                font_paths=chosen,
                root=root,
                timestamp=_timestamp(),
                pdf_standards=standards,
                pdf_tags=tags,
            )
        except typst.TypstError as error:
            hint = f" ({'; '.join(error.hints)})" if error.hints else ""
            # Neither an author's picture without alternative text nor a fault of Typst in writing
            # its tags (an "internal error" of 0.15) is a reason to have no PDF at all.
            mendable = ("PDF/UA-1", "tags") if standards else ("tags",) if tags else ()
            if not any(word in error.message for word in mendable):
                raise BookError(f"Typst could not set the book: {error.message}{hint}") from error
            notes.append(f"not {'PDF/UA-1' if standards else 'tagged'}: {error.message}")
        else:
            return pdf, notes + [warning.message for warning in warnings]
    raise AssertionError("the last attempt returns or raises")


def _timestamp() -> int | None:
    """Seconds since 1970 if the build is to be reproducible."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    return int(fixed) if fixed else None


def _check_images(book: Book) -> None:
    for chapter in book.chapters:
        for node in ast.descend(list(chapter.blocks)):
            if node["t"] == "Image" and not (book.assets / node["c"][2][0]).is_file():
                raise BookError(f"the image {node['c'][2][0]} does not exist", chapter.path)


def _settings(book: Book) -> Mapping[str, Any]:
    project = book.project
    paper = str(project.typst.get("papersize", "a4"))
    if paper not in _PAPERS:
        raise BookError(f"papersize {paper!r} is unknown; use one of {', '.join(_PAPERS)}")
    lang = project.lang.split("-")[0]
    return {
        "title": project.title,
        "subtitle": project.subtitle,
        "authors": list(project.authors),
        "date": _long_date(project.date),
        "description": project.description,
        "lang": lang,
        "paper": paper,
        "text-height": markup.Code(f"{_PAPERS[paper] - _MARGINS_MM}mm"),
        "text-width": markup.Code(f"{_TEXT_WIDTHS[paper]}mm"),
        "body-fonts": fonts.families(mono=False),
        "mono-fonts": fonts.families(mono=True),
        "theme": markup.Code(f"bytes({markup.string(_theme())})"),
        "words": _WORDS.get(lang, _ENGLISH),
        "contents": bool(project.typst.get("toc", True)),
        "contents-depth": _contents_depth(book),
    }


def _contents_depth(book: Book) -> int:
    """Heading levels in the table of contents; parts push everything one level down."""
    wanted = int(project_depth) if (project_depth := book.project.typst.get("toc-depth")) else 2
    return wanted + any(chapter.part for chapter in book.chapters)


def _theme() -> str:
    return (_HERE / "code.tmTheme").read_text(encoding="utf-8")


def _long_date(date: str | None) -> str | None:
    """``2026-11-23`` as ``23 November 2026``; other dates as they are."""
    try:
        day = dt.date.fromisoformat(date or "")
    except ValueError:
        return date
    return f"{day.day} {day:%B %Y}"
