"""`make compare`: the same questions to any number of models, as independent tasks on a cluster.

A task is one question to one model (see `findings.models.profile`). Workers are processes of this
machine, or those of a Dask scheduler that is named by its address: they need this package, and the
models under the names that were given. A worker that dies is replaced and its task tried again; a
model that cannot be measured costs its own rows, which say why. Everything that is known stands in
one Parquet table, from which a later call goes on. A model larger than one GPU is spread over those
of its worker's machine (`models.memory.device_map`); over several machines no model is spread.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from internals.errors import NotApplicable, UserError

DONE, APART, FAILED = "done", "does not apply", "failed"
OPENING, TIMED = "opening", "speed"
"""The task before all others, and the one that nothing must disturb."""
COLUMNS = [
    "model", "name", "task", "status", "why", "quantity", "value", "low", "high", "n", "unit",
    "seconds", "memory_mib", "host", "key",
]  # fmt: skip
TEXTS = ["model", "name", "task", "status", "why", "quantity", "unit", "host", "key"]
TRIES = 3
"""Times that a task is tried which ends in an error of the program."""
_KEPT_EVERY_S = 5.0
_SPARE_MIB = 900
"""What a worker needs beside the weights: interpreter, libraries, activations."""
_ROOM = 0.8

Record = dict[str, Any]


# --- on a worker ------------------------------------------------------------------------------


def opened(spec: str) -> Record:
    """Find a model: its name, the bytes of its weights, and the key of every task.

    A user's error is part of the result, since it would come again.
    """
    from internals import paths
    from internals.cache import keys
    from internals.findings.models import profile
    from internals.models import memory, open_model
    from internals.models.weights import weight_files

    try:
        model = open_model(spec)
        size = memory.needed_bytes(weight_files(model.source), 4)
    except UserError as error:
        return {"model": spec, "why": str(error)}
    made = {
        task: keys.digest(
            keys.key_parts(profile.rows, {"task": task, "model": model}, root=paths.ROOT)
        )
        for task in profile.TASKS
    }
    return {"model": spec, "name": model.name, "bytes": size, "keys": made}


def asked(spec: str, task: str, key: str) -> list[Record]:
    """Ask one model one question: a row for each estimate, or one that says why there is none."""
    import psutil

    from internals.findings.models import profile
    from internals.models import open_model, release

    began, host = time.perf_counter(), os.uname().nodename if hasattr(os, "uname") else ""
    row: Record = {"model": spec, "task": task, "key": key, "host": host, "name": spec}
    try:
        model = open_model(spec)
        row["name"] = model.name
        release(keep=model.fingerprint)
        found = profile.rows(task, model).to_dict("records")
        row["status"] = DONE
    except UserError as why:
        row |= {"status": APART if isinstance(why, NotApplicable) else FAILED, "why": str(why)}
        found = [{}]
    row["seconds"] = time.perf_counter() - began
    row["memory_mib"] = psutil.Process().memory_info().rss / 2**20
    return [row | own for own in found]


# --- at the desk ------------------------------------------------------------------------------


def compare(
    models: Sequence[str],
    table: str,
    *,
    scheduler: str = "",
    workers: int | None = None,
    tasks: Sequence[str] | None = None,
    tell: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Measure what is missing and return the rows of these models.

    Args:
        models: names, Hub ids, folders or GGUF files.
        table: path or fsspec URL of a Parquet file with :data:`COLUMNS`; rows that are there and
            still hold are not measured again.
        scheduler: address of a running Dask scheduler; else local processes are started.
        workers: of these, their number; as many as memory and cores allow if None.
        tasks: names of `profile.TASKS`; all if None.
        tell: gets a line for everything that is done.
    """
    from internals.findings.models.profile import TASKS

    wanted = list(tasks or TASKS)
    kept = _Kept(table)
    local = [] if scheduler else [opened(spec) for spec in models]
    count = workers or fitting(max((m.get("bytes", 0) for m in local), default=0))
    with cluster(scheduler, count) as client:
        known = local or client.gather(client.map(opened, models, retries=TRIES - 1, pure=False))
        for model in (m for m in known if "why" in m):
            kept.add([model | {"name": model["model"], "task": OPENING, "status": FAILED}])
            tell(f"{model['model']} is left out: {model['why']}")
        todo = [
            (model["model"], task, model["keys"].get(task, ""))
            for model in known
            if "keys" in model
            for task in wanted
            if not kept.has(model["model"], task, model["keys"].get(task, ""))
        ]
        for part in (
            [job for job in todo if job[1] != TIMED],
            *([job] for job in todo if job[1] == TIMED),
        ):
            for rows in _results(client, part):
                kept.add(rows)
                first = rows[0]
                told = f"{first['seconds']:.1f} s" if first["status"] == DONE else first["why"]
                tell(f"{first['name']}, {first['task']}: {told}")
    kept.save()
    return kept.rows[kept.rows["model"].isin(list(models))]


def _results(client: Any, jobs: Sequence[tuple[str, str, str]]) -> Iterator[list[Record]]:
    """Rows of each job as it ends; a job that ends in an error has one row that says so."""
    from distributed import as_completed

    futures = {
        client.submit(asked, *job, retries=TRIES - 1, pure=False, priority=-number): job
        for number, job in enumerate(jobs)
    }
    for future in as_completed(list(futures)):
        spec, task, key = futures[future]
        if future.status == "finished":
            yield future.result()
        else:
            error = future.exception()
            why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            row = {"model": spec, "name": spec, "task": task, "key": key, "seconds": 0.0}
            yield [row | {"status": FAILED, "why": why}]
        future.release()


@contextmanager
def cluster(scheduler: str, count: int) -> Iterator[Any]:
    """A client of the scheduler at an address, or of local processes that end with the block.

    Raises:
        UserError: nobody answers at the address.
    """
    from distributed import Client, LocalCluster

    if scheduler:
        try:
            client = Client(scheduler, timeout="20s")
        except (OSError, ValueError, TimeoutError) as error:
            raise UserError(
                f"No Dask scheduler answers at {scheduler} ({type(error).__name__}); start it with "
                "`dask scheduler` and its workers with `dask worker`, or leave the address out."
            ) from None
        with client:
            yield client
        return
    threads = str(max(1, cores() // count))
    local = LocalCluster(
        n_workers=count,
        threads_per_worker=1,  # of tasks; a task has threads of its own
        memory_limit=0,  # whether a model fits is asked when it is loaded
        dashboard_address=None,
        silence_logs=50,
        env={"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
    )
    with local, Client(local) as client:
        yield client


def fitting(weights: int) -> int:
    """Number of local processes for models of at most so many bytes: no more than cores."""
    from internals.models import memory

    need = weights + _SPARE_MIB * 2**20
    return max(1, min(cores(), int(_ROOM * memory.free_bytes("cpu") // need)))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Kept:
    """The table: read at the start, written whole every few seconds and at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rows = read_table(url)
        self.written = time.monotonic()

    def has(self, model: str, task: str, key: str) -> bool:
        """Whether a task has an answer that still holds."""
        rows = self.rows
        same = (rows["model"] == model) & (rows["task"] == task) & (rows["key"] == key)
        return bool((same & (rows["status"] != FAILED)).any())

    def add(self, rows: Sequence[Record]) -> None:
        """Put an answer in the place of an older one."""
        first, old = rows[0], self.rows
        same = (old["model"] == first["model"]) & old["task"].isin([first["task"], OPENING])
        new = plain(pd.DataFrame(list(rows)).reindex(columns=COLUMNS))
        self.rows = pd.concat([old[~same], new], ignore_index=True) if len(old) else new
        if time.monotonic() - self.written > _KEPT_EVERY_S:
            self.save()

    def save(self) -> None:
        write_table(self.rows, self.url)
        self.written = time.monotonic()


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """Texts and numbers alone: no text is an empty one, no number is NaN."""
    found = table[COLUMNS].astype({c: float for c in COLUMNS if c not in TEXTS})
    found[TEXTS] = found[TEXTS].astype(object).where(found[TEXTS].notna(), "")
    return found


def read_table(url: str) -> pd.DataFrame:
    """The table at a path or fsspec URL; without rows where there is none.

    Raises:
        UserError: what is there is no such table.
    """
    import fastparquet
    import fsspec

    system, path = fsspec.core.url_to_fs(url)
    if not system.exists(path):
        return pd.DataFrame(columns=COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.parquet"
        system.get_file(path, str(file))
        try:
            return fastparquet.ParquetFile(str(file)).to_pandas()[COLUMNS]
        except Exception as error:  # many kinds, for what is no Parquet
            raise UserError(
                f"{url} is no table of a comparison ({type(error).__name__}); name another file."
            ) from error


def write_table(table: pd.DataFrame, url: str) -> None:
    """Write the table beside its place and move it there, so that it is never half there."""
    import fastparquet
    import fsspec

    system, path = fsspec.core.url_to_fs(url)
    system.makedirs(path.rpartition("/")[0] or "/", exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.parquet"
        fastparquet.write(str(file), plain(table), object_encoding="utf8", write_index=False)
        system.put_file(str(file), f"{path}.new")
        system.mv(f"{path}.new", path)
