"""An executed chapter as Markdown: outputs stand where cells stood, inline values are filled in.

The result is read by Pandoc. Token text in outputs is untrusted: plain text goes into code blocks
with fences longer than any in it; only Markdown that a cell displays on purpose passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bookbinder.errors import BookError
from bookbinder.execute import write_images
from bookbinder.model import Cell, CellResult, ExecutedChapter
from bookbinder.parse import INLINE


def chapter_markdown(chapter: ExecutedChapter, assets: Path, stem: str) -> str:
    """Markdown of a chapter; pictures are written to ``assets/figures/<stem>``."""
    images = write_images(chapter, assets / "figures" / stem)
    return filled(chapter, lambda result: _cell(result, images, f"figures/{stem}"))


def filled(chapter: ExecutedChapter, show: Callable[[CellResult], str]) -> str:
    """The text of a chapter with its inline values, and what ``show`` makes of its cells."""
    results, values = iter(chapter.results), iter(chapter.inline)
    return "\n\n".join(
        show(next(results))
        if isinstance(segment, Cell)
        else INLINE.sub(lambda _: next(values), segment.text)
        for segment in chapter.source.segments
    )


def fence(text: str, classes: str) -> str:
    """A code block whose fence is longer than any run of backticks in ``text``."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{f' {{{classes}}}' if classes else ''}\n{text}\n{ticks}"


def _cell(result: CellResult, images: Mapping[Any, str], folder: str) -> str:
    cell = result.cell
    if cell.options.get("include") is False:
        return ""
    parts = [fence(cell.code, ".python .cell-code")] if not cell.hidden else []
    if outputs := _outputs(cell, result, images, folder):
        parts.append(outputs)
    body = "\n\n".join(parts)
    return f'::::: {{.cell index="{cell.index}"}}\n{body}\n:::::\n'


def _outputs(cell: Cell, result: CellResult, images: Mapping[Any, str], folder: str) -> str:
    """Everything that a cell shows, without warnings; with a caption it is a table."""
    shown = []
    themes = _themes(cell, sum(1 for key in images if key[0] == cell.index))
    for number, output in enumerate(result.outputs):
        if output["output_type"] == "stream":
            if output["name"] == "stdout":
                text = fence(output["text"].rstrip("\n"), ".text")
                shown.append(f"::: {{.cell-output .cell-output-stdout}}\n{text}\n:::")
        elif (cell.index, number) in images:
            shown.append(_image(cell, f"{folder}/{images[cell.index, number]}.svg", next(themes)))
        else:
            shown.append(_display(output["data"]))
    body = "\n\n".join(part for part in shown if part)
    if body and (caption := cell.options.get("tbl-cap")):
        return f":::: {{#{cell.label}}}\n{body}\n\n{' '.join(caption.split())}\n::::"
    return body


def _themes(cell: Cell, pictures: int) -> Any:
    """The page for which each picture is drawn: the option ``renderings`` names them in order."""
    named = cell.options.get("renderings") or ["figure"]
    if pictures % len(named):
        raise BookError(
            f"{len(named)} renderings are named, but the cell shows {pictures} picture(s).",
            cell.file,
            cell.line,
        )
    return iter(named * (pictures // len(named)))


def _image(cell: Cell, url: str, theme: str) -> str:
    alt = " ".join(cell.options.get("fig-alt", "").split())
    safe = re.sub(r"([\\`*_{}\[\]<>$@^~|#])", r"\\\1", alt)
    name = "figure" if theme == "figure" else f"{theme}-content"
    # A picture in a paragraph of its own would become a figure; the break keeps it an image.
    return f"![{safe}]({url}){{.{name}}}\\"


def _display(data: Mapping[str, Any]) -> str:
    """Markdown, or the plain text of anything else."""
    text = data.get("text/markdown") or fence(data.get("text/plain", ""), ".text")
    return f"::: {{.cell-output .cell-output-display}}\n{text}\n:::" if data else ""
