"""Where the answer can be changed, and from which block on no longer."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.findings import Estimate, above, below, finding
from internals.findings.layers.attribution import strongest_attention
from internals.measure.layers import facts, patching
from internals.models import ModelHandle


@finding(unit="share", expect=above(0.8))
def country_early(model: ModelHandle) -> Estimate:
    """Halfway, the state at the country carries {value} of the answer."""
    return _effect(model, 0, 0.5)


@finding(unit="share", expect=below(0.1))
def last_early(model: ModelHandle) -> Estimate:
    """Halfway, the state at the last token carries {value} of the answer."""
    return _effect(model, -1, 0.5)


@finding(unit="share", expect=above(0.7))
def last_late(model: ModelHandle) -> Estimate:
    """Before the last blocks, the state at the last token carries {value} of the answer."""
    return _effect(model, -1, 1)


@finding(unit="share", expect=below(0.2))
def between_them(model: ModelHandle) -> Estimate:
    """The state that carries most between the country and the last token, at any depth, carries
    {value} of the answer."""
    wide = _by_pair(model)
    places = wide.columns.get_level_values("place")
    inner = wide.loc[:, (places > 0) & (places < places.max())]
    return stats.bootstrap_ci(inner, lambda rows: rows.mean(0).max(), unit="pairs")


@finding(unit="points", expect=above(0.5))
def step(model: ModelHandle) -> Estimate:
    """From the last measured depth before the attention that adds most to the answer to the first
    one after it, the effect at the last token rises by {value}."""
    wide = _by_pair(model)
    last = wide.xs(wide.columns.unique("place").max(), axis=1, level="place").copy()
    last[model.facts.n_layers] = 1.0  # after the last block nothing else is read
    block = strongest_attention(facts.contributions(model))
    before, after = last.loc[:, last.columns < block], last.loc[:, last.columns >= block]
    return stats.paired_difference(after.iloc[:, 0], before.iloc[:, -1], unit="pairs")


def _effect(model: ModelHandle, place: int, share: float) -> Estimate:
    """At the first (0) or last (-1) place, at a share of the measured depths."""
    wide = _by_pair(model)
    depths, places = (wide.columns.unique(level) for level in (0, 1))
    chosen = wide[depths[round(share * (len(depths) - 1))], places[place]]
    return stats.bootstrap_ci(chosen, unit="pairs")


def _by_pair(model: ModelHandle) -> pd.DataFrame:
    """Effects, a row for each pair and a column for each depth and place."""
    return patching.effects(model).pivot_table("effect", "pair", ["depth", "place"])
