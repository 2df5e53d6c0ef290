"""Surprisal of a text, token by token and word by word.

A word's probability needs the boundary after it: pieces of a token that begins with its blank say
where a word starts, not where it ends (Pimentel, Meister 2024; Oh, Schuler 2024).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.measure import effort
from internals.measure.capability import start_ids
from internals.measure.windows import HELD_OUT, documents

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

CHARACTERS = 420
"""Of the excerpt that is shown."""


@dataclass(frozen=True)
class Surprisal:
    """One text under the model."""

    tokens: pd.DataFrame
    """``token``, ``text`` (as printed), ``bits`` (NaN for a first token without a start token),
    ``opens`` (the token begins with a blank)."""
    words: pd.DataFrame
    """``word``, ``pieces``, ``bits`` (sum over pieces), ``corrected_bits``."""
    applies: bool
    """Whether blanks stand at the beginning of tokens, which the correction presumes."""
    boundary_gap: float
    """Sum of corrected minus sum of plain bits, less what the first and last boundary explain."""


@measurement(files=[HELD_OUT])
def surprisal(model: ModelHandle) -> Surprisal:
    """Surprisal of a held-out text by token and by word"""
    loaded = model.loaded()
    return of_text(loaded, excerpt(), None)


def of_text(loaded: LoadedModel, text: str, begins: np.ndarray | None) -> Surprisal:
    """Surprisal of one text; ``begins`` as from :func:`begins_word`, made here if None."""
    import torch

    start = start_ids(loaded)
    room = loaded.facts.context_length - len(start)
    ids = list(loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])[:room]
    with torch.inference_mode():
        row = torch.tensor([[*start, *ids]], device=loaded.model.device)
        lp = loaded.model(row, use_cache=False).logits[0].double().log_softmax(-1).cpu()
    first = 0 if start else 1
    offset = len(start) - 1
    bits = np.full(len(ids), np.nan)
    for i in range(first, len(ids)):
        bits[i] = -lp[i + offset, ids[i]].item() / math.log(2)
    if begins is None:
        begins = begins_word(loaded, lp.shape[-1])
    # Logarithm of the probability that the next token begins a word, in bits, at each place.
    boundary = lp[:, torch.from_numpy(begins)].logsumexp(-1).numpy() / math.log(2)
    tokens = _token_table(loaded, ids, bits)
    tokens["opens"] = begins[ids]
    words, gap = _words(loaded, ids, bits, boundary, begins, offset)
    return Surprisal(tokens, words, len(words) > 1 and carries_words(loaded, begins), gap)


def carries_words(loaded: LoadedModel, begins: np.ndarray) -> bool:
    """Whether tokens that begin with a blank usually hold (a part of) the word after it."""
    from internals.tokens import token_bytes

    special = set(loaded.tokenizer.all_special_ids)
    openers = [int(i) for i in np.flatnonzero(begins) if i not in special]
    held = [bool(token_bytes(loaded.tokenizer, i).strip()) for i in openers]
    return bool(held) and float(np.mean(held)) > 0.5


@measurement(files=[HELD_OUT])
def by_document(model: ModelHandle, n: int = 48) -> pd.DataFrame:
    """Surprisal inside words and at their beginning, and the boundary correction, by document

    Columns: ``document``, ``opening_bits`` and ``inside_bits`` (mean surprisal of tokens that begin
    a word and of those that continue one; NaN without any), ``correction_bits`` (mean absolute
    change of a word's surprisal by the correction), ``words``. Empty where no token begins with a
    blank.
    """
    loaded = model.loaded()
    begins = begins_word(loaded, loaded.facts.vocab_size_embedding)
    rows = []
    for number, text in enumerate(documents()[: effort.units(loaded.facts, n, least=16)]):
        found = of_text(loaded, " ".join(text.split())[:CHARACTERS], begins)
        if not found.applies:
            continue
        known = found.tokens.dropna(subset=["bits"])
        change = (found.words["corrected_bits"] - found.words["bits"]).abs()
        rows.append(
            (
                number,
                known.loc[known["opens"], "bits"].mean(),
                known.loc[~known["opens"], "bits"].mean(),
                change.mean(),
                len(found.words),
            )
        )
    columns = ["document", "opening_bits", "inside_bits", "correction_bits", "words"]
    return pd.DataFrame(rows, columns=columns)


def excerpt() -> str:
    """The beginning of the first held-out story, up to the end of a sentence."""
    text = " ".join(documents(("stories",))[0].split())[: CHARACTERS * 2]
    end = max(text.rfind(mark, 0, CHARACTERS) for mark in ".!?")
    return text[: end + 1] if end > 80 else text[:CHARACTERS]


def begins_word(loaded: LoadedModel, vocab: int) -> np.ndarray:
    """``(vocab,)`` whether a token begins with a blank or ends the text."""
    from internals.tokens import token_bytes

    special = set(loaded.tokenizer.all_special_ids)
    return np.array(
        [i in special or token_bytes(loaded.tokenizer, i)[:1].isspace() for i in range(vocab)]
    )


def _token_table(loaded: LoadedModel, ids: list[int], bits: np.ndarray) -> pd.DataFrame:
    from internals.tokens import display, token_bytes

    raw = [token_bytes(loaded.tokenizer, i) for i in ids]
    return pd.DataFrame(
        {
            "token": [display(loaded.tokenizer, i) for i in ids],
            "text": [r.decode("utf-8", errors="replace") for r in raw],
            "bits": bits,
        }
    )


def _words(
    loaded: LoadedModel,
    ids: list[int],
    bits: np.ndarray,
    boundary: np.ndarray,
    begins: np.ndarray,
    offset: int,
) -> tuple[pd.DataFrame, float]:
    """Words after the first, with and without the correction, and the telescoping remainder.

    ``p(word | before) = Π p(piece) · P(a boundary follows) / P(a boundary stood before)``.
    """
    from internals.tokens import token_bytes

    starts = [i for i in range(1, len(ids)) if begins[ids[i]]]
    rows: list[dict[str, Any]] = []
    spans = list(itertools.pairwise([*starts, len(ids)]))
    for a, b in spans:
        raw = b"".join(token_bytes(loaded.tokenizer, i) for i in ids[a:b])
        plain = float(bits[a:b].sum())
        corrected = plain - boundary[b + offset] + boundary[a + offset]
        word = raw.decode("utf-8", errors="replace").strip()
        rows.append({"word": word, "pieces": b - a, "bits": plain, "corrected_bits": corrected})
    table = pd.DataFrame(rows, columns=["word", "pieces", "bits", "corrected_bits"])
    if not spans:
        return table, math.nan
    ends = -boundary[spans[-1][1] + offset] + boundary[spans[0][0] + offset]
    return table, float(table["corrected_bits"].sum() - table["bits"].sum() - ends)
