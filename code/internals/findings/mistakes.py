"""A common mistake as a finding: the wrong sentence predicts a range, and the model's value lies
outside of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from internals.findings.core import Finding, Result, finding
from internals.findings.rules import between, outside
from internals.stats import Estimate

Outcome = Literal["refuted", "holds here", "not decided", "does not apply"]


@dataclass(frozen=True)
class Mistake(Finding):
    """A finding that is supported where the wrong sentence is refuted; made by `mistake`."""

    wrong: str = ""
    truth: str = ""
    measured: str = ""
    """What was measured, with ``{value}``."""
    predicted: tuple[float, float] = (0.0, 0.0)
    """What the wrong sentence predicts, both ends included."""


def mistake(
    wrong: str, truth: str, *, predicts: tuple[float, float], unit: str = ""
) -> Callable[[Callable[[Any], Estimate | None]], Mistake]:
    """Make a mistake of a function whose docstring says what it measures."""

    def decorate(function: Callable[[Any], Estimate | None]) -> Mistake:
        made = finding(expect=outside(*predicts), unit=unit)(function)
        measured = made.sentence
        sentence = f"“{wrong.rstrip('.')}” is wrong here: {measured[:1].lower()}{measured[1:]}"
        return Mistake(
            made.id, sentence, unit, made.expect, made.estimate, wrong, truth, measured, predicts
        )

    return decorate


def outcome(found: Mistake, result: Result) -> Outcome:
    """Refuted; or holding, if all of the interval lies where the wrong sentence predicts it."""
    if result.estimate is None:
        return "does not apply"
    if result.verdict == "supported":
        return "refuted"
    return "holds here" if between(*found.predicted).holds(result.estimate) else "not decided"
