"""Is anything out of vocabulary? A fuzz of Unicode strings, and what breaks the way back.

Answers with counts for each kind of text; a proof needs the byte alphabet, which `tokens` checks.
"""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pandas as pd

from internals.measure.tokenization.breakdown import decode, has_unknown
from internals.tokens import pieces

RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "ASCII": ((0x20, 0x7E),),
    "Latin with accents": ((0xA1, 0x24F),),
    "Greek and Cyrillic": ((0x370, 0x52F),),
    "Hebrew and Arabic": ((0x590, 0x6FF),),
    "Indic scripts": ((0x900, 0xDFF),),
    "Chinese, Japanese, Korean": ((0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3)),
    "combining marks": ((0x61, 0x7A), (0x300, 0x36F)),
    "full-width forms": ((0xFF01, 0xFFEE),),
    "emoji and joiners": ((0x1F300, 0x1FAFF), (0x200D, 0x200D), (0xFE0F, 0xFE0F)),
    "blanks and controls": ((0x0, 0x20), (0x7F, 0xA0), (0x2000, 0x200F), (0x3000, 0x3000)),
    "any code point": ((0x0, 0xD7FF), (0xE000, 0x10FFFF)),
}
"""Kinds of text and the code points from which their strings are drawn."""


def random_strings(kind: str, n: int, seed: int, longest: int = 24) -> list[str]:
    """``n`` strings of 1 to ``longest`` characters of a kind; the same for the same seed."""
    rng = np.random.default_rng([seed, sorted(RANGES).index(kind)])
    points = np.concatenate([np.arange(a, b + 1) for a, b in RANGES[kind]])
    lengths = rng.integers(1, longest + 1, n)
    return ["".join(map(chr, rng.choice(points, length))) for length in lengths]


def fuzz(tokenizer: Any, n_per_kind: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Encode and decode random strings of each kind, special tokens read as plain text.

    Columns: ``kind``, ``n``, ``returned`` (decode(encode(s)) == s), ``same_bytes`` (the tokens'
    bytes are the text's, one prefix space aside), ``unknown`` (strings with an UNK token),
    ``tokens_per_character``, ``example`` (a shortest string that did not come back, or "").
    """
    rows = []
    for kind in RANGES:
        strings = random_strings(kind, n_per_kind, seed)
        outcomes = [_outcome(tokenizer, text) for text in strings]
        lost = [s for s, o in zip(strings, outcomes, strict=True) if not o["returned"]]
        frame = pd.DataFrame(outcomes)
        rows.append(
            {
                "kind": kind,
                "n": len(strings),
                "returned": int(frame["returned"].sum()),
                "same_bytes": int(frame["same_bytes"].sum()),
                "unknown": int(frame["unknown"].sum()),
                "tokens_per_character": frame["tokens"].sum() / frame["characters"].sum(),
                "example": min(lost, key=len, default=""),
            }
        )
    return pd.DataFrame(rows)


def _outcome(tokenizer: Any, text: str) -> dict[str, Any]:
    found = pieces(tokenizer, text, split_special=True)
    ids = [p.id for p in found]
    raw = b"".join(p.raw for p in found)
    return {
        "returned": decode(tokenizer, ids) == text,
        "same_bytes": raw in (text.encode(), b" " + text.encode()),
        "unknown": has_unknown(tokenizer) and tokenizer.unk_token_id in ids,
        "tokens": len(ids),
        "characters": len(text),
    }


FORMS: tuple[tuple[str, str, str], ...] = (
    ("precomposed é", "caf\u00e9", "NFC"),
    ("e and combining accent", "cafe\u0301", "NFD"),
    ("full-width letters", "\uff34\uff48\uff45", "NFKC folds them"),
    ("ligature fi", "\ufb01sh", "NFKC splits it"),
    ("family emoji with joiners", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "one glyph"),
    ("flag of two letters", "\U0001f1eb\U0001f1f7", "one glyph"),
    ("thumb with skin tone", "\U0001f44d\U0001f3fd", "one glyph"),
    ("zero-width space", "zero\u200bwidth", "invisible"),
    ("no-break space", "no\u00a0break", "looks like a space"),
    ("Cyrillic look-alike", "P\u0430ris", "looks like Paris"),
    ("right-to-left mark", "abc\u200fdef", "invisible"),
)
"""Texts that look alike or are one sign to a reader: name, text, remark."""


def odd_forms(tokenizer: Any) -> pd.DataFrame:
    """What becomes of each of :data:`FORMS`.

    Columns: ``form``, ``text``, ``remark``, ``characters``, ``bytes``, ``tokens``, ``shown``,
    ``nfc_changes`` and ``nfkc_changes`` (whether Unicode's normal form is another string),
    ``returned``.
    """
    rows = []
    for name, text, remark in FORMS:
        found = pieces(tokenizer, text, split_special=True)
        rows.append(
            {
                "form": name,
                "text": text,
                "remark": remark,
                "characters": len(text),
                "bytes": len(text.encode()),
                "tokens": len(found),
                "shown": " | ".join(p.shown for p in found),
                "nfc_changes": unicodedata.normalize("NFC", text) != text,
                "nfkc_changes": unicodedata.normalize("NFKC", text) != text,
                "returned": decode(tokenizer, [p.id for p in found]) == text,
            }
        )
    return pd.DataFrame(rows)
