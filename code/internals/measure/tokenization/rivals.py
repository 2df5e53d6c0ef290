"""Rival tokenizers trained on the same text at the same vocabulary size.

Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019), WordPiece (Schuster & Nakajima 2012),
Unigram (Kudo 2018), whole words, characters and bytes, all with the `tokenizers` library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

UNK = "[UNK]"
KINDS = ("byte-level BPE", "WordPiece", "Unigram", "word", "character", "byte")


@dataclass(frozen=True)
class Rival:
    """A tokenizer reduced to what a comparison needs."""

    name: str
    encode: Callable[[str], list[int]]
    n_vocab: int
    unknown: int | None
    """Id of the unknown token; None where there is none."""
    spans: Callable[[str], list[tuple[int, int]]] | None = None
    """Characters of each token, for tokenizers that lose something; None for those that do not."""
    drops_blanks: bool = False
    """Whether blanks between tokens are in none of them."""


def train(kind: str, texts: Iterable[str], vocab_size: int) -> Rival:
    """Train a tokenizer of one of :data:`KINDS` on ``texts``.

    ``vocab_size`` bounds the entries; bytes have 256 whatever it says.
    """
    if kind == "byte":
        return Rival(kind, lambda text: list(text.encode()), 256, None)
    if kind == "character":
        return _characters(texts, vocab_size)
    if kind == "WordPiece":
        tokenizer = _wordpiece(list(texts), vocab_size)
    else:
        tokenizer, trainer = _BUILDERS[kind](vocab_size)
        tokenizer.train_from_iterator(texts, trainer)
    return Rival(
        kind,
        lambda text: tokenizer.encode(text).ids,
        tokenizer.get_vocab_size(),
        tokenizer.token_to_id(UNK),
        lambda text: tokenizer.encode(text).offsets,
        drops_blanks=kind in {"WordPiece", "word"},
    )


def _characters(texts: Iterable[str], vocab_size: int) -> Rival:
    """The commonest characters; the rest are unknown."""
    from collections import Counter

    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    ids = {c: i for i, (c, _) in enumerate(counts.most_common(vocab_size - 1), start=1)}
    return Rival(
        "character",
        lambda text: [ids.get(c, 0) for c in text],
        len(ids) + 1,
        0,
        lambda text: [(i, i + 1) for i in range(len(text))],
    )


def _bpe(vocab_size: int) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )


def _wordpiece(texts: list[str], vocab_size: int) -> Tokenizer:
    """WordPiece, the same in every run.

    The trainer numbers the continuing letters (``##a``) in the order in which it meets them in a
    hash table, and equal counts go to the lower number, so two trainings would differ. Given as
    special tokens all letters have fixed numbers, those that begin a word first, as the trainer
    has them; the result is then built anew without special tokens.
    """
    cutter = pre_tokenizers.BertPreTokenizer()
    words = {word for text in texts for word, _ in cutter.pre_tokenize_str(text)}
    letters = sorted({letter for word in words for letter in word})
    letters += sorted({f"##{letter}" for word in words for letter in word[1:]})
    trained = Tokenizer(models.WordPiece(unk_token=UNK))
    trained.pre_tokenizer = cutter
    trained.train_from_iterator(
        texts,
        trainers.WordPieceTrainer(
            vocab_size=vocab_size, special_tokens=[UNK, *letters], show_progress=False
        ),
    )
    tokenizer = Tokenizer(models.WordPiece(trained.get_vocab(), unk_token=UNK))
    tokenizer.pre_tokenizer = cutter
    return tokenizer


def _unigram(vocab_size: int) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=[UNK], unk_token=UNK, show_progress=False
    )


def _words(vocab_size: int) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer, trainers.WordLevelTrainer(
        vocab_size=vocab_size, special_tokens=[UNK], show_progress=False
    )


_BUILDERS: dict[str, Callable[[int], tuple[Tokenizer, trainers.Trainer]]] = {
    "byte-level BPE": _bpe,
    "Unigram": _unigram,
    "word": _words,
}


def from_file(file: Path) -> Rival:
    """A ready-made tokenizer from its ``tokenizer.json``; the folder gives the name."""
    from transformers import AutoTokenizer

    return from_transformers(file.parent.name, AutoTokenizer.from_pretrained(file.parent))


def from_transformers(name: str, tokenizer: object) -> Rival:
    """A Hugging Face tokenizer as a rival; special tokens in the text are read as text."""
    from internals.measure.tokenization.breakdown import has_unknown
    from internals.tokens import pieces

    def encode(text: str) -> list[int]:
        options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
        return tokenizer(text, **options)["input_ids"]  # type: ignore[operator]

    def spans(text: str) -> list[tuple[int, int]]:
        return [(p.start, p.end) for p in pieces(tokenizer, text, split_special=True)]

    unknown = tokenizer.unk_token_id if has_unknown(tokenizer) else None  # type: ignore[attr-defined]
    spelt = b"".join(p.raw for p in pieces(tokenizer, "a  b", split_special=True))
    return Rival(name, encode, len(tokenizer), unknown, spans, b" " not in spelt.strip())  # type: ignore[arg-type]
