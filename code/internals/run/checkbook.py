"""Check a rendered report as a reader would meet it: files, links, notebook, PDF, evidence.

Used after `make report` by the continuous run; it renders and measures nothing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bookbinder.folders import own_folder
from internals.paths import BUILD, ROOT

NOTEBOOK_LIMIT_BYTES = 5_000_000
PAGE_LIMIT_BYTES = 2_000_000


def check_book(book: Path) -> list[str]:
    """Everything that is wrong with the report in ``book``, one sentence each."""
    checks = (_site, _pdf, _notebook, _evidence, _paragraphs, _build)
    return [problem for check in checks for problem in check(book)]


def run_notebook(book: Path, *, timeout_s: int = 1200) -> Iterator[str]:
    """Run the notebook of a report from the top, as a reader would; what went wrong, if anything.

    Its evidence goes to a folder of its own, so that the last build's stays.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    notebook = nbformat.read(book / "report.ipynb", as_version=4)
    with own_folder(BUILD, "notebook-") as build:
        environment = {**os.environ, "INTERNALS_BUILD": str(build)}
        where = {"metadata": {"path": str(ROOT)}}
        client = NotebookClient(notebook, resources=where, timeout=timeout_s)
        try:
            client.execute(env=environment)
        except (CellExecutionError, CellTimeoutError) as error:
            last = str(error).strip().splitlines()[-1]
            yield f"report.ipynb does not run from the top: {last}"


def _site(book: Path) -> Iterator[str]:
    from bs4 import BeautifulSoup

    if not (book / "index.html").exists():
        yield "index.html is missing."
        return
    ids: dict[Path, set[str]] = {}
    targets: list[tuple[Path, str]] = []
    for path in sorted(book.resolve().rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        page = BeautifulSoup(text, "html.parser")
        ids[path] = {str(tag["id"]) for tag in page.select("[id]")}
        targets += [(path, str(tag["href"])) for tag in page.select("[href]")]
        targets += [(path, str(tag["src"])) for tag in page.select("[src]")]
        name = path.relative_to(book.resolve())
        if len(text.encode()) > PAGE_LIMIT_BYTES:
            yield f"{name} is larger than {PAGE_LIMIT_BYTES // 1_000_000} MB."
        if bare := page.select("img:not([alt])"):
            yield f"{name} has {len(bare)} image(s) without alt text."
        if broken := re.search(r"\?@\w|\?\?(sec|fig|tbl)-", page.get_text(" ")):
            yield f"{name} has an unresolved cross-reference near “{broken[0]}”."
    for path, target in targets:
        if target and (problem := _broken(path, target, ids)):
            yield f"{path.relative_to(book.resolve())} links to {target}, {problem}."


def _broken(path: Path, target: str, ids: dict[Path, set[str]]) -> str | None:
    """Why a link inside the site leads nowhere; None for a good or outside one."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not goal.exists():
        return "which does not exist"
    if goal in ids and parts.fragment and unquote(parts.fragment) not in ids[goal]:
        return "but that page has no such anchor"
    return None


def _pdf(book: Path) -> Iterator[str]:
    path = book / "report.pdf"
    if not path.exists():
        yield "report.pdf is missing."
        return
    if not path.read_bytes().startswith(b"%PDF-"):
        yield "report.pdf is no PDF."


def _notebook(book: Path) -> Iterator[str]:
    import nbformat

    path = book / "report.ipynb"
    if not path.exists():
        yield "report.ipynb is missing."
        return
    if path.stat().st_size > NOTEBOOK_LIMIT_BYTES:
        yield f"report.ipynb is larger than {NOTEBOOK_LIMIT_BYTES // 1_000_000} MB."
    notebook = nbformat.read(path, as_version=4)
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        yield f"report.ipynb is not valid: {error}."
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            yield f"Cell {number} of report.ipynb was not executed."
        if any(output.output_type == "error" for output in cell.get("outputs", ())):
            yield f"Cell {number} of report.ipynb ended in an error."


def _evidence(book: Path) -> Iterator[str]:
    import jsonschema

    from internals.book.evidence import SCHEMA

    path = book / "evidence.json"
    if not path.exists():
        yield "evidence.json is missing."
        return
    schema = json.loads(SCHEMA.read_text("utf-8"))
    try:
        jsonschema.validate(json.loads(path.read_text("utf-8")), schema)
    except jsonschema.ValidationError as error:
        yield f"evidence.json does not follow its schema: {error.message}."


def _paragraphs(book: Path) -> Iterator[str]:
    """Paragraphs of the book about the default model that findings have replaced.

    Those about times may come out either way on another machine.
    """
    from internals.book.lint import book_chapters
    from internals.models.fetch import DEFAULT
    from internals.stats.intervals import QUARTILES

    path = book / "evidence.json"
    record = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if record.get("model", {}).get("spec") != DEFAULT:
        return
    found = {finding["id"]: finding for finding in record["findings"]}
    timed = {
        id for id, f in found.items() if f["interval_kind"] == QUARTILES or f["n_unit"] == "machine"
    }
    for chapter in book_chapters():
        for division in chapter.divisions:
            claims = division.attributes.get("claims", "").split()
            wanted = {claim.removeprefix("!"): not claim.startswith("!") for claim in claims}
            verdicts = {id: found[id]["verdict"] if id in found else "unknown" for id in wanted}
            fits = {True: ("supported", "reported"), False: ("not supported",)}
            other = [f"{id} is {v}" for id, v in verdicts.items() if v not in fits[wanted[id]]]
            if other and not wanted.keys() & timed:
                yield f"{chapter.name}, line {division.line}: not as written: {'; '.join(other)}."


def _build(book: Path) -> Iterator[str]:
    path = book / "build.json"
    if not path.exists():
        yield "build.json is missing."
        return
    record = json.loads(path.read_text("utf-8"))
    for key in ("rendered_with", "model", "libraries", "machine", "seconds"):
        if key not in record:
            yield f"build.json does not say {key}."
