"""Calls of Pandoc: one place that knows where it is, how it reads and how it fails."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bookbinder.errors import BookError

API_VERSION = [1, 23, 1]
"""Version written into the trees that are handed to Pandoc (any 1.23 is accepted)."""


@functools.cache
def executable() -> str:
    """Path of the Pandoc that comes with ``pypandoc_binary`` (or ``$PANDOC``)."""
    if chosen := os.environ.get("PANDOC"):
        return chosen
    import pypandoc

    return str(pypandoc.get_pandoc_path())


def run(
    args: Sequence[str], text: str, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Standard output of one Pandoc call.

    Raises:
        BookError: Pandoc failed; the message is its own last line.
    """
    done = subprocess.run(
        [executable(), *args],
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env={**os.environ, **(env or {})},
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise BookError("Pandoc failed: " + " ".join(lines[-3:] or ["no message"]))
    return done.stdout


def write(blocks: Sequence[Any], args: Sequence[str], *, cwd: Path | None = None) -> str:
    """Turn blocks into another format; ``args`` name it (``["-t", "typst"]``)."""
    tree = {"pandoc-api-version": API_VERSION, "meta": {}, "blocks": list(blocks)}
    return run(["-f", "json", *args], json.dumps(tree), cwd=cwd)
