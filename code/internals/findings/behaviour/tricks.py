"""Trick questions, ambiguous words, questions without an answer."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, above, below, finding
from internals.measure.behaviour import tricks as measured
from internals.models import ModelHandle


def _families(table: pd.DataFrame, values: pd.Series) -> Estimate:
    found = stats.over_groups(values.astype(float), table["family"], unit="families")
    if found.interval is None:
        raise NotApplicable("too few families of questions fit into its context")
    return found


def _part(model: ModelHandle, *, switches: bool) -> pd.DataFrame:
    table = measured.pairs(model)
    return table[table["switches"] == switches]


@finding(unit="share", expect=below(0.5))
def both(model: ModelHandle) -> Estimate:
    """Where the trick changes the answer, the model is right after both in {value} of the pairs."""
    table = _part(model, switches=True)
    return _families(table, measured.both_right(table))


@finding(unit="bits", expect=above(0))
def heard(model: ModelHandle) -> Estimate:
    """Where the trick changes the answer, it moves the odds towards the new one by {value}."""
    table = _part(model, switches=True)
    return _families(table, measured.effects(table))


@finding(unit="bits", expect=above(0))
def tempted(model: ModelHandle) -> Estimate:
    """Where the answer stays, the trick lowers its odds by {value}."""
    table = _part(model, switches=False)
    return _families(table, measured.effects(table))


@finding(unit="bits", expect=above(0))
def context(model: ModelHandle) -> Estimate:
    """From a context of one reading of an ambiguous word to one of the other, the odds move by
    {value}."""
    table = measured.ambiguity(model)
    return stats.paired_difference(table["first"], table["second"], unit="words")


@finding(unit="share", expect=above(0.5))
def surer(model: ModelHandle) -> Estimate:
    """The next token is less certain for an invented name than for a well-known one in {value} of
    the comparisons."""
    return measured.separation(measured.knowing(model), "well known")


@finding(unit="share", expect=above(0.5))
def surer_little(model: ModelHandle) -> Estimate:
    """The next token is less certain for an invented name than for a little-known one in {value}
    of the comparisons."""
    return measured.separation(measured.knowing(model), "little known")


@finding(unit="share", expect=below(0.5))
def declined(model: ModelHandle) -> Estimate:
    """Of the questions about invented names, the answer to {value} says that there is none."""
    table = measured.knowing(model)
    return stats.share(table.loc[table["group"] == "invented", "declined"], unit="questions")
