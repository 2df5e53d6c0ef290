"""What context is worth: the loss of the same tokens after a short and after a long context.

The targets stay the same, so neither position nor difficulty changes with the length. Tokens that
stand in the far context only are told from the others: those alone need it to be copied. The unit
is the document.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.capability import start_ids
from internals.measure.windows import HELD_OUT, documents

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

LENGTHS = (8, 32, 128)
"""Tokens before the first target; the longest is shortened to the model's context."""
BLOCK = 16
"""Targets that are scored together: each sees up to so many tokens more."""
BLOCKS = 2
"""Blocks of a document."""
COMMON = 200
"""The commonest tokens of the held-out text are function words; where a token was read before is
counted for the others only."""


@measurement(files=[HELD_OUT])
def context_use(model: ModelHandle, n: int = 40) -> pd.DataFrame:
    """Loss of the same tokens after short and long contexts

    Columns: ``document``, ``context`` (tokens before the block), ``position`` (of the target in
    the document), ``bits``, ``common`` (one of the commonest tokens), ``seen`` (not in the shortest
    context and block before it, but in the longest context).
    """
    from internals.measure.scoring import tail_surprisal

    loaded = model.loaded()
    lengths = context_lengths(loaded)
    start = start_ids(loaded)
    plain = {"add_special_tokens": False, "verbose": False}
    rows = [list(loaded.tokenizer(t, **plain)["input_ids"]) for t in documents()]
    common = {token for token, _ in Counter(t for row in rows for t in row).most_common(COMMON)}
    wanted = effort.units(loaded.facts, n, least=20)
    heads: list[list[int]] = []
    tails: list[list[int]] = []
    owners: list[tuple[int, int, int]] = []
    for number, ids in enumerate(rows):
        if len(ids) < lengths[-1] + BLOCK or len({o[0] for o in owners}) >= wanted:
            continue
        for first in range(lengths[-1], len(ids) - BLOCK + 1, BLOCK)[:BLOCKS]:
            for length in lengths:
                heads.append([*start, *ids[first - length : first]])
                tails.append(ids[first : first + BLOCK])
                owners.append((number, first, length))
    found = []
    scores = tail_surprisal(loaded.model, heads, tails)
    for (number, first, length), nats in zip(owners, scores, strict=True):
        for i, value in enumerate(nats / math.log(2)):
            ids, at = rows[number], first + i
            near, far = ids[first - lengths[0] : at], ids[first - lengths[-1] : at]
            token = ids[at]
            seen = token in far and token not in near
            found.append((number, length, at, float(value), token in common, seen))
    columns = ["document", "context", "position", "bits", "common", "seen"]
    return pd.DataFrame(found, columns=columns)


def context_lengths(loaded: LoadedModel) -> list[int]:
    """The lengths that fit the model's context together with a block."""
    room = loaded.facts.context_length - BLOCK - len(start_ids(loaded))
    return sorted({min(length, room) for length in LENGTHS})


def by_length(table: pd.DataFrame) -> pd.DataFrame:
    """Mean loss of all targets: ``context``, ``value``, ``low``, ``high``, ``n`` (documents)."""
    rows = []
    for context, part in table.groupby("context", sort=True):
        found = stats.bootstrap_ci(
            part["bits"].to_numpy(), clusters=part["document"].to_numpy(), unit="documents"
        )
        rows.append((context, found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=["context", "value", "low", "high", "n"])


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """What the longest context saves against the shortest, target by target: ``document``,
    ``position``, ``common``, ``seen``, ``gain`` (bits)."""
    keys = ["document", "position", "common", "seen"]
    wide = table.pivot(index=keys, columns="context", values="bits")
    shortest, longest = wide.columns.min(), wide.columns.max()
    return (wide[shortest] - wide[longest]).rename("gain").reset_index()


def gain(table: pd.DataFrame) -> stats.Estimate:
    """Mean gain of all tokens over documents, in bits."""
    part = gains(table)
    return stats.bootstrap_ci(
        part["gain"].to_numpy(), clusters=part["document"].to_numpy(), unit="documents"
    )


def copy_gain(table: pd.DataFrame) -> stats.Estimate | None:
    """Gain of rarer tokens that stand in the far context only minus gain of the other rarer ones.

    The others are new, or stand in the near context as well. Over documents that have both; None
    with fewer than two.
    """
    wide = _rarer(table)
    if len(wide) < 2:
        return None
    return stats.paired_difference(wide[True], wide[False], unit="documents")


def copy_means(table: pd.DataFrame) -> tuple[float, float] | None:
    """The two means whose difference :func:`copy_gain` is, in bits: far context only, others.

    None with fewer than two documents.
    """
    wide = _rarer(table)
    return (float(wide[True].mean()), float(wide[False].mean())) if len(wide) >= 2 else None


def _rarer(table: pd.DataFrame) -> pd.DataFrame:
    """Mean gain of rarer tokens by document (rows) and whether they stand in the far context only
    (columns), of documents that have both."""
    part = gains(table)
    part = part[~part["common"]]
    wide = part.pivot_table(index="document", columns="seen", values="gain", aggfunc="mean")
    return wide.reindex(columns=[False, True]).dropna()


def saved_share(table: pd.DataFrame) -> float:
    """Share of the loss after the shortest context that the longest context saves."""
    means = table.groupby("context")["bits"].mean()
    first, last = float(means.iloc[0]), float(means.iloc[-1])
    return float(np.clip((first - last) / first, -1, 1)) if first > 0 else 0.0
