"""Rival tokenizers: those of real models, and kinds that are trained on the same text.

WordPiece (Schuster and Nakajima 2012), Unigram (Kudo 2018), whole words, characters and bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from internals.measure.tokenization import shipped
from internals.measure.tokenization.breakdown import decode, has_unknown
from internals.readable import visible
from internals.tokens import pieces

UNK = "[UNK]"
TRAINED = ("WordPiece", "Unigram", "words", "characters", "bytes")
"""Kinds that are trained here, beside tokenizers of real models."""


@dataclass(frozen=True)
class Rival:
    """A tokenizer reduced to what a comparison needs."""

    name: str
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    pieces: Callable[[str], list[str]]
    """The tokens of a text in readable form."""
    n_vocab: int
    unknown: int | None
    """Id of the unknown token; None where there is none."""


def train(kind: str, texts: Sequence[str], vocab_size: int) -> Rival:
    """Train a tokenizer of one of :data:`TRAINED` on ``texts``.

    ``vocab_size`` bounds the entries; bytes have 256 whatever it says.
    """
    if kind == "bytes":
        return Rival(
            kind,
            lambda text: list(text.encode()),
            lambda ids: bytes(ids).decode("utf-8", "replace"),
            lambda text: [visible(bytes([byte])) for byte in text.encode()],
            256,
            None,
        )
    tokenizer = (_wordpiece if kind == "WordPiece" else _trained)(kind, texts, vocab_size)
    return Rival(
        kind,
        lambda text: list(tokenizer.encode(text).ids),
        lambda ids: str(tokenizer.decode(ids)),
        lambda text: [visible(token) for token in tokenizer.encode(text).tokens],
        tokenizer.get_vocab_size(),
        tokenizer.token_to_id(UNK),
    )


def _trained(kind: str, texts: Sequence[str], vocab_size: int) -> Tokenizer:
    options: dict[str, Any] = {"vocab_size": vocab_size, "special_tokens": [UNK]}
    if kind == "Unigram":
        tokenizer = Tokenizer(models.Unigram())
        trainer: trainers.Trainer = trainers.UnigramTrainer(
            unk_token=UNK, show_progress=False, **options
        )
    else:
        tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
        trainer = trainers.WordLevelTrainer(show_progress=False, **options)
    tokenizer.pre_tokenizer = {
        "Unigram": pre_tokenizers.Metaspace(),
        "words": pre_tokenizers.Whitespace(),
        "characters": pre_tokenizers.Split("", "isolated"),
    }[kind]
    if kind == "characters":
        tokenizer.decoder = decoders.Fuse()
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _wordpiece(_kind: str, texts: Sequence[str], vocab_size: int) -> Tokenizer:
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


def from_shipped(name: str) -> Rival:
    """A tokenizer of a real model from `data/tokenizers/` (see :mod:`.shipped`)."""
    tokenizer = shipped.load(name)
    raw = {i: entry for entry, i in shipped.ranks(name).items()}
    return Rival(
        shipped.SHIPPED[name].title,
        lambda text: list(tokenizer.encode(text).ids),
        lambda ids: b"".join(raw[i] for i in ids).decode("utf-8", "replace"),
        lambda text: [visible(raw[i]) for i in tokenizer.encode(text).ids],
        tokenizer.get_vocab_size(),
        None,
    )


def from_transformers(name: str, tokenizer: Any) -> Rival:
    """A Hugging Face tokenizer as a rival; special tokens in the text are read as text."""

    def encode(text: str) -> list[int]:
        options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
        return list(tokenizer(text, **options)["input_ids"])

    return Rival(
        name,
        encode,
        lambda ids: decode(tokenizer, ids),
        lambda text: [p.shown or p.token for p in pieces(tokenizer, text, split_special=True)],
        len(tokenizer),
        tokenizer.unk_token_id if has_unknown(tokenizer) else None,
    )
