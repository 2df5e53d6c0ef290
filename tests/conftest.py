"""Shared fixtures: tiny models of every family; a cache and build folder of their own."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Before anything of the package is imported: tests never touch the user's cache.
_SCRATCH = Path(tempfile.mkdtemp(prefix="internals-tests-"))
atexit.register(shutil.rmtree, _SCRATCH, ignore_errors=True)
os.environ["INTERNALS_CACHE"] = str(_SCRATCH / "cache")
os.environ["INTERNALS_BUILD"] = str(_SCRATCH / "build")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as the package sets it, before torch is there
os.environ.pop("REPORT_MODEL", None)
os.environ.pop("INTERNALS_DEBUG", None)

import pytest  # noqa: E402 - the environment comes first
from hypothesis import settings  # noqa: E402

# A busy machine is slow, not wrong.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """``tiny_folder("llama")`` is a folder with a tiny random model, made once."""
    from tiny_models import save

    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = save(name, tmp_path_factory.mktemp("models") / f"tiny {name}")
        return made[name]

    return folder


@pytest.fixture(scope="session")
def odd_folder(tmp_path_factory):
    """``odd_folder("characters")`` is a folder with one of `odd_models.ODD`, made once."""
    from odd_models import save

    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = save(name, tmp_path_factory.mktemp("odd") / name)
        return made[name]

    return folder
