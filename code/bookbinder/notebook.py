"""The whole book as one executed notebook that runs again and reads well in every viewer.

Code and outputs are those of the one execution; text comes from the resolved tree (`prose`). Only
static PNG pictures are kept. A first cell moves to the project's root and says what is missing.
"""

from __future__ import annotations

import ast as python
import base64
import copy
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from bookbinder import ast, prose
from bookbinder.errors import BookError
from bookbinder.model import Book, CellResult, Chapter, Node
from bookbinder.parse import cell_option
from bookbinder.prose import Prose, split

MAX_BYTES = 5_000_000
_ATTACHED = re.compile(r"\(attachment:([^)\s]+)\)")
_KEPT = ("text/plain", "text/markdown", "text/html", "text/latex", "image/png", "image/jpeg")

SETUP = """\
# Chapters read their files from the project's root; find it from wherever Jupyter was started.
import importlib.util
import os
from pathlib import Path

for name, value in {environment}.items():
    os.environ.setdefault(name, value)
here = Path.cwd()
roots = [folder for folder in (here, *here.parents) if (folder / "_quarto.yml").is_file()]
if not roots:
    raise FileNotFoundError("Start Jupyter inside the project's folder (the one with _quarto.yml).")
os.chdir(roots[0])
missing = [name for name in {modules} if importlib.util.find_spec(name) is None]
if missing:
    raise ModuleNotFoundError(
        f"Not installed here: {{', '.join(missing)}}. "
        "Use the project's own environment as the notebook's kernel; README.md says how to make it."
    )
"""


def write_notebook(book: Book, out_file: Path) -> dict[str, Any]:
    """Write ``book`` (its ``ipynb`` view) as an executed notebook.

    Returns:
        Facts for the record of the build: ``cells``, ``code_cells``, ``bytes``.

    Raises:
        BookError: the notebook is not valid, or larger than 5 MB even with reduced colours.
    """
    notebook = _notebook(book)
    text = nbformat.writes(notebook)
    if len(text.encode("utf-8")) > MAX_BYTES:
        _reduce_colours(notebook)
        text = nbformat.writes(notebook)
    size = len(text.encode("utf-8"))
    if size > MAX_BYTES:
        raise BookError(
            f"the notebook would have {size / 1e6:.1f} MB; at most {MAX_BYTES / 1e6:.0f} MB are "
            "useful in viewers (show fewer or smaller pictures)"
        )
    try:
        nbformat.validate(nbformat.reads(text, as_version=4))
    except nbformat.ValidationError as error:
        raise BookError(f"the notebook is not valid: {error.message}") from error
    out_file.parent.mkdir(parents=True, exist_ok=True)
    out_file.write_text(text + "\n", encoding="utf-8")
    code_cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    return {"cells": len(notebook.cells), "code_cells": code_cells, "bytes": size}


# --- the order of text and cells --------------------------------------------------------------


@dataclass
class _Text:
    """A run of prose."""

    blocks: list[Node]


@dataclass
class _Code:
    """An executed cell; ``shown`` is its place in the text, ``None`` where the book hides it."""

    result: CellResult
    shown: Node | None = None
    displays: list[list[Node]] = field(default_factory=list)
    """Plain blocks of what the cell displays as Markdown, in order."""


def _notebook(book: Book) -> Any:
    writer = Prose(book.assets)
    parts: list[_Text | _Code] = [_Text(_front(book))]
    names: list[str] = ["title"]
    part: str | None = None
    for chapter in book.chapters:
        heading = None if chapter.part in (None, part) else chapter.part
        part = chapter.part
        added = list(_chapter(chapter, writer, heading))
        parts += added
        stem = re.sub(r"[^\w-]+", "-", Path(chapter.path).stem, flags=re.ASCII)
        names += [f"{stem}-{number}"[-64:] for number in range(1, len(added) + 1)]
    return _assemble(book, parts, names, writer)


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


def _chapter(chapter: Chapter, writer: Prose, part: str | None) -> Iterator[_Text | _Code]:
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
                    yield _Text(text)
                    text = []
                text.append(block)
            continue
        index = int(ast.get(item, "index") or 0)
        if text:
            yield _Text(text)
            text = []
        yield from (_Code(result) for result in chapter.results[done + 1 : index])
        yield from _cell(chapter.results[index], item, writer)
        text = _captions(item, writer)
        done = max(done, index)
    if notes := writer.take_notes():
        text += notes
    if text:
        yield _Text(text)
    yield from (_Code(result) for result in chapter.results[done + 1 :])


def _cell(result: CellResult, node: Node, writer: Prose) -> Iterator[_Text | _Code]:
    if result.execution_count is None:
        # Not run, so that "run all" must not run it either: shown as text.
        code = {"t": "CodeBlock", "c": [ast.make_attr("", ["python"]), result.cell.code]}
        yield _Text([code])
        return
    displays = [
        writer.blocks(block["c"][1])
        for block in ast.descend(node["c"][1])
        if ast.is_div(block, "cell-output-display")
    ]
    yield _Code(result, node, displays)


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


# --- cells of the notebook --------------------------------------------------------------------


def _assemble(
    book: Book, parts: Sequence[_Text | _Code], names: Sequence[str], writer: Prose
) -> Any:
    pieces: list[list[Node]] = []
    for part in parts:
        pieces += [part.blocks] if isinstance(part, _Text) else part.displays
    written = iter(prose.to_markdown(pieces))
    cells: list[Any] = []
    count = 1
    for part, name in zip(parts, names, strict=True):
        if isinstance(part, _Text):
            cells.append(_markdown_cell(next(written), name, writer.pictures))
            if name == "title":
                cells.append(_setup_cell(book, parts))
        else:
            count += 1
            displays = [next(written) for _ in part.displays]
            cells.append(_code_cell(book, part, displays, name, count))
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "version": sys.version.split()[0]},
        "title": book.project.title,
        "authors": [{"name": name} for name in book.project.authors],
    }
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def _markdown_cell(text: str, name: str, pictures: Mapping[str, bytes]) -> Any:
    cell = nbformat.v4.new_markdown_cell(text, id=name)
    attached = {file: pictures[file] for file in _ATTACHED.findall(text) if file in pictures}
    if attached:
        cell["attachments"] = {
            file: {_media_type(file): base64.b64encode(data).decode("ascii")}
            for file, data in attached.items()
        }
    return cell


def _media_type(file: str) -> str:
    return {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif"}.get(
        Path(file).suffix.lower(), "image/png"
    )


def _setup_cell(book: Book, parts: Sequence[_Text | _Code]) -> Any:
    sources = [part.result.cell.code for part in parts if isinstance(part, _Code)]
    environment = {"BOOK_RENDERINGS": "light", **book.extra.get("environment", {})}
    code = SETUP.format(environment=environment, modules=imported_modules(sources))
    return nbformat.v4.new_code_cell(
        code.rstrip("\n"),
        id="setup",
        execution_count=1,
        metadata={"tags": ["hide-input"], "jupyter": {"source_hidden": True}},
    )


def imported_modules(sources: Sequence[str]) -> list[str]:
    """Top-level modules beyond the standard library that some code imports."""
    found: set[str] = set()
    for source in sources:
        try:
            tree = python.parse(source)
        except SyntaxError:
            # Magics and shell lines are fine in a notebook, but not Python.
            continue
        for node in python.walk(tree):
            if isinstance(node, python.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, python.ImportFrom) and not node.level and node.module:
                found.add(node.module.partition(".")[0])
    return sorted(found - set(sys.stdlib_module_names))


def _code_cell(book: Book, part: _Code, displays: Sequence[str], name: str, count: int) -> Any:
    cell = part.result.cell
    defaults = book.project.execute
    hidden = part.shown is None or ast.get(part.shown, "hidden") == "true"
    show_code = not hidden and cell_option(cell, defaults, "echo") is not False
    show_output = not hidden and str(cell_option(cell, defaults, "output")).lower() != "false"
    outputs = _outputs(part.result, displays, defaults)
    tags, view = [], {}
    if not show_code:
        tags.append("hide-input")
        view["source_hidden"] = True
    if not show_output and outputs:
        tags.append("hide-output")
        view["outputs_hidden"] = True
    if cell_option(cell, defaults, "error") is True:
        tags.append("raises-exception")
    metadata: dict[str, Any] = {"tags": tags} if tags else {}
    if view:
        metadata["jupyter"] = view
    for output in outputs:
        if "execution_count" in output:
            output["execution_count"] = count
    return nbformat.v4.new_code_cell(
        cell.code,
        id=name,
        execution_count=count,
        outputs=[nbformat.from_dict(output) for output in outputs],
        metadata=metadata,
    )


def _outputs(
    result: CellResult, displays: Sequence[str], defaults: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Outputs without dark pictures, vector copies, scripts and unwanted warnings.

    Markdown that the book shows is replaced by its resolved form: references become words.
    """
    cell = result.cell
    themes = cell.options.get("renderings") or []
    warnings = cell_option(cell, defaults, "warning") is not False
    pictures = 0
    kept: list[dict[str, Any]] = []
    for raw in result.outputs:
        output = copy.deepcopy(dict(raw))
        if output["output_type"] == "stream" and output["name"] == "stderr" and not warnings:
            continue
        if output["output_type"] in ("display_data", "execute_result"):
            data = dict(output["data"])
            if {"image/png", "image/svg+xml"} & set(data):
                theme = themes[pictures % len(themes)] if themes else ""
                pictures += 1
                if theme == "dark":
                    continue
            data = _static(data)
            if "image/png" in data:
                alt = cell.options.get("fig-alt") or cell.options.get("fig-cap")
                output["metadata"] = {"image/png": {"alt": str(alt)}} if alt else {}
            output["data"] = data
        kept.append(output)
    return _with_resolved(kept, displays)


def _static(data: dict[str, Any]) -> dict[str, Any]:
    """A bundle of displays that needs no script and no vector graphics."""
    if "image/svg+xml" in data and "image/png" not in data:
        svg = "".join(data["image/svg+xml"]).encode("utf-8")
        data["image/png"] = base64.b64encode(prose.svg_to_png(svg)).decode("ascii")
    data = {kind: value for kind, value in data.items() if kind in _KEPT}
    if re.search(r"<(script|iframe)\b", "".join(data.get("text/html", "")), re.IGNORECASE):
        del data["text/html"]
    return data


def _with_resolved(outputs: list[dict[str, Any]], displays: Sequence[str]) -> list[dict[str, Any]]:
    """Put the book's own text of Markdown displays in place of theirs."""
    shown = [o for o in outputs if "data" in o and "image/png" not in o["data"] and o["data"]]
    shown = [o for o in shown if "text/latex" not in o["data"] or "text/markdown" in o["data"]]
    if len(shown) == len(displays):
        for output, text in zip(shown, displays, strict=True):
            if "text/markdown" in output["data"]:
                output["data"]["text/markdown"] = text
    return outputs


def _reduce_colours(notebook: Any) -> None:
    """Store pictures with 256 colours: half to a quarter of the size, hardly visible in plots."""
    from PIL import Image

    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
                small = io.BytesIO()
                picture.convert("RGB").quantize(256).save(small, "PNG", optimize=True)
                data["image/png"] = base64.b64encode(small.getvalue()).decode("ascii")
