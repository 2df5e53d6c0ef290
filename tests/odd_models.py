"""Models at the edge: what no author of an experiment thinks of until a user brings it.

Each is tiny, random and saved as a user's folder would be; `save(name, folder)` writes one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import tiny_models
from tokenizers_small import TEXT, byte_fallback_bpe, byte_level_bpe


def characters() -> PreTrainedTokenizerFast:
    """About eighty single characters and an unknown token: no piece is longer than a letter."""
    alphabet = sorted(set("".join(TEXT)))
    vocab = {token: i for i, token in enumerate(["[UNK]", *alphabet])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


def framed(start: bool, end: bool) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer that puts special tokens around every text."""
    tokenizer = Tokenizer.from_str(byte_level_bpe().backend_tokenizer.to_str())
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    frame = f"{'[CLS] ' if start else ''}$A{' [SEP]' if end else ''}"
    tokenizer.post_processor = processors.TemplateProcessing(single=frame, special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="[CLS]", eos_token="[SEP]")


def metaspace() -> PreTrainedTokenizerFast:
    """SentencePiece's kind: every word begins with ``▁``, also the first one."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def _llama(tokenizer: PreTrainedTokenizerFast, **changes: Any) -> Any:
    settings = {**tiny_models.GATED, "vocab_size": len(tokenizer), **changes}
    return tf.LlamaConfig(**settings), tokenizer


def _of_family(name: str) -> Callable[[], Any]:
    return lambda: (tiny_models.CONFIGS[name](), byte_level_bpe())


ODD: dict[str, Callable[[], Any]] = {
    "gpt2": _of_family("gpt2"),
    "gpt_neox": _of_family("gpt_neox"),
    "opt-post": _of_family("opt-post"),
    "gemma2": _of_family("gemma2"),
    "mistral": _of_family("mistral"),
    "context of 16": lambda: _llama(byte_level_bpe(), max_position_embeddings=16),
    "characters": lambda: _llama(characters()),
    "start token": lambda: _llama(framed(True, False)),
    "end token": lambda: _llama(framed(True, True)),
    "blank before words": lambda: _llama(metaspace()),
    "byte fallback": lambda: _llama(byte_fallback_bpe()),
    "padded vocabulary": lambda: _llama(byte_level_bpe(), vocab_size=384),
    "one head, list of ends": lambda: _llama(
        byte_level_bpe(), num_attention_heads=1, num_key_value_heads=1, eos_token_id=[0, 5]
    ),
    "overflowing": lambda: _llama(byte_level_bpe()),
}
"""Configuration and tokenizer by what is odd about the model."""


def save(name: str, folder: Path, seed: int = 0) -> Path:
    """Write an odd model with its tokenizer; returns ``folder``."""
    config, tokenizer = ODD[name]()
    torch.manual_seed(seed)
    model = tf.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                # The last kind has values whose squares reach the end of float32.
                parameter.mul_(3e18 if name == "overflowing" and parameter.shape[0] == 32 else 4)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
