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
    at = _by_temperature(model, "entropy_bits")
    return stats.paired_difference(at[2.0], at[1.0], unit="prompts")


@finding(expect=above(2))
def uneven(model: ModelHandle) -> Estimate:
    """Between prompts the share of its probability that the first token keeps at temperature two
    differs by a factor of {value}."""
    kept = _kept(model)
    return exact(kept.max() / kept.min(), len(kept), "prompts")


@finding(unit="share")
def most_kept(model: ModelHandle) -> Estimate:
    """The prompt whose first token keeps most of its probability at temperature two keeps
    {value}."""
    return exact(_kept(model).max(), len(_kept(model)), "prompts")


@finding(unit="share")
def least_kept(model: ModelHandle) -> Estimate:
    """The prompt whose first token keeps least of its probability at temperature two keeps
    {value}."""
    return exact(_kept(model).min(), len(_kept(model)), "prompts")


def _by_temperature(model: ModelHandle, column: str) -> pd.DataFrame:
    """A row for each prompt, a column for each temperature."""
    return temperature.sweep(model).pivot(index="prompt", columns="temperature", values=column)


def _kept(model: ModelHandle) -> pd.Series:
    """Share of its probability at temperature one that the first token keeps at two."""
    at = _by_temperature(model, "top_prob")
    return at[2.0] / at[1.0]
