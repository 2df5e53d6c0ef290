"""The search index: whole text by section, in a script, since pages on disk may not fetch files."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bookbinder.model import Book, Chapter

_HEADING = re.compile(r'<h[23][^>]*\bid="([^"]+)"[^>]*>(.*?)</h[23]>', re.DOTALL)
_ANCHOR = re.compile(r'<a [^>]*class="anchor".*?</a>', re.DOTALL)
_NOT_TEXT = re.compile(r"<(script|style|math)\b.*?</\1>|<[^>]+>", re.DOTALL)


def write_index(book: Book, bodies: Sequence[str], folder: Path) -> None:
    """Write ``search-index.js``; ``bodies`` are the pages of the book's chapters."""
    entries: list[dict[str, Any]] = []
    for chapter, body in zip(book.chapters, bodies, strict=True):
        weight = _weight(chapter, body)
        for name, title, text in _sections(body):
            entries.append(
                {
                    "id": len(entries),
                    "href": chapter.href + (f"#{name}" if name else ""),
                    "chapter": chapter.title_text,
                    "title": _plain(_ANCHOR.sub("", title)),
                    "text": _plain(text),
                    "weight": weight,
                }
            )
    data = json.dumps(entries, ensure_ascii=False).replace("</", "<\\/")
    (folder / "search-index.js").write_text(f"window.bookIndex = {data};\n", "utf-8")


def _sections(body: str) -> Iterator[tuple[str, str, str]]:
    """Id, title and text of each section."""
    start, *rest = _HEADING.split(body)
    yield "", "", start
    yield from zip(rest[::3], rest[1::3], rest[2::3], strict=True)


def _plain(text: str) -> str:
    return " ".join(html.unescape(_NOT_TEXT.sub(" ", text)).split())


def _weight(chapter: Chapter, body: str) -> float:
    """Chapters come before appendices, and these before long lists to look things up in."""
    if re.search(r'class="[^"]*\bfilterable\b', body):
        return 0.05
    return 0.4 if chapter.kind == "appendix" else 1.0
