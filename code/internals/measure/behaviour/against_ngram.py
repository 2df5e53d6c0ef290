"""The model beside a smoothed 5-gram model on the same held-out text, token by token.

Whatever a 5-gram model predicts as well needs no more than the last four tokens and counting. For
the embedded models it was counted on their own training text; for other models, whose training text
is unknown, on half of the shipped documents, and the other half is scored. Unit: the document.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour import ngram
from internals.measure.capability import ratio_of_sums, start_ids
from internals.measure.windows import HELD_OUT, utf8_bytes
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

COUNTS = "data/training/ngrams.xz"
_LONGEST = 384
ORDER = 5
POSITIONS = (1, 5, 17, 65, 257)
"""First tokens of the bands of position."""
RESAMPLES = 2000
READ = (1, 10, 100)
"""Smallest counts of the bands of whole contexts."""
RARITY = (0, 1, 30, 1000, 30_000)
"""Smallest counts in the counted text of the bands of frequency."""


@measurement(files=[HELD_OUT, COUNTS])
def compare(model: ModelHandle, n: int = 127) -> pd.DataFrame:
    """The model and a 5-gram model on held-out text, token by token

    Columns: ``document``, ``kind``, ``position`` (from 1), ``context`` (tokens of the longest
    context that the counts know, 0 to 4), ``context_read`` (how often they know it with any
    continuation), ``count`` (of the token in the counted text),
    ``repeated`` (the token stands in the document before, farther back than the 5-gram sees),
    ``model_bits``, ``ngram_bits``, ``bytes`` (of the document, shared evenly).
    """
    from internals.measure.scoring import tail_surprisal

    loaded = model.loaded()
    counts, documents = counts_for(loaded), _held_out()
    if not loaded.facts.carries_exposure:  # the other half was counted
        documents = documents[1::2]
    step = max(1, len(documents) // effort.units(loaded.facts, n, least=60))
    documents = documents.iloc[::step]
    start = start_ids(loaded)
    limit = min(_LONGEST, loaded.facts.context_length) - len(start)
    rows = [[*start, *_ids(loaded, text)[:limit]] for text in documents["text"]]
    parts = []
    kinds = [kind for kind, ids in zip(documents["kind"], rows, strict=True) if len(ids) > 1]
    rows = [ids for ids in rows if len(ids) > 1]
    nats = tail_surprisal(loaded.model, [ids[:1] for ids in rows], [ids[1:] for ids in rows])
    for i, (ids, surprisal) in enumerate(zip(rows, nats, strict=True)):
        part = describe(counts, np.array(ids))
        part["model_bits"] = surprisal / math.log(2)
        part["bytes"] = utf8_bytes(loaded, ids[1:]) / len(part)
        parts.append(part.assign(document=i, kind=kinds[i]))
    return pd.concat(parts, ignore_index=True)


def counts_for(loaded: LoadedModel) -> ngram.NGrams:
    """The 5-gram model to compare with: of the model's own training text, or of shipped text."""
    if loaded.facts.carries_exposure:
        return _shipped()
    vocab = max(loaded.facts.vocab_size_tokenizer, loaded.facts.vocab_size_embedding)
    end = loaded.facts.eos_id
    start = [] if end is None else [end]
    stream = [[*start, *_ids(loaded, text)] for text in _held_out()["text"][0::2]]
    return ngram.train(np.concatenate(stream), vocab, ORDER, boundary=end)


@cache
def _shipped() -> ngram.NGrams:
    return ngram.load(DATA / "training" / "ngrams.xz")


def _held_out() -> pd.DataFrame:
    return pd.read_json(DATA / "heldout" / "documents.jsonl", lines=True)


def describe(counts: ngram.NGrams, ids: np.ndarray) -> pd.DataFrame:
    """What the 5-gram model makes of every token of a text but the first."""
    before: dict[int, int] = {}
    repeated = np.zeros(len(ids), bool)
    for i, token in enumerate(ids.tolist()):
        # Only where the first occurrence lies outside the 5-gram's own window.
        repeated[i] = token in before and before[token] <= i - counts.order
        before.setdefault(token, i)
    length, total = counts.contexts(ids)
    return pd.DataFrame(
        {
            "position": np.arange(1, len(ids)),
            "context": length,
            "context_read": total,
            "count": counts.counts[ids[1:]],
            "repeated": repeated[1:],
            "ngram_bits": -counts.log_probs(ids) / math.log(2),
        }
    )


def _ids(loaded: LoadedModel, text: str) -> list[int]:
    return list(loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


@dataclass(frozen=True)
class Summary:
    """The comparison in two small tables and the numbers of the text."""

    rates: pd.DataFrame
    """See :func:`rates`."""
    bands: pd.DataFrame
    """See :func:`bands`."""
    repeated: stats.Estimate | None
    """Gain at tokens that stood in the document before minus gain at new ones, bits per token;
    None where documents are too short to tell."""
    tokens: int
    rare: str
    """Name of the group of tokens after a whole context that the counts know least often."""

    def band(self, by: str, group: str) -> stats.Estimate | None:
        """The gain of one group, None if it has too few tokens."""
        rows = self.bands[(self.bands["by"] == by) & (self.bands["group"] == group)]
        if rows.empty:
            return None
        row = rows.iloc[0]
        n = int(row["documents"])
        return stats.Estimate(row["value"], row["low"], row["high"], n, "documents", "bootstrap")


@measurement(files=[HELD_OUT, COUNTS])
def summary(model: ModelHandle, n: int = 127) -> Summary:
    """Where the model is better than a 5-gram model, and where not"""
    table = compare(model, n)
    least = _least_read(table)
    return Summary(
        rates(table),
        bands(table),
        _repetition(table),
        len(table),
        _whole_context(0, least),
    )


def _repetition(table: pd.DataFrame) -> stats.Estimate | None:
    gain = table["ngram_bits"] - table["model_bits"]
    again = table["repeated"]
    columns = {"a": gain * again, "b": again, "c": gain * ~again, "d": ~again}
    sums = pd.DataFrame(columns).groupby(table["document"]).sum().astype(float)
    sums = sums[(sums["b"] > 0) & (sums["d"] > 0)]
    if len(sums) < 5:
        return None

    def statistic(rows: np.ndarray) -> float:
        a, b, c, d = rows.sum(0)
        return float(a / b - c / d)

    return stats.bootstrap_ci(sums, statistic, unit="documents", method="percentile")


def rates(table: pd.DataFrame) -> pd.DataFrame:
    """Bits per byte of both by kind of text, and the difference, with intervals over documents.

    Columns: ``kind`` (``all`` last), ``documents``, ``model``, ``model_low``, ``model_high``,
    ``ngram``, ``ngram_low``, ``ngram_high``, ``gain`` (5-gram minus model), ``gain_low``,
    ``gain_high``.
    """
    rows = []
    for kind in [*dict.fromkeys(table["kind"]), "all"]:
        part = table if kind == "all" else table[table["kind"] == kind]
        sums = part.groupby("document")[["model_bits", "ngram_bits", "bytes"]].sum()
        if len(sums) < 2 or sums["bytes"].sum() == 0:
            continue
        row: dict[str, object] = {"kind": kind, "documents": len(sums)}
        gain = sums["ngram_bits"] - sums["model_bits"]
        columns = {"model": sums["model_bits"], "ngram": sums["ngram_bits"], "gain": gain}
        for name, bits in columns.items():
            found = _ratio(bits, sums["bytes"])
            row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        rows.append(row)
    return pd.DataFrame(rows)


def gain(table: pd.DataFrame) -> stats.Estimate:
    """Bits per token by which the model is better than the 5-gram, over documents."""
    sums = table.assign(gain=table["ngram_bits"] - table["model_bits"], one=1.0)
    sums = sums.groupby("document")[["gain", "one"]].sum()
    return _ratio(sums["gain"], sums["one"])


def _ratio(above: pd.Series, below: pd.Series) -> stats.Estimate:
    """Ratio of sums with a percentile bootstrap over documents."""
    rows = np.column_stack([above, below]).astype(float)
    # How often each document is drawn; a ratio of sums needs nothing else.
    drawn = np.random.default_rng(0).multinomial(len(rows), [1 / len(rows)] * len(rows), RESAMPLES)
    sums = drawn @ rows
    ratios = sums[:, 0] / np.maximum(sums[:, 1], 1e-9)
    value = ratio_of_sums(rows)
    low, high = (float(q) for q in np.quantile(ratios, [0.025, 0.975]))
    label = f"percentile bootstrap, {RESAMPLES} resamples"
    return stats.Estimate(value, min(low, value), max(high, value), len(rows), "documents", label)


def bands(table: pd.DataFrame) -> pd.DataFrame:
    """Gain in bits per token by context, frequency, position and repetition.

    Columns: ``by``, ``group``, ``share`` (of all tokens), ``wins`` (share of tokens to which the
    model gives more), ``value``, ``low``, ``high`` (of the gain), ``documents``. Groups of less
    than 50 tokens or five documents are left out.
    """
    rows = []
    for by, labels in _labels(table).items():
        for group in dict.fromkeys(sorted(labels.dropna().unique())):
            part = table[labels == group]
            if len(part) < 50 or part["document"].nunique() < 5:
                continue
            found = gain(part)
            wins = float((part["model_bits"] < part["ngram_bits"]).mean())
            rows.append(
                {
                    "by": by,
                    "group": str(group)[2:],
                    "share": len(part) / len(table),
                    "wins": wins,
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "documents": found.n,
                }
            )
    return pd.DataFrame(rows)


def _labels(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Group of every token, by question; two leading characters give the order."""

    def banded(column: str, edges: tuple[int, ...]) -> pd.Series:
        number = np.searchsorted(edges, table[column], side="right") - 1
        names = [
            f"{i} {low:,}" + (f"–{high - 1:,}" if high - 1 > low else "")
            for i, (low, high) in enumerate(pairwise(edges))
        ]
        names.append(f"{len(edges) - 1} {edges[-1]:,} or more")
        return pd.Series([names[k] for k in number], index=table.index)

    read = np.searchsorted(READ, table["context_read"], side="right") - 1
    least = _least_read(table)
    known = [_context(k, r, least) for k, r in zip(table["context"], read, strict=True)]
    again = table["repeated"].map({False: "0 new in the document", True: "1 stood there before"})
    return {
        "known context": pd.Series(known, index=table.index),
        "times in the counted text": banded("count", RARITY),
        "position": banded("position", POSITIONS),
        "earlier in the document": again,
    }


def _least_read(table: pd.DataFrame) -> int:
    """The smallest number of times that the counts know a whole context of this text.

    Pruned counts know none that came once, and the name of a group should not claim it.
    """
    totals = table.loc[table["context"] == ORDER - 1, "context_read"]
    return int(totals.min()) if len(totals) else READ[0]


def _whole_context(read: int, least: int) -> str:
    """Name of the group after a whole context that was read as often as band ``read`` says."""
    often = f"{READ[-1]:,} or more"
    if read < len(READ) - 1:
        highest = READ[read + 1] - 1
        often = f"{min(max(READ[read], least), highest):,}–{highest:,}"
    return f"last {ORDER - 1} tokens, read {often} times"


def _context(length: int, read: int, least: int) -> str:
    """Name of the group of a token by what the counts know of the tokens before it; a number in
    front orders the groups."""
    if length == ORDER - 1:
        return f"{length + max(read, 0)} {_whole_context(read, least)}"
    return f"{length} " + ("none", "last token only", "last 2 tokens", "last 3 tokens")[length]
