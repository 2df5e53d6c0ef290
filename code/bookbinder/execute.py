"""Run the cells and inline expressions of chapters, as a reader of the notebook would.

Within a chapter they are evaluated in the order of the text. A failed cell ends the run with its
chapter, label and error. Pictures come as SVG for pages and PNG for the notebook.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import json
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bookbinder.errors import BookError
from bookbinder.model import Cell, CellResult, ChapterSource, ExecutedChapter, Markdown, Project
from bookbinder.parse import INLINE

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

_QUIET = [
    # It only listens on this machine; its warning about that would alarm readers.
    "--IPKernelApp.log_level=ERROR",
    # Chapters are no lines that the user typed, and nobody asks for outputs by their number.
    "--HistoryManager.enabled=False",
    "--InteractiveShell.cache_size=0",
]
_IDLE_S = 600
"""How long outputs may still come after the kernel has told that a cell has ended."""

Run = Callable[[str], Awaitable[list[dict[str, Any]]]]
"""Executes code and returns its outputs in notebook form."""
Event = Callable[[str, int, int], None]
"""Called with chapter path, number of the chapter and number of chapters when one starts."""


def execute_book(
    project: Project,
    sources: Sequence[ChapterSource],
    *,
    env: Mapping[str, str] | None = None,
    event: Event | None = None,
    after: Collection[str] = (),
    kernels: int = 1,
) -> list[ExecutedChapter]:
    """Execute chapters in kernels whose working folder is the project's root.

    Every chapter starts with an empty namespace; what modules hold, a loaded model for one, stays
    for the next chapter in the same kernel.

    Args:
        project: the book.
        sources: its chapters.
        env: variables for the kernels.
        event: called when a chapter starts.
        after: paths of chapters that read what the others leave behind; they come last, in order.
        kernels: how many work side by side; each takes the next chapter that nobody has taken.

    Raises:
        BookError: a cell or an inline expression failed, or a kernel died.
    """
    segments = [segment for source in sources for segment in source.segments]
    if not any(isinstance(s, Cell) or INLINE.search(s.text) for s in segments):
        return [ExecutedChapter(source, (), (), 0.0) for source in sources]
    done: dict[str, ExecutedChapter] = {}

    async def execute(run: Run, source: ChapterSource) -> None:
        if event:
            event(source.path, len(begun) + 1, len(sources))
        begun.append(source)
        await run(RESET + SETUP)
        done[source.path] = await _chapter(run, source)

    async def work(last: Sequence[ChapterSource]) -> None:
        async with kernel(project.root, env or {}) as run:
            while waiting:
                await execute(run, waiting.popleft())
            if last:
                await asyncio.gather(*others)
            for source in last:
                await execute(run, source)

    async def all_of_it() -> None:
        async with asyncio.TaskGroup() as group:
            others.extend(group.create_task(work(())) for _ in range(kernels - 1))
            group.create_task(work([source for source in sources if source.path in after]))

    waiting = deque(source for source in sources if source.path not in after)
    begun: list[ChapterSource] = []
    others: list[asyncio.Task[None]] = []
    try:
        asyncio.run(all_of_it())
    except* BookError as errors:
        raise errors.exceptions[0] from None
    return [done[source.path] for source in sources]


@asynccontextmanager
async def kernel(folder: Path, env: Mapping[str, str]) -> AsyncIterator[Run]:
    """A kernel in a process of its own, which ends with the ``with`` block."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError
    from nbclient.util import ensure_async

    client = NotebookClient(
        nbformat.v4.new_notebook(),
        timeout=None,
        iopub_timeout=_IDLE_S,
        kernel_name="python3",
        allow_errors=True,
        coalesce_streams=True,
        extra_arguments=_QUIET,
        resources={"metadata": {"path": str(folder)}},
    )

    async def run(code: str) -> list[dict[str, Any]]:
        cell = nbformat.v4.new_code_cell(code)
        client.nb.cells = [cell]
        try:
            await client.async_execute_cell(cell, 0)
        except DeadKernelError:
            task = asyncio.current_task()
            if task and task.cancelling():  # nbclient takes that for a dead kernel
                raise asyncio.CancelledError from None
            raise BookError(
                "the Python process that runs the chapters ended by itself; perhaps the memory of "
                "this machine ran out."
            ) from None
        return cell.outputs

    # Not `async_setup_kernel`: it takes the handlers of signals away from the program.
    client.km = client.create_kernel_manager()
    try:
        await client.async_start_new_kernel(env={**os.environ, **env})
        await client.async_start_new_kernel_client()
        yield run
    finally:
        if client.kc:
            client.kc.stop_channels()
        # At once: a kernel that tidies up can still crash, and its words reach the user.
        await ensure_async(client.km.shutdown_kernel(now=True))


async def _chapter(run: Run, source: ChapterSource) -> ExecutedChapter:
    began = time.monotonic()
    results, inline = [], []
    for segment in source.segments:
        if isinstance(segment, Cell):
            results.append(await _run_cell(run, segment))
        else:
            inline += await inline_values(run, segment)
    return ExecutedChapter(source, tuple(results), tuple(inline), time.monotonic() - began)


async def _run_cell(run: Run, cell: Cell) -> CellResult:
    began = time.monotonic()
    outputs = await run(cell.code)
    if failed := next((o for o in outputs if o["output_type"] == "error"), None):
        name = f"cell “{cell.label}”" if cell.label else f"cell {cell.index + 1}"
        raise BookError(
            f"{name} failed: {failed['ename']}: {_plain(failed['evalue'])}{_where(failed)}",
            cell.file,
            cell.line,
        )
    return CellResult(cell, tuple(outputs), time.monotonic() - began)


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


async def inline_values(run: Run, prose: Markdown) -> list[str]:
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
    outputs = await run(_SHOW_INLINE % "\n".join(lines))
    text = "".join(o["text"] for o in outputs if o.get("name") == "stdout")
    values = json.loads(text.splitlines()[-1])
    for output in outputs:
        if output["output_type"] == "error":
            failed = found[len(values)]
            raise _inline_error(failed, prose, output["ename"], _plain(output["evalue"]))
    return [v["markdown"] if "markdown" in v else escape_inline(v["text"]) for v in values]


def _inline_error(found: re.Match[str], prose: Markdown, kind: str, why: str) -> BookError:
    message = f"the inline value “{found[1]}” failed: {kind}: {why}"
    return BookError(message, prose.file, prose.line_of(found.start()))


def escape_inline(text: str) -> str:
    """Plain text that Markdown prints as it is; quotation marks are curved, as in all prose."""
    return re.sub(r"([\\`*_{}\[\]<>#|$@^~])", r"\\\1", text)


IMAGES = {"image/svg+xml": ".svg", "image/png": ".png"}
"""Kinds of pictures that cells display, and the ends of their files' names."""


def write_images(
    chapter: ExecutedChapter, folder: Path, kinds: Collection[str] = tuple(IMAGES)
) -> dict[tuple[int, int], str]:
    """Write the pictures of a chapter's cells; names by (cell, output) without suffix."""
    names: dict[tuple[int, int], str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for result in chapter.results:
        pictures = [n for n, o in enumerate(result.outputs) if IMAGES.keys() & o.get("data", {})]
        for count, number in enumerate(pictures, start=1):
            stem = f"{result.cell.label or f'cell-{result.cell.index + 1}'}-{count}"
            names[result.cell.index, number] = stem
            data = result.outputs[number]["data"]
            for kind in set(kinds) & data.keys():
                raw = data[kind].encode() if "xml" in kind else base64.b64decode(data[kind])
                (folder / (stem + IMAGES[kind])).write_bytes(raw)
    return names
