"""Recall of invented facts by fable-gpt2, whatever the model of the run is."""

from __future__ import annotations

from internals import stats
from internals.findings import Estimate, above, below, between, finding
from internals.findings.behaviour.understanding import fable, recalled
from internals.measure import capability
from internals.models import ModelHandle


@finding(unit="share", expect=above(0.5))
def often(model: ModelHandle) -> Estimate:
    """Of the invented facts stated most often in training, {value} are ranked first among ten
    candidates."""
    return recalled(256)


@finding(unit="share", expect=between(0, 0.3))
def never(model: ModelHandle) -> Estimate:
    """Of the invented facts that were never stated, {value} are ranked first, about as many as a
    blind choice among ten gives."""
    return recalled(0)


@finding(unit="points", expect=above(0))
def other_wording(model: ModelHandle) -> Estimate:
    """In wordings that training never used, the facts stated most often are ranked first less
    often, by {value}."""
    table = capability.recall(fable())
    right = table[table["level"] == 256].pivot(index="fact_id", columns="wording", values="correct")
    return stats.paired_difference(right["trained"], right["heldout"], unit="facts")


@finding(unit="bits per byte", expect=below(capability.STORIES_FLOOR))
def stories(model: ModelHandle) -> Estimate:
    """On held-out stories the loss is {value}."""
    rows = capability.held_out_loss(fable()).to_numpy()
    return stats.bootstrap_ci(rows, capability.ratio_of_sums, unit="documents")
