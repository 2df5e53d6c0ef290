"""What is cached, and why it saves less time than token passes."""

from __future__ import annotations

from internals import stats
from internals.findings import Estimate, above, at_most, between, exact, finding
from internals.measure.generation import operations, roofline, speed, steps
from internals.models import ModelHandle


@finding(unit="share", expect=at_most(0.001))
def counted(model: ModelHandle) -> Estimate:
    """The operations by formula differ from PyTorch's counter by at most {value}."""
    table = operations.counted(model)
    return exact(float(table["difference"].abs().max()), len(table), "lengths")


@finding(expect=above(1))
def decode(model: ModelHandle) -> Estimate:
    """A step with a cache needs {value} times as long for reading as for arithmetic."""
    need = _need(model, fed=1, cached=steps.CONTEXT - 1)
    return exact(need.reading / need.computing, 1, "machine")


@finding(expect=above(1))
def prefill(model: ModelHandle) -> Estimate:
    """A pass over the longest timed text needs {value} times as long for arithmetic as for
    reading."""
    need = _need(model, fed=speed.read_at(model.facts)[-1])
    return exact(need.computing / need.reading, 1, "machine")


@finding(unit="tokens")
def even(model: ModelHandle) -> Estimate:
    """A pass over {value} needs as much time for arithmetic as for reading all weights."""
    one, two = (_need(model, fed=n) for n in (1, 2))
    return exact(round(one.reading / (two.computing - one.computing)), 1, "machine")


@finding(unit="ms", expect=above(0))
def fixed(model: ModelHandle) -> Estimate:
    """A step of one text with a cache takes {value} more than reading and arithmetic need."""
    return stats.quartiles(1000 * roofline.fixed_seconds(model))


@finding(expect=between(0.5, 2))
def foretold(model: ModelHandle) -> Estimate:
    """With the fixed cost of a pass the gain foretold for the longest timed text is {value} times
    the measured one."""
    table = roofline.whole_texts(model).iloc[-1]
    measured = speed.speed_ups(speed.texts(model))
    measured = measured[measured["new"] == table["new"]]["ratio"]
    return stats.quartiles(table["foretold"] / measured, unit="texts")


@finding(expect=above(2))
def batch(model: ModelHandle) -> Estimate:
    """With a cache the largest batch gives {value} times the tokens per second of one text."""
    wide = steps.batches(model).pivot(index="repeat", columns="batch", values="seconds")
    rate = wide.columns.to_numpy() / wide
    return stats.quartiles(rate.iloc[:, -1] / rate.iloc[:, 0])


def _need(model: ModelHandle, fed: int, cached: int = 0) -> roofline.Need:
    return roofline.need_of(model.facts, roofline.machine(model), fed=fed, cached=cached)
