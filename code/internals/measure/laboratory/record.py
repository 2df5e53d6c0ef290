"""What a refutation finds, and the register of refutations.

The verdict is decided by one rule: a sentence is refuted if the measured value, with its whole
interval, lies outside of what the sentence predicts, and holds here if it lies inside. Where the
interval reaches over an edge, the test has not decided.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from internals.stats import Estimate

if TYPE_CHECKING:
    from internals.measure.laboratory.lab import Lab

Verdict = Literal["refuted", "holds here", "not decided", "does not apply"]
Span = tuple[float, float]


@dataclass(frozen=True)
class Finding:
    """What was measured, beside what the wrong sentence predicts."""

    value: float | None
    """None where the sentence does not apply to the model."""
    predicted: Span
    """Values that would agree with the wrong sentence, both ends included."""
    outcome: str
    """One sentence with the result; ``{value}`` and ``{n}`` stand for numbers."""
    n: int | None = None
    n_unit: str = ""
    unit: str = ""
    """As in `wording.number`: share, bits, bytes …"""
    interval: Span | None = None
    """Confidence interval; None for a value that is exact on the stated n."""

    @property
    def verdict(self) -> Verdict:
        """Refuted where measurement and prediction have nothing in common; where they overlap,
        the sentence holds only if nothing in the interval speaks against it.

        A single predicted number holds if it is the value that was measured: no interval of a
        sample is as narrow as "all" or "none".
        """
        if self.value is None:
            return "does not apply"
        low, high = self.interval or (self.value, self.value)
        least, most = self.predicted
        if high < least or low > most:
            return "refuted"
        inside = least <= low and high <= most
        return "holds here" if inside or least == self.value == most else "not decided"


def more_than(bound: float) -> Span:
    """The prediction "above ``bound``", which itself does not count."""
    return math.nextafter(bound, math.inf), math.inf


def exact(
    value: float, predicted: float | Span, outcome: str, *, n: int, n_unit: str, unit: str = ""
) -> Finding:
    """A value without sampling error; a value that is no number makes the sentence inapplicable."""
    if n < 1 or not math.isfinite(value):
        return does_not_apply("The measurement gives no number for this model.")
    return Finding(float(value), _span(predicted), outcome, n, n_unit, unit)


def estimated(found: Estimate, predicted: float | Span, outcome: str, *, unit: str = "") -> Finding:
    """A value with its confidence interval."""
    if found.n < 1 or not math.isfinite(found.value):
        return does_not_apply("The measurement gives no number for this model.")
    span = _span(predicted)
    return Finding(found.value, span, outcome, found.n, found.unit, unit, found.interval)


def does_not_apply(reason: str) -> Finding:
    """The model lacks what the sentence is about."""
    return Finding(None, (math.nan, math.nan), reason)


def _span(predicted: float | Span) -> Span:
    return predicted if isinstance(predicted, tuple) else (float(predicted), float(predicted))


@dataclass(frozen=True)
class Refutation:
    """A wrong sentence, the truth, and the function that lets the model decide."""

    id: str
    theme: str
    wrong: str
    truth: str
    test: Callable[[Lab], Finding]


REGISTER: dict[str, Refutation] = {}
"""All refutations by id, in the order of the themes' modules; `findings` imports them."""


def refutation(test: Callable[[Lab], Finding]) -> Callable[[Lab], Finding]:
    """Register a function whose docstring is ``Wrong: …``, an empty line, and ``Truth: …``.

    The id is the function's name, the theme its module's.
    """
    wrong, _, truth = inspect.cleandoc(test.__doc__ or "").partition("\n\n")
    if not (wrong.startswith("Wrong: ") and truth.startswith("Truth: ")):
        raise ValueError(f"the docstring of {test.__name__} must say “Wrong: …” and “Truth: …”")
    name = test.__name__.replace("_", "-")
    if name in REGISTER and REGISTER[name].test.__module__ != test.__module__:
        raise ValueError(f"two refutations are called {name}")
    wrong, truth = (" ".join(part.split()).partition(": ")[2] for part in (wrong, truth))
    REGISTER[name] = Refutation(name, test.__module__.rpartition(".")[2], wrong, truth, test)
    return test
