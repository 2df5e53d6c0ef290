"""Run the cells and inline expressions of chapters, as a reader of the notebook would.

Within a chapter they are evaluated in the order of the text. A failed cell ends the run with its
chapter, label and error. Pictures come as SVG for pages and PNG for the notebook.
"""

from __future__ import annotations

import ast
import json
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from bookbinder.errors import BookError
from bookbinder.kernel import Kernel
from bookbinder.model import (
    Cell,
    CellResult,
    ChapterSource,
    ExecutedChapter,
    Markdown,
    Project,
)
from bookbinder.parse import INLINE, cell_option, line_of

SETUP = """
import os as _os
_os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
try:
    get_ipython().run_line_magic("matplotlib", "inline")
    get_ipython().run_line_magic("config", "InlineBackend.figure_formats = {'svg', 'png'}")
    get_ipython().run_line_magic(
        "config", "InlineBackend.print_figure_kwargs = {'bbox_inches': None}"
    )
except Exception:
    pass
"""
RESET = "get_ipython().reset()"
"""Unlike the magic word, which also searches the whole memory for garbage, several times."""

_REFERENCE = re.compile(r"@(sec|fig|tbl|eq)-[\w-]+")
"""A cross-reference, which is resolved in prose and not in a value."""

Event = Callable[[str, int, int], None]
"""Called with chapter path, number of the chapter and number of chapters when one starts."""


def execute_book(
    project: Project,
    sources: Sequence[ChapterSource],
    *,
    env: Mapping[str, str] | None = None,
    event: Event | None = None,
    after: Collection[str] = (),
) -> list[ExecutedChapter]:
    """Execute chapters in one kernel whose working folder is the project's root.

    Every chapter starts with an empty namespace; what modules hold, a loaded model for one, stays
    for all of them.

    Args:
        project: the book.
        sources: its chapters.
        env: variables for the kernel.
        event: called when a chapter starts.
        after: paths of chapters that read what the others leave behind; they come last.

    Raises:
        BookError: a cell or an inline expression failed, or the kernel died.
    """
    if not any(_runs(source) for source in sources):
        return [ExecutedChapter(s, (), (), 0.0) for s in sources]
    done: dict[str, ExecutedChapter] = {}
    with Kernel(project.root, env) as kernel:
        in_order = sorted(sources, key=lambda source: source.path in after)
        for number, source in enumerate(in_order, start=1):
            if event:
                event(source.path, number, len(sources))
            kernel.run(RESET + SETUP)
            done[source.path] = _chapter(kernel, project, source)
    return [done[source.path] for source in sources]


def _runs(source: ChapterSource) -> bool:
    return bool(source.cells) or any(
        INLINE.search(s.text) for s in source.segments if not isinstance(s, Cell)
    )


def _chapter(kernel: Kernel, project: Project, source: ChapterSource) -> ExecutedChapter:
    began = time.monotonic()
    results, inline = [], []
    for segment in source.segments:
        if isinstance(segment, Cell):
            results.append(_run_cell(kernel, project, source, segment))
        else:
            inline += _inline(kernel, segment)
    return ExecutedChapter(source, tuple(results), tuple(inline), time.monotonic() - began)


def _run_cell(kernel: Kernel, project: Project, source: ChapterSource, cell: Cell) -> CellResult:
    if cell_option(cell, project.execute, "eval") is False:
        return CellResult(cell, (), None, 0.0)
    began = time.monotonic()
    outputs, count = kernel.run(cell.code)
    failed = next((o for o in outputs if o["output_type"] == "error"), None)
    if failed and cell_option(cell, project.execute, "error") is not True:
        name = f"cell “{cell.label}”" if cell.label else f"cell {cell.index + 1}"
        raise BookError(
            f"{name} failed: {failed['ename']}: {_plain(failed['evalue'])}{_where(failed)}",
            cell.file,
            cell.line,
        )
    return CellResult(cell, tuple(outputs), count, time.monotonic() - began)


def _where(failed: Mapping[str, Any]) -> str:
    """The last line of the reader's own code in the trace."""
    trace = _plain("\n".join(failed.get("traceback", ())))
    arrow = [line for line in trace.splitlines() if line.lstrip().startswith(("---->", "-->"))]
    return f" (at {arrow[-1].split(maxsplit=2)[-1].strip()})" if arrow else ""


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text).strip()


_SHOW_INLINE = """
def _bb_inline(_expression):
    try:
        _value = _expression()
    except Exception as _why:  # one that can be shown stands for the value that it refuses
        if not callable(getattr(_why, "_repr_markdown_", None)):
            raise
        _value = _why
    _markdown = getattr(_value, "_repr_markdown_", None)
    return {"markdown": _markdown()} if callable(_markdown) else {"text": str(_value)}
_bb_shown = []
try:
%s
finally:
    import json as _bb_json
    print("\\n" + _bb_json.dumps(_bb_shown), end="")
    del _bb_inline, _bb_shown, _bb_json
"""


def _inline(kernel: Kernel, prose: Markdown) -> list[str]:
    """Values of all expressions in a piece of prose, in one turn of the kernel.

    There are hundreds in a chapter, and a turn costs more than most of them.
    """
    found = list(INLINE.finditer(prose.text))
    if not found:
        return []
    for match in found:
        try:
            compile(match[1], "inline", "eval", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError as error:
            raise _inline_error(match, prose, "SyntaxError", error.msg) from None
    lines = [f"    _bb_shown.append(_bb_inline(lambda: ({match[1]})))" for match in found]
    outputs, _ = kernel.run(_SHOW_INLINE % "\n".join(lines))
    text = "".join(o["text"] for o in outputs if o.get("name") == "stdout")
    values = json.loads(text.splitlines()[-1])
    for output in outputs:
        if output["output_type"] == "error":
            failed = found[len(values)]
            raise _inline_error(failed, prose, output["ename"], _plain(output["evalue"]))
    for match, value in zip(found, values, strict=True):
        if lost := _REFERENCE.search(value.get("text", "")):
            raise _inline_error(
                match,
                prose,
                "reference",
                f"“{lost[0]}” would be printed as it is; put it in the text",
            )
    return [v["markdown"] if "markdown" in v else escape_inline(v["text"]) for v in values]


def _inline_error(found: re.Match[str], prose: Markdown, kind: str, why: str) -> BookError:
    file, line = line_of(prose, found.start())
    return BookError(f"the inline value “{found[1]}” failed: {kind}: {why}", file, line)


def escape_inline(text: str) -> str:
    """Plain text that Markdown prints as it is; quotation marks are curved, as in all prose."""
    return re.sub(r"([\\`*_{}\[\]<>#|$@^~])", r"\\\1", text)


def image_bytes(data: Mapping[str, Any], kind: str) -> bytes | None:
    """The bytes of an image in a bundle of displays; None if it has none of this kind."""
    import base64

    value = data.get(kind)
    if value is None:
        return None
    text = "".join(value) if isinstance(value, list) else value
    return text.encode("utf-8") if kind == "image/svg+xml" else base64.b64decode(text)


def write_images(chapter: ExecutedChapter, folder: Path) -> dict[tuple[int, int], str]:
    """Write the pictures of a chapter's cells; names by (cell, output) without suffix."""
    names = {}
    for result in chapter.results:
        pictures = 0
        for number, output in enumerate(result.outputs):
            data = output.get("data", {})
            kinds = [k for k in ("image/svg+xml", "image/png") if k in data]
            if not kinds:
                continue
            stem = f"{result.cell.label or f'cell-{result.cell.index + 1}'}-{pictures + 1}"
            pictures += 1
            folder.mkdir(parents=True, exist_ok=True)
            for kind in kinds:
                raw = image_bytes(data, kind)
                suffix = ".svg" if kind == "image/svg+xml" else ".png"
                if raw is not None:
                    (folder / (stem + suffix)).write_bytes(raw)
            names[result.cell.index, number] = stem
    return names
