"""Find a fitting Quarto, or try once to get it through its package on the Python index.

The package `quarto-cli` downloads a release while it is installed, so it fails in closed networks;
the report is then rendered without Quarto. Nothing here renders.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from internals.errors import UserError

MINIMUM = (1, 9)
"""First version that renders books through Typst."""

PACKAGE = "quarto-cli==1.10.19"
FIRST_TRY_SECONDS = 180
SECOND_TRY_SECONDS = 1200

Mode = Literal["auto", "skip", "install"]


@dataclass(frozen=True)
class Quarto:
    """An executable that is new enough."""

    path: Path
    version: str


class QuartoModeError(UserError):
    """QUARTO has a value that means nothing."""


def find(environ: dict[str, str] | None = None) -> Quarto | None:
    """The first Quarto on PATH or beside this Python that is at least :data:`MINIMUM`."""
    environ = dict(os.environ) if environ is None else environ
    beside = Path(sys.executable).parent / "quarto"
    for found in (shutil.which("quarto", path=environ.get("PATH")), beside):
        if found and Path(found).exists() and (version := version_of(Path(found))):
            return Quarto(Path(found), version)
    return None


def version_of(executable: Path) -> str | None:
    """Version of a Quarto executable, or None where it is too old or does not run."""
    try:
        answer = subprocess.run(
            [str(executable), "--version"], capture_output=True, text=True, timeout=60, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    numbers = re.match(r"(\d+)\.(\d+)", answer)
    if not numbers or (int(numbers[1]), int(numbers[2])) < MINIMUM:
        return None
    return answer


def checked_mode(mode: str | None) -> str:
    """The mode, by default that of the environment; told before anything takes time.

    Raises:
        QuartoModeError: it means nothing.
    """
    mode = mode or os.environ.get("QUARTO") or "auto"
    if mode not in ("auto", "skip", "install"):
        raise QuartoModeError(
            f"QUARTO={mode} is not known; use QUARTO=auto, QUARTO=skip or QUARTO=install."
        )
    return mode


def obtain(mode: str | None = None) -> tuple[Quarto | None, str]:
    """Quarto if it can be had, and one line that says which way the report is rendered.

    ``auto`` tries the package once for each environment, ``install`` tries again and for longer,
    ``skip`` does not look for Quarto at all. The default is the environment variable QUARTO.
    """
    mode = checked_mode(mode)
    if mode == "skip":
        return None, "Quarto is left out as asked (QUARTO=skip): rendering with Pandoc and Typst."
    if quarto := find():
        return quarto, f"Rendering with Quarto {quarto.version}."
    tried = Path(sys.prefix) / ".quarto-tried"
    if mode == "install" or not tried.exists():
        _install(SECOND_TRY_SECONDS if mode == "install" else FIRST_TRY_SECONDS)
        tried.touch()
        if quarto := find():
            return quarto, f"Rendering with Quarto {quarto.version}."
    return None, (
        "Quarto 1.9 or newer is absent: rendering with Pandoc and Typst "
        "(QUARTO=install tries to get Quarto again)."
    )


def _install(seconds: float) -> bool:
    """Try to install the package within a bound of time; whether it worked."""
    print(f"Trying to get Quarto (at most {seconds:.0f} s).", flush=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*command, PACKAGE],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
