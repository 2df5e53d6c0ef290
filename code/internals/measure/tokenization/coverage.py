"""Is anything out of vocabulary? Bytes that are tokens, and a fuzz of Unicode strings."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.measure.tokenization.breakdown import decode, has_unknown
from internals.models import ModelHandle
from internals.tokens import pieces, token_bytes

RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "ASCII": ((0x20, 0x7E),),
    "Latin with accents": ((0xA1, 0x24F),),
    "Cyrillic and Arabic": ((0x400, 0x52F), (0x600, 0x6FF)),
    "Indic scripts": ((0x900, 0xDFF),),
    "Chinese, Japanese, Korean": ((0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3)),
    "emoji and joiners": ((0x1F300, 0x1FAFF), (0x200D, 0x200D), (0xFE0F, 0xFE0F)),
    "blanks and controls": ((0x0, 0x20), (0x7F, 0xA0), (0x2000, 0x200F), (0x2581, 0x2581)),
    "any assigned character": ((0x20, 0xD7FF), (0xF900, 0x323AF)),
    "any code point": ((0x0, 0xD7FF), (0xE000, 0x10FFFF)),
}
"""Kinds of text and the code points from which their strings are drawn."""
UTF8_BYTES = frozenset(range(256)) - {0xC0, 0xC1, *range(0xF5, 0x100)}
"""The bytes that occur in UTF-8 (RFC 3629): the others begin no character."""


@measurement
def missing_bytes(model: ModelHandle) -> tuple[int, ...]:
    """Bytes of UTF-8 that are no token of their own"""
    tokenizer = model.loaded().tokenizer
    raw = (token_bytes(tokenizer, i) for i in range(len(tokenizer)))
    single = {piece[0] for piece in raw if len(piece) == 1}
    return tuple(sorted(UTF8_BYTES - single))


@measurement
def fuzz(model: ModelHandle, n_per_kind: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Round trips of random Unicode strings

    Special tokens are read as plain text. Columns: ``kind``, ``strings``, ``returned``
    (decode(encode(s)) == s), ``unknown`` (strings with an UNK token), ``tokens_per_character``.
    """
    tokenizer = model.loaded().tokenizer
    rows = []
    for kind in RANGES:
        strings = random_strings(kind, n_per_kind, seed)
        tried = [round_trip(tokenizer, text) for text in strings]
        rows.append(
            {
                "kind": kind,
                "strings": len(strings),
                "returned": sum(back for back, _, _ in tried),
                "unknown": sum(unknown for _, unknown, _ in tried),
                "tokens_per_character": sum(n for _, _, n in tried) / sum(map(len, strings)),
            }
        )
    return pd.DataFrame(rows)


def random_strings(kind: str, n: int, seed: int, longest: int = 24) -> list[str]:
    """``n`` strings of 1 to ``longest`` characters of a kind; the same for the same seed."""
    rng = np.random.default_rng([seed, sorted(RANGES).index(kind)])
    points = np.concatenate([np.arange(a, b + 1) for a, b in RANGES[kind]])
    if "assigned" in kind:
        points = np.array([p for p in points if unicodedata.category(chr(p)) not in {"Cn", "Co"}])
    lengths = rng.integers(1, longest + 1, n)
    return ["".join(map(chr, rng.choice(points, length))) for length in lengths]


def round_trip(tokenizer: Any, text: str) -> tuple[bool, bool, int]:
    """Whether a text comes back from its ids, whether one of them is UNK, and their number."""
    ids = [p.id for p in pieces(tokenizer, text, split_special=True)]
    unknown = has_unknown(tokenizer) and tokenizer.unk_token_id in ids
    return decode(tokenizer, ids) == text, unknown, len(ids)
