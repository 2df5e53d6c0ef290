"""What a finding is expected to show, written as data: one rule, one test, one way to say it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from internals.stats import Estimate

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Rule:
    """The finding holds where the whole interval lies within ``(low, high)``.

    A value without an interval stands for itself. ``closed``: the bounds belong to the range.
    ``outside``: it holds where nothing of the interval lies in the range instead.
    """

    low: float
    high: float
    closed: bool = False
    outside: bool = False

    def holds(self, estimate: Estimate) -> bool:
        """Whether the estimate, with its interval, lies where the rule wants it."""
        first, last = estimate.interval or (estimate.value, estimate.value)
        if self.outside:
            return last < self.low or first > self.high
        if self.closed:
            slack = _ROUNDING * max(1.0, abs(first), abs(last))
            return self.low - slack <= first and last <= self.high + slack
        return self.low < first and last < self.high

    def p_value(self, estimate: Estimate) -> float | None:
        """Two-sided p-value against the nearest bound; None where nothing is tested.

        For a range with two bounds the larger of both (two one-sided tests, Schuirmann 1987).
        """
        bounds = [bound for bound in (self.low, self.high) if math.isfinite(bound)]
        tested = [estimate.p_value(bound) for bound in bounds]
        known = [p for p in tested if p is not None]
        if not known:
            return None
        inside = self.low <= estimate.value <= self.high
        return (1.0 if inside else min(known)) if self.outside else max(known)

    @property
    def bound(self) -> float:
        """The value of no difference: the finite bound of a one-sided rule, else 0."""
        finite = [x for x in (self.low, self.high) if math.isfinite(x)]
        return finite[0] if len(finite) == 1 else 0.0

    def __str__(self) -> str:
        return f"not {self._range()}" if self.outside else self._range()

    def _range(self) -> str:
        if self.low == self.high:
            return f"equal to {self.low:g}"
        if math.isinf(self.high):
            return f"{'at least' if self.closed else 'above'} {self.low:g}"
        if math.isinf(self.low):
            return f"{'at most' if self.closed else 'below'} {self.high:g}"
        return f"between {self.low:g} and {self.high:g}"


def above(bound: float) -> Rule:
    """More than ``bound``."""
    return Rule(bound, math.inf)


def below(bound: float) -> Rule:
    """Less than ``bound``."""
    return Rule(-math.inf, bound)


def between(low: float, high: float) -> Rule:
    """Neither less than ``low`` nor more than ``high``."""
    return Rule(low, high, closed=True)


def at_least(bound: float) -> Rule:
    """``bound`` or more."""
    return Rule(bound, math.inf, closed=True)


def at_most(bound: float) -> Rule:
    """``bound`` or less."""
    return Rule(-math.inf, bound, closed=True)


def exactly(value: float) -> Rule:
    """``value``, up to rounding."""
    return Rule(value, value, closed=True)


def outside(low: float, high: float) -> Rule:
    """Less than ``low`` or more than ``high``: what a wrong sentence does not predict."""
    return Rule(low, high, closed=True, outside=True)
