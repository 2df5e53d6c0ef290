"""The book as one executed notebook: text and cells of all chapters in order, static outputs.

Text is plain Markdown that Jupyter, VS Code and GitHub show alike: references and citations are
words, boxes are block quotes, pictures are PNG. Running it again needs the project's environment.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bookbinder import ast, pandoc
from bookbinder.model import Book, CellResult, Chapter, Node

_BREAK = "BOOKBINDERCELLBREAK"
_KINDS = ("image/png", "text/markdown", "text/latex", "text/plain")
"""Kinds of output that are kept; the rest needs scripts or doubles the size."""

FIRST_CELL = """
# Run from the project's folder, wherever this notebook lies.
import os, pathlib
here = pathlib.Path.cwd()
root = next((p for p in (here, *here.parents) if (p / "_quarto.yml").exists()), None)
if root is None:
    raise SystemExit("Put this notebook into the project's folder (or _book/) and run it again.")
os.chdir(root)
""".strip()


def write_notebook(book: Book, out_file: Path) -> dict[str, Any]:
    """Write ``book`` (its ``ipynb`` view) as a notebook; returns its number of cells and bytes."""
    import nbformat

    pieces: list[list[Node] | CellResult] = [_title(book)]
    for chapter in book.chapters:
        pieces += _chapter(chapter)
    texts = iter(_markdown([p for p in pieces if isinstance(p, list)]))
    cells = []
    for piece in pieces:
        if isinstance(piece, CellResult):
            cells.append(_code_cell(nbformat, piece))
        elif text := next(texts).strip():
            cells.append(nbformat.v4.new_markdown_cell(text))
    first = nbformat.v4.new_code_cell(FIRST_CELL, execution_count=1)
    cells.insert(1, first)
    for number, cell in enumerate((c for c in cells if c.cell_type == "code"), start=1):
        cell.execution_count = number
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=_metadata(book))
    nbformat.validate(notebook)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, out_file)
    return {"cells": len(cells), "bytes": out_file.stat().st_size}


def _metadata(book: Book) -> dict[str, Any]:
    return {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "title": book.project.title,
    }


def _title(book: Book) -> list[Node]:
    project = book.project
    lines = [x for x in (project.subtitle, ", ".join(project.authors), project.date) if x]
    head = {"t": "Header", "c": [1, ast.make_attr(), ast.text(project.title)]}
    return [head, *(ast.para(ast.text(line)) for line in lines)]


def _chapter(chapter: Chapter) -> Iterator[list[Node] | CellResult]:
    """Runs of text and cells in order; cells that the text dropped stand where they ran."""
    number = f"{chapter.number} " if chapter.number else ""
    title = {"t": "Header", "c": [1, ast.make_attr(), [*ast.text(number), *chapter.title]]}
    text: list[Node] = [title]
    waiting = list(chapter.results)
    for part in _flat(copy.deepcopy(list(chapter.blocks))):
        if isinstance(part, int):
            if text:
                yield text
                text = []
            while waiting and waiting[0].cell.index <= part:
                yield waiting.pop(0)
        else:
            text.append(part)
    if text:
        yield text
    yield from waiting


def _flat(blocks: Sequence[Node]) -> Iterator[Node | int]:
    """Plain blocks, and the number of a cell where it stood."""
    for block in blocks:
        if block["t"] != "Div":
            yield _heading(block) if block["t"] == "Header" else block
        elif ast.has_class(block, "cell"):
            yield int(ast.get(block, "index") or 0)
            for node in ast.descend(block["c"][1]):
                if ast.is_div(node, "bb-float"):
                    yield _caption(node)
        elif ast.has_class(block, "bb-float"):
            yield from _flat(_part(block, "bb-body"))
            yield _caption(block)
        elif ast.has_class(block, "bb-callout"):
            yield from _quoted(block)
        elif ast.has_class(block, "bb-tabset"):
            for tab in block["c"][1]:
                yield ast.para([{"t": "Strong", "c": _inlines(tab, "bb-title")}])
                yield from _flat(_part(tab, "bb-body"))
        else:
            yield from _flat(block["c"][1])


def _heading(node: Node) -> Node:
    level, _, title = node["c"]
    number = ast.get(node, "number")
    before = ast.text(f"{number} ") if number else []
    return {"t": "Header", "c": [level, ast.make_attr(), [*before, *title]]}


def _quoted(block: Node) -> Iterator[Node | int]:
    """A box as a block quote with a bold title; cells inside it follow the quote."""
    parts = list(_flat(_part(block, "bb-body")))
    title = ast.para([{"t": "Strong", "c": _inlines(block, "bb-title")}])
    yield {"t": "BlockQuote", "c": [title, *(p for p in parts if not isinstance(p, int))]}
    yield from (p for p in parts if isinstance(p, int))


def _part(block: Node, name: str) -> list[Node]:
    return next((list(b["c"][1]) for b in block["c"][1] if ast.is_div(b, name)), [])


def _inlines(block: Node, name: str) -> list[Node]:
    part = _part(block, name)
    return list(part[0]["c"]) if part else []


def _caption(block: Node) -> Node:
    label = ast.get(block, "label") or ""
    head: Node = {"t": "Strong", "c": ast.text(f"{label}:")}
    return ast.para([head, ast.SPACE, *_inlines(block, "bb-caption")])


def _plain(node: Node) -> Any:
    """Inlines that every viewer shows: no inner links, no ids, no raw HTML, no ledger daggers."""
    kind = node["t"]
    if kind in ("RawBlock", "RawInline"):
        return []
    if kind == "Span":
        if ast.has_class(node, "bb-equation"):
            math = node["c"][1][0]
            math["c"][1] = f"{math['c'][1].strip()} \\tag{{{ast.get(node, 'number')}}}"
            return math
        return [] if ast.has_class(node, "claim-ref") else node["c"][1]
    if kind == "Cite":
        return node["c"][1]
    if kind == "Link" and node["c"][2][0].startswith("#"):
        return node["c"][1]
    if kind in ("CodeBlock", "Code"):
        keep = [c for c in ast.classes_of(node) if c == "python"]
        node["c"][0] = ast.make_attr("", keep)
    return True


def _markdown(pieces: Sequence[list[Node]]) -> list[str]:
    """Each run of blocks as Markdown, in one call of Pandoc."""
    if not pieces:
        return []
    blocks: list[Node] = []
    for i, piece in enumerate(pieces):
        if i:
            blocks.append(ast.para([{"t": "Str", "c": _BREAK}]))
        blocks += ast.walk(copy.deepcopy(piece), _plain)
    text = pandoc.write(blocks, ["-t", "gfm+tex_math_dollars-raw_html", "--wrap=none"])
    return text.split(_BREAK)


def _code_cell(nbformat: Any, result: CellResult) -> Any:
    cell = nbformat.v4.new_code_cell(result.cell.code)
    options = result.cell.options
    if options.get("include") is False or options.get("echo") is False:
        cell.metadata = {"jupyter": {"source_hidden": True}, "tags": ["hide-input"]}
    cell.outputs = [] if options.get("include") is False else list(_outputs(nbformat, result))
    return cell


def _outputs(nbformat: Any, result: CellResult) -> Iterator[Any]:
    """Static outputs; of a picture for light and dark pages only the light one."""
    renderings = result.cell.options.get("renderings")
    pictures = 0
    for output in result.outputs:
        data = output.get("data", {})
        if "image/png" in data or "image/svg+xml" in data:
            pictures += 1
            if renderings and renderings[(pictures - 1) % len(renderings)] == "dark":
                continue
        if output["output_type"] == "stream" and output["name"] == "stderr":
            continue
        yield nbformat.from_dict(_kept(output))


def _kept(output: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(output)
    if "data" in found:
        found["data"] = {k: v for k, v in found["data"].items() if k in _KINDS}
        found["metadata"] = {}
    return found
