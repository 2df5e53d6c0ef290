"""What the loss on a repetition is without some heads."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, above, finding
from internals.measure.attention import ablation
from internals.models import ModelHandle


@finding(unit="bits per token")
def intact(model: ModelHandle) -> Estimate:
    """The whole model predicts the second copy at {value}."""
    return stats.bootstrap_ci(_bits(model, "", "intact", 0), unit="texts")


@finding(unit="bits per token", expect=above(0))
def one(model: ModelHandle) -> Estimate:
    """Without the strongest induction head a copy costs {value} more than without a random one."""
    return _against_random(model, "induction", 1)


@finding(unit="bits per token", expect=above(0))
def many(model: ModelHandle) -> Estimate:
    """Without the sixteen heads with the highest induction scores a copy costs {value} more than
    without as many others."""
    return _against_random(model, "induction", 16)


@finding(unit="bits per token", expect=above(0))
def previous(model: ModelHandle) -> Estimate:
    """Without the strongest previous-token head a copy costs {value} more than without a random
    one."""
    return _against_random(model, "previous token", 1)


def _against_random(model: ModelHandle, kind: str, count: int) -> Estimate:
    top, random = (_bits(model, kind, which, count) for which in ("top", "random"))
    return stats.paired_difference(top, random, unit="texts")


def _bits(model: ModelHandle, kind: str, which: str, count: int) -> pd.Series:
    part = ablation.loss(model).query("kind == @kind and which == @which and count == @count")
    if part.empty:
        raise NotApplicable(f"the model has too few heads to compare {count} with as many others")
    return part.set_index("row")["bits"]
