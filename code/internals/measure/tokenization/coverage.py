"""Is anything out of vocabulary? A fuzz of Unicode strings, and what breaks the way back.

Answers with counts for each kind of text; a proof needs the byte alphabet, which `tokens` checks.
"""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pandas as pd

from internals.measure.tokenization.breakdown import barred, decode, has_unknown
from internals.tokens import pieces, token_bytes, tokenizer_facts

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
    ``tokens_per_character``, ``example`` (a shortest string that did not come back, or ""), one
    column for each of :data:`CAUSES` (strings that did not come back, by the first cause that
    applies), ``tidied`` (strings that the option to tidy up blanks would change),
    ``tidies`` (whether the library heeds that option here; see :func:`heeds_tidying`).
    """
    tidies = heeds_tidying(tokenizer)
    rows = []
    for kind in RANGES:
        strings = random_strings(kind, n_per_kind, seed)
        outcomes = [_outcome(tokenizer, text, tidies) for text in strings]
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
                **{cause: int((frame["cause"] == cause).sum()) for cause in CAUSES},
                "tidied": int(frame["tidied"].sum()),
                "tidies": tidies,
            }
        )
    return pd.DataFrame(rows)


def heeds_tidying(tokenizer: Any) -> bool:
    """Whether the library tidies up blanks for this tokenizer when it is asked to.

    Transformers ignores the option for BPE, unless a flag of the tokenizer insists on it.
    """
    if tokenizer_facts(tokenizer).algorithm != "BPE":
        return True
    return bool(getattr(tokenizer, INSISTS, False))


INSISTS = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"
"""The library's name for the flag that insists on tidying up."""


def _outcome(tokenizer: Any, text: str, tidies: bool) -> dict[str, Any]:
    found = pieces(tokenizer, text, split_special=True)
    ids = [p.id for p in found]
    raw = b"".join(p.raw for p in found)
    back = decode(tokenizer, ids)
    unknown = has_unknown(tokenizer) and tokenizer.unk_token_id in ids
    return {
        "returned": back == text,
        "same_bytes": raw in (text.encode(), b" " + text.encode()),
        "unknown": unknown,
        "cause": ""
        if back == text
        else "unknown token"
        if unknown
        else _cause(tokenizer, text, back),
        "tidied": tidies
        and tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=True)
        != back,
        "tokens": len(ids),
        "characters": len(text),
    }


CAUSES = ("unknown token", "normaliser", "blanks", "other")
"""Why a string does not come back: a piece that the vocabulary lacks, a character that the
normaliser replaces before the cut, blanks that are dropped, joined or added, anything else."""


def _cause(tokenizer: Any, text: str, back: str) -> str:
    """The first of the later :data:`CAUSES` that explains ``back``."""
    if normalised(tokenizer, text).split() != text.split():
        return "normaliser"
    return "blanks" if "".join(back.split()) == "".join(text.split()) else "other"


def normalised(tokenizer: Any, text: str) -> str:
    """The text after the tokenizer's normaliser; signs that stand for a blank are blanks again."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    step = getattr(backend, "normalizer", None)
    return text if step is None else str(step.normalize_str(text)).replace("\u2581", " ")


def byte_tokens(tokenizer: Any) -> int:
    """How many of the 256 bytes are a token of their own."""
    single = (token_bytes(tokenizer, i) for i in range(len(tokenizer)))
    return len({raw for raw in single if len(raw) == 1})


FORMS: tuple[tuple[str, str, str, str], ...] = (
    ("precomposed é", "caf\u00e9", "cafe\u0301", "NFC makes both one"),
    ("full-width letters", "\uff34\uff48\uff45", "The", "NFKC makes both one"),
    ("ligature fi", "\ufb01sh", "fish", "NFKC makes both one"),
    ("zero-width space", "zero\u200bwidth", "zerowidth", "invisible"),
    ("no-break space", "no\u00a0break", "no break", "NFKC makes both one"),
    ("Cyrillic look-alike", "P\u0430ris", "Paris", "another letter"),
    ("right-to-left mark", "abc\u200fdef", "abcdef", "invisible"),
    ("family emoji with joiners", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "", "one sign"),
    ("flag of two letters", "\U0001f1eb\U0001f1f7", "", "one sign"),
    ("thumb with skin tone", "\U0001f44d\U0001f3fd", "", "one sign"),
)
"""Texts that look alike, or are one sign to a reader: name, text, its double (or ""), remark."""


def odd_forms(tokenizer: Any) -> pd.DataFrame:
    """What becomes of each of :data:`FORMS`.

    Columns: ``form``, ``text``, ``double``, ``remark``, ``characters``, ``bytes``, ``tokens``,
    ``shown``, ``double_shown``, ``same_ids`` (as the double; None without one), ``nfc_joins`` and
    ``nfkc_joins`` (whether Unicode's normal form makes text and double one string), ``returned``.
    """
    rows = []
    for name, text, double, remark in FORMS:
        found = pieces(tokenizer, text, split_special=True)
        other = pieces(tokenizer, double, split_special=True) if double else []
        ids = [p.id for p in found]
        nfc, nfkc = (
            bool(double) and unicodedata.normalize(f, text) == unicodedata.normalize(f, double)
            for f in ("NFC", "NFKC")
        )
        rows.append(
            {
                "form": name,
                "text": text,
                "double": double,
                "remark": remark,
                "characters": len(text),
                "bytes": len(text.encode()),
                "tokens": len(found),
                "shown": barred(found),
                "double_shown": barred(other),
                "same_ids": ids == [p.id for p in other] if double else None,
                "nfc_joins": nfc,
                "nfkc_joins": nfkc,
                "returned": decode(tokenizer, ids) == text,
            }
        )
    return pd.DataFrame(rows)
