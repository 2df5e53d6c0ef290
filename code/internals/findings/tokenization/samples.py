"""How the seven samples are cut."""

from __future__ import annotations

from internals.findings import Estimate, exact, exactly, finding
from internals.measure.tokenization import breakdown
from internals.models import ModelHandle


@finding(unit="bytes")
def longest(model: ModelHandle) -> Estimate:
    """The sample with the longest tokens has {value} a token."""
    table = breakdown.sample_summary(model)
    return exact(table["bytes_per_token"].max(), len(table), "samples")


@finding(unit="bytes")
def shortest(model: ModelHandle) -> Estimate:
    """The sample with the shortest tokens has {value} a token."""
    table = breakdown.sample_summary(model)
    return exact(table["bytes_per_token"].min(), len(table), "samples")


@finding(unit="share", expect=exactly(1))
def unchanged(model: ModelHandle) -> Estimate:
    """Of the samples, {value} come back unchanged from their ids."""
    table = breakdown.sample_summary(model)
    return exact(table["returns"].mean(), len(table), "samples")
