"""Many models on a real cluster: workers that die, models that fail, calls that are interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest

from internals.errors import UserError
from internals.findings.models import profile
from internals.run import compare as many

TASKS = ("size", "heads", "depth", "text")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the library's sockets and event loops


@pytest.fixture(scope="module")
def scheduler():
    """Two local workers, which are replaced when they die."""
    with many.cluster("", 2) as client:
        yield client.scheduler.address


@pytest.fixture
def folders(tiny_folder, tmp_path):
    """Two tiny models, and one whose weights are cut off."""
    broken = tmp_path / "broken"
    shutil.copytree(tiny_folder("gpt2"), broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return [str(tiny_folder("gpt2")), str(tiny_folder("llama")), str(broken)]


def test_a_killed_worker_is_replaced_and_a_broken_model_costs_its_row(scheduler, folders, tmp_path):
    from distributed import Client

    said, killed = [], []

    def kill_one(line):
        """After the first answer the worker that is busy dies."""
        said.append(line)
        if killed or "left out" in line:
            return
        with Client(scheduler) as client:
            pids = client.run(os.getpid)
            busy = [worker for worker, keys in client.processing().items() if keys]
            killed.append(pids[busy[0]])
        os.kill(killed[0], signal.SIGKILL)

    table = str(tmp_path / "out" / "table.parquet")
    rows = many.compare(folders, table, scheduler=scheduler, tasks=TASKS, tell=kill_one)
    assert killed
    assert not psutil.pid_exists(killed[0])
    status = rows.groupby(["model", "task"])["status"].first()
    for folder in folders[:2]:
        assert status[folder].drop("text").tolist() == [many.DONE] * 3
        assert status[folder, "text"] == many.APART, "a context of 64 tokens"
    assert status[folders[2]].tolist() == [many.FAILED]
    why = rows.loc[rows["model"] == folders[2], "why"].item()
    assert why
    assert any(why in line for line in said)
    # The numbers are those of the same estimates here.
    from internals.models import open_model

    own = profile.rows("heads", open_model(folders[1])).set_index("quantity")["value"]
    there = rows[(rows["model"] == folders[1]) & (rows["task"] == "heads")]
    assert there.set_index("quantity")["value"].to_dict() == pytest.approx(own.to_dict())

    # A second call asks only what failed, and finds the rest in the table.
    said.clear()
    again = many.compare(folders, table, scheduler=scheduler, tasks=TASKS, tell=said.append)
    assert len(said) == 1
    assert "left out" in said[0]
    pd.testing.assert_frame_equal(
        *(t.sort_values(["model", "task", "quantity"], ignore_index=True) for t in (rows, again)),
        check_dtype=False,
    )


def test_an_error_of_the_program_is_tried_again_and_then_costs_its_row(
    scheduler, folders, tmp_path
):
    table = str(tmp_path / "table.parquet")
    rows = many.compare(
        folders[:1], table, scheduler=scheduler, tasks=("no such task", "size"), tell=lambda _: None
    )
    by_task = rows.groupby("task")["status"].first()
    assert by_task.to_dict() == {"no such task": many.FAILED, "size": many.DONE}
    assert "KeyError" in rows.loc[rows["status"] == many.FAILED, "why"].item()


def test_ctrl_c_leaves_no_orphan_and_a_table_from_which_a_later_call_goes_on(folders, tmp_path):
    table = tmp_path / "table.parquet"
    code = (
        "import sys\nfrom internals.run import compare as many\n"
        "from internals.run.ending import clean_end\nmany._KEPT_EVERY_S = 0\n"
        "with clean_end():\n    many.compare(sys.argv[2:], sys.argv[1], workers=2,"
        " tasks=('size', 'heads', 'depth'), tell=lambda line: print(line, flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(table), *folders[:2]],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline(), "an answer"
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=40)
    assert process.returncode != 0
    deadline = time.monotonic() + 10
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family):
        assert time.monotonic() < deadline, "a worker outlives the command"
        time.sleep(0.1)
    kept = many.read_table(str(table))
    assert kept["task"].nunique() > 0
    assert set(kept["status"]) <= {many.DONE}


def test_a_table_keeps_its_types_and_can_lie_anywhere_that_fsspec_reaches():
    row = dict.fromkeys(many.COLUMNS, "a")
    row |= {"value": 1.5, "low": float("nan"), "high": 2.0, "n": 3, "seconds": 0.1, "memory_mib": 9}
    empty = row | {"value": None, "why": None, "quantity": None}
    url = "memory://folder/table.parquet"
    many.write_table(pd.DataFrame([row, empty]), url)
    found = many.read_table(url)
    assert found["value"].tolist()[0] == 1.5
    assert found["value"].isna().tolist() == [False, True]
    assert found["why"].tolist() == ["a", ""]
    assert not many.read_table("memory://elsewhere.parquet").shape[0]


def test_what_is_no_table_and_an_address_where_nobody_is_are_one_sentence(tmp_path):
    file = tmp_path / "table.parquet"
    file.write_text("no Parquet")
    with pytest.raises(UserError, match="is no table of a comparison"):
        many.read_table(str(file))
    with (
        pytest.raises(UserError, match="No Dask scheduler answers"),
        many.cluster("nonsense://there", 1),
    ):
        pass


def test_as_many_workers_as_memory_and_cores_allow(monkeypatch):
    from internals.models import memory

    monkeypatch.setattr(many, "cores", lambda: 8)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 20 * 2**30)
    assert many.fitting(0) == 8
    assert many.fitting(4 * 2**30) == 3
    assert many.fitting(100 * 2**30) == 1


def test_an_older_answer_is_replaced_and_one_with_another_key_is_asked_again():
    kept = many._Kept("memory://kept.parquet")
    row = {"model": "m", "name": "m", "task": "size", "key": "1", "status": many.DONE}
    kept.add([{**row, "task": many.OPENING, "status": many.FAILED, "why": "not there"}])
    kept.add([{**row, "quantity": "a", "value": 1.0}, {**row, "quantity": "b", "value": 2.0}])
    assert many.OPENING not in set(kept.rows["task"]), "it could be opened after all"
    assert kept.has("m", "size", "1")
    assert not kept.has("m", "size", "2")
    kept.add([{**row, "key": "2", "status": many.FAILED, "why": "no"}])
    assert len(kept.rows) == 1
    assert not kept.has("m", "size", "2")
