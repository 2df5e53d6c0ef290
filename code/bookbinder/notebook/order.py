"""The order of text and cells in the notebook: the resolved book, flattened.

A cell whose code the book does not show is no cell here: what it puts out stands in the text, and
of its code only that remains which later cells need (see `needs`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bookbinder import ast
from bookbinder.model import Book, CellResult, Chapter, Node
from bookbinder.notebook.needs import Kept, kept_statements
from bookbinder.prose import Prose, bold, split


@dataclass
class Text:
    """A run of prose."""

    blocks: list[Node]


@dataclass
class Code:
    """A cell that is shown; ``before`` is hidden code that it needs."""

    result: CellResult
    before: list[str] = field(default_factory=list)
    displays: list[list[Node]] = field(default_factory=list)
    """Plain blocks of what the cell displays as Markdown, in order."""


@dataclass
class Setup:
    """Hidden code that the cells of a chapter need from the start."""

    code: str


Part = Text | Code | Setup


def parts(book: Book, writer: Prose) -> Iterator[tuple[str, Part]]:
    """Every part of the notebook with a name of its own, the title first."""
    yield "title", Text(_front(book))
    before: str | None = None
    for chapter in book.chapters:
        heading = None if chapter.part in (None, before) else chapter.part
        before = chapter.part
        stem = re.sub(r"[^\w-]+", "-", Path(chapter.path).stem, flags=re.ASCII)
        for number, part in enumerate(_chapter(chapter, writer, heading), start=1):
            yield f"{stem}-{number}"[-64:], part


def _front(book: Book) -> list[Node]:
    project = book.project
    title = {"t": "Header", "c": [1, ast.make_attr(), ast.text(project.title)]}
    blocks: list[Node] = [title]
    if project.subtitle:
        blocks.append(ast.para([{"t": "Emph", "c": ast.text(project.subtitle)}]))
    line = " · ".join([*project.authors, *([project.date] if project.date else [])])
    if line:
        blocks.append(ast.para(ast.text(line)))
    blocks.append(
        ast.para(
            ast.text(
                "This notebook holds the chapters of the book and the code that they show, "
                "already executed. “Restart kernel and run all cells” runs it again where the "
                "project's environment is the kernel. Figures and tables whose code is not shown "
                "in the book stand in the text."
            )
        )
    )
    return blocks


def _chapter(chapter: Chapter, writer: Prose, part: str | None) -> Iterator[Part]:
    """Text and cells of a chapter in order."""
    head: list[Node] = []
    if part:
        head = [{"t": "HorizontalRule"}, ast.para([{"t": "Emph", "c": ast.text(part)}])]
    name = chapter.number or ""
    if chapter.kind == "appendix" and name:
        name = f"Appendix {name}:"
    head.append(writer.heading(1, name, writer.plain(chapter.title), chapter.anchor))
    kept = _kept(chapter)
    text = head
    if kept.setup:
        yield Text(text)
        yield Setup("\n".join(kept.setup))
        text = []
    for item in _flatten(chapter.blocks, writer):
        if isinstance(item, list):
            for block in item:
                if block["t"] == "Header" and text:
                    yield Text(text)
                    text = []
                text.append(block)
            continue
        if text:
            yield Text(text)
        yield _cell(chapter.results[_index(item)], item, writer, kept)
        text = _captions(item, writer)
    if text:
        yield Text(text)


def _kept(chapter: Chapter) -> Kept:
    """Hidden code of a chapter that its shown cells need."""
    shown = {_index(n) for n in ast.descend(list(chapter.blocks)) if _is_shown(n)}
    return kept_statements([(r.cell.code, r.cell.index in shown) for r in chapter.results])


def _index(cell: Node) -> int:
    return int(ast.get(cell, "index") or 0)


def _is_shown(node: Node) -> bool:
    """Whether a node is a cell whose code is printed."""
    return ast.is_div(node, "cell") and any(
        child["t"] == "CodeBlock" and ast.has_class(child, "cell-code") for child in node["c"][1]
    )


def _cell(result: CellResult, node: Node, writer: Prose, kept: Kept) -> Code:
    displays = [
        writer.plain(block["c"][1])
        for block in ast.descend(node["c"][1])
        if ast.is_div(block, "cell-output-display")
    ]
    return Code(result, kept.before.get(result.cell.index, []), displays)


def _captions(node: Node, writer: Prose) -> list[Node]:
    """Captions of the floats that a cell's outputs are."""
    out: list[Node] = []
    for block in ast.descend(node["c"][1]):
        if ast.is_div(block, "bb-float"):
            out += writer.caption(block, writer.plain(split(block)[0]))
    return out


def _has_cell(node: Node) -> bool:
    return any(_is_shown(inner) for inner in ast.descend(node))


def _flatten(nodes: Sequence[Node], writer: Prose) -> Iterator[list[Node] | Node]:
    """Plain blocks, and the shown cells between them; boxes around cells are opened."""
    for node in nodes:
        if _is_shown(node):
            yield node
        elif not _has_cell(node):
            yield writer.plain([node])
        else:
            yield from _open(node, writer)


def _open(node: Node, writer: Prose) -> Iterator[list[Node] | Node]:
    """The parts of a division that contains cells."""
    title, body = split(node)
    title = writer.plain(title)
    if ast.has_class(node, "bb-float"):
        yield from _flatten(body, writer)
        yield writer.caption(node, title)
    else:
        yield bold(title)
        yield from _flatten(body, writer)
