"""A book of one chapter for tests of the build, which then depend on no real chapter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from internals.paths import DATA

_CONFIG = "project: {type: book}\nbook: {title: Tiny, author: A, chapters: [index.qmd]}\n"
_NOT_SET = {"REPORT_MODEL", "REPORT_TOKENIZERS", "REPORT_EFFORT", "INTERNALS_DEBUG"}


class TinyBook:
    """The book, and folders of its own for everything that a build writes."""

    def __init__(self, scratch: Path, *cells: str) -> None:
        self.root, self.out, self.build = (scratch / n for n in ("root", "out/book", "build"))
        self.cache, self.temporary = scratch / "cache", scratch / "tmp"
        for folder in (self.root, self.temporary):
            folder.mkdir()
        (self.root / "data").symlink_to(DATA)
        (self.root / "_quarto.yml").write_text(_CONFIG)
        blocks = "".join(f"```{{python}}\n{cell}\n```\n\n" for cell in cells)
        (self.root / "index.qmd").write_text(f"# Home\n\n{blocks}")

    def report(self, *start: str, **environment: str) -> subprocess.Popen[str]:
        """`internals report` in a process of its own, about the embedded model.

        ``start``: how Python starts the command line, by default as a user does.
        """
        folders = {
            "INTERNALS_ROOT": self.root,
            "INTERNALS_BUILD": self.build,
            "INTERNALS_CACHE": self.cache,
            "TMPDIR": self.temporary,
        }
        kept = {name: value for name, value in os.environ.items() if name not in _NOT_SET}
        env = {**kept, "QUARTO": "skip", **{k: str(v) for k, v in folders.items()}, **environment}
        command = [sys.executable, *(start or ("-m", "internals")), "report", "fable-gpt2"]
        return subprocess.Popen(
            [*command, "--out", str(self.out)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_as_in_a_terminal,
        )


def _as_in_a_terminal() -> None:
    """A suite that runs in the background would hand down that signals are ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def wait_for(running: subprocess.Popen[str], word: str) -> None:
    """Read what a process prints up to a line that begins with ``word``."""
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith(word):
            return
    raise AssertionError(f"{word!r} never came: {running.communicate()[1]}")
