"""Cells of the notebook with what they put out: static, light, and as the book shows it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import nbformat

from bookbinder.model import CellResult
from bookbinder.notebook.order import Code

_KEPT = ("text/plain", "text/markdown", "text/html", "image/png")


def code_cell(part: Code, displays: Sequence[str], name: str, count: int) -> Any:
    """An executed cell: ``displays`` are the book's own words for what it shows as Markdown."""
    cell = part.result.cell
    outputs = _outputs(part.result, displays)
    for output in outputs:
        if "execution_count" in output:
            output["execution_count"] = count
    return nbformat.v4.new_code_cell(
        "\n".join([*part.before, "", cell.code]) if part.before else cell.code,
        id=name,
        execution_count=count,
        outputs=[nbformat.from_dict(output) for output in outputs],
    )


def _outputs(result: CellResult, displays: Sequence[str]) -> list[dict[str, Any]]:
    """Outputs without dark pictures, vector copies and warnings.

    Markdown that the book shows is replaced by its resolved form: references become words.
    """
    cell = result.cell
    themes = cell.options.get("renderings") or []
    pictures = 0
    kept: list[dict[str, Any]] = []
    for raw in result.outputs:
        output = copy.deepcopy(dict(raw))
        if output["output_type"] == "stream" and output["name"] == "stderr":
            continue
        if output["output_type"] in ("display_data", "execute_result"):
            data = dict(output["data"])
            if {"image/png", "image/svg+xml"} & set(data):
                theme = themes[pictures % len(themes)] if themes else ""
                pictures += 1
                if theme == "dark":
                    continue
            data = {kind: value for kind, value in data.items() if kind in _KEPT}
            if "image/png" in data:
                alt = cell.options.get("fig-alt")
                output["metadata"] = {"image/png": {"alt": str(alt)}} if alt else {}
            output["data"] = data
        kept.append(output)
    return _with_resolved(kept, displays)


def _with_resolved(outputs: list[dict[str, Any]], displays: Sequence[str]) -> list[dict[str, Any]]:
    """Put the book's own text of Markdown displays in place of theirs."""
    shown = [o for o in outputs if "data" in o and "image/png" not in o["data"] and o["data"]]
    if len(shown) == len(displays):
        for output, text in zip(shown, displays, strict=True):
            if "text/markdown" in output["data"]:
                output["data"]["text/markdown"] = text
    return outputs
