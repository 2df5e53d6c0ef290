"""How the residual stream grows, turns and keeps its picture of the text."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.findings import Estimate, above, below, exact, finding
from internals.measure.layers import geometry as g
from internals.models import ModelHandle


@finding(expect=above(2))
def growth(model: ModelHandle) -> Estimate:
    """From the first block to the last, the states of later tokens grow by a factor of {value}."""
    later = _stream(model, g.LATER)
    return stats.bootstrap_ci(later[later.columns[-1]] / later[1], unit="documents")


@finding(expect=above(10))
def giant(model: ModelHandle) -> Estimate:
    """At its largest, the first token's state is {value} times as large as that of later tokens."""
    first, later = _stream(model, g.FIRST), _stream(model, g.LATER)
    depth = first.median().idxmax()
    return stats.bootstrap_ci(first[depth] / later[depth], unit="documents")


@finding()
def written(model: ModelHandle) -> Estimate:
    """The largest step of the first token's state is made in block {value} (median)."""
    steps = _first_steps(model)
    return exact(steps["depth"].median(), len(steps), "documents")


@finding(unit="share", expect=above(0.5))
def by_mlp(model: ModelHandle) -> Estimate:
    """The largest step of the first token's state is made by the MLP in {value} of the
    documents."""
    steps = _first_steps(model)
    return stats.wilson(int((steps["part"] == g.MLP).sum()), len(steps), unit="documents")


@finding(unit="share", expect=below(0.5))
def taken_back(model: ModelHandle) -> Estimate:
    """In the end the first token's state has {value} of its largest size."""
    first = _stream(model, g.FIRST)
    return stats.bootstrap_ci(first[first.columns[-1]] / first.max(axis=1), unit="documents")


@finding(expect=above(0.8))
def neighbours(model: ModelHandle) -> Estimate:
    """Halfway, a state has a mean cosine of {value} with the same token's state a block later."""
    return _cosine(model, g.NEXT)


@finding(expect=above(0.2))
def unrelated(model: ModelHandle) -> Estimate:
    """Halfway, tokens of different documents have a mean cosine of {value}."""
    return _cosine(model, g.RAW)


@finding(expect=below(0.15))
def centred(model: ModelHandle) -> Estimate:
    """Halfway and without the mean state, tokens of different documents have a mean cosine of
    {value}."""
    return _cosine(model, g.CENTRED)


@finding(expect=below(0.7))
def far(model: ModelHandle) -> Estimate:
    """What an early block and the last one put out is alike with a CKA of {value}."""
    table = g.geometry(model)["likeness"]
    early = table.loc[table["depth"] > 0, "depth"].min()
    pair = (table["depth"] == early) & (table["other"] == table["other"].max())
    return stats.over_groups(table.loc[pair, "cka"], table.loc[pair, "group"], unit="groups")


def _stream(model: ModelHandle, where: str) -> pd.DataFrame:
    """Sizes of the stream: a row for each document, a column for each depth."""
    table = g.geometry(model)["sizes"]
    part = table[(table["where"] == where) & (table["part"] == g.STREAM)]
    return part.pivot(index="document", columns="depth", values="size")


def _first_steps(model: ModelHandle) -> pd.DataFrame:
    """The largest thing that was added to each first token: ``depth``, ``part``."""
    table = g.geometry(model)["sizes"]
    added = table[(table["where"] == g.FIRST) & (table["part"] != g.STREAM)]
    return added.loc[added.groupby("document")["size"].idxmax()]


def _cosine(model: ModelHandle, what: str) -> Estimate:
    table = g.geometry(model)["cosines"]
    halfway = table["depth"] == table["depth"].max() // 2
    return stats.bootstrap_ci(table.loc[halfway & (table["what"] == what), "cosine"],
                              unit="documents")  # fmt: skip
