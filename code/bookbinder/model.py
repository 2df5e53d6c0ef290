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

FORMATS = ("html", "typst", "ipynb")
"""The views into which a book is resolved; ``typst`` is the PDF."""


# --- the project ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One place in the table of contents: a chapter, or a part with chapters below it."""

    path: str | None
    """``report/tokens.qmd``; ``None`` for a part without a page of its own."""
    kind: str
    """``index`` (home page), ``chapter``, ``appendix`` or ``part``."""
    title: str | None = None
    """Of a part without a page; of a chapter the words that the list of chapters shows."""
    children: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Project:
    """A Quarto book project, profiles merged and checked."""

    root: Path
    title: str
    subtitle: str | None
    authors: tuple[str, ...]
    date: str | None
    """As written (``today`` etc. already replaced by an ISO date)."""
    description: str | None
    lang: str
    output_file: str
    """Name without suffix of PDF and notebook, e.g. ``report``."""
    entries: tuple[Entry, ...]
    bibliography: tuple[str, ...]
    csl: str | None
    filters: tuple[str, ...]
    """The project's own Lua filters, relative to ``root``."""
    number_depth: int
    """Deepest numbered heading level (Quarto's ``number-depth``, default 3 in books)."""
    execute: Mapping[str, Any]
    """Cell option defaults (``echo``, ``warning``, ``output`` …)."""
    html: Mapping[str, Any]
    """Options of ``format: html``."""
    typst: Mapping[str, Any]
    """Options of ``format: typst``."""
    book: Mapping[str, Any]
    """The ``book`` mapping of ``_quarto.yml`` for rarer settings (``repo-url`` …)."""
    meta: Mapping[str, Any]
    """The whole merged YAML (for ``{{< meta … >}}``)."""


# --- sources ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Markdown:
    """A run of Markdown text between two cells."""

    text: str
    lines: tuple[tuple[str, int], ...]
    """For each line of ``text`` the file (relative to the root) and line it came from."""


@dataclass(frozen=True)
class Cell:
    """An executable cell."""

    index: int
    """Position among the cells of its chapter, from 0."""
    code: str
    """Source without the ``#|`` lines."""
    options: Mapping[str, Any]
    """The cell's own ``#|`` options (not merged with defaults), keys as written."""
    file: str
    line: int
    """Line of the opening fence."""
    indent: str = ""

    @property
    def label(self) -> str | None:
        """The ``label`` option, e.g. ``fig-loss``."""
        return self.options.get("label")


@dataclass(frozen=True)
class ChapterSource:
    """One ``.qmd`` file, parsed but not executed."""

    path: str
    front: Mapping[str, Any]
    """Front matter."""
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
    execution_count: int | None
    """``None`` when the cell was not run (``eval: false``)."""
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
class Label:
    """A target of cross-references."""

    id: str
    """``fig-loss``, ``sec-norm`` …"""
    kind: str
    """``fig``, ``tbl``, ``eq``, ``sec``."""
    number: str
    """``1.2``, ``A.1``, ``1.2 (a)`` for a subfigure; empty if unnumbered."""
    text: str
    """What a plain ``@id`` prints: ``Figure 1.2``."""
    chapter: str
    """Path of the chapter that holds it."""
    title: str
    """Plain text of caption or heading."""


@dataclass(frozen=True)
class Chapter:
    """One resolved page of the book, for one format."""

    path: str
    """``report/tokens.qmd``."""
    href: str
    """``report/tokens.html``."""
    kind: str
    """``index``, ``chapter`` or ``appendix`` or ``part``."""
    number: str | None
    """``1``, ``A``; ``None`` if unnumbered."""
    part: str | None
    """Title of the part that it belongs to."""
    title: tuple[Node, ...]
    """Inlines of the chapter title (without its number)."""
    title_text: str
    anchor: str
    """Id of the chapter heading (``sec-…`` or made from the title)."""
    description: str | None
    """Plain text for the page's metadata (front matter, or the first paragraph)."""
    blocks: tuple[Node, ...]
    """Body without the level-1 heading, in the vocabulary of BOOKBINDER.md."""
    results: tuple[CellResult, ...]
    front: Mapping[str, Any]
    keywords: str = ""
    """Other words under which the chapter is looked for."""
    titled: bool = True
    """Whether the source gives a title; without one, the home page has the book's."""


@dataclass(frozen=True)
class Book:
    """Everything that a writer needs, for one format."""

    project: Project
    format: str
    """``html``, ``typst`` or ``ipynb``."""
    chapters: tuple[Chapter, ...]
    """In reading order, pages of parts and appendices included."""
    labels: Mapping[str, Label]
    assets: Path
    """Folder against which every image URL of ``blocks`` is resolved (figures of cells and
    images of the project); writers copy what they use."""
    bibliography: tuple[Node, ...] = ()
    """Formatted references (also put where ``::: {#refs}`` stands)."""
    references_chapter: str | None = None
    """Path of the chapter that holds ``::: {#refs}``."""
    extra: Mapping[str, Any] = field(default_factory=dict)
