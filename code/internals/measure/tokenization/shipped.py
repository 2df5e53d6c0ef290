"""Tokenizers of real models, shipped as data in `data/tokenizers/`, for comparisons.

Each is the rank file of OpenAI's tiktoken, byte for byte (xz): a line holds an entry's bytes and
its rank, which is its id and its place in training. tiktoken joins whichever neighbours make the
entry of the lowest rank; `tokenizers` wants a list of merges instead, which is rebuilt here: two
parts are left of an entry when all joins of lower rank are done, and those are its merge.
"""

from __future__ import annotations

import base64
import functools
import itertools
import lzma
from collections.abc import Mapping
from dataclasses import dataclass

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from internals.paths import DATA
from internals.tokens import byte_alphabet

TOKENIZERS = DATA / "tokenizers"
_VISIBLE = {byte: symbol for symbol, byte in byte_alphabet().items()}


@dataclass(frozen=True)
class Shipped:
    """A tokenizer in `data/tokenizers/`; origin and licence stand in `data/README.md`."""

    title: str
    sha256: str
    """Of the rank file before compression: the sum that tiktoken itself checks after a download."""
    pattern: str
    """Rule of pre-tokenization, in the syntax of Oniguruma: no merge crosses its pieces."""
    special: Mapping[str, int]
    """Entries that no text gives, with their ids."""


SHIPPED = {
    "gpt2": Shipped(
        title="GPT-2",
        sha256="306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        pattern=r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        special={"<|endoftext|>": 50256},
    ),
    "cl100k_base": Shipped(
        title="cl100k (GPT-3.5, GPT-4)",
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern=r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+\z|\s*[\r\n]|\s+(?!\S)|\s",
        special={
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
}


@functools.cache
def load(name: str) -> Tokenizer:
    """The tokenizer ``name`` of :data:`SHIPPED`: `gpt2`, or `cl100k_base` with 100,261 entries.

    Ids are those of tiktoken's `encode_ordinary`: special tokens that are typed in a text are text.
    """
    shipped, ranked = SHIPPED[name], ranks(name)
    vocab = {_symbols(entry): rank for entry, rank in ranked.items()} | dict(shipped.special)
    merges = [
        (_symbols(first), _symbols(second))
        for first, second in (parts(entry, ranked) for entry in ranked if len(entry) > 1)
    ]
    # A piece that is an entry is taken whole, as tiktoken does.
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(shipped.pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in shipped.special])
    tokenizer.encode_special_tokens = True
    return tokenizer


def ranks(name: str) -> dict[bytes, int]:
    """Entries of a shipped tokenizer in the order of their ranks, without special ones."""
    lines = lzma.decompress((TOKENIZERS / f"{name}.tiktoken.xz").read_bytes()).splitlines()
    pairs = (line.split() for line in lines)
    return {base64.b64decode(entry): int(rank) for entry, rank in pairs}


def parts(entry: bytes, ranked: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """The two entries that are joined to make ``entry``, the last of its merges."""
    found = [entry[i : i + 1] for i in range(len(entry))]
    while len(found) > 2:
        joined = [first + second for first, second in itertools.pairwise(found)]
        at = min(range(len(joined)), key=lambda i: ranked.get(joined[i], len(ranked)))
        found[at : at + 2] = [joined[at]]
    return found[0], found[1]


def _symbols(entry: bytes) -> str:
    """Bytes in the visible characters that byte-level tokenizers write for them."""
    return entry.decode("latin-1").translate(_VISIBLE)
