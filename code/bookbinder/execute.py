"""Run all chapters in one kernel, in order, as a reader of the notebook would.

Cells and inline expressions are evaluated in the order of the text. A failed cell ends the run with
its chapter, label and error. Pictures come as SVG for pages and PNG for the notebook.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bookbinder.errors import BookError
from bookbinder.model import Cell, CellResult, ChapterSource, ExecutedChapter, Project
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
RESET = "get_ipython().run_line_magic('reset', '-f')"

Event = Callable[[str, int, int], None]
"""Called with chapter path, number of the chapter and number of chapters when one starts."""


def execute_book(
    project: Project,
    sources: Sequence[ChapterSource],
    *,
    env: Mapping[str, str] | None = None,
    event: Event | None = None,
) -> list[ExecutedChapter]:
    """Execute chapters in one kernel whose working folder is the project's root.

    Raises:
        BookError: a cell or an inline expression failed.
        KeyboardInterrupt: passed on after the kernel was ended.
    """
    if not any(_runs(source) for source in sources):
        return [ExecutedChapter(s, (), (), 0.0) for s in sources]
    import os

    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(
        kernel_name="python3",
        cwd=str(project.root),
        env={**os.environ, **(env or {})},
        # The kernel only listens on this machine; its warning about that would alarm readers.
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    try:
        kernel = _Kernel(client)
        done = []
        for number, source in enumerate(sources, start=1):
            if event:
                event(source.path, number, len(sources))
            kernel.run(RESET + SETUP)
            done.append(_chapter(kernel, project, source))
        return done
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _runs(source: ChapterSource) -> bool:
    return bool(source.cells) or any(
        INLINE.search(s.text) for s in source.segments if not isinstance(s, Cell)
    )


def _chapter(kernel: _Kernel, project: Project, source: ChapterSource) -> ExecutedChapter:
    began = time.monotonic()
    results, inline = [], []
    for segment in source.segments:
        if isinstance(segment, Cell):
            results.append(_run_cell(kernel, project, source, segment))
        else:
            for found in INLINE.finditer(segment.text):
                file, line = line_of(segment, found.start())
                inline.append(_inline(kernel, found[1], file, line))
    return ExecutedChapter(source, tuple(results), tuple(inline), time.monotonic() - began)


def _run_cell(kernel: _Kernel, project: Project, source: ChapterSource, cell: Cell) -> CellResult:
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
def _bb_inline(_value):
    import json
    _markdown = getattr(_value, "_repr_markdown_", None)
    if callable(_markdown):
        return json.dumps({"markdown": _markdown()})
    return json.dumps({"text": str(_value)})
print(_bb_inline(%s), end="")
del _bb_inline
"""


def _inline(kernel: _Kernel, expression: str, file: str, line: int) -> str:
    outputs, _ = kernel.run(_SHOW_INLINE % expression)
    for output in outputs:
        if output["output_type"] == "error":
            raise BookError(
                f"the inline value “{expression}” failed: {output['ename']}: "
                f"{_plain(output['evalue'])}",
                file,
                line,
            )
    text = "".join(o["text"] for o in outputs if o["output_type"] == "stream")
    value = json.loads(text.strip().splitlines()[-1])
    return value["markdown"] if "markdown" in value else escape_inline(value["text"])


def escape_inline(text: str) -> str:
    """Plain text that Markdown prints as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|$@^~'\"])", r"\\\1", text)


class _Kernel:
    """One kernel: run code, wait, collect what it displays."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def run(self, code: str) -> tuple[list[dict[str, Any]], int | None]:
        """Outputs in notebook form and the number of the execution."""
        import nbformat

        outputs: list[dict[str, Any]] = []
        reply = self.client.execute_interactive(
            code, store_history=True, allow_stdin=False, output_hook=_collect(outputs, nbformat)
        )
        return outputs, reply["content"].get("execution_count")


def _collect(outputs: list[dict[str, Any]], nbformat: Any) -> Callable[[Mapping[str, Any]], None]:
    def hook(message: Mapping[str, Any]) -> None:
        kind = message["header"]["msg_type"]
        if kind in ("display_data", "execute_result", "stream", "error"):
            found = dict(nbformat.v4.output_from_msg(message))
            last = outputs[-1] if outputs else {}
            if kind == "stream" and last.get("name") == found["name"]:
                last["text"] += found["text"]
            else:
                outputs.append(found)

    return hook


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
