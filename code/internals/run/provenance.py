"""What a result depends on besides its input: library versions, machine, threads, checkout.

Read by the cache (keys of timings), the reproducibility appendix and build.json.
Imports neither torch nor transformers: versions come from package metadata.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from internals.paths import ROOT

LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "pandas",
    "scipy",
    "matplotlib",
    "nbclient",
    "pypandoc_binary",
    "typst",
)
"""Distributions whose version can change a number or the look of a page."""


def library_versions() -> dict[str, str]:
    """Installed version of each of :data:`LIBRARIES`."""
    return {name: metadata.version(name) for name in LIBRARIES}


@functools.cache
def cpu_name() -> str:
    """Processor model as the system names it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.split(":", 1)[1].strip()
    if platform.system() == "Darwin":
        answer = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True
        )
        if answer.stdout.strip():
            return answer.stdout.strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def accelerators() -> list[str]:
    """What a GPU says of itself, one text each; found without torch, so NVIDIA and Apple only."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return ["Apple"]
    found = Path("/proc/driver/nvidia/gpus").glob("*/information")
    return sorted(file.read_text() for file in found)


def machine() -> dict[str, str | int | float]:
    """Processor, cores, memory (GiB), operating system and Python of this machine."""
    import psutil

    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def machine_id() -> str:
    """Short hash that changes when timings of this machine stop being comparable."""
    facts = (cpu_name(), cores(), os.environ.get("OMP_NUM_THREADS"), platform.system())
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def commit() -> str | None:
    """Short hash of the checked-out commit, with ``+`` if files differ; None outside git."""
    try:
        git = functools.partial(
            subprocess.run, cwd=ROOT, capture_output=True, text=True, check=True, timeout=10
        )
        name = git(["git", "rev-parse", "--short=10", "HEAD"]).stdout.strip()
        changed = git(["git", "status", "--porcelain"]).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return name + ("+" if changed else "")
