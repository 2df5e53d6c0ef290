"""Where things are: the one module that knows the folders of the project.

Environment variables move them, so that tests and two builds at once do not meet.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def _user_cache() -> Path:
    """The folder of this project in the user's cache (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # to be ignored, says the specification
        base = os.path.expanduser("~/.cache")
    return Path(base) / "transformer-internals-report"


_ABOVE = Path(__file__).resolve().parents[2]
ROOT = Path(os.environ.get("INTERNALS_ROOT", _ABOVE))
"""Root of the checkout: the folder of ``_quarto.yml``; without a checkout nothing is there."""

IN_CHECKOUT = (ROOT / "data").is_dir()

DATA = ROOT / "data" if IN_CHECKOUT else Path(__file__).resolve().parents[1] / "internals_data"
"""Small fixed inputs and the embedded models; an installed package carries them along."""

MODELS = DATA / "models"
"""One folder for each embedded model."""

_WORK = ROOT if IN_CHECKOUT else _user_cache()

CACHE = Path(os.environ.get("INTERNALS_CACHE", _WORK / ".cache"))
"""Results of measurements; deleting it costs time, never a result."""

USER_MODELS = Path(os.environ.get("INTERNALS_MODELS") or _user_cache() / "models").absolute()
"""Models that were fetched or converted, once for a user: every checkout reads them."""

BUILD = Path(os.environ.get("INTERNALS_BUILD", _WORK / ".build"))
"""Intermediate files of one rendering (evidence by chapter, executed notebooks)."""

BOOK = ROOT / "_book"
"""The rendered report: site, PDF, notebook, evidence.json, build.json."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: readers see the old one or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
