"""Typst source from Python values: literals, calls, and text that can be nothing but text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bookbinder.model import Node

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

# Markup of these characters needs no care anywhere in a line. Typst would turn "--" and "..."
# into other characters and "-5" into a minus sign, so these are not plain.
_PLAIN = re.compile(r"(?:[^\W_]|[,;:!?()%&–—’‘“”…]|(?<=[^\W_])[-.](?![-.?]))+")


def string(text: str) -> str:
    """A Typst string literal on one line."""
    return '"' + "".join(_character(char) for char in text) + '"'


def _character(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if ord(char) < 32 or 0xD800 <= ord(char) <= 0xDFFF:
        # A lone surrogate is not text; nothing but its number can be printed.
        return f"\\u{{{ord(char):x}}}" if ord(char) < 32 else "\\u{fffd}"
    return char


def literal(value: Any) -> str:
    """A Typst literal for ``None``, booleans, numbers, text, lists and mappings."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return string(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{string(str(k))}: {literal(v)}" for k, v in value.items())
        return f"({inner})" if inner else "(:)"
    if isinstance(value, Sequence):
        inner = ", ".join(map(literal, value))
        return f"({inner},)" if inner else "()"
    raise TypeError(f"no Typst literal for {type(value).__name__}")


def arguments(named: Mapping[str, Any]) -> str:
    """``a: 1, b: "x"`` for a call; underscores become hyphens."""
    return ", ".join(f"{key.replace('_', '-')}: {literal(value)}" for key, value in named.items())


def opening(function: str, *values: Any, **named: Any) -> str:
    """The start of a call, up to where more arguments may follow: ``#function(1, a: 2``."""
    parts = [*map(literal, values)]
    if named:
        parts.append(arguments(named))
    return f"#{function}({', '.join(parts)}"


def call(function: str, *values: Any, **named: Any) -> str:
    """``#function(…);`` - the semicolon keeps a following ``(`` from joining the call."""
    return opening(function, *values, **named) + ");"


def block(source: str) -> Node:
    """Typst source between blocks."""
    return {"t": "RawBlock", "c": ["typst", source]}


def inline(source: str) -> Node:
    """Typst source between inlines."""
    return {"t": "RawInline", "c": ["typst", source]}


def word(text: str) -> Node:
    """One word: plain where that is safe, else a string expression, which has no markup."""
    if _PLAIN.fullmatch(text):
        return {"t": "Str", "c": text}
    return inline(f"#{string(text)};")


def wrap(before: str, inlines: Sequence[Node], after: str = "];") -> list[Node]:
    """Inlines between two pieces of source.

    ``before`` ends in ``[``; the empty content after it keeps the first character from being read
    as the start of a list, heading or term.
    """
    return [inline(before + "#[];"), *inlines, inline(after)]
