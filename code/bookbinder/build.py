"""Build a book: parse, execute, resolve, write; the former result stays until all is there."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bookbinder.document import resolve
from bookbinder.execute import Event, execute_book
from bookbinder.folders import check_output, staged
from bookbinder.model import Book, ExecutedChapter
from bookbinder.notebook import write_notebook
from bookbinder.parse import parse_chapter
from bookbinder.pdf import write_pdf
from bookbinder.project import chapter_files, load_project
from bookbinder.site import write_site

FORMATS = ("html", "pdf", "ipynb")


@dataclass
class Built:
    """What a build made and how long its steps took."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by step; chapters as ``execute report/x.qmd``."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the writers say of their results (pages, sizes …)."""


def resolve_book(
    root: Path,
    assets: Path,
    *,
    env: Mapping[str, str] | None = None,
    event: Event | None = None,
    after: Collection[str] = (),
    kernels: int = 1,
) -> tuple[dict[str, Book], list[ExecutedChapter]]:
    """Parse, execute and resolve the book in ``root``; pictures go to ``assets``.

    For ``env``, ``event``, ``after`` and ``kernels`` see `execute_book`.
    """
    project = load_project(root)
    sources = [parse_chapter(root, path) for path in chapter_files(project.entries)]
    executed = execute_book(project, sources, env=env, event=event, after=after, kernels=kernels)
    with _no_search_for_garbage():
        return resolve(project, executed, assets, dict(env or {})), executed


@contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """The trees of a book are millions of objects that all live on: a third of the time would go
    into looking for dead ones among them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def write_formats(
    books: Mapping[str, Book], staging: Path, formats: Sequence[str] = FORMATS
) -> Built:
    """Write the resolved book in each format into ``staging``, the PDF beside the others."""
    built = Built()
    name = books["html"].project.output_file
    writers: dict[str, Callable[[], Any]] = {
        "html": lambda: write_site(books["html"], staging),
        "pdf": lambda: write_pdf(books["typst"], staging / f"{name}.pdf"),
        "ipynb": lambda: write_notebook(books["ipynb"], staging / f"{name}.ipynb"),
    }

    def write(fmt: str) -> None:
        began = time.monotonic()
        built.facts[fmt] = writers[fmt]()
        built.seconds[f"write {fmt}"] = round(time.monotonic() - began, 2)

    # Typst sets the PDF outside Python, so the other formats can be written meanwhile.
    with _no_search_for_garbage(), ThreadPoolExecutor(1) as other:
        pdf = [other.submit(write, fmt) for fmt in formats if fmt == "pdf"]
        for fmt in formats:
            if fmt != "pdf":
                write(fmt)
        for waiting in pdf:
            waiting.result()
    return built


def build_book(
    root: Path,
    out: Path | None = None,
    *,
    formats: Sequence[str] = FORMATS,
    env: Mapping[str, str] | None = None,
) -> Built:
    """Build the book in ``root`` into ``out`` (default: the project's output folder).

    Args:
        root: folder of ``_quarto.yml``.
        out: replaced as a whole when everything worked; see `check_output`.
        formats: any of ``html``, ``pdf``, ``ipynb``.
        env: variables for the kernel and the filters.

    Raises:
        BookError: with file and line; ``out`` is then as it was.
    """
    root = root.resolve()
    own = root / load_project(root).output_dir
    out = out or own
    check_output(out, needed=[root], own=own)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bookbinder-") as folder:
        books, executed = resolve_book(root, Path(folder), env=env)
        resolved = time.monotonic() - began
        with staged(out, own=own) as staging:
            built = write_formats(books, staging, formats)
            spent = {f"execute {c.source.path}": round(c.seconds, 2) for c in executed}
            built.seconds = {**spent, "resolve": round(resolved - sum(spent.values()), 2),
                             **built.seconds}  # fmt: skip
    return built
