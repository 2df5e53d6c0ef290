"""The source of a chapter, taken apart for the linter: cells, prose, labels, divisions.

It reads what authors write here, not all of Markdown; Pandoc and Quarto read the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bookbinder.errors import BookError
from bookbinder.model import Cell
from bookbinder.parse import INLINE, parse_text
from internals.errors import UserError

_FENCE = re.compile(r"(?ms)^(`{3,})[^\n]*\n.*?^\1$")
_DIVISION = re.compile(r"(?m)^:{3,}\s*\{([^}]*)\}")
_SPAN = re.compile(r"\]\{(\.(?:when|holds)[^}]*)\}")
_LABEL = re.compile(r"#((?:sec|fig|tbl|eq|lst)-[\w-]+)")
_CITED = re.compile(r"(?<![\w`])@((?:sec|fig|tbl|eq|lst)-[\w-]+\w)")


@dataclass(frozen=True)
class Division:
    """The braces of a division or span: classes and attributes."""

    classes: tuple[str, ...]
    attributes: dict[str, str]
    line: int


@dataclass(frozen=True)
class Chapter:
    """One ``.qmd`` file."""

    name: str
    """Relative to the root."""
    text: str

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Executable cells in order.

        Raises:
            UserError: a cell cannot be read.
        """
        try:
            return parse_text(self.text, self.name).cells
        except BookError as error:
            raise UserError(str(error)) from None

    @cached_property
    def prose(self) -> str:
        """The text with code blanked out, places and line breaks kept."""
        return _FENCE.sub(_blank, self.text)

    @property
    def words(self) -> int:
        """Words of running text: no questions as asked, no rows of tables, no attributes."""
        text = re.sub(r"(?m)^(:::|>|\|).*$", "", INLINE.sub("value", self.prose))
        return len(re.findall(r"\w+(?:['’-]\w+)*", re.sub(r"\{[^}]*\}", "", text)))

    @property
    def inline(self) -> list[tuple[int, str]]:
        """Line and expression of every inline value."""
        return [(self.line(m.start()), m[1].strip()) for m in INLINE.finditer(self.prose)]

    @property
    def divisions(self) -> list[Division]:
        """Divisions, and spans with a condition."""
        found = [*_DIVISION.finditer(self.prose), *_SPAN.finditer(self.prose)]
        return [
            Division(
                tuple(re.findall(r"\.([\w-]+)", re.sub(r'"[^"]*"', "", match[1]))),
                dict(re.findall(r'([\w-]+)="([^"]*)"', match[1])),
                self.line(match.start()),
            )
            for match in found
        ]

    @cached_property
    def labels(self) -> dict[str, int]:
        """Line of every label; those of cells too."""
        found = {m[1]: self.line(m.start()) for m in _LABEL.finditer(self.prose)}
        return found | {c.label: c.line for c in self.cells if c.label}

    @property
    def cited(self) -> list[tuple[int, str]]:
        """Line and label of every cross-reference, those of captions too."""
        captions = " ".join(str(v) for c in self.cells for v in c.options.values())
        inside = [(0, m[1]) for m in _CITED.finditer(captions)]
        return [(self.line(m.start()), m[1]) for m in _CITED.finditer(self.prose)] + inside

    @property
    def sections(self) -> list[tuple[int, str]]:
        """Line and text of each section of the second level, its heading included."""
        starts = [m.start() for m in re.finditer(r"(?m)^## ", self.prose)]
        ends = [*starts, len(self.prose)][1:]
        return [(self.line(a), self.prose[a:b]) for a, b in zip(starts, ends, strict=True)]

    def line(self, place: int) -> int:
        """Number of the line on which a place of the text lies."""
        return self.text.count("\n", 0, place) + 1


def read_chapter(path: Path, root: Path) -> Chapter:
    """Read one file of the book."""
    return Chapter(path.relative_to(root).as_posix(), path.read_text("utf-8"))


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])
