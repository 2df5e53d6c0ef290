"""An executed chapter as Markdown: outputs stand where cells stood, inline values are filled in.

The result is read by Pandoc. Token text in outputs is untrusted: plain text goes into code blocks
with fences longer than any in it; only Markdown and HTML that a cell displays on purpose pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bookbinder.errors import BookError
from bookbinder.execute import write_images
from bookbinder.model import Cell, CellResult, ExecutedChapter, Project
from bookbinder.parse import INLINE, cell_option

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def chapter_markdown(project: Project, chapter: ExecutedChapter, assets: Any, stem: str) -> str:
    """Markdown of a chapter; pictures are written to ``assets/figures/<stem>``."""
    images = write_images(chapter, assets / "figures" / stem)
    results = {r.cell.index: r for r in chapter.results}
    values = iter(chapter.inline)
    parts = []
    for segment in chapter.source.segments:
        if isinstance(segment, Cell):
            result = results.get(segment.index) or CellResult(segment, (), None, 0.0)
            text = _cell(project, result, images, f"figures/{stem}")
            parts.append(_indent(text, segment.indent))
        else:
            text = INLINE.sub(lambda _: next(values), segment.text)
            parts.append(text)
    return "\n\n".join(parts)


def _indent(text: str, indent: str) -> str:
    return "\n".join(indent + line if line else line for line in text.split("\n"))


def fence(text: str, classes: str) -> str:
    """A code block whose fence is longer than any run of backticks in ``text``."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks} {{{classes}}}\n{text}\n{ticks}"


def _cell(project: Project, result: CellResult, images: Mapping[Any, str], folder: str) -> str:
    cell = result.cell
    defaults = project.execute

    def option(key: str) -> Any:
        return cell_option(cell, defaults, key)

    hidden = option("include") is False
    parts = []
    if option("echo") is not False and cell.code.strip():
        parts.append(fence(cell.code, ".python .cell-code"))
    if option("output") is not False and option("output") != "false":
        parts += _outputs(cell, result, images, folder, warnings=option("warning") is not False)
    body = "\n\n".join(parts)
    classes = " ".join(f".{name}" for name in cell.options.get("classes", "").split())
    return (
        f'::::: {{.cell {classes} index="{cell.index}" hidden="{str(hidden).lower()}"}}\n'
        f"{body}\n:::::\n"
    )


def _outputs(
    cell: Cell, result: CellResult, images: Mapping[Any, str], folder: str, *, warnings: bool
) -> list[str]:
    shown = []
    pictures = sum(1 for key in images if key[0] == cell.index)
    themes = _themes(cell, pictures)
    for number, output in enumerate(result.outputs):
        if output["output_type"] == "stream":
            if output["name"] == "stderr" and not warnings:
                continue
            text = _ANSI.sub("", output["text"]).rstrip("\n")
            shown.append(f"::: {{.cell-output .cell-output-{output['name']}}}\n"
                         f"{fence(text, '.text')}\n:::")  # fmt: skip
        elif output["output_type"] == "error":
            text = _ANSI.sub("", "\n".join(output["traceback"]))
            shown.append(f"::: {{.cell-output .cell-output-error}}\n{fence(text, '.text')}\n:::")
        elif (cell.index, number) in images:
            theme = next(themes)
            shown.append(_image(cell, f"{folder}/{images[cell.index, number]}.svg", theme))
        else:
            shown.append(_display(output.get("data", {})))
    body = "\n\n".join(part for part in shown if part)
    return [_float(cell, body)] if body else []


def _themes(cell: Cell, pictures: int) -> Any:
    """The page for which each picture is drawn: the option ``renderings`` names them in order."""
    named = cell.options.get("renderings")
    if not named:
        return iter([""] * pictures)
    if not isinstance(named, list) or set(named) - {"light", "dark"}:
        raise BookError("renderings must be [light, dark].", cell.file, cell.line)
    if pictures % len(named):
        raise BookError(
            f"{len(named)} renderings are named, but the cell shows {pictures} picture(s).",
            cell.file,
            cell.line,
        )
    return iter(list(named) * (pictures // len(named)))


def _image(cell: Cell, url: str, theme: str) -> str:
    alt = str(cell.options.get("fig-alt") or cell.options.get("fig-cap") or "")
    safe = re.sub(r"([\\`*_{}\[\]<>$@^~|#])", r"\\\1", " ".join(alt.split()))
    classes = f"{{.{theme}-content}}" if theme else "{.figure}"
    # A picture in a paragraph of its own would become a figure; the note keeps it an image.
    return f"![{safe}]({url}){classes}\\"


def _display(data: Mapping[str, Any]) -> str:
    if "text/markdown" in data:
        return f"::: {{.cell-output .cell-output-display}}\n{_text(data['text/markdown'])}\n:::"
    if "text/html" in data:
        # An empty heading, as pandas writes one for its index, names nothing.
        html = re.sub(r"<th>\s*</th>", "<td></td>", _text(data["text/html"]))
        plain = _text(data.get("text/plain", ""))
        return (
            "::: {.cell-output .cell-output-display}\n"
            f"::: {{.bb-html-only}}\n```` {{=html}}\n{html}\n````\n:::\n\n"
            f"::: {{.bb-not-html}}\n{fence(plain, '.text')}\n:::\n:::"
        )
    if "text/latex" in data:
        return _text(data["text/latex"])
    plain = _text(data.get("text/plain", ""))
    if not plain:
        return ""
    return f"::: {{.cell-output .cell-output-display}}\n{fence(plain, '.text')}\n:::"


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def _float(cell: Cell, body: str) -> str:
    """Outputs of a labelled cell are a figure or table with the cell's caption."""
    label = cell.label or ""
    kind = label.split("-")[0]
    caption = cell.options.get(f"{kind}-cap") if kind in ("fig", "tbl") else None
    if not caption:
        return body
    return f":::: {{#{label}}}\n{body}\n\n{' '.join(str(caption).split())}\n::::"
