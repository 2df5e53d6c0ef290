"""Small tokenizers of each algorithm, trained in a moment on a few sentences."""

from __future__ import annotations

import functools

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXT = [
    "The capital of France is Paris. The capital of Japan is Tokyo.",
    "the cat sat on the mat, and the dog sat under the table.",
    "One two three 1 2 3 10 20 30 100 2024. naïve café 中文 字",
] * 4


def _fast(tokenizer: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


@functools.cache
def byte_level_bpe(vocab_size: int = 320) -> PreTrainedTokenizerFast:
    """GPT-2's kind: bytes, no normaliser, no unknown token."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<|endoftext|>"],
            show_progress=False,
        ),
    )
    return _fast(t, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


@functools.cache
def byte_fallback_bpe() -> PreTrainedTokenizerFast:
    """Llama 2's kind: ``▁`` for spaces, unknown characters as ``<0xNN>``."""
    t = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    t.train_from_iterator(
        [s.encode("ascii", "ignore").decode() for s in TEXT],
        trainers.BpeTrainer(
            vocab_size=420,
            special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))],
            show_progress=False,
        ),
    )
    return _fast(t, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


@functools.cache
def wordpiece() -> PreTrainedTokenizerFast:
    """BERT's kind: lower-cased, ``##`` for continuations, an unknown token."""
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.train_from_iterator(TEXT, trainers.WordPieceTrainer(vocab_size=120, special_tokens=["[UNK]"]))
    return _fast(t, unk_token="[UNK]")


@functools.cache
def word_level() -> PreTrainedTokenizerFast:
    """Whole words; everything else is unknown."""
    t = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.train_from_iterator(TEXT, trainers.WordLevelTrainer(vocab_size=60, special_tokens=["[UNK]"]))
    return _fast(t, unk_token="[UNK]")


ALL = (byte_level_bpe, byte_fallback_bpe, wordpiece, word_level)
