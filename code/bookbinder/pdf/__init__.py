"""The book as one PDF: Pandoc writes Typst source, the `typst` package sets it.

Only fonts of the book are used, so that the PDF is the same on every machine; a character that
ends as an empty box is an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bookbinder import fonts, pandoc
from bookbinder.errors import BookError
from bookbinder.model import Book
from bookbinder.pdf import check, markup
from bookbinder.pdf.writer import Writer

_HERE = Path(__file__).parent


def write_pdf(book: Book, out_file: Path) -> dict[str, Any]:
    """Set ``book`` (its ``typst`` view) as a PDF.

    Args:
        book: The resolved book.
        out_file: Where the PDF goes; written only when it is complete and checked.

    Returns:
        Facts for the record of the build: ``pages``, ``bytes``, ``replaced`` (characters that
        were printed as their numbers), ``warnings`` of Typst.

    Raises:
        BookError: Pandoc or Typst could not make sense of something, or a character has no glyph.
    """
    writer = Writer(book)
    source = typst_source(book, writer)
    pdf, warnings = compile_source(source, book.assets)
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
    args = ["-t", "typst", "--wrap=none", "--fail-if-warnings"]
    body = pandoc.write(writer.whole_book(), args)
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


def _settings(book: Book) -> Mapping[str, Any]:
    project = book.project
    return {
        "title": project.title,
        "subtitle": project.subtitle,
        "authors": list(project.authors),
        "date": project.date,
        "description": project.description,
        "lang": project.lang.split("-")[0],
        "body-fonts": fonts.families(mono=False),
        "mono-fonts": fonts.families(mono=True),
        "theme": (_HERE / "code.tmTheme").read_text(encoding="utf-8"),
        # Chapters of a part stand one level below it.
        "contents-depth": 2 + any(chapter.part for chapter in book.chapters),
    }
