"""What Quarto runs before it renders the project (`pre-render` in _quarto.yml).

Before a render of the whole book the chapters are executed as for `make report`: that measures what
is not cached, with all cores, and gives notebook and records. The pages then read the cache.
"""

from __future__ import annotations

import os
import shutil
import sys
import time

from bookbinder.build import write_formats
from bookbinder.folders import own_folder
from internals.paths import BUILD

RECORDS = BUILD / "quarto"
"""Notebook and records of the render that is going on; `internals.run.post_render` takes them."""


def main() -> None:
    """Prepare a render."""
    shutil.rmtree(RECORDS, ignore_errors=True)
    whole = os.environ.get("QUARTO_PROJECT_RENDER_ALL") == "1"
    if whole and "INTERNALS_BUILD" not in os.environ:  # `make report` has done it
        execute()


def execute() -> None:
    """Execute all chapters; notebook, evidence.json and build.json go to `RECORDS`."""
    from internals.run import build, progress, quarto

    began = time.monotonic()
    tokenizers = os.environ.get("REPORT_TOKENIZERS", "")
    handle, notice = build.checked(os.environ.get("REPORT_MODEL", ""), tokenizers)
    if notice:
        print(notice, flush=True)
    with (
        build._own_folder() as records,
        progress.Monitor(records / "progress.jsonl") as monitor,
        own_folder(BUILD, "quarto-") as aside,
    ):
        books, executed = build.resolved(handle, tokenizers, records, monitor.environment)
        built = write_formats(books, aside, ("ipynb",))
        seconds = {"notebook and records": round(time.monotonic() - began, 2)}
        chapters = {c.source.path: round(c.seconds, 2) for c in executed}
        found = quarto.find()
        build.add_records(aside, handle, notice, found, built, seconds, chapters, records)
        shutil.copytree(aside, RECORDS)


if __name__ == "__main__":
    from internals.run.ending import clean_end

    try:
        with clean_end():
            main()
    except Exception as error:
        if os.environ.get("INTERNALS_DEBUG"):
            raise
        sys.exit(f"Nothing is rendered: {error}")
