"""A chapter's source into Markdown and cells, with the place of every line.

Executes nothing, and refuses what it would have to drop. Lines are numbered from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bookbinder import options, syntax, yamlio
from bookbinder.errors import BookError
from bookbinder.model import Cell, ChapterSource, Markdown

_FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*(.*)$")
_CELL = re.compile(r"^\{python\}\s*$")
INLINE = re.compile(r"`\{python\}\s+([^`]+?)\s*`")
"""An inline expression: its value stands in the sentence."""

Line = tuple[str, str, int]
"""Text, file and line number."""


def parse_chapter(root: Path, path: str) -> ChapterSource:
    """Read one chapter.

    Raises:
        BookError: an option, shortcode or cell language has no effect here, or a fence is open.
    """
    lines = list(_read(root, path))
    front, lines = _front_matter(path, lines)
    return ChapterSource(path, front, tuple(_segments(lines)))


def _read(root: Path, path: str) -> Iterator[Line]:
    file = root / path
    if not file.is_file():
        raise BookError("this file is missing.", path)
    for number, text in enumerate(file.read_text("utf-8").splitlines(), start=1):
        yield text, path, number


def _fence_after(fence: str, text: str) -> str:
    """The code fence that is open after a line; empty if none is."""
    match = _FENCE.match(text)
    if not match:
        return fence
    if not fence:
        return match[2]
    closes = match[2][0] == fence[0] and len(match[2]) >= len(fence) and not match[3]
    return "" if closes else fence


def _front_matter(path: str, lines: list[Line]) -> tuple[dict[str, Any], list[Line]]:
    if not lines or lines[0][0].strip() != "---":
        return {}, lines
    ends = (i for i, (text, _, _) in enumerate(lines) if i and text.strip() in ("---", "..."))
    end = next(ends, None)
    if end is None:
        raise BookError("the front matter is not closed by a line of three dashes.", path, 1)
    source = "\n".join(text for text, _, _ in lines[1:end])
    data, places = yamlio.load(source, path, 2)
    data = data or {}
    if not isinstance(data, dict):
        raise BookError("the front matter must be a YAML mapping.", path, 1)
    yamlio.check_keys(data, options.FRONT_KEYS, "in the front matter", path, places)
    return data, lines[end + 1 :]


def _segments(lines: list[Line]) -> Iterator[Markdown | Cell]:
    text: list[Line] = []
    check = syntax.LineCheck()
    index = 0
    i = 0
    while i < len(lines):
        line, file, number = lines[i]
        match = _FENCE.match(line)
        if not match:
            check.check(line, lines[i - 1][0] if i else "", file, number)
            text.append(lines[i])
            i += 1
            continue
        end = _closing(lines, i, match[2])
        if _CELL.match(match[3]):
            if text:
                yield _markdown(text)
                text = []
            yield _cell(lines[i + 1 : end], index, file, number, match[1])
            index += 1
        else:
            content = [content for content, _, _ in lines[i + 1 : end]]
            syntax.check_fence(match[3], content, file, number)
            text += lines[i : end + 1]
        i = end + 1
    if text:
        yield _markdown(text)


def _closing(lines: list[Line], start: int, fence: str) -> int:
    for i in range(start + 1, len(lines)):
        if not _fence_after(fence, lines[i][0]):
            return i
    raise BookError("this code fence is not closed.", lines[start][1], lines[start][2])


def _markdown(lines: list[Line]) -> Markdown:
    return Markdown(
        "\n".join(text for text, _, _ in lines), tuple((file, n) for _, file, n in lines)
    )


def _cell(lines: list[Line], index: int, file: str, number: int, indent: str) -> Cell:
    head = []
    for text, _, _ in lines:
        stripped = text.removeprefix(indent)
        if not stripped.startswith("#|"):
            break
        head.append(stripped[2:].removeprefix(" "))
    syntax.refuse_annotations([text for text, _, _ in lines], file, number)
    data, places = yamlio.load("\n".join(head), file, number + 1)
    data = data or {}
    if not isinstance(data, dict):
        raise BookError("cell options are written “#| key: value”.", file, number + 1)
    for key in data:
        if key in options.CELL_REFUSED:
            place = places.get((key,), number)
            raise BookError(
                f"the cell option “{key}” has no effect: {options.CELL_REFUSED[key]}.", file, place
            )
    yamlio.check_keys(data, options.CELL_KEYS, "in a cell", file, places)
    code = "\n".join(text.removeprefix(indent) for text, _, _ in lines[len(head) :])
    return Cell(index, code.strip("\n"), data, file, number, indent)


def line_of(markdown: Markdown, offset: int) -> tuple[str, int]:
    """File and line of a character of a Markdown segment."""
    return markdown.lines[min(markdown.text.count("\n", 0, offset), len(markdown.lines) - 1)]


def cell_option(cell: Cell, defaults: Mapping[str, Any], key: str) -> Any:
    """A cell's own option, else the book's default, else None."""
    return cell.options.get(key, defaults.get(key))
