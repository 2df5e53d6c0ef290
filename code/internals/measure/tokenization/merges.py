"""How byte-pair encoding builds a word: the merges one after the other.

A second implementation of the algorithm of Sennrich et al. (2016), used to show the path and to
check the library: it must end at the library's own tokens.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.models import ModelHandle
from internals.tokens import description, doubles_space, pieces

SHOWN = " kingdom"
"""The word whose merges are shown, as it stands inside a sentence."""


@measurement
def path(model: ModelHandle, word: str = SHOWN) -> pd.DataFrame:
    """Merges of a word, step by step

    Columns: ``step``, ``rank`` (place of the rule in training; -1 for the start), ``symbols``
    (bars between them), ``agrees`` (the path ends at the library's own tokens).

    Raises:
        NotApplicable: the tokenizer has no merges.
    """
    found = word_path(model.loaded().tokenizer, word)
    if found is None:
        raise NotApplicable("its tokenizer is not built by merges")
    shown = found["symbols"].map(lambda symbols: " | ".join(symbols).replace("Ġ", "·"))
    return found.assign(symbols=shown)[["step", "rank", "symbols", "agrees"]]


def merge_ranks(tokenizer: Any) -> dict[tuple[str, str], int] | None:
    """Rank of each merge rule, lowest first; None where the tokenizer is no BPE."""
    model = description(tokenizer).get("model") or {}
    if model.get("type") != "BPE":
        return None
    pairs = (rule.split(" ", 1) if isinstance(rule, str) else rule for rule in model["merges"])
    return {(left, right): rank for rank, (left, right) in enumerate(pairs)}


def merge_path(symbols: list[str], ranks: dict[tuple[str, str], int]) -> pd.DataFrame:
    """Apply merges to a list of symbols, always the one with the lowest rank, leftmost first.

    Columns: ``step``, ``rank`` (-1 for the start), ``merged`` (the new symbol), ``symbols``.
    """
    rows = [{"step": 0, "rank": -1, "merged": "", "symbols": tuple(symbols)}]
    while True:
        pairs = list(itertools.pairwise(symbols))
        ranked = [(ranks[pair], place) for place, pair in enumerate(pairs) if pair in ranks]
        if not ranked:
            return pd.DataFrame(rows)
        rank, place = min(ranked)
        merged = symbols[place] + symbols[place + 1]
        symbols = [*symbols[:place], merged, *symbols[place + 2 :]]
        rows.append({"step": len(rows), "rank": rank, "merged": merged, "symbols": tuple(symbols)})


def word_path(tokenizer: Any, word: str) -> pd.DataFrame | None:
    """The merge path of one pre-token such as ``" kingdom"``.

    The symbols of a byte-level vocabulary are its stand-ins for bytes (``Ġ`` is a space).
    Returns None where the tokenizer is no BPE; ``agrees`` says whether the path ends at the
    library's tokens (it need not where a vocabulary entry overrides the merges).
    """
    ranks = merge_ranks(tokenizer)
    if ranks is None:
        return None
    text = word.removeprefix(" ") if doubles_space(tokenizer) else word
    tokens = [p.token for p in pieces(tokenizer, text, split_special=True)]
    # A byte that stands for a missing character is one symbol.
    symbols = [c for t in tokens for c in ([t] if re.fullmatch(r"<0x..>", t) else t)]
    path = merge_path(symbols, ranks)
    path["agrees"] = list(path["symbols"].iloc[-1]) == tokens
    return path
