"""The order of text and cells in the notebook: the resolved book, flattened."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bookbinder import ast
from bookbinder.model import Book, CellResult, Chapter, Node
from bookbinder.prose import Prose, split


@dataclass
class Text:
    """A run of prose."""

    blocks: list[Node]


@dataclass
class Code:
    """An executed cell; ``shown`` is its place in the text, ``None`` where the book hides it."""

    result: CellResult
    shown: Node | None = None
    displays: list[list[Node]] = field(default_factory=list)
    """Plain blocks of what the cell displays as Markdown, in order."""


Part = Text | Code


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
                "This notebook holds all chapters of the book with the code that made every "
                "number and figure, already executed. To run it again, open it with the "
                "project's environment and choose “Restart kernel and run all cells”; the next "
                "cell finds the project's folder. Some code cells are folded."
            )
        )
    )
    return blocks


def _chapter(chapter: Chapter, writer: Prose, part: str | None) -> Iterator[Part]:
    """Text and cells of a chapter in order; cells without a place in the text come in between."""
    head: list[Node] = []
    if part:
        head = [{"t": "HorizontalRule"}, ast.para([{"t": "Emph", "c": ast.text(part)}])]
    writer.level = 1
    name = chapter.number or ""
    if chapter.kind == "appendix" and name:
        name = f"Appendix {name}:"
    head.append(writer.heading(1, name, chapter.title))
    done = -1
    text = head
    for item in _flatten(chapter.blocks, writer):
        if isinstance(item, list):
            for block in item:
                if block["t"] == "Header" and text:
                    yield Text(text)
                    text = []
                text.append(block)
            continue
        index = int(ast.get(item, "index") or 0)
        if text:
            yield Text(text)
            text = []
        yield from (Code(result) for result in chapter.results[done + 1 : index])
        yield from _cell(chapter.results[index], item, writer)
        text = _captions(item, writer)
        done = max(done, index)
    if notes := writer.take_notes():
        text += notes
    if text:
        yield Text(text)
    yield from (Code(result) for result in chapter.results[done + 1 :])


def _cell(result: CellResult, node: Node, writer: Prose) -> Iterator[Part]:
    if result.execution_count is None:
        # Not run, so that "run all" must not run it either: shown as text.
        code = {"t": "CodeBlock", "c": [ast.make_attr("", ["python"]), result.cell.code]}
        yield Text([code])
        return
    displays = [
        writer.blocks(block["c"][1])
        for block in ast.descend(node["c"][1])
        if ast.is_div(block, "cell-output-display")
    ]
    yield Code(result, node, displays)


def _captions(node: Node, writer: Prose) -> list[Node]:
    """Captions of the floats that a cell's outputs are."""
    out: list[Node] = []
    for block in ast.descend(node["c"][1]):
        if ast.is_div(block, "bb-float"):
            out += writer.caption(block, split(block)[0])
    return out


def _has_cell(node: Node) -> bool:
    return any(ast.is_div(inner, "cell") and ast.get(inner, "index") for inner in ast.descend(node))


def _flatten(nodes: Sequence[Node], writer: Prose) -> Iterator[list[Node] | Node]:
    """Plain blocks, and the ``Div.cell`` between them; boxes around cells are opened."""
    for node in nodes:
        if ast.is_div(node, "cell") and ast.get(node, "index"):
            yield node
        elif not _has_cell(node):
            yield writer.blocks([node])
        elif node["t"] == "Div":
            yield from _open(node, writer)
        else:
            # A list or quotation around a cell: its text first, then the cells.
            cells = [n for n in ast.descend(node) if ast.is_div(n, "cell") and ast.get(n, "index")]
            bare = ast.walk(ast.copied(node), lambda n: [] if ast.is_div(n, "cell") else True)
            yield writer.blocks([bare])
            yield from cells


def _open(node: Node, writer: Prose) -> Iterator[list[Node] | Node]:
    """The parts of a division that contains cells."""
    title, body = split(node)
    if ast.has_class(node, "bb-tabset"):
        for tab in node["c"][1]:
            tab_title, tab_body = split(tab)
            level = writer.level
            yield writer.tab_heading(tab_title)
            yield from _flatten(tab_body, writer)
            writer.level = level
    elif ast.has_class(node, "bb-float"):
        yield from _flatten(body, writer)
        yield writer.caption(node, title)
    else:
        yield writer.title(title)
        yield from _flatten(body, writer)
