"""Wall time and peak memory of whole reports, beside what they may cost.

Each run is the command that a user types, in a process of its own with folders of its own; the
memory of the whole process tree is sampled, since the chapters run in a kernel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bookbinder.folders import own_folder
from internals.errors import UserError
from internals.models import open_model
from internals.paths import BUILD, ROOT

RECORD = "bench.json"
"""In the build folder; the next report copies it into its `build.json`."""
_SAMPLE_S = 1.0  # a look at all pages of all processes takes time from what is measured
MOST_MIB = 3072.0
PLAN = (("smollm2", "cold", 480.0), ("smollm2", "warm", 60.0), ("fable-gpt2", "cold", 180.0))
"""Model, whether anything is cached, and the seconds that a report may take on two cores, with
environment and model in place; with Quarto a warm one may take three minutes."""


@dataclass(frozen=True)
class Run:
    """One report from the command line."""

    model: str
    cache: str
    """``cold``: nothing was cached; ``warm``: everything."""
    most_seconds: float
    """What the run may take on two cores."""
    seconds: float
    peak_mib: float
    """Largest sum of memory over the process tree, what processes share once (on Linux), sampled
    five times a second."""
    chapters: dict[str, float] = field(default_factory=dict)
    """Seconds of each chapter, as the report itself recorded them."""
    loads: dict[str, int] = field(default_factory=dict)
    """How often a process loaded each model: once at most."""

    @property
    def within(self) -> bool:
        """Whether time, memory and loads stayed within what they may be."""
        affordable = self.seconds <= self.most_seconds and self.peak_mib <= MOST_MIB
        return affordable and max(self.loads.values(), default=0) <= 1


def bench_reports() -> list[Run]:
    """Time the reports of `PLAN`, print a table and write `bench.json` into the build folder.

    Raises:
        ModelError: a model is not there.
        UserError: a report failed; its last lines are in the message.
    """
    for model in {model for model, _, _ in PLAN}:
        open_model(model)  # fetched now, if need be, and not while the clock runs
    with own_folder(BUILD, "bench-") as work:
        runs = [timed(*part, work) for part in PLAN]
    record = {"reports": [asdict(run) for run in runs]}
    (BUILD / RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    show(runs)
    return runs


def recorded() -> dict[str, Any]:
    """What the last bench found; empty if there was none."""
    file = BUILD / RECORD
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def timed(model: str, cache: str, most_seconds: float, work: Path) -> Run:
    """One report into ``work``; a warm one finds the cache that the former has left there."""
    folders = {"INTERNALS_CACHE": work / f"cache-{model}", "INTERNALS_BUILD": work / "build"}
    env = {**os.environ, **{name: str(folder) for name, folder in folders.items()}}
    env.pop("REPORT_EFFORT", None)  # a draft is no measure
    command = [sys.executable, "-m", "internals", "report", model, "--out", str(work / "book")]
    print(f"Report about {model}, {cache} …", flush=True)
    began = time.monotonic()
    with (work / "log.txt").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        peak = _Peak(process.pid)
        peak.start()
        code = process.wait()
        seconds = time.monotonic() - began
        peak.stop()
        if code:
            log.seek(0)
            tail = "\n".join(log.read().strip().splitlines()[-8:])
            raise UserError(f"The report about {model} failed, so nothing was timed:\n{tail}")
    record = json.loads((work / "book" / "build.json").read_text("utf-8"))
    cost = (most_seconds, round(seconds, 1), round(peak.mib))
    return Run(model, cache, *cost, record["chapters_seconds"], record["model_loads"])


class _Peak(threading.Thread):
    """Watches the memory of a process and its children."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._done, self.mib = pid, threading.Event(), 0.0

    def run(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            self.mib = max(self.mib, tree_mib(self._pid))

    def stop(self) -> None:
        self._done.set()
        self.join()


def tree_mib(pid: int) -> float:
    """Memory of a process and all its children, in MiB; 0 when it is gone.

    Kernels read the weights from one file. On Linux such pages count once (proportional set size);
    elsewhere each process counts all that it sees.
    """
    try:
        process = psutil.Process(pid)
        members = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0.0
    total = 0
    for member in members:
        try:
            total += member.memory_full_info().pss if psutil.LINUX else member.memory_info().rss
        except psutil.Error:
            continue  # ended since it was listed
    return total / 2**20


def show(runs: list[Run]) -> None:
    """Print what the runs took and what they may take."""
    from rich.console import Console
    from rich.table import Table

    heads = ("model", "cache", "seconds", "at most", "peak MiB", "at most", "loads", "within")
    table = Table(*heads, title="Wall time and peak memory")
    chapters = Table("chapter", *(f"{r.model}, {r.cache}" for r in runs), title="Seconds")
    for run in runs:
        limits = f"{run.most_seconds:.0f}", f"{MOST_MIB:,.0f}"
        cells = (f"{run.seconds:.1f}", limits[0], f"{run.peak_mib:,.0f}", limits[1])
        loads = ", ".join(f"{n} × {name}" for name, n in run.loads.items()) or "none"
        table.add_row(run.model, run.cache, *cells, loads, "yes" if run.within else "no")
    for name in runs[0].chapters if runs else ():
        chapters.add_row(name, *(f"{run.chapters.get(name, 0):.1f}" for run in runs))
    Console().print(table, chapters)
