"""The measurement cache: what makes a result stale, what does not, and what may go wrong.

Every run is a process of its own, as every build is: sources are edited between runs, not during.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from internals.cache import keys, storage

SCRIPT = """\
import json, sys
sys.path.insert(0, {folder!r})
from dataclasses import dataclass
from pathlib import Path
from internals.cache import recorded
import probe.measures as m

@dataclass(frozen=True)
class Handle:
    name: str
    fingerprint: str

value = m.count(Handle("tiny", {fingerprint!r}), words={words!r}, table=Path({table!r}))
rows = recorded()
print(json.dumps({{"value": value, "cached": bool(rows["cached"].iloc[-1]),
                   "torch": "torch" in sys.modules}}))
"""

MEASURES = """\
from internals.cache import measurement
from probe.helper import factor

@measurement(files=[{shared!r}])
def count(model, words=3, table=None):
    "Count words"
    return factor() * words + len(table.read_text())

def unrelated():
    return 1
"""


class Lab:
    """A package with one measurement, its input files and a cache."""

    def __init__(self, root: Path) -> None:
        self.root = root
        package = root / "probe"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "helper.py").write_text("def factor():\n    return 10\n")
        self.table, self.shared = root / "table.csv", root / "shared.csv"
        self.table.write_text("abc")
        self.shared.write_text("x")
        (package / "measures.py").write_text(MEASURES.format(shared=str(self.shared)))
        self.environment = {
            **os.environ,
            "INTERNALS_CACHE": str(root / "cache"),
            "INTERNALS_BUILD": str(root / "build"),
        }

    def run(self, words: int = 3, fingerprint: str = "f1") -> dict[str, object]:
        done = subprocess.run(self.command(words, fingerprint), **self.options(), check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def command(self, words: int = 3, fingerprint: str = "f1") -> list[str]:
        script = SCRIPT.format(
            folder=str(self.root), fingerprint=fingerprint, words=words, table=str(self.table)
        )
        return [sys.executable, "-c", script]

    def options(self) -> dict[str, object]:
        return {"env": self.environment, "capture_output": True, "text": True}

    def edit(self, name: str, before: str, after: str) -> None:
        file = self.root / "probe" / name
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after))


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def test_a_result_is_found_again_without_torch(lab):
    first, second = lab.run(), lab.run()
    assert first == {"value": 33, "cached": False, "torch": False}
    assert second == {"value": 33, "cached": True, "torch": False}


@pytest.mark.parametrize(
    ("file", "before", "after", "value"),
    [
        ("measures.py", "* words", "* words * 2", 63),
        ("helper.py", "return 10", "return 11", 36),
        ("helper.py", "return 10", "return 10  # a remark", 33),
    ],
)
def test_the_source_of_a_measurement_and_of_its_helpers_counts(lab, file, before, after, value):
    lab.run()
    lab.edit(file, before, after)
    assert lab.run() == {"value": value, "cached": False, "torch": False}


def test_a_module_that_is_edited_while_it_is_measured_is_not_stored(lab):
    helper = lab.root / "probe" / "helper.py"
    touch = f"import os, time; time.sleep(0.05); os.utime({str(helper)!r}); return 10"
    lab.edit("helper.py", "return 10", touch)
    time.sleep(0.1)
    assert [lab.run()["cached"] for _ in range(2)] == [False, False]
    lab.edit("helper.py", touch, "return 10")
    assert [lab.run()["cached"] for _ in range(2)] == [False, True]


def test_parameters_model_and_files_count(lab):
    lab.run()
    assert lab.run(words=4)["cached"] is False
    assert lab.run(fingerprint="f2")["cached"] is False
    lab.table.write_text("abcd")
    assert lab.run() == {"value": 34, "cached": False, "torch": False}
    lab.shared.write_text("y")
    assert lab.run()["cached"] is False
    assert lab.run()["cached"] is True


def entries(lab: Lab) -> list[Path]:
    return sorted((lab.root / "cache" / "measurements").glob("*/*.pkl"))


def test_a_deleted_or_damaged_entry_costs_only_time(lab):
    lab.run()
    (entry,) = entries(lab)
    for damage in (
        entry.unlink,
        lambda: entry.write_bytes(b"no pickle"),
        lambda: entry.write_bytes(b""),
    ):
        damage()
        assert lab.run() == {"value": 33, "cached": False, "torch": False}
        assert lab.run()["cached"] is True


def test_two_builds_at_once_compute_once(lab):
    lab.edit("helper.py", "return 10", "import time; time.sleep(1.5); return 10")
    both = [
        subprocess.Popen(
            lab.command(), env=lab.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    results = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert [r["value"] for r in results] == [33, 33]
    record = (lab.root / "build" / "measurements.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["cached"] for line in record) == [False, True]


def test_a_build_that_is_interrupted_leaves_no_half_entry(lab):
    lab.edit("helper.py", "return 10", "import time; print('busy', flush=True); time.sleep(30)")
    process = subprocess.Popen(
        lab.command(),
        env=lab.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A suite that runs in the background would hand down that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert entries(lab) == []
    lab.edit("helper.py", "time.sleep(30)", "return 10")
    # The lock of the dead process must not keep the next one waiting.
    began = time.monotonic()
    done = subprocess.run(lab.command(), **lab.options(), check=True)
    assert '"value": 33' in done.stdout
    assert time.monotonic() - began < 20


FULL = """\
import sys
sys.path.insert(0, {folder!r})
from types import SimpleNamespace
from pathlib import Path
import probe.measures as m

model, calls = SimpleNamespace(name="tiny", fingerprint="f"), []
m.factor = lambda: calls.append(1) or 10
{damage}
for words in (3, 4, 3, 4):
    print(m.count(model, words=words, table=Path({table!r})))
print(len(calls))
"""


@pytest.mark.parametrize(
    "damage",
    [
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))",
        "Path({cache!r}).write_text('a file in its place')",
        "import os; os.replace = lambda *_: (_ for _ in ()).throw(OSError(28, 'No space left'))",
    ],
)
def test_a_cache_that_takes_nothing_costs_one_note_and_nothing_is_measured_twice(lab, damage):
    damage = damage.format(cache=str(lab.root / "cache"))
    script = FULL.format(folder=str(lab.root), table=str(lab.table), damage=damage)
    done = subprocess.run([sys.executable, "-c", script], **lab.options(), check=False)
    assert done.stdout.split() == ["33", "43", "33", "43", "2"], done.stderr
    assert done.stderr.count("takes no more results") == 1
    assert done.stderr.strip().count("\n") == 0
    assert not (lab.root / "cache").is_dir() or entries(lab) == []


def test_what_is_kept_in_memory_cannot_be_changed_from_outside(monkeypatch):
    monkeypatch.setattr(storage, "_in_memory", {})
    monkeypatch.setattr(storage.paths, "write_whole", refuse)
    storage.save("a", "k", {"x": [1]})
    storage.load("a", "k")["x"].append(2)
    assert storage.load("a", "k") == {"x": [1]}


def refuse(*_):
    raise OSError(28, "No space left on device")


def test_what_nobody_used_for_long_is_trimmed(lab, monkeypatch):
    lab.run()
    lab.run(words=4)
    monkeypatch.setattr(storage.paths, "CACHE", lab.root / "cache")
    old = entries(lab)[0]
    half = old.with_name(f".{old.name}-x1")
    for path in (old, half, *(lab.root / "cache" / "locks").iterdir()):
        path.touch()
        os.utime(path, (0, 0))
    storage.trim()
    assert len(entries(lab)) == 1
    assert old not in entries(lab)
    assert not half.exists()
    assert not list((lab.root / "cache" / "locks").iterdir())


TIMES = """\
import sys, time
from internals.cache import storage

for _ in range(3):
    with storage.lock("m", sys.argv[1]), storage.alone(), storage.alone():
        began = time.time()
        time.sleep(0.2)
        print(began, time.time())
"""


def test_times_are_taken_by_one_process_at_a_time(tmp_path):
    env = {**os.environ, "INTERNALS_CACHE": str(tmp_path)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", TIMES, f"key-{i}"], env=env, stdout=subprocess.PIPE, text=True
        )
        for i in range(3)
    ]
    spans = [line.split() for p in running for line in p.communicate(timeout=60)[0].splitlines()]
    spans = sorted((float(a), float(b)) for a, b in spans)
    assert len(spans) == 9
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_who_waits_long_is_told_and_goes_on_in_the_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(storage.paths, "CACHE", tmp_path)
    monkeypatch.setattr(storage, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(storage, "_WAIT_S", 0.1)
    (tmp_path / "locks").mkdir()
    with (tmp_path / "locks" / "key.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with storage.lock("the measurement", "key"):
            pass
    assert "Another process is measuring the measurement" in capsys.readouterr().err


def test_a_missing_input_file_is_one_sentence(lab):
    lab.shared.unlink()
    done = subprocess.run(lab.command(), **lab.options(), check=False)
    assert "cannot be read" in done.stderr
    assert "put it back and try again" in done.stderr


def test_equal_content_has_equal_keys(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("same")
    second.write_text("same")
    assert keys.canonical(first) == keys.canonical(second)
    assert keys.canonical({"x": 1, "y": (1, 2)}) == keys.canonical({"y": [1, 2], "x": 1})
    assert keys.canonical(1) != keys.canonical(1.0)
    assert keys.canonical(0.1 + 0.2) != keys.canonical(0.3)


def test_what_has_no_content_is_refused():
    with pytest.raises(TypeError, match="its content cannot be told"):
        keys.canonical(object())


def test_tensors_are_refused():
    import torch

    from internals.cache import measurement

    @measurement
    def bad():
        return {"x": torch.zeros(2)}

    with pytest.raises(TypeError, match="convert it to NumPy"):
        bad()
