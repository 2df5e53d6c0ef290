"""The first token: attention, value and loss."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, above, below, finding
from internals.measure.attention import sinks
from internals.measure.attention.sinks import BEHIND, DROPPED, FIFTH, HIDDEN, PLAIN
from internals.models import ModelHandle


@finding(unit="share", expect=above(0.2))
def weight(model: ModelHandle) -> Estimate:
    """The second half of a text gives {value} of its attention to the first token."""
    return stats.bootstrap_ci(_mean(model, PLAIN, "first"), unit="documents")


@finding(unit="share", expect=below(0.1))
def behind(model: ModelHandle) -> Estimate:
    """The first token of a text gets {value} when a start token stands before it."""
    return stats.bootstrap_ci(_mean(model, BEHIND, "second"), unit="documents")


@finding(expect=below(0.5))
def value(model: ModelHandle) -> Estimate:
    """The value vector of the first token is {value} times as long as that of a usual token."""
    return stats.bootstrap_ci(_mean(model, PLAIN, "value", "median"), unit="documents")


@finding(unit="bits per token", expect=below(0.5))
def hidden(model: ModelHandle) -> Estimate:
    """With the first token hidden from the whole text, its second half costs {value} more."""
    return _cost(model, HIDDEN, PLAIN)


@finding(unit="share", expect=above(0.2))
def heir(model: ModelHandle) -> Estimate:
    """With the first token hidden from the whole text, the second gets {value} of the attention."""
    return stats.bootstrap_ci(_mean(model, HIDDEN, "second"), unit="documents")


@finding(unit="bits per token", expect=above(1))
def dropped(model: ModelHandle) -> Estimate:
    """With the first token hidden from the second half only, that half costs {value} more than with
    the fifth hidden."""
    return _cost(model, DROPPED, FIFTH)


def _mean(model: ModelHandle, case: str, column: str, how: str = "mean") -> pd.Series:
    part = sinks.readings(model).query("case == @case")
    if part.empty:
        raise NotApplicable("the model knows no token that could stand before a text")
    return part.groupby("document")[column].agg(how)


def _cost(model: ModelHandle, case: str, other: str) -> Estimate:
    pair = (_mean(model, name, "bits") for name in (case, other))
    return stats.paired_difference(*pair, unit="documents")
