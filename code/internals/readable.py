"""A readable form of any text or bytes, in which nothing disappears."""

from __future__ import annotations

import unicodedata

SPACE, NEWLINE, TAB, RETURN = "·", "↵", "⇥", "␍"
"""Glyphs that stand for a space, a line break, a tab and a carriage return."""


def visible(raw: bytes | str) -> str:
    """A readable form in which nothing disappears.

    Blanks become glyphs, control, format and unassigned characters become ``⟨U+200D⟩``, combining
    marks sit on a dotted circle, and bytes that form no whole character become ``⟨E4⟩``.
    """
    if isinstance(raw, str):
        return "".join(_visible_character(c) for c in raw)
    shown = raw.decode("utf-8", errors="surrogateescape")
    return "".join(
        f"⟨{ord(c) - 0xDC00:02X}⟩" if 0xDC80 <= ord(c) <= 0xDCFF else _visible_character(c)
        for c in shown
    )


_GLYPHS = {" ": SPACE, "\n": NEWLINE, "\t": TAB, "\r": RETURN}


def _visible_character(character: str) -> str:
    if character in _GLYPHS:
        return _GLYPHS[character]
    category = unicodedata.category(character)
    if category in {"Mn", "Me"}:
        return "\u25cc" + character
    if category.startswith(("C", "Z")):
        return f"⟨U+{ord(character):04X}⟩"
    return character


def hex_bytes(raw: bytes) -> str:
    """Bytes as ``e4 b8 ad``."""
    return raw.hex(" ")
