"""The ladder of sizes: how the loss falls, and what four points do not say."""

from __future__ import annotations

import numpy as np

from internals import stats
from internals.findings import Estimate, above, below, exact, finding
from internals.measure.models import ladder
from internals.models import ModelHandle

FAR = 1e9
"""Parameters at which the lines are compared: far beyond the ladder."""


@finding(unit="share", expect=above(0))
def doubling(model: ModelHandle) -> Estimate:
    """On the ladder twice as many parameters take {value} off the loss on held-out prose."""
    sizes, rows = ladder.by_document(ladder.documents())

    def saved(x: np.ndarray) -> float:
        return float(1 - 2 ** -ladder.exponent(sizes, ladder.losses(x))[0])

    return stats.bootstrap_ci(rows, saved, unit="documents")


@finding()
def slope(model: ModelHandle) -> Estimate:
    """The exponent of the line through the ladder is {value}."""
    return _slope("parameters")


@finding()
def slope_blocks(model: ModelHandle) -> Estimate:
    """With the parameters of the blocks alone, without tables of tokens and places, the exponent is
    {value}."""
    return _slope("block_parameters")


@finding(unit="bits", expect=below(0.02))
def alike_here(model: ModelHandle) -> Estimate:
    """Whatever floor is assumed, the line misses the four sizes by no more than {value} a byte
    (root mean square)."""
    table = ladder.lines(ladder.documents())
    return exact(table["error"].max(), len(ladder.FLOORS), "lines")


@finding(unit="bits", expect=above(0.05))
def apart_there(model: ModelHandle) -> Estimate:
    """For a billion parameters the lines with the lowest and the highest floor are {value} a byte
    apart."""
    sizes, rows = ladder.by_document(ladder.documents())
    low, high = min(ladder.FLOORS), max(ladder.FLOORS)

    def gap(x: np.ndarray) -> float:
        loss, far = ladder.losses(x), np.array([FAR])
        ends = [ladder.predicted(sizes, loss, far, floor)[0] for floor in (high, low)]
        return float(ends[0] - ends[1])

    return stats.bootstrap_ci(rows, gap, unit="documents")


@finding(expect=above(0))
def bend(model: ModelHandle) -> Estimate:
    """Between the two largest rungs the exponent is {value} lower than between the two smallest."""
    sizes, rows = ladder.by_document(ladder.documents())

    def lower(x: np.ndarray) -> float:
        ends = slice(2), slice(-2, None)
        first, last = (ladder.exponent(sizes[end], ladder.losses(x)[end])[0] for end in ends)
        return first - last

    return stats.bootstrap_ci(rows, lower, unit="documents")


@finding()
def paper(model: ModelHandle) -> Estimate:
    """In the middle of the ladder the law of Hoffmann et al. has an exponent of {value}."""
    table = ladder.documents()
    middle = table["parameters"].drop_duplicates().median()
    return exact(ladder.paper_exponent(middle, table["tokens"].max()), 1, "laws")


@finding(unit="tokens")
def fewest(model: ModelHandle) -> Estimate:
    """The largest rung read {value} for each of its parameters."""
    table = ladder.documents()
    return exact((table["tokens"] / table["parameters"]).min(), 1, "models")


def _slope(column: str) -> Estimate:
    table = ladder.documents()
    table = table.assign(parameters=table[column])
    sizes, rows = ladder.by_document(table)
    return stats.bootstrap_ci(
        rows, lambda x: ladder.exponent(sizes, ladder.losses(x))[0], unit="documents"
    )
