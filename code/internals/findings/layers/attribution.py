"""What each part adds to the lead of the right capital over a wrong one."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.findings import Estimate, above, between, exact, finding
from internals.measure.layers import facts as a
from internals.models import ModelHandle


@finding(unit="share", expect=between(-0.1, 0.1))
def first_half(model: ModelHandle) -> Estimate:
    """The first half of the blocks adds {value} of the lead directly."""
    table = a.contributions(model)
    return _share(table, table["depth"].between(1, table["depth"].max() // 2))


@finding(unit="share", expect=above(0.5))
def mlps(model: ModelHandle) -> Estimate:
    """The MLPs add {value} of the lead."""
    table = a.contributions(model)
    return _share(table, table["part"] == a.MLP)


@finding()
def strongest(model: ModelHandle) -> Estimate:
    """The attention that adds most stands in block {value}."""
    table = a.contributions(model)
    return exact(strongest_attention(table), table["pair"].nunique(), "pairs")


@finding(unit="share", expect=above(0.2))
def strongest_share(model: ModelHandle) -> Estimate:
    """The attention that adds most adds {value} of the lead."""
    table = a.contributions(model)
    block = strongest_attention(table)
    return _share(table, (table["part"] == a.ATTENTION) & (table["depth"] == block))


def strongest_attention(table: pd.DataFrame) -> int:
    """Number of the block whose attention adds most on average."""
    rows = table[table["part"] == a.ATTENTION]
    return int(rows.groupby("depth")["logit"].mean().idxmax())


def _share(table: pd.DataFrame, chosen: pd.Series) -> Estimate:
    """What chosen rows add, over the whole lead; both summed over a resample's pairs."""
    sums = [rows.groupby("pair")["logit"].sum() for rows in (table[chosen], table)]
    pairs = pd.concat(sums, axis=1).to_numpy()
    return stats.bootstrap_ci(pairs, lambda x: x[:, 0].sum() / x[:, 1].sum(), unit="pairs")
