"""How byte-pair encoding builds a word: the merges one after the other.

A second implementation of the algorithm of Sennrich et al. (2016), used to show the path and to
check the library: it must end at the library's own tokens.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pandas as pd

from internals import stats
from internals.tokens import description, doubles_space, pieces, word_ids


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


def difference_at_length(
    rare: pd.DataFrame, common: pd.DataFrame, least: int = 5
) -> stats.Estimate | None:
    """Pieces of rare words less those of common words, between words of the same length.

    Rare words are longer, and longer words have more pieces whatever their count. Both means are
    taken within each length of which there are at least ``least`` words on both sides, and
    weighted by the common words of that length; both groups are resampled over words. None where
    no length has enough.

    Args:
        rare, common: rows of :func:`pieces_by_rarity`.
    """
    here, there = (t["characters"].value_counts() for t in (common, rare))
    weights = {
        n: int(k) for n, k in here.sort_index().items() if k >= least <= int(there.get(n, 0))
    }
    if not weights:
        return None
    rows_rare, rows_common = (
        t.loc[t["characters"].isin(weights), ["characters", "pieces"]].to_numpy(float)
        for t in (rare, common)
    )

    def standardised(rows: np.ndarray) -> float:
        found = {n: rows[rows[:, 0] == n, 1] for n in weights}
        kept = [n for n in weights if len(found[n])]
        return float(
            np.average([found[n].mean() for n in kept], weights=[weights[n] for n in kept])
        )

    return stats.difference(rows_rare, rows_common, standardised, unit="words")


def pieces_by_rarity(tokenizer: Any, words: pd.DataFrame) -> pd.DataFrame:
    """Pieces of words by how often they occur in the reference text.

    Args:
        words: columns ``word`` and ``count``.

    Returns:
        one row for each word: ``word``, ``count``, ``band`` (power of ten of the count),
        ``pieces`` (with a leading space, as inside a sentence), ``characters``.
    """
    counts = [len(word_ids(tokenizer, word)) for word in words["word"]]
    bands = words["count"].map(lambda n: len(str(int(n))) - 1)
    return pd.DataFrame(
        {
            "word": words["word"].to_numpy(),
            "count": words["count"].to_numpy(),
            "band": bands.to_numpy(),
            "pieces": counts,
            "characters": words["word"].str.len().to_numpy(),
        }
    )
