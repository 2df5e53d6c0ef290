"""Small GGUF files of random models, written with the `gguf` package as llama.cpp would write them.

How a tensor is laid out follows llama.cpp's converter (`convert_hf_to_gguf.py`) and not the reader
of transformers, so that reading is tested against something else than itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers as tf

from tokenizers_small import byte_level_bpe

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 96,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
_GEMMA = {"head_dim": 16, "sliding_window": 16, "pad_token_id": 0, "query_pre_attn_scalar": 16}


def _n() -> dict[str, int]:
    return {"vocab_size": len(byte_level_bpe())}


CONFIGS: dict[str, Callable[..., Any]] = {
    "llama": lambda **c: tf.LlamaConfig(**{**SIZES, **_n(), **c}),
    "qwen2": lambda **c: tf.Qwen2Config(**{**SIZES, **_n(), **c}),
    "qwen3": lambda **c: tf.Qwen3Config(**{**SIZES, **_n(), "head_dim": 16, **c}),
    "gemma2": lambda **c: tf.Gemma2Config(**{**SIZES, **_n(), **_GEMMA, **c}),
    "gemma3": lambda **c: tf.Gemma3TextConfig(**{**SIZES, **_n(), **_GEMMA, **c}),
    "phi3": lambda **c: tf.Phi3Config(**{**SIZES, **_n(), "pad_token_id": 0, **c}),
    "gpt2": lambda **c: tf.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=96, n_inner=64, bos_token_id=0, eos_token_id=0,
        **_n(), **c,
    ),
}  # fmt: skip


def build(architecture: str, **changes: Any) -> Any:
    """A random model whose parts all matter."""
    torch.manual_seed(3)
    config = CONFIGS[architecture](**changes)
    model = tf.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.mul_(4)
            elif "norm" in name or "ln_" in name or "bias" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def laid_out(architecture: str, config: Any, name: str, w: np.ndarray) -> np.ndarray:
    """A tensor as llama.cpp keeps it."""
    if architecture == "llama" and (".q_proj." in name or ".k_proj." in name):
        heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
        return (
            w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:])
            .swapaxes(1, 2)
            .reshape(w.shape)
        )
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return w + 1
    if architecture == "gpt2" and w.ndim == 2 and ".h." in name:
        return w.T.copy()
    return w


def laid_back(architecture: str, config: Any, name: str, w: np.ndarray) -> np.ndarray:
    """The way back of `laid_out`, for what quantisation has made of a tensor."""
    if architecture == "llama" and (".q_proj." in name or ".k_proj." in name):
        heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
        return (
            w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:])
            .swapaxes(1, 2)
            .reshape(w.shape)
        )
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return w - 1
    if architecture == "gpt2" and w.ndim == 2 and ".h." in name:
        return w.T.copy()
    return w


def write(
    path: Path,
    architecture: str = "llama",
    kind: str = "F32",
    *,
    model: Any = None,
    tokenizer: Any = None,
    pre: str | None = "as usual",
    settings: dict[str, Any] | None = None,
    extra: dict[str, np.ndarray] | None = None,
    leave_out: str | None = None,
    without: str | None = None,
    change: Callable[[gguf.GGUFWriter], None] | None = None,
    add_text: Callable[[gguf.GGUFWriter], None] | None = None,
) -> dict[str, torch.Tensor]:
    """Write a model into ``path``; returns what its weights are after quantisation.

    Args:
        path: of the file.
        architecture: in the words of the file format.
        kind: type of the matrices; the first axis of each must have whole blocks.
        model: to be written; a random one otherwise.
        tokenizer: a fast byte-level one.
        pre: how the file says that text is split; as usual for the architecture.
        settings: further ones of the architecture.
        extra: further tensors.
        leave_out: name of a tensor that is not written.
        without: name of a setting that is not written.
        change: may add anything to the writer.
        add_text: adds a tokenizer instead of the byte-level one.
    """
    model = model or build(architecture)
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("A tiny [red] model")
    writer.add_license("apache-2.0")
    _settings(writer, architecture, config)
    for key, value in (settings or {}).items():
        _any(writer, f"{architecture}.{key}", value)
    if pre == "as usual":
        pre = "qwen2" if architecture.startswith("qwen") else "gpt-2"
    if add_text:
        add_text(writer)
    else:
        add_tokenizer(writer, tokenizer or byte_level_bpe(), pre)
    if change:
        change(writer)
    if without:
        del writer.kv_data[0][without]
    to = gguf.GGMLQuantizationType[kind]
    arch = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    kept: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        stem, _, suffix = name.rpartition(".")
        w = laid_out(architecture, config, name, parameter.detach().numpy())
        found = f"{names.get_name(stem)}.{suffix}"
        assert names.get_name(stem), name
        if found == leave_out:
            continue
        if w.ndim == 2 and to != gguf.GGMLQuantizationType.F32:
            blocks = gguf.quants.quantize(w, to)
            writer.add_tensor(found, blocks, raw_dtype=to)
            w = gguf.quants.dequantize(blocks, to)
        else:
            writer.add_tensor(found, np.ascontiguousarray(w))
        kept[name] = torch.from_numpy(np.array(laid_back(architecture, config, name, w)))
    for name, values in (extra or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept


def _settings(writer: gguf.GGUFWriter, architecture: str, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    inner = config.n_inner if architecture == "gpt2" else config.intermediate_size
    writer.add_feed_forward_length(inner)
    writer.add_head_count(config.num_attention_heads)
    if architecture == "gpt2":
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_vocab_size(config.vocab_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(width)
    if architecture in {"qwen3", "gemma2", "gemma3"}:
        writer.add_key_length(width)
        writer.add_value_length(width)
    if architecture.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def _any(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_string(key, value)


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, pre: str | None) -> None:
    """The vocabulary, the merges and the special tokens of a byte-level tokenizer."""
    import json

    described = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    special = set(tokenizer.all_special_ids)
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_types([control if i in special else normal for _, i in tokens])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in described["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)


def add_sentencepiece(writer: gguf.GGUFWriter, tokenizer: Any, **flags: bool) -> None:
    """The vocabulary of a tokenizer of Llama 2's kind: entries with scores and no merges."""
    import json

    described = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    pairs = [m.split(" ") if isinstance(m, str) else m for m in described["merges"]]
    rank = {"".join(pair): -float(i) for i, pair in reversed(list(enumerate(pairs)))}
    tokens = [token for token, _ in sorted(described["vocab"].items(), key=lambda item: item[1])]
    kinds = gguf.TokenType

    def kind(token: str) -> gguf.TokenType:
        if token in {"<s>", "</s>"}:
            return kinds.CONTROL
        if token == "<unk>":
            return kinds.UNKNOWN
        return kinds.BYTE if token.startswith("<0x") else kinds.NORMAL

    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([rank.get(token, -1e6) for token in tokens])
    writer.add_token_types([kind(token) for token in tokens])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_unk_token_id(tokenizer.unk_token_id)
    for name, value in flags.items():
        getattr(writer, f"add_{name}")(value)
