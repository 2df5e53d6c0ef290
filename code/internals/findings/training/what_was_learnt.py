"""Recall of invented facts by fable-gpt2, whatever the model of the run is."""

from __future__ import annotations

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, above, below, between, finding
from internals.measure import capability
from internals.models import ModelHandle, open_model

SUBJECT = "fable-gpt2"
CANDIDATES = 10


@finding(unit="share", expect=above(0.5))
def often(model: ModelHandle) -> Estimate:
    """Of the invented facts stated most often in training, {value} are ranked first among ten
    candidates."""
    return share(level=256)


@finding(unit="share", expect=between(0, 0.3))
def never(model: ModelHandle) -> Estimate:
    """Of the invented facts that were never stated, {value} are ranked first, about as many as a
    blind choice among ten gives."""
    return share(level=0)


@finding(unit="points", expect=above(0))
def other_wording(model: ModelHandle) -> Estimate:
    """In wordings that training never used, the facts stated most often are ranked first less
    often, by {value}."""
    table = capability.recall(open_model(SUBJECT))
    part = table[table["level"] == 256]
    by_wording = part.groupby(["fact_id", "wording"])["correct"].mean().unstack().dropna()
    if by_wording.empty:
        raise NotApplicable("no fact was asked in both kinds of wording")
    return stats.paired_difference(by_wording["trained"], by_wording["heldout"], unit="facts")


@finding(unit="bits per byte", expect=below(capability.STORIES_FLOOR))
def stories(model: ModelHandle) -> Estimate:
    """On held-out stories the loss is {value}."""
    losses = capability.held_out_loss(open_model(SUBJECT))
    rows = losses.loc[losses["kind"] == "stories", ["bits", "bytes"]].to_numpy()
    return stats.bootstrap_ci(rows, capability.ratio_of_sums, unit="documents")


def share(level: int) -> Estimate:
    """Share of the facts with ``level`` statements that are ranked first in a trained wording."""
    table = capability.recall(open_model(SUBJECT))
    part = table[(table["wording"] == "trained") & (table["level"] == level)]
    return stats.wilson(int(part["correct"].sum()), len(part), unit="facts")
