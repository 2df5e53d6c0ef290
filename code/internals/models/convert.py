"""From a GGUF file to an ordinary model folder, by transformers, once for each file.

The weights are written as float32: a four-bit weight times its scale plus its minimum has more
digits than sixteen bits hold, and the folder must hold exactly what the file says. Whatever the
file says and the library would drop or replace without a word is corrected here or refused.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from internals.errors import ModelError, first_line
from internals.models import store
from internals.models.fingerprint import file_digest
from internals.models.gguf_file import GgufFile, read
from internals.models.gguf_tokenizer import read_tokenizer, refuse_another

RECIPE = 1
"""Raise it whenever the folders that are written here change."""
ORIGIN = "origin.json"
"""In a converted folder: what the file was."""
TYPES = {
    **{name: name for name in ("llama", "qwen2", "qwen3", "gemma2", "phi3", "gpt2")},
    "gemma3": "gemma3_text",
}
"""Architectures that are read, with the library's name of each."""
_READ = {
    *("context_length", "block_count", "embedding_length", "feed_forward_length", "vocab_size"),
    *("attention.head_count", "attention.head_count_kv", "rope.freq_base", "rope.dimension_count"),
    *("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"),
    *("attention.key_length", "attention.value_length"),
}
"""Settings that reach the configuration for every architecture, by the library or by `_settle`."""
_READ_FOR = {
    "gemma2": {"attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping"},
    "gemma3": {"attention.sliding_window", "final_logit_softcapping"},
    "phi3": {"attention.sliding_window"},
}
_NEEDED = (
    *("block_count", "context_length", "embedding_length", "feed_forward_length"),
    *("attention.head_count", "attention.head_count_kv", "attention.layer_norm_rms_epsilon"),
)
"""Settings in whose place the library would take those of one particular model; without the number
of key heads it would leave the rows of queries and keys in the wrong order."""
_NEEDED_FOR = {
    "gpt2": (*_NEEDED[:3], "attention.head_count", "attention.layer_norm_epsilon"),
    "gemma3": (*_NEEDED, "rope.freq_base", "attention.key_length"),
    "gemma2": (*_NEEDED, "attention.key_length"),
}
_FLOAT_BYTES = 4
_ROOM_TO_CONVERT = 1.5
"""Memory that a conversion takes, over that of the weights."""


def converted(path: Path, say: store.Say = store.tell) -> Path:
    """The model folder of a GGUF file, from the user's cache or made now.

    Raises:
        ModelError: the file is damaged, or of a kind that would not be read as it is meant.
    """
    digest = file_digest(path)
    name = f"gguf-{digest[:16]}-{RECIPE}"
    return store.kept(name, lambda folder: write(path, folder, digest, say=say), say)


def write(
    path: Path, folder: Path, digest: str, *, card: str | None = None, say: store.Say = store.tell
) -> None:
    """Convert the file into ``folder``; ``digest`` is its SHA-256, ``card`` the model card.

    Raises:
        ModelError: see :func:`converted`.
    """
    file = read(path)
    _refuse_unread(file)
    n_bytes = file.n_values * _FLOAT_BYTES
    store.require_room(path.name, n_bytes)
    _require_memory(path.name, n_bytes)
    say(f"Converting {path.name}: {store.megabytes(n_bytes)}, once.")
    with _one_sentence(path.name), _quiet():
        tokenizer = read_tokenizer(file, path)
        model = _model(file, path)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        refuse_another(file, tokenizer, folder)
    origin = {
        "file": path.name,
        "sha256": digest,
        "name": file.original_name,
        "quantisation": file.quantisation,
    }
    (folder / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", "utf-8")
    (folder / "README.md").write_text(card or _card(file, digest), "utf-8")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and remarks of the library: some are about values that are set later."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(before)


@contextlib.contextmanager
def _one_sentence(name: str) -> Iterator[None]:
    """Libraries raise many kinds; a full disk is told as such, the rest with its first line."""
    try:
        yield
    except ModelError:
        raise
    except MemoryError as error:
        raise _no_memory(name) from error
    except Exception as error:
        if store.is_full(error):
            raise store.storage_error(error) from error
        raise ModelError(
            f"{name} cannot be converted ({first_line(error)}); get the file again or give the "
            "folder of the original model."
        ) from error


def _require_memory(name: str, n_bytes: int) -> None:
    import psutil

    if n_bytes * _ROOM_TO_CONVERT > psutil.virtual_memory().available:
        raise _no_memory(name)


def _no_memory(name: str) -> ModelError:
    return ModelError(
        f"The memory that is free does not suffice to convert {name}; choose a smaller model or "
        "close other programs."
    )


def _refuse_unread(file: GgufFile) -> None:
    """Architectures and settings that the library does not read, or reads and forgets."""
    architecture, settings = file.architecture, file.settings
    if architecture not in TYPES:
        raise ModelError(
            f"{file.path.name} holds a model of the architecture “{architecture}”; this report "
            f"reads {', '.join(sorted(TYPES))} from GGUF."
        )
    missing = [k for k in _NEEDED_FOR.get(architecture, _NEEDED) if k not in settings]
    if missing:
        raise ModelError(
            f"{file.path.name} does not say {architecture}.{missing[0]}, so it does not describe a "
            "whole model; get it again or give the folder of the original model."
        )
    known = _READ | _READ_FOR.get(architecture, set())
    unread = sorted(k for k in settings if k not in known and not _harmless(settings, k))
    width = settings.get("attention.key_length") or settings.get("rope.dimension_count")
    for name in ("attention.key_length", "attention.value_length", "rope.dimension_count"):
        if settings.get(name, width) != width:
            unread.append(name)  # widths that differ
    unread += sorted(k for k in settings if k in known and isinstance(settings[k], list))
    named = [f"{architecture}.{k}" for k in unread]
    # Frequencies that are stretched for long contexts (Llama 3.1, Phi-3 128k) lie in a tensor.
    named += [tensor.name for tensor in file.tensors if tensor.name.startswith("rope_")]
    if named:
        raise ModelError(
            f"{file.path.name} sets {named[0]}, which transformers does not read from GGUF, so it "
            "would be another model; give the folder of the original model."
        )


def _harmless(settings: dict[str, Any], name: str) -> bool:
    """Settings that say what is so anyway."""
    same_as_context = settings[name] == settings.get("context_length")
    return (
        (name == "rope.scaling.type" and settings[name] == "none")
        or (name == "rope.scaling.original_context_length" and same_as_context)
        or (name in {"expert_count", "expert_used_count"} and settings[name] == 0)
    )


def _model(file: GgufFile, path: Path) -> Any:
    """The model in float32 with a configuration that says what the file says."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    _settle(file, config)
    model, report = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        config=config,
        dtype=torch.float32,
        output_loading_info=True,
    )
    _refuse_gaps(file, model, report)
    model.hf_quantizer = None  # nothing is quantised any more, so the model may be saved
    for name in ("quantization_config", "_model_name_or_path"):
        model.config.__dict__.pop(name, None)
    ends = {f"{name}_token_id": getattr(config, f"{name}_token_id") for name in _IDS}
    model.generation_config = GenerationConfig(**ends)
    return model


_IDS = {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id"}


def _settle(file: GgufFile, config: Any) -> None:
    """Set what the library leaves at the values of one particular model."""
    settings, architecture = file.settings, file.architecture
    for name, key in _IDS.items():
        setattr(config, f"{name}_token_id", file.metadata.get(f"tokenizer.ggml.{key}"))
    width = settings.get("attention.key_length")
    if width is not None and architecture != "qwen2":
        config.head_dim = width
    if architecture == "gpt2":
        config.n_positions = settings["context_length"]
        config.n_inner = settings.get("feed_forward_length")
    if architecture == "llama":
        config.attention_bias = any(t.name.endswith("attn_q.bias") for t in file.tensors)
    if architecture == "phi3":
        config.sliding_window = settings.get("attention.sliding_window") or None
    if architecture.startswith("gemma"):
        config.query_pre_attn_scalar = _gemma_scale(architecture, config)
        for name in ("attn_logit_softcapping", "final_logit_softcapping"):
            setattr(config, name, settings.get(name, getattr(config, name)))


def _gemma_scale(architecture: str, config: Any) -> int:
    """As llama.cpp has it: the width of a head, except for the two models of 27B."""
    large = {"gemma2": 46, "gemma3": 62}[architecture]
    if config.num_hidden_layers == large:
        return int(config.hidden_size // config.num_attention_heads)
    return int(config.head_dim)


def _refuse_gaps(file: GgufFile, model: Any, report: dict[str, Any]) -> None:
    """Every number of the file is in the model once, and every number of the model is from it."""
    missing = [*report.get("missing_keys", ()), *report.get("mismatched_keys", ())]
    held = sum(p.numel() for p in {p.data_ptr(): p for p in model.parameters()}.values())
    if missing or held != file.n_values:
        first = f", the first missing is {missing[0]}" if missing else ""
        raise ModelError(
            f"transformers does not read all of {file.path.name} ({file.n_values:,} numbers in the "
            f"file, {held:,} in the model{first}); give the folder of the original model."
        )


def _card(file: GgufFile, digest: str) -> str:
    """A model card that says where the folder comes from."""
    import yaml

    licence = file.metadata.get("general.license")
    front = yaml.safe_dump({"license": str(licence)}) if licence else ""
    return (
        f"---\n{front}---\n\n# {file.path.stem}\n\n"
        f"Converted from the GGUF file `{file.path.name}` (SHA-256 `{digest}`) by transformers.\n\n"
        f"- Name in the file: {file.original_name}\n"
        f"- Types of its tensors, by share of the numbers: {file.quantisation}\n"
        "- Here every number is a float32 with exactly the value that it has in the file.\n"
    )
