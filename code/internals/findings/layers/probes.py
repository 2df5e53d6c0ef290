"""What a linear probe reads about a country, and what it reads of labels dealt out at random."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.findings import Estimate, above, below, finding
from internals.measure.layers import probes as p
from internals.models import ModelHandle


@finding(unit="share", expect=above(0.5))
def country(model: ModelHandle) -> Estimate:
    """Halfway, a probe of the country's state names the continent of {value} of the countries on
    which it was not fitted."""
    return stats.bootstrap_ci(_right(model, p.COUNTRY, p.NEW), unit="countries")


@finding(unit="points", expect=below(0.1))
def gain(model: ModelHandle) -> Estimate:
    """Halfway, it names {value} more of them rightly than a probe of the embedding."""
    halfway, start = (_right(model, p.COUNTRY, p.NEW, share) for share in (0.5, 0))
    return stats.paired_difference(halfway, start, unit="countries")


@finding(unit="share", expect=above(0.8))
def dealt(model: ModelHandle) -> Estimate:
    """Fitted to continents that were dealt out at random, the same probe is right for {value} of
    these countries in a new prompt."""
    return stats.bootstrap_ci(_right(model, p.COUNTRY, p.RANDOM), unit="countries")


@finding(unit="points", expect=below(0.2))
def selectivity(model: ModelHandle) -> Estimate:
    """In a new prompt, the probe of the true continents is right for {value} more of the countries
    on which it was fitted than that of random ones."""
    true, dealt = (_right(model, p.COUNTRY, what) for what in (p.SEEN, p.RANDOM))
    return stats.paired_difference(true, dealt, unit="countries")


@finding(unit="share", expect=above(0.5))
def last(model: ModelHandle) -> Estimate:
    """Halfway, a probe of the last token's state names the continent of {value} of the countries on
    which it was not fitted."""
    return stats.bootstrap_ci(_right(model, p.LAST, p.NEW), unit="countries")


@finding(unit="share", expect=above(0.5))
def last_dealt(model: ModelHandle) -> Estimate:
    """Halfway, a probe of the last token's state that was fitted to random continents is right for
    {value} of these countries in a new prompt."""
    return stats.bootstrap_ci(_right(model, p.LAST, p.RANDOM), unit="countries")


def _right(model: ModelHandle, place: str, what: str, share: float = 0.5) -> pd.Series:
    """Share right by country, at the depth nearest to a share of the blocks."""
    table = p.continents(model)
    goal = share * table["depth"].max()
    depth = min(table["depth"].unique(), key=lambda d: abs(d - goal))
    rows = table[(table["place"] == place) & (table["what"] == what) & (table["depth"] == depth)]
    return rows.set_index("country")["right"]
