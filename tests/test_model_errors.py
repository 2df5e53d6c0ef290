"""Every way in which a model can be wrong gets one sentence that says what to do."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers as tf
from huggingface_hub import errors as hub
from safetensors.torch import load_file, save_file

from internals.errors import ModelError
from internals.models import load, memory, open_model, resolve
from internals.run.cli import app
from tokenizers_small import byte_level_bpe


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    """A copy of a good model folder, to be spoilt."""
    copy = tmp_path / "a model"
    shutil.copytree(tiny_folder("llama"), copy)
    return copy


def assert_refused(sentence, spec):
    with pytest.raises(ModelError, match=sentence) as caught:
        load(str(spec))
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")


def hub_says(monkeypatch, error):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)


def _http(kind, text="refused"):
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    return error


def test_an_unknown_id_is_told_with_the_embedded_names(monkeypatch):
    hub_says(monkeypatch, _http(hub.RepositoryNotFoundError))
    assert_refused("has no model “no-such/model” that you may see", "no-such/model")


def test_an_unknown_revision_is_told(monkeypatch):
    hub_says(monkeypatch, _http(hub.RevisionNotFoundError))
    assert_refused("gpt2 has no revision “v9”", "gpt2@v9")


def test_a_gated_model_says_how_to_get_in(monkeypatch):
    hub_says(monkeypatch, _http(hub.GatedRepoError))
    assert_refused("org/secret is gated: accept its terms", "org/secret")


@pytest.mark.parametrize(
    "error",
    [
        hub.LocalEntryNotFoundError("not cached"),
        hub.OfflineModeIsEnabled("offline"),
        ConnectionError("no route"),
        OSError("name resolution failed"),
        RuntimeError("a fault of the network library"),
    ],
)
def test_no_network_and_not_cached(monkeypatch, error):
    hub_says(monkeypatch, error)
    assert_refused("“gpt2” is not on this machine and the Hugging Face Hub", "gpt2")


def test_an_answer_that_is_an_error_is_told_as_such(monkeypatch):
    hub_says(monkeypatch, _http(hub.HfHubHTTPError, "503 Server Error\nmore"))
    assert_refused(r"refused “gpt2” \(503 Server Error\); try again", "gpt2")


def test_a_full_disk_is_no_missing_network(monkeypatch):
    hub_says(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    assert_refused("“gpt2” does not fit on this disk", "gpt2")


def test_the_real_client_offline_gives_the_same_sentence():
    """HF_HUB_OFFLINE is set for all tests, so nothing goes out."""
    assert_refused("cannot be reached; connect to the network", "org/not-cached")


def test_only_safe_files_are_asked_for_and_the_commit_is_recorded(
    monkeypatch, tiny_folder, tmp_path
):
    asked = {}
    commit = tmp_path / ("0" * 39 + "1")
    shutil.copytree(tiny_folder("gpt2"), commit)

    def download(repo, revision=None, allow_patterns=None):
        asked.update(repo=repo, revision=revision, patterns=allow_patterns)
        return str(commit)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    facts = open_model("org/name@v1").facts
    assert (asked["repo"], asked["revision"]) == ("org/name", "v1")
    assert not any(p.endswith((".bin", ".py", ".pt")) for p in asked["patterns"])
    assert facts.revision == commit.name
    assert facts.name == "name"


@pytest.mark.parametrize("spec", ["./nowhere", "/no/such/folder", "~/no such folder"])
def test_a_misspelt_path_is_no_hub_id(spec):
    assert_refused("There is no folder", spec)


@pytest.mark.parametrize(("spec", "sentence"), [("", "No model was named"), ("a b", "neither")])
def test_what_is_no_name_at_all(spec, sentence):
    assert_refused(sentence, spec)


def test_a_folder_without_config(folder):
    (folder / "config.json").unlink()
    assert_refused(r"has no config\.json, so it is no model folder", folder)


@pytest.mark.parametrize(
    ("content", "sentence"), [("{", "no valid JSON"), ("{}", "names no model_type")]
)
def test_a_damaged_config(folder, content, sentence):
    (folder / "config.json").write_text(content)
    assert_refused(sentence, folder)


def test_a_folder_without_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert_refused("has no tokenizer files", folder)


def test_a_damaged_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{}")
    assert_refused("The tokenizer of a model cannot be read", folder)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: tf.BertConfig(vocab_size=50), "is an encoder"),
        (lambda: tf.T5Config(vocab_size=50), "is a sequence-to-sequence model"),
        (lambda: tf.MambaConfig(vocab_size=50), "is of the type “mamba”, which this report"),
    ],
)
def test_other_kinds_of_models(tmp_path, make, sentence):
    make().save_pretrained(tmp_path)
    byte_level_bpe().save_pretrained(tmp_path)
    assert_refused(sentence, tmp_path)


def test_a_model_that_needs_code_from_its_repository(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "brand_new", "auto_map": {"AutoConfig": "configuration_x.X"}}
    (folder / "config.json").write_text(json.dumps(config))
    assert_refused("needs program code from its repository", folder)


def test_pickled_weights_are_not_loaded(folder):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert_refused("no weights as safetensors .only pickled ones", folder)


def test_no_weights_at_all(folder):
    (folder / "model.safetensors").unlink()
    assert_refused("no weights as safetensors .none at all", folder)


@pytest.mark.parametrize("keep", [0, 5, 400, 0.5, 0.999])
def test_weights_that_were_cut_short(folder, keep):
    file = folder / "model.safetensors"
    raw = file.read_bytes()
    file.write_bytes(raw[: keep if isinstance(keep, int) else int(keep * len(raw))])
    assert_refused(r"model\.safetensors in a model is damaged or cut short", folder)


def test_weights_with_a_damaged_header(folder):
    file = folder / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[8:40] = b"\xff" * 32
    file.write_bytes(bytes(raw))
    assert_refused("is damaged or cut short", folder)


def test_a_missing_shard_is_named(folder):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_refused(r"model-00001-of-00002\.safetensors is missing", folder)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": "../b"}}']
)
def test_a_damaged_list_of_shards(folder, content):
    (folder / "model.safetensors.index.json").write_text(content)
    assert_refused(r"model\.safetensors\.index\.json of a model is damaged", folder)


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"a": 1}', b'{"a": {"data_offsets": []}}'])
def test_a_header_that_is_json_but_no_list_of_tensors(folder, content):
    raw = len(content).to_bytes(8, "little") + content
    (folder / "model.safetensors").write_bytes(raw)
    assert_refused("is damaged or cut short", folder)


def test_memory_that_runs_out_in_spite_of_the_estimate_is_told(folder, monkeypatch):
    import importlib

    def fail(*_args, **_kwargs):
        raise MemoryError

    monkeypatch.setattr(importlib.import_module("internals.models.load"), "_LOADED", {})
    monkeypatch.setattr(tf.AutoModelForCausalLM, "from_pretrained", fail)
    assert_refused("memory of this machine ran out while a model was loaded", folder)


def test_a_missing_tensor_is_not_filled_with_random_numbers(folder):
    state = load_file(folder / "model.safetensors")
    del state["model.norm.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert_refused("do not fit its config.json", folder)


def test_an_extra_tensor_is_not_dropped_silently(folder):
    state = load_file(folder / "model.safetensors")
    state["model.extra.weight"] = torch.zeros(3)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert_refused("do not fit its config.json", folder)


def test_another_width_than_the_config_says(folder):
    config = json.loads((folder / "config.json").read_text())
    config["intermediate_size"] = 64
    (folder / "config.json").write_text(json.dumps(config))
    assert_refused("do.? not fit its config.json", folder)


def test_a_tokenizer_with_more_entries_than_the_embedding(folder):
    byte_level_bpe(400).save_pretrained(folder)
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<extra{i}>" for i in range(200)])
    tokenizer.save_pretrained(folder)
    assert_refused("the folder mixes two models", folder)


def test_not_enough_memory_is_said_before_loading(folder, monkeypatch):
    import importlib

    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    module = importlib.import_module("internals.models.load")
    monkeypatch.setattr(module, "_LOADED", {})  # another test may have loaded the same weights
    sentence = r"needs about 0\.\d MiB for its weights, but only 0\.0 MiB of memory"
    assert_refused(sentence, folder)


def test_16_bit_weights_become_float32_where_they_fit_and_stay_where_not(folder, monkeypatch):
    model = tf.AutoModelForCausalLM.from_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(folder)
    facts = load(str(folder)).facts
    assert (facts.dtype, facts.stored_dtype) == ("float32", "bfloat16")
    source = resolve.resolve(str(folder))
    files = resolve.weight_files(source)
    exactly = memory.needed_bytes(files)
    assert memory.needed_bytes(files, 4) == 2 * exactly
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(exactly * 1.5))
    assert memory.choose_dtype(source.name, files, "cpu") == "auto"


def test_the_command_line_prints_one_sentence_and_no_trace(capsys, monkeypatch):
    from internals.run import cli

    monkeypatch.setattr("sys.argv", ["internals", "inspect", "/no/such/folder"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == "There is no folder /no/such/folder; check the path."
    assert app.registered_commands


def test_the_debug_switch_shows_the_trace(monkeypatch):
    from internals.run import cli

    monkeypatch.setenv("INTERNALS_DEBUG", "1")
    monkeypatch.setattr("sys.argv", ["internals", "inspect", "/no/such/folder"])
    with pytest.raises(ModelError):
        cli.main()
