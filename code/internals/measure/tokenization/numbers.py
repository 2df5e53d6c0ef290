"""How numbers are cut: pieces of 0 to 9,999, whether cuts fall on places, dates and decimals."""

from __future__ import annotations

from typing import Any

import pandas as pd

from internals.measure.tokenization.breakdown import barred, has_unknown
from internals.tokens import pieces


def split_number(tokenizer: Any, text: str, *, space: bool) -> tuple[str, ...]:
    """The digit groups into which a number falls, e.g. ``("20", "24")``.

    A blank that is a piece of its own, or a prefix space, is not a group; an unknown token is the
    group :data:`UNKNOWN`.
    """
    found = pieces(tokenizer, (" " if space else "") + text, split_special=True)
    unknown = tokenizer.unk_token_id if has_unknown(tokenizer) else None
    groups = (
        UNKNOWN if p.id == unknown else p.raw.decode("utf-8", "replace").strip() for p in found
    )
    return tuple(group for group in groups if group)


UNKNOWN = "?"
"""Stands for digits that became an unknown token."""


def number_table(tokenizer: Any, last: int = 9999) -> pd.DataFrame:
    """All whole numbers from 0 to ``last``, with and without a space before them.

    Columns: ``number``, ``digits``, ``space``, ``pieces`` (a blank that is a piece of its own
    is not counted), ``pattern`` (lengths of the groups, e.g. "2+2"; "unknown" where an unknown
    token hides digits), ``aligned`` (every cut leaves a multiple of three digits to its right, so
    that groups are thousands as a reader counts them; true for uncut numbers).
    """
    rows = []
    for space in (True, False):
        for number in range(last + 1):
            groups = split_number(tokenizer, str(number), space=space)
            lengths = [len(group) for group in groups]
            rights = [sum(lengths[i:]) for i in range(1, len(lengths))]
            rows.append(
                {
                    "number": number,
                    "digits": len(str(number)),
                    "space": space,
                    "pieces": len(groups),
                    "pattern": "unknown" if UNKNOWN in groups else "+".join(map(str, lengths)),
                    "aligned": UNKNOWN not in groups and all(right % 3 == 0 for right in rights),
                }
            )
    return pd.DataFrame(rows)


def pattern_counts(table: pd.DataFrame) -> pd.DataFrame:
    """How many numbers of each length are cut in each way.

    Columns: ``digits``, ``space``, ``pattern``, ``n``, ``share`` of the numbers of that length.
    """
    keys = ["digits", "space"]
    counts = table.groupby([*keys, "pattern"], as_index=False).size().rename(columns={"size": "n"})
    counts["share"] = counts["n"] / counts.groupby(keys)["n"].transform("sum")
    return counts.sort_values([*keys, "n"], ascending=[True, True, False], ignore_index=True)


WRITTEN: tuple[tuple[str, str], ...] = (
    ("date, ISO", "2024-02-29"),
    ("date, English", "29 February 2024"),
    ("decimal", "3.14159"),
    ("thousands with commas", "1,234,567"),
    ("thousands without", "1234567"),
    ("percent", "0.25 %"),
    ("clock", "10:45"),
    ("negative", "-17"),
    ("scientific", "6.02e23"),
    ("Roman", "MCMXCIX"),
)
"""Ways to write a number: name and text."""


def written_numbers(tokenizer: Any) -> pd.DataFrame:
    """How each of :data:`WRITTEN` is cut, a blank before it.

    Columns: ``kind``, ``text``, ``pieces`` (a blank that is a piece of its own counts), ``shown``.
    """
    rows = []
    for kind, text in WRITTEN:
        found = pieces(tokenizer, " " + text, split_special=True)
        rows.append({"kind": kind, "text": text, "pieces": len(found), "shown": barred(found)})
    return pd.DataFrame(rows)
