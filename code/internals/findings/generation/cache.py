"""Generation with and without a cache: the same text, and the time that it takes."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.findings import Estimate, above, below, exact, exactly, finding
from internals.measure.generation import speed, steps, stores
from internals.models import ModelHandle


@finding(unit="share", expect=exactly(1))
def same(model: ModelHandle) -> Estimate:
    """With and without a cache {value} of the timed texts have the same tokens."""
    tokens = speed.texts(model).pivot(index=["round", "new"], columns="mode", values="token")
    alike = (tokens["cache"] == tokens["no cache"]).groupby("round").all()
    return exact(float(alike.mean()), len(alike), "texts")


@finding(expect=above(1))
def faster(model: ModelHandle) -> Estimate:
    """The longest timed text is written {value} times as fast with a cache."""
    return stats.quartiles(ratios(model).iloc[:, -1], unit="texts")


@finding(expect=above(10))
def dramatic(model: ModelHandle) -> Estimate:
    """The gain for the longest timed text is dramatic: {value} times, above ten."""
    return stats.quartiles(ratios(model).iloc[:, -1], unit="texts")


@finding(expect=below(1), unit="share")
def of_count(model: ModelHandle) -> Estimate:
    """The gain for the longest timed text is {value} of the ratio of token passes."""
    table = speed.speed_ups(speed.texts(model))
    longest = table[table["new"] == table["new"].max()]
    return stats.quartiles(longest["ratio"] / longest["passes"], unit="texts")


@finding(expect=above(1))
def grows(model: ModelHandle) -> Estimate | None:
    """The gain for the longest timed text is {value} times that for the shortest."""
    wide = ratios(model)
    if wide.shape[1] < 2:
        return None
    return stats.quartiles(wide.iloc[:, -1] / wide.iloc[:, 0], unit="texts")


@finding(expect=above(1))
def beyond(model: ModelHandle) -> Estimate:
    """A step at the longest timed length takes {value} times as long without a cache."""
    table = steps.costs(model)
    longest = table[table["tokens"] == table["tokens"].max()]
    wide = longest.pivot(index="repeat", columns="stored", values="seconds")
    return stats.quartiles(wide[stores.NOTHING] / wide[stores.FULL])


def ratios(model: ModelHandle) -> pd.DataFrame:
    """Without over with a cache: a row for each text, a column for each number of new tokens."""
    table = speed.speed_ups(speed.texts(model))
    return table.pivot(index="round", columns="new", values="ratio")
