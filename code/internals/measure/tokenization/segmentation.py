"""Segmentation as a cause: the same bytes under another split, and what the model makes of it.

The text stays the same, only the ids change, so any change of the loss is the split's doing.
The unit is the sentence; losses are summed over its tokens and divided by its bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from internals import stats
from internals.measure.scoring import first_choices
from internals.tokens import Piece, pieces, token_bytes


def bytes_to_id(tokenizer: Any) -> dict[bytes, int]:
    """The lowest id for each byte string of the vocabulary, special tokens left out."""
    table: dict[bytes, int] = {}
    for token_id in range(len(tokenizer)):
        raw = token_bytes(tokenizer, token_id)
        if raw:
            table.setdefault(raw, token_id)
    return table


@dataclass(frozen=True)
class Split:
    """Ids of a sentence under one segmentation."""

    ids: tuple[int, ...]
    kept: tuple[tuple[int, int], ...]
    """(place in the canonical segmentation, place here) of every token that was not cut."""

    @property
    def behind(self) -> tuple[tuple[int, int], ...]:
        """Those of ``kept`` that stand behind a cut, and so at another place: what comes before
        them differs, and the token does not."""
        return tuple((old, new) for old, new in self.kept if new > old)


def forced_split(
    found: list[Piece], vocabulary: dict[bytes, int], n_splits: int, rng: np.random.Generator
) -> Split | None:
    """The same bytes with ``n_splits`` tokens cut in two at random.

    Returns None if fewer than ``n_splits`` tokens can be cut into two vocabulary entries.
    """
    choices = {}
    for piece in found:
        cuts = [
            c
            for c in range(1, len(piece.raw))
            if piece.raw[:c] in vocabulary and piece.raw[c:] in vocabulary
        ]
        if cuts and not piece.special:
            choices[piece.index] = cuts
    if len(choices) < n_splits:
        return None
    chosen = set(rng.permutation(sorted(choices))[:n_splits].tolist())
    ids: list[int] = []
    kept = []
    for piece in found:
        if piece.index in chosen:
            cut = rng.choice(choices[piece.index])
            ids += [vocabulary[piece.raw[:cut]], vocabulary[piece.raw[cut:]]]
        else:
            kept.append((piece.index, len(ids)))
            ids.append(piece.id)
    return Split(tuple(ids), tuple(kept))


def split_sentences(
    tokenizer: Any,
    sentences: list[str],
    splits: tuple[int, ...] = (1, 2, 4),
    seed: int = 0,
    longest: int | None = None,
    documents: list[int] | None = None,
) -> pd.DataFrame:
    """Every sentence in its canonical split and with forced splits, same bytes.

    Columns: ``sentence``, ``document`` (from ``documents``; the sentence itself without them),
    ``splits`` (0 is canonical), ``ids``, ``kept`` (places of the tokens that are compared: all of
    the canonical split, else :attr:`Split.behind`), ``bytes``. Sentences
    that cannot be split often enough, or get longer than ``longest`` tokens, are left out whole, so
    that all rows are paired.
    """
    rng = np.random.default_rng(seed)
    vocabulary = bytes_to_id(tokenizer)
    rows = []
    for number, text in enumerate(sentences):
        found = pieces(tokenizer, text, split_special=True)
        variants = {0: Split(tuple(p.id for p in found), tuple((i, i) for i in range(len(found))))}
        for n in splits:
            if (variant := forced_split(found, vocabulary, n, rng)) is not None:
                variants[n] = variant
        fits = longest is None or max(len(v.ids) for v in variants.values()) <= longest
        if fits and len(variants) == len(splits) + 1:
            n_bytes = len(text.encode())
            document = documents[number] if documents else number
            rows += [
                (number, document, n, v.ids, v.behind if n else v.kept, n_bytes)
                for n, v in variants.items()
            ]
    columns = ["sentence", "document", "splits", "ids", "kept", "bytes"]
    return pd.DataFrame(rows, columns=columns)


def split_scores(model: Any, table: pd.DataFrame, start_id: int | None) -> pd.DataFrame:
    """Loss and accuracy of every row of :func:`split_sentences`.

    With a start token every token is predicted; without one (``start_id`` None) the first token
    is given, in every variant alike. Accuracy is of tokens that are the same in both
    segmentations, so that only what stands before them differs.

    Columns added: ``tokens`` (those predicted), ``bits`` (their total surprisal), ``accuracy`` (of
    the ``kept`` tokens; NaN without any) and ``accuracy_canonical`` (of the same
    tokens in the canonical split); ``ids`` and ``kept`` go.
    """
    start = [] if start_id is None else [start_id]
    scores = first_choices(model, [[*start, *ids] for ids in table["ids"]])
    first = 0 if start else 1
    canonical = {
        row.sentence: score
        for row, score in zip(table.itertuples(), scores, strict=True)
        if row.splits == 0
    }
    rows = []
    for row, score in zip(table.itertuples(), scores, strict=True):
        kept = np.array([pair for pair in row.kept if min(pair) >= first]) - first
        log_prob, hits = score
        before = canonical[row.sentence][1]
        rows.append(
            {
                "sentence": row.sentence,
                "document": row.document,
                "splits": row.splits,
                "bytes": row.bytes,
                "tokens": len(log_prob),
                "bits": float(-log_prob.sum() / math.log(2)),
                "accuracy": float(hits[kept[:, 1]].mean()) if len(kept) else math.nan,
                "accuracy_canonical": float(before[kept[:, 0]].mean()) if len(kept) else math.nan,
            }
        )
    return pd.DataFrame(rows, columns=SCORED)


SCORED = [
    *("sentence", "document", "splits", "bytes", "tokens", "bits"),
    *("accuracy", "accuracy_canonical"),
]
"""Columns of :func:`split_scores`."""


def changes(table: pd.DataFrame) -> pd.DataFrame:
    """What forced splits change, with bootstrap intervals over documents.

    Columns: ``splits``, ``what`` (``loss`` in bits per byte; ``pieces``, what as many more pieces
    cost at the sentence's mean bits for a token in the usual split; ``beyond``, the loss less that;
    ``accuracy`` at tokens behind a cut that were not cut, as a difference; ``usual`` and ``cut``,
    the accuracies themselves), ``value``, ``low``, ``high``, ``n`` (documents), ``sentences``.

    A split makes the text longer by a token, which costs something wherever it falls: a model that
    gives every token the same probability pays the logarithm of its vocabulary. Only what goes
    ``beyond`` is due to the unusual split.
    """
    rows = []
    usual = table[table["splits"] == 0].set_index("sentence")
    for n, part in table[table["splits"] > 0].groupby("splits"):
        before = usual.loc[part["sentence"], "bits_per_byte"].to_numpy()
        loss = part["bits_per_byte"].to_numpy() - before
        more = n * before / usual.loc[part["sentence"], "tokens"].clip(lower=1).to_numpy()
        known = part.dropna(subset=["accuracy", "accuracy_canonical"])
        series = {
            "loss": (loss, part),
            "pieces": (more, part),
            "beyond": (loss - more, part),
            "accuracy": ((known["accuracy"] - known["accuracy_canonical"]).to_numpy(), known),
            "usual": (known["accuracy_canonical"].to_numpy(), known),
            "cut": (known["accuracy"].to_numpy(), known),
        }
        for what, (values, of) in series.items():
            if len(values):
                found = stats.bootstrap_ci(
                    values, clusters=of["document"].to_numpy(), unit="documents"
                )
                rows.append((n, what, found.value, found.low, found.high, found.n, len(values)))
    columns = ["splits", "what", "value", "low", "high", "n", "sentences"]
    return pd.DataFrame(rows, columns=columns)


def effect(found: pd.DataFrame, what: str, splits: int) -> stats.Estimate | None:
    """One row of :func:`changes` as an estimate; None where nothing could be cut."""
    row = found[(found["what"] == what) & (found["splits"] == splits)]
    if row.empty:
        return None
    value, low, high, n = row.iloc[0][["value", "low", "high", "n"]]
    return stats.Estimate(float(value), float(low), float(high), int(n), "documents", "bootstrap")
