"""What temperature does to the distributions after many prompts."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.findings import Estimate, above, exact, finding
from internals.measure.probabilities import temperature
from internals.models import ModelHandle


@finding(unit="bits", expect=above(0))
def entropy(model: ModelHandle) -> Estimate:
    """Raising the temperature from one to two raises the entropy by {value}."""
    at = by_temperature(temperature.sweep(model), "entropy_bits")
    return stats.paired_difference(at[2.0], at[1.0], unit="prompts")


@finding(expect=above(2))
def uneven(model: ModelHandle) -> Estimate:
    """Between prompts the share of its probability that the first token keeps at temperature two
    differs by a factor of {value}."""
    kept = kept_at_two(temperature.sweep(model))
    return exact(kept.max() / kept.min(), len(kept), "prompts")


@finding(unit="share")
def most_kept(model: ModelHandle) -> Estimate:
    """The prompt whose first token keeps most of its probability at temperature two keeps
    {value}."""
    kept = kept_at_two(temperature.sweep(model))
    return exact(kept.max(), len(kept), "prompts")


@finding(unit="share")
def least_kept(model: ModelHandle) -> Estimate:
    """The prompt whose first token keeps least of its probability at temperature two keeps
    {value}."""
    kept = kept_at_two(temperature.sweep(model))
    return exact(kept.min(), len(kept), "prompts")


def by_temperature(sweep: pd.DataFrame, column: str) -> pd.DataFrame:
    """A row for each prompt, a column for each temperature."""
    return sweep.pivot(index="prompt", columns="temperature", values=column)


def kept_at_two(sweep: pd.DataFrame) -> pd.Series:
    """Share of its probability at temperature one that the first token keeps at two."""
    at = by_temperature(sweep, "top_prob")
    return at[2.0] / at[1.0]
