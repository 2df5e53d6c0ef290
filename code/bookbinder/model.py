"""The data that the stages hand on: project, chapter sources, executed cells, resolved book.

Frozen dataclasses only; no stage keeps state elsewhere. Paths inside a book are POSIX strings
relative to the project root, so that they serve as link targets as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Node = dict[str, Any]
"""One element of Pandoc's JSON syntax tree: ``{"t": type, "c": content}``."""


# --- the project ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One place in the table of contents: a chapter, or a part with chapters below it."""

    path: str | None
    """``report/tokens.qmd``; ``None`` for a part."""
    kind: str
    """``index`` (home page), ``chapter``, ``appendix`` or ``part``."""
    title: str | None = None
    """Of a part; of a chapter the words that the list of chapters shows."""
    children: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Project:
    """A Quarto book project."""

    root: Path
    title: str
    subtitle: str | None
    authors: tuple[str, ...]
    date: str | None
    """As printed."""
    description: str | None
    lang: str
    output_dir: str
    output_file: str
    """Name without suffix of PDF and notebook, e.g. ``report``."""
    entries: tuple[Entry, ...]
    bibliography: tuple[str, ...]
    filters: tuple[str, ...]
    """The project's own Lua filters, relative to ``root``."""


# --- sources ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Markdown:
    """A run of Markdown text between two cells."""

    text: str
    file: str
    line: int
    """Where it begins."""

    def line_of(self, offset: int) -> int:
        """Line of a character of the text."""
        return self.line + self.text.count("\n", 0, offset)


@dataclass(frozen=True)
class Cell:
    """An executable cell."""

    index: int
    """Position among the cells of its chapter, from 0."""
    code: str
    """Source without the ``#|`` lines."""
    options: Mapping[str, Any]
    """The cell's own ``#|`` options, keys as written."""
    file: str
    line: int
    """Line of the opening fence."""
    start: int
    """Line of the first line of code."""

    @property
    def lines(self) -> list[str]:
        """Lines of code that are not empty."""
        return [line for line in self.code.splitlines() if line.strip()]

    @property
    def label(self) -> str:
        """The ``label`` option, e.g. ``tbl-loss``; empty without one."""
        return self.options.get("label", "")

    @property
    def hidden(self) -> bool:
        """Whether readers see no code of it."""
        return False in (self.options.get("echo"), self.options.get("include"))


@dataclass(frozen=True)
class ChapterSource:
    """One ``.qmd`` file, parsed but not executed."""

    path: str
    segments: tuple[Markdown | Cell, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The executable cells in order."""
        return tuple(s for s in self.segments if isinstance(s, Cell))


# --- execution --------------------------------------------------------------------------------


@dataclass(frozen=True)
class CellResult:
    """What one cell produced."""

    cell: Cell
    outputs: tuple[Mapping[str, Any], ...]
    """Outputs in nbformat 4 form, nothing removed (``include: false`` too)."""
    seconds: float


@dataclass(frozen=True)
class ExecutedChapter:
    """A chapter source with the results of its cells and inline expressions."""

    source: ChapterSource
    results: tuple[CellResult, ...]
    inline: tuple[str, ...]
    """Markdown of each inline expression in document order."""
    seconds: float


# --- the resolved book ------------------------------------------------------------------------


@dataclass(frozen=True)
class Chapter:
    """One resolved page of the book, for one format."""

    path: str
    """``report/tokens.qmd``."""
    href: str
    """``report/tokens.html``."""
    kind: str
    """``index``, ``chapter`` or ``appendix``."""
    number: str | None
    """``1``, ``A``; ``None`` if unnumbered."""
    part: str | None
    """Title of the part that it belongs to."""
    title: tuple[Node, ...]
    """Inlines of the chapter title (without its number)."""
    title_text: str
    anchor: str
    """Id of the chapter heading (``sec-…`` or made from the title)."""
    description: str
    """Plain text for the page's metadata: how the chapter begins."""
    blocks: tuple[Node, ...]
    """Body without the level-1 heading, with the ``bb-*`` classes of `document`."""
    results: tuple[CellResult, ...]
    titled: bool = True
    """Whether the source gives a title; without one, the home page has the book's."""


@dataclass(frozen=True)
class Book:
    """Everything that a writer needs, for one format."""

    project: Project
    format: str
    """``html``, ``typst`` (the PDF) or ``ipynb``."""
    chapters: tuple[Chapter, ...]
    """In reading order, appendices included."""
    assets: Path
    """Folder against which every image URL of ``blocks`` is resolved."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that the notebook sets for itself."""
