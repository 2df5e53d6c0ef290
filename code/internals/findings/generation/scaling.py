"""How attention scales with the length of the text."""

from __future__ import annotations

from internals import stats
from internals.findings import Estimate, above, between, exact, finding
from internals.measure.generation import operations, scaling
from internals.models import ModelHandle


@finding(expect=between(1.7, 2.4))
def plain(model: ModelHandle) -> Estimate:
    """The time of scores and values in plain form grows with the power {value} of the length."""
    return _power(model, scaling.PLAIN)


@finding(expect=above(1.3))
def fused(model: ModelHandle) -> Estimate:
    """The time of scores and values in fused form grows with the power {value} of the length."""
    return _power(model, scaling.FUSED)


@finding(expect=between(1.7, 2.4))
def known(model: ModelHandle) -> Estimate:
    """A kernel whose operations are exactly quadratic is measured with the power {value}."""
    return _power(model, scaling.QUADRATIC)


@finding(expect=between(-0.4, 0.4))
def excess(model: ModelHandle) -> Estimate:
    """The power of attention in plain form exceeds that of the exactly quadratic kernel by
    {value}."""
    wide = scaling.exponents(scaling.times(model)).pivot(
        index="repeat", columns="part", values="power"
    )
    return stats.quartiles(wide[scaling.PLAIN] - wide[scaling.QUADRATIC])


@finding(unit="tokens")
def crossover(model: ModelHandle) -> Estimate:
    """Scores and values need as many operations as all matrices of the blocks at {value}."""
    return exact(round(operations.cost_of(model.facts).crossover), 1, "model")


@finding(expect=above(1))
def matrix(model: ModelHandle) -> Estimate:
    """Written out for a full context, the scores of one layer take {value} times the memory of all
    weights."""
    size = scaling.shares(model.facts)["matrix_mib"].iloc[-1] * 2**20
    return exact(size / model.facts.weight_bytes, 1, "layer")


def _power(model: ModelHandle, part: str) -> Estimate:
    table = scaling.exponents(scaling.times(model))
    return stats.quartiles(table.loc[table["part"] == part, "power"])
