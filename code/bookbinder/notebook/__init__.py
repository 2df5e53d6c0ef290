"""The whole book as one executed notebook that runs again and reads well in every viewer.

Code and outputs are those of the one execution; text comes from the resolved tree (`prose`). Only
static PNG pictures are kept. A first cell moves to the project's root where there is one.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from bookbinder import prose
from bookbinder.errors import BookError
from bookbinder.model import Book, Node
from bookbinder.notebook.order import Code, Text, parts
from bookbinder.notebook.outputs import code_cell
from bookbinder.prose import Prose, linked_ids

MAX_BYTES = 5_000_000
_ATTACHED = re.compile(r"\(attachment:([^)\s]+)\)")

_SETUP = """\
# Run this first. Inside the project's folder its files are found from here; elsewhere
# only the cells that read no files run.
import os
from pathlib import Path

{environment}
folders = (Path.cwd(), *Path.cwd().parents)
os.chdir(next((f for f in folders if (f / "_quarto.yml").is_file()), "."))"""


def write_notebook(book: Book, out_file: Path) -> dict[str, Any]:
    """Write ``book`` (its ``ipynb`` view) as an executed notebook.

    Returns:
        Facts for the record of the build: ``cells``, ``code_cells``, ``bytes``.

    Raises:
        BookError: the notebook is not valid, or larger than 5 MB.
    """
    notebook = _notebook(book)
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
    writer = Prose(book.assets, linked_ids(book))
    named = list(parts(book, writer))
    pieces: list[list[Node]] = []
    for _, part in named:
        if isinstance(part, Text):
            pieces.append(part.blocks)
        elif isinstance(part, Code):
            pieces += part.displays
    written = iter(prose.to_markdown(pieces))
    cells: list[Any] = []
    count = 0
    for name, part in named:
        if isinstance(part, Text):
            cells.append(_markdown_cell(next(written), name, writer.pictures))
            continue
        if not count:
            count += 1
            cells.append(_environment_cell(book))
        count += 1
        if isinstance(part, Code):
            displays = [next(written) for _ in part.displays]
            cells.append(code_cell(part, displays, name, count))
        else:
            cells.append(nbformat.v4.new_code_cell(part.code, id=name, execution_count=count))
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
            file: {"image/png": base64.b64encode(data).decode("ascii")}
            for file, data in attached.items()
        }
    return cell


def _environment_cell(book: Book) -> Any:
    environment = {"BOOK_RENDERINGS": "light", **book.environment}
    lines = (
        f"os.environ.setdefault({json.dumps(k)}, {json.dumps(v)})" for k, v in environment.items()
    )
    code = _SETUP.format(environment="\n".join(lines))
    return nbformat.v4.new_code_cell(code, id="setup", execution_count=1)
