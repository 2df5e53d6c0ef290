"""Why a norm looks at one token: what batch statistics let through, and what they do to sizes."""

from __future__ import annotations

import math

import pandas as pd

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, above, at_most, exact, finding
from internals.measure.architecture import normalisation
from internals.models import ModelHandle

ROUNDING = 1e-3
"""A logit may differ by so much where only the order of sums has changed."""


@finding(expect=at_most(ROUNDING))
def own(model: ModelHandle) -> Estimate:
    """Under the model's own norm, later tokens and the rest of the batch change a logit by at most
    {value}."""
    part = _changes(model, normalisation.BOTH)
    return exact(part["largest_change"].max(), len(part), "documents")


@finding(unit="share", expect=above(0.05))
def later(model: ModelHandle) -> Estimate:
    """Under batch statistics, other later tokens change the model's first choice at {value} of the
    positions before them."""
    part = _changes(model, normalisation.LATER)
    return stats.bootstrap_ci(part["other_first_choice"], unit="documents")


@finding(unit="share", expect=above(0.05))
def mates(model: ModelHandle) -> Estimate:
    """Under batch statistics, another text in the same batch changes the model's first choice at
    {value} of the positions."""
    part = _changes(model, normalisation.MATE)
    return stats.bootstrap_ci(part["other_first_choice"], unit="documents")


@finding(expect=above(10))
def massive(model: ModelHandle) -> Estimate:
    """The largest hidden value of the first token is {value} times the largest of all later tokens
    after the same block."""
    at = _sizes(model, "own")
    block = at["first token, largest"].groupby("block").median().idxmax()
    one = at.xs(block, level="block")
    ratio = one["first token, largest"] / one["later tokens, largest"]
    return stats.bootstrap_ci(ratio, unit="documents")


@finding()
def largest(model: ModelHandle) -> Estimate:
    """The largest hidden value of the first token is {value} (mean over documents)."""
    first = _sizes(model, "own")["first token, largest"].groupby("document").max()
    return stats.bootstrap_ci(first, unit="documents")


@finding(unit="share", expect=above(0.5))
def overflow(model: ModelHandle) -> Estimate:
    """Under statistics frozen from other text, hidden values grow beyond all numbers in {value} of
    the documents."""
    worst = _sizes(model, "frozen").max(axis=1).groupby("document").max()
    return stats.wilson(int((worst == math.inf).sum()), len(worst), unit="documents")


@finding(unit="blocks", expect=above(0))
def early(model: ModelHandle) -> Estimate:
    """Under frozen statistics, values outgrow the number type {value} before the block in which the
    largest value of the first token appears under the own norm."""
    frozen, at = _sizes(model, "frozen"), _sizes(model, "own")
    burst = frozen[frozen.max(axis=1) == math.inf].groupby("document")
    if burst.ngroups < frozen.groupby("document").ngroups:
        raise NotApplicable("under frozen statistics no value outgrows the number type")
    first = burst.apply(lambda rows: rows.index.get_level_values("block").min())
    giant = at["first token, largest"].groupby("document").idxmax().map(lambda place: place[1])
    return stats.paired_difference(giant, first, unit="documents")


@finding(unit="bits per token")
def twins_modes(model: ModelHandle) -> Estimate:
    """The two modes of a batch-norm run differ by {value} on the same text (mean)."""
    pairs = normalisation.twins()
    gap = (pairs["batch_norm_of_batch"] - pairs["batch_norm_running"]).abs()
    return exact(gap.mean(), len(pairs), "runs")


@finding(unit="bits per token")
def twins_seeds(model: ModelHandle) -> Estimate:
    """Two runs of one norm that differ in their seed alone end up to {value} apart."""
    pairs = normalisation.twins().drop(columns="seed")
    by_rate = pairs.groupby("learning_rate")
    return exact((by_rate.max() - by_rate.min()).max(axis=None), len(pairs), "pairs")


def _changes(model: ModelHandle, exchanged: str) -> pd.DataFrame:
    table = normalisation.leak(model)
    return table[table["exchanged"] == exchanged]


def _sizes(model: ModelHandle, kind: str) -> pd.DataFrame:
    """A row for each document and block, a column for each series.

    Raises:
        NotApplicable: there is one block, so that no state lies between two.
    """
    table = normalisation.sizes(model)
    own = table[table["kind"] == kind]
    if own["block"].nunique() < 2:
        raise NotApplicable("the model has a single block")
    return own.pivot(index=["document", "block"], columns="series", values="size")
