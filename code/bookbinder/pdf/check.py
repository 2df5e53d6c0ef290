"""Look into a finished PDF for characters that came out as an empty box, and for its size."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

# Inside a text object: a font choice, or a literal string (with its escapes).
_TOKEN = re.compile(rb"/(\w+)\s+[\d.]+\s+Tf|\(((?:[^()\\]|\\.)*)\)", re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


def page_count(pdf: bytes) -> int:
    """Number of pages."""
    return len(_reader(pdf).pages)


def pages_with_missing_glyphs(pdf: bytes) -> list[int]:
    """Pages (from 1) that print glyph 0, the box for "no such character", of some font."""
    pages = enumerate(_reader(pdf).pages, start=1)
    return [number for number, page in pages if any(map(_has_box, _contents(page)))]


def _reader(pdf: bytes) -> Any:
    from pypdf import PdfReader

    return PdfReader(io.BytesIO(pdf))


def _contents(page: Any) -> Iterator[tuple[Any, bytes]]:
    """Resources and drawing commands of a page and of the pictures in it."""
    content = page.get_contents()
    if content is not None:
        yield page.get("/Resources", {}), content.get_data()
    yield from _pictures(page.get("/Resources", {}))


def _pictures(resources: Any) -> Iterator[tuple[Any, bytes]]:
    for reference in (resources.get("/XObject") or {}).values():
        stream = reference.get_object()
        if stream.get("/Subtype") == "/Form":
            inner = stream.get("/Resources", {})
            yield inner, stream.get_data()
            yield from _pictures(inner)


def _has_box(content: tuple[Any, bytes]) -> bool:
    resources, commands = content
    fonts = resources.get("/Font") or {}
    two_bytes = {
        name[1:].encode()
        for name, font in fonts.items()
        if font.get_object().get("/Subtype") == "/Type0"
    }
    current = b""
    for match in _TOKEN.finditer(commands):
        if match[1]:
            current = match[1]
        elif current in two_bytes:
            text = _ESCAPE.sub(_unescape, match[2])
            if any(text[i : i + 2] == b"\0\0" for i in range(0, len(text), 2)):
                return True
    return False


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if code[:1].isdigit():
        return bytes([int(code, 8) & 255])
    return _NAMED.get(code, code)
