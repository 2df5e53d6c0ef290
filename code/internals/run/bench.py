"""Wall time and peak memory of whole reports: nothing cached, everything cached, a larger model.

Each run is the command that a user types, in a process of its own with folders of its own; the
memory of the whole process tree is sampled, since the chapters run in a kernel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from internals.errors import UserError
from internals.paths import BUILD, ROOT

if TYPE_CHECKING:
    import pandas as pd

    from internals.models import LoadedModel

RECORD = "bench.json"
"""In the build folder; the next report copies it into its `build.json`."""
_SAMPLE_S = 0.2
BUDGETS = {"cold": (360.0, 3072.0), "warm": (45.0, 3072.0), "large": (1620.0, 4096.0)}
"""Seconds and MiB that a report may take on two cores; Quarto needs more for a warm one. The large
one: five to six minutes for each of five chapters."""


@dataclass(frozen=True)
class Run:
    """One report from the command line."""

    what: str
    seconds: float
    peak_mib: float
    """Largest sum of resident memory over the process tree, sampled five times a second."""
    most_seconds: float
    """What the run may take on two cores."""
    most_mib: float
    chapters: dict[str, float] = field(default_factory=dict)
    """Seconds of each chapter, as the report itself recorded them."""
    loads: dict[str, int] = field(default_factory=dict)
    """How often each model was loaded; chapters share one process, so once at most."""

    @property
    def within(self) -> bool:
        """Whether time, memory and loads stayed within what they may be."""
        affordable = self.seconds <= self.most_seconds and self.peak_mib <= self.most_mib
        return affordable and max(self.loads.values(), default=0) <= 1


def bench_report(spec: str, *, repeats: int = 3, large: bool = False) -> list[Run]:
    """Time a cold report, warm ones and, if asked, one about a random GPT-2 of 124M parameters.

    Prints a table and writes `bench.json` into the build folder.

    Raises:
        UserError: a report failed; its last lines are in the message.
    """
    runs = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        runs.append(timed(f"{spec}, nothing cached", spec, work, "cold"))
        runs += [timed(f"{spec}, everything cached", spec, work, "warm") for _ in range(repeats)]
        if large:
            folder = random_gpt2(work / "gpt2-random")
            runs.append(timed("random GPT-2 (124M), nothing cached", str(folder), work, "large"))
    generation = bench_generation(spec)
    BUILD.mkdir(parents=True, exist_ok=True)
    record = {
        "reports": [asdict(r) for r in runs],
        "generation": generation,
        "ratios": ratios(generation),
    }
    (BUILD / RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    _show(runs, generation)
    return runs


GOALS = {"own loop over generate(), batch 1": 1.2, "hidden states over a bare pass": 1.15}
"""At least the first, at most the second; printed beside what was measured."""


def bench_generation(spec: str) -> list[dict[str, Any]]:
    """Own loop against the library, against no cache and against the machine's limit, and the cost
    of looking inside; medians and quartiles in milliseconds for a token or a pass, and tokens per
    second where tokens are made."""
    from internals.measure.generation import operations, overhead
    from internals.models import open_model

    handle = open_model(spec)
    rows: list[dict[str, Any]] = []
    for row in texts(handle.loaded()).itertuples():
        what = f"{row.mode}, batch {row.batch}, {row.new} tokens: a token of all texts"
        rows.append(_row(what, row, row.batch * row.new, makes_tokens=True))
    machine = operations.machine.uncached(handle)
    limit = handle.facts.weight_bytes / machine.bandwidth
    bound = _Spread(limit, limit, limit)
    rows.append(_row("limit by reading all weights once, batch 1: a token", bound, 1, True))
    for row in overhead.overhead.uncached(handle).itertuples():
        rows.append(_row(f"forward pass, {row.what}", row, 1, makes_tokens=False))
    return rows


@dataclass(frozen=True)
class _Spread:
    median: float
    low: float
    high: float


def _row(what: str, spread: Any, per: int, makes_tokens: bool) -> dict[str, Any]:
    """Milliseconds for one of ``per`` things out of seconds for all of them."""
    found = {name: 1000 * getattr(spread, name) / per for name in ("median", "low", "high")}
    return {
        "what": what,
        **found,
        "tokens_per_second": 1000 / found["median"] if makes_tokens else None,
    }


def texts(loaded: LoadedModel, prompt: int = 8, new: int = 64) -> pd.DataFrame:
    """Whole texts by every rival in turn: ``mode``, ``batch``, ``new``, ``median``, ``low``,
    ``high`` (seconds)."""
    from internals.measure.generation.clock import interleaved, spread
    from internals.measure.generation.speed import library_greedy, random_ids, text_tasks

    new = min(new, loaded.facts.context_length - prompt)
    names = {
        "cache": "own loop, cache",
        "no cache": "own loop, no cache",
        "library": "the library's loop in inference mode",
    }
    tasks: dict[Any, Any] = {}
    for batch in (1, 16):
        own = text_tasks(loaded, prompt, new, batch)
        if batch > 1:
            del own["no cache"]  # one text shows what a cache is worth
        tasks |= {(names[mode], batch): task for mode, task in own.items()}
        # As users call it, without the inference mode that the own loop turns on for itself.
        ids = random_ids(loaded, batch, prompt)
        tasks["generate()", batch] = partial(library_greedy, loaded.model, ids, new)
    table = interleaved(tasks)
    table[["mode", "batch"]] = table.pop("task").tolist()
    return spread(table.astype({"batch": int}), ["mode", "batch"]).assign(new=new)


def ratios(generation: list[dict[str, Any]]) -> dict[str, float]:
    """The comparisons that have a goal, from the rows of `bench_generation`."""

    def median(*parts: str) -> float:
        return float(next(r["median"] for r in generation if all(p in r["what"] for p in parts)))

    return {
        "own loop over generate(), batch 1": median("generate()", "batch 1,")
        / median("own loop, cache", "batch 1,"),
        "own loop over generate(), batch 16": median("generate()", "batch 16")
        / median("own loop, cache", "batch 16"),
        "own loop over the library's in inference mode, batch 1": median(
            "inference mode", "batch 1,"
        )
        / median("own loop, cache", "batch 1,"),
        "cache over no cache, batch 1": median("no cache") / median("own loop, cache", "batch 1,"),
        "share of the limit by bandwidth, batch 1": median("limit")
        / median("own loop, cache", "batch 1,"),
        "hidden states over a bare pass": median("hidden states") / median("bare pass"),
        "attention weights over a bare pass": median("attention weights") / median("bare pass"),
    }


def recorded() -> dict[str, Any]:
    """What the last bench found; empty if there was none."""
    file = BUILD / RECORD
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def timed(what: str, spec: str, work: Path, budget: str) -> Run:
    """One report into ``work``, whose cache is kept between calls; ``budget`` is its kind."""
    env = {
        **os.environ,
        "INTERNALS_CACHE": str(work / "cache"),
        "INTERNALS_BUILD": str(work / "build"),
    }
    command = [sys.executable, "-m", "internals", "report", spec, "--out", str(work / "book")]
    print(f"{what} …", flush=True)
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
            raise UserError(f"The report about {spec} failed, so nothing was timed:\n{tail}")
    record = json.loads((work / "book" / "build.json").read_text("utf-8"))
    cost = (round(seconds, 1), round(peak.mib), *BUDGETS[budget])
    return Run(what, *cost, record["chapters_seconds"], record["model_loads"])


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
    """Resident memory of a process and all its children, in MiB; 0 when it is gone."""
    try:
        process = psutil.Process(pid)
        members = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0.0
    total = 0
    for member in members:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue  # ended since it was listed
    return total / 2**20


def random_gpt2(folder: Path) -> Path:
    """A GPT-2 of the first public size with random weights and the embedded tokenizer."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    from internals.paths import MODELS

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "fable-gpt2")
    ends = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    GPT2LMHeadModel(GPT2Config(**ends)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _show(runs: list[Run], generation: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    heads = ("run", "seconds", "at most", "peak MiB", "at most", "loads", "within")
    table = Table(*heads, title="Wall time and peak memory")
    for run in runs:
        time_limit, memory_limit = f"{run.most_seconds:.0f}", f"{run.most_mib:,.0f}"
        cells = (f"{run.seconds:.1f}", time_limit, f"{run.peak_mib:,.0f}", memory_limit)
        loads = ", ".join(f"{n} × {name}" for name, n in run.loads.items()) or "none"
        table.add_row(run.what, *cells, loads, "yes" if run.within else "no")
    steps = Table("what", "median ms", "quartiles", "tokens/s", title="Generation")
    for row in generation:
        spread = f"{row['low']:.2f} – {row['high']:.2f}"
        rate = f"{row['tokens_per_second']:,.0f}" if row["tokens_per_second"] else ""
        steps.add_row(row["what"], f"{row['median']:.2f}", spread, rate)
    compared = Table("comparison", "ratio", "goal", title="Side by side")
    for what, ratio in (ratios(generation) if generation else {}).items():
        compared.add_row(what, f"{ratio:.2f}", f"{GOALS[what]:.2f}" if what in GOALS else "")
    chapters = Table("chapter", *(run.what for run in runs), title="Seconds by chapter")
    for name in runs[0].chapters if runs else ():
        chapters.add_row(name, *(f"{run.chapters.get(name, 0):.1f}" for run in runs))
    Console().print(table, chapters, steps, compared)
