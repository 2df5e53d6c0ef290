"""Executed chapters as the pages that Quarto keeps in `_freeze`, so that it executes none of them.

A page is a JSON file for each format: the MD5 sum of its source (lines end with LF), and the
Markdown in which outputs stand where cells stood (`freeze.ts` and `jupyter.ts` of quarto-cli). A
page whose source has changed since is executed by Quarto itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from bookbinder.execute import write_images
from bookbinder.markdown import fence, filled
from bookbinder.model import CellResult, ExecutedChapter, Project

FORMATS = {"html": "figure-html", "typ": "figure-typst"}
"""How the output of each format ends, and the folder of its pictures."""
_FORWARDED = ("renderings", "tbl-cap")
"""Options of a cell that Quarto's filters read from its block."""


def freeze(executed: Sequence[ExecutedChapter], project: Project, folder: Path) -> None:
    """Write executed chapters of a project into ``folder``, its `_freeze`."""
    names = {entry.path: entry.title for entry in project.entries}
    for chapter in executed:
        path = PurePosixPath(chapter.source.path)
        own, files = folder / path.with_suffix(""), f"{path.stem}_files"
        source = (project.root / path).read_text("utf-8")
        digest = hashlib.md5(source.encode(), usedforsecurity=False).hexdigest()
        for name, pictures in FORMATS.items():
            images = write_images(chapter, own / pictures, ["image/svg+xml"])
            show = partial(_cell, images=images, folder=f"{files}/{pictures}")
            text = filled(chapter, show)
            # In a PDF Quarto takes the first heading of any level for the title.
            if name == "typ" and not re.search("(?m)^# ", source.split("```")[0]):
                text = f"# {names.get(str(path)) or 'Home'} {{.unnumbered}}\n\n{text}"
            # Pictures are removed or taken along once the format is rendered: each has its own.
            kept = {"supporting": [f"{files}/{pictures}"], "filters": []}
            result = {"engine": "jupyter", "markdown": text, **kept}
            file = own / "execute-results" / f"{name}.json"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps({"hash": digest, "result": result}, indent=2), "utf-8")


def _cell(result: CellResult, images: Mapping[Any, str], folder: str) -> str:
    cell = result.cell
    if cell.options.get("include") is False:
        return ""
    parts = [] if cell.hidden else [fence(cell.code, ".python .cell-code")]
    for number, output in enumerate(result.outputs):
        name = images.get((cell.index, number))
        if output["output_type"] == "stream":
            if output["name"] == "stdout":
                parts.append(_output("stdout", fence(output["text"].rstrip("\n"), "")))
        elif name:
            alt = _quoted(cell.options.get("fig-alt", ""))
            parts.append(_output("display", f"![]({folder}/{name}.svg){{fig-alt={alt}}}"))
        elif markdown := output["data"].get("text/markdown"):
            parts.append(_output("display .cell-output-markdown", markdown))
        elif plain := output["data"].get("text/plain"):
            parts.append(_output("display", fence(plain, "")))
    label = f"#{cell.label} " if cell.label else ""
    told = "".join(f" {k}={_quoted(cell.options[k])}" for k in _FORWARDED if k in cell.options)
    body = "\n\n".join(parts)
    return f"::: {{{label}.cell{told}}}\n{body}\n:::" if parts else ""


def _output(kind: str, text: str) -> str:
    return f"::: {{.cell-output .cell-output-{kind}}}\n{text}\n:::"


def _quoted(value: Any) -> str:
    """An attribute's value; what is no text becomes JSON."""
    text = " ".join(value.split()) if isinstance(value, str) else json.dumps(value)
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
