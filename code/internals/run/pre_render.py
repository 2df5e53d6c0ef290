"""What Quarto runs before it renders the project (`pre-render` in _quarto.yml).

Before a render of the whole book the chapters are executed as for `make report`: that measures what
is not cached, with all cores, gives notebook and records, and leaves executed pages where Quarto
looks for them (`freeze` in _quarto.yml). Quarto itself executes a page whose source has changed
since; what else pages depend on is watched here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

from bookbinder.build import write_formats
from bookbinder.folders import own_folder
from bookbinder.frozen import freeze
from bookbinder.project import load_project
from internals.paths import BUILD, ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bookbinder.model import ExecutedChapter
    from internals.models import ModelHandle

RECORDS = BUILD / "quarto"
"""Notebook and records of the last render; `internals.run.post_render` takes them."""
FROZEN = ROOT / "_freeze"
"""Executed pages, and notes of what they and `RECORDS` belong to."""


def main() -> None:
    """Prepare a render."""
    from internals.book import evidence
    from internals.run import build

    # Evidence goes with the pages: the filter reads it.
    beside = evidence.folder()
    handle, notice = build.checked(os.environ.get("REPORT_MODEL", ""), _tokenizers())
    now = state(handle)
    if not (_says(now, "pages") and beside.is_dir()):
        shutil.rmtree(FROZEN, ignore_errors=True)
        _note(now, "pages")
    whole = os.environ.get("QUARTO_PROJECT_RENDER_ALL") == "1"
    if whole and "INTERNALS_BUILD" not in os.environ:  # `make report` has executed them
        if notice:
            print(notice, flush=True)
        sources = [*ROOT.glob("*.qmd"), *ROOT.glob("report/*.qmd"), ROOT / "_quarto.yml"]
        texts = [now, *(file.read_text("utf-8") for file in sorted(sources))]
        if not (_says(key := _hash(texts), "records") and RECORDS.is_dir()):
            shutil.rmtree(RECORDS, ignore_errors=True)
            execute(handle, notice)
            if (own := evidence.folder()) != beside:  # the filter knows the name that was given
                shutil.rmtree(beside, ignore_errors=True)
                shutil.copytree(own, beside)
            _note(key, "records")


def _says(key: str, name: str) -> bool:
    """Whether what is kept belongs to this key."""
    file = FROZEN / name
    return file.is_file() and file.read_text("utf-8") == key


def _note(key: str, name: str) -> None:
    FROZEN.mkdir(exist_ok=True)
    (FROZEN / name).write_text(key, "utf-8")


def _hash(parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def state(handle: ModelHandle) -> str:
    """Changes when model, settings, libraries, commit, code or data do."""
    from internals.run import provenance

    settings = sorted((k, v) for k, v in os.environ.items() if k.startswith("REPORT_") and v)
    found = [f for part in ("code", "data") for f in (ROOT / part).rglob("*") if f.is_file()]
    files = sorted(str(file) for file in found if file.suffix != ".pyc")
    stats = [(name, os.stat(name).st_size, os.stat(name).st_mtime_ns) for name in files]
    versions = provenance.library_versions()
    return _hash((handle.fingerprint, settings, versions, provenance.commit(), stats))


def _tokenizers() -> str:
    return os.environ.get("REPORT_TOKENIZERS", "")


def execute(handle: ModelHandle, notice: str | None) -> None:
    """Execute all chapters for Quarto; notebook, evidence.json and build.json go to `RECORDS`."""
    from internals.run import build, progress, quarto

    began = time.monotonic()
    with (
        build._own_folder() as records,
        progress.Monitor(records / "progress.jsonl") as monitor,
        own_folder(BUILD, "quarto-") as aside,
    ):
        books, executed = build.resolved(handle, _tokenizers(), records, monitor.environment)
        keep(handle, executed)
        built = write_formats(books, aside, ("ipynb",))
        seconds = {"notebook and records": round(time.monotonic() - began, 2)}
        chapters = {c.source.path: round(c.seconds, 2) for c in executed}
        found = quarto.find()
        build.add_records(aside, handle, notice, found, built, seconds, chapters, records)
        shutil.copytree(aside, RECORDS)


def keep(handle: ModelHandle, executed: Sequence[ExecutedChapter]) -> None:
    """Give executed chapters to Quarto, in place of those that it has."""
    shutil.rmtree(FROZEN, ignore_errors=True)
    freeze(executed, load_project(ROOT), FROZEN)
    _note(state(handle), "pages")


if __name__ == "__main__":
    from internals.run.ending import clean_end

    try:
        with clean_end():
            main()
    except Exception as error:
        if os.environ.get("INTERNALS_DEBUG"):
            raise
        sys.exit(f"Nothing is rendered: {error}")
