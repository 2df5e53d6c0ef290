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

    Columns: ``step``, ``rank`` (place of the rule in training; missing at the start), ``symbols``
    (bars between them; ``Ġ``, which stands for a blank, as a middle dot).
    """
    steps = word_path(model.loaded().tokenizer, word)
    ranks, symbols = zip(*steps, strict=True)
    shown = [" | ".join(parts).replace("Ġ", "·") for parts in symbols]
    return pd.DataFrame({"step": range(len(steps)), "rank": ranks, "symbols": shown})


def word_path(tokenizer: Any, word: str) -> list[tuple[int | None, list[str]]]:
    """Merges of one pre-token such as ``" kingdom"``: rank of each rule, and the symbols after it.

    Always the rule with the lowest rank is applied, leftmost first. The path ends at the library's
    tokens, unless an entry of the vocabulary overrides the merges.

    Raises:
        NotApplicable: the tokenizer has no merges.
    """
    model = description(tokenizer).get("model") or {}
    if model.get("type") != "BPE":
        raise NotApplicable("its tokenizer is not built by merges")
    rules = (rule.split(" ", 1) if isinstance(rule, str) else rule for rule in model["merges"])
    ranks = {tuple(rule): rank for rank, rule in enumerate(rules)}
    text = word.removeprefix(" ") if doubles_space(tokenizer) else word
    tokens = [p.token for p in pieces(tokenizer, text, split_special=True)]
    # A byte that stands for a missing character is one symbol.
    symbols = [c for t in tokens for c in ([t] if re.fullmatch(r"<0x..>", t) else t)]
    steps: list[tuple[int | None, list[str]]] = [(None, symbols)]
    while pairs := [(ranks[p], i) for i, p in enumerate(itertools.pairwise(symbols)) if p in ranks]:
        rank, i = min(pairs)
        symbols = [*symbols[:i], symbols[i] + symbols[i + 1], *symbols[i + 2 :]]
        steps.append((rank, symbols))
    return steps
