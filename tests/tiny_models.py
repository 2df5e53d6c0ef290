"""A tiny random model of every family, with a tokenizer, saved as a user's folder would be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf

from tokenizers_small import byte_level_bpe

COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
GATED = {**COMMON, "intermediate_size": 48, "num_key_value_heads": 2}


def _vocab() -> dict[str, int]:
    return {"vocab_size": len(byte_level_bpe()), "bos_token_id": 0, "eos_token_id": 0}


CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: tf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, **_vocab()),
    "gpt_neox": lambda: tf.GPTNeoXConfig(**COMMON, intermediate_size=64, **_vocab()),
    "opt": lambda: tf.OPTConfig(
        **COMMON, ffn_dim=64, word_embed_proj_dim=32, pad_token_id=0, **_vocab()
    ),
    "opt-post": lambda: tf.OPTConfig(
        **COMMON,
        ffn_dim=64,
        word_embed_proj_dim=16,
        do_layer_norm_before=False,
        pad_token_id=0,
        **_vocab(),
    ),
    "llama": lambda: tf.LlamaConfig(**GATED, **_vocab()),
    "mistral": lambda: tf.MistralConfig(**GATED, sliding_window=16, **_vocab()),
    "qwen2": lambda: tf.Qwen2Config(**GATED, **_vocab()),
    "qwen3": lambda: tf.Qwen3Config(**GATED, head_dim=8, **_vocab()),
    "gemma": lambda: tf.GemmaConfig(**GATED, head_dim=8, pad_token_id=0, **_vocab()),
    "gemma2": lambda: tf.Gemma2Config(
        **GATED, head_dim=8, sliding_window=16, pad_token_id=0, **_vocab()
    ),
    "gemma3_text": lambda: tf.Gemma3TextConfig(
        **GATED, head_dim=8, sliding_window=16, pad_token_id=0, **_vocab()
    ),
    "phi": lambda: tf.PhiConfig(**COMMON, intermediate_size=64, **_vocab()),
    "phi3": lambda: tf.Phi3Config(**GATED, pad_token_id=0, **_vocab()),
}
FAMILIES = tuple(CONFIGS)


def build(name: str, seed: int = 0) -> Any:
    """A random model; weights are larger than usual, so that its parts matter."""
    torch.manual_seed(seed)
    model = tf.AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()
    # transformers ignores a misspelt field of a configuration: make sure that it is tiny.
    assert sum(p.numel() for p in model.parameters()) < 100_000
    assert model.config.num_hidden_layers == 2
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4)
    return model


def save(name: str, folder: Path, seed: int = 0) -> Path:
    """Write a tiny model with its tokenizer; returns ``folder``."""
    build(name, seed).save_pretrained(folder)
    byte_level_bpe().save_pretrained(folder)
    return folder
