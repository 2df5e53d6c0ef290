"""The whole book as one executed notebook that runs again and reads well in every viewer.

Code and outputs are those of the one execution; text comes from the resolved tree (`prose`). Only
static PNG pictures are kept. A first cell moves to the project's root and says what is missing.
"""

from __future__ import annotations

import ast as python
import base64
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from bookbinder import prose
from bookbinder.errors import BookError
from bookbinder.model import Book, Node
from bookbinder.notebook.order import Code, Text, parts
from bookbinder.notebook.outputs import code_cell, reduce_colours
from bookbinder.prose import Prose

MAX_BYTES = 5_000_000
_ATTACHED = re.compile(r"\(attachment:([^)\s]+)\)")

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
        reduce_colours(notebook)
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


def _notebook(book: Book) -> Any:
    writer = Prose(book.assets)
    named = list(parts(book, writer))
    pieces: list[list[Node]] = []
    for _, part in named:
        pieces += [part.blocks] if isinstance(part, Text) else part.displays
    written = iter(prose.to_markdown(pieces))
    sources = [part.result.cell.code for _, part in named if isinstance(part, Code)]
    cells: list[Any] = []
    count = 1
    for name, part in named:
        if isinstance(part, Text):
            cells.append(_markdown_cell(next(written), name, writer.pictures))
            if name == "title":
                cells.append(_setup_cell(book, sources))
        else:
            count += 1
            displays = [next(written) for _ in part.displays]
            cells.append(code_cell(part, displays, book.project.execute, name, count))
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


def _setup_cell(book: Book, sources: Sequence[str]) -> Any:
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
