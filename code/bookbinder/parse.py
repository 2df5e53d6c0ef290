"""A chapter's source into Markdown and cells, with the place of every line; executes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from bookbinder.errors import BookError
from bookbinder.model import Cell, ChapterSource, Markdown

_FENCE = re.compile(r"(?ms)^(`{3,}|~{3,}) *([^\n]*?) *\n(.*?)^\1[`~]* *$\n?")
_OPTIONS = re.compile(r"(?:#\|.*\n)*")
INLINE = re.compile(r"`\{python\}\s+([^`]+?)\s*`")
"""An inline expression: its value stands in the sentence."""

CELL_KEYS = {"label", "echo", "include", "renderings", "fig-alt", "tbl-cap"}
"""Cell options that have an effect."""


def parse_chapter(root: Path, path: str) -> ChapterSource:
    """Read one chapter; for errors see `parse_text`."""
    return parse_text((root / path).read_text("utf-8"), path)


def parse_text(text: str, path: str) -> ChapterSource:
    """Take a chapter apart; ``path`` names it.

    Raises:
        BookError: a cell is not closed, in another language, or has an option without effect.
    """
    return ChapterSource(path, tuple(_segments(text, path)))


def _segments(text: str, path: str) -> Iterator[Markdown | Cell]:
    start = count = 0
    for fence in _FENCE.finditer(text):
        line = text.count("\n", 0, fence.start()) + 1
        if fence[2] == "{python}":
            yield _markdown(text[start : fence.start()], path, text.count("\n", 0, start) + 1)
            yield _cell(fence[3], count, path, line)
            start, count = fence.end(), count + 1
        elif re.match(r"\{+\w", fence[2]):
            message = f"“{fence[2]}” is not known; a cell is opened by ```{{python}} alone."
            raise BookError(message, path, line)
    yield _markdown(text[start:], path, text.count("\n", 0, start) + 1)


def _markdown(text: str, path: str, line: int) -> Markdown:
    segment = Markdown(text, path, line)
    outside = _FENCE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)
    if lost := re.search(r"(?m)^ *(?:`{3}|~{3})", outside):
        message = "this code fence is not closed, or is indented."
        raise BookError(message, path, segment.line_of(lost.start()))
    if other := re.search(r"`\{(?!python\})(\w+)\}\s", outside):
        message = f"inline code in “{other[1]}” cannot be run here, only Python."
        raise BookError(message, path, segment.line_of(other.start()))
    return segment


def _cell(source: str, index: int, path: str, line: int) -> Cell:
    found = _OPTIONS.match(source)
    head = found[0] if found else ""
    try:
        options = yaml.safe_load(re.sub(r"(?m)^#\|", "", head)) or {}
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise BookError(f"the options of this cell cannot be read: {first}.", path, line) from None
    for key in options:
        if key not in CELL_KEYS:
            place = head[: head.index(str(key))].count("\n") + line + 1
            raise BookError(f"the cell option “{key}” has no effect here.", path, place)
    code = source[len(head) :]
    before = head.count("\n") + len(code) - len(code.lstrip("\n"))
    return Cell(index, code.strip("\n"), options, path, line, line + 1 + before)
