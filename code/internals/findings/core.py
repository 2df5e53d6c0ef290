"""A finding: an estimate, the sentence that it supports, and the rule that decides.

    @finding(unit="bits", expect=above(0))
    def entropy(model):
        \"\"\"Raising the temperature from one to two raises the entropy by {value}.\"\"\"
        …
        return stats.paired_difference(hot, cool, unit="prompts")

The docstring is the claim, the returned `Estimate` its value, ``expect`` its rule. A finding is
known as ``module-function``; it knows no chapter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Literal

from internals.cache import Measurement, measurement
from internals.errors import NotApplicable
from internals.findings.rules import Rule
from internals.stats import Estimate, benjamini_hochberg

Verdict = Literal["supported", "not supported", "reported", "not applicable"]
VERDICTS: tuple[Verdict, ...] = ("supported", "not supported", "reported", "not applicable")
"""``reported``: a value that the text cites and about which nothing was expected."""
LEVEL = 0.05
"""False discovery rate among the tested findings of a chapter."""


@dataclass(frozen=True)
class Finding:
    """A claim about a model, ready to be measured; made by `finding`."""

    id: str
    sentence: str
    """The claim; ``{value}`` stands for what was measured."""
    unit: str
    """Unit of the value, as `book.wording.number` knows it."""
    expect: Rule | None
    """None for a value that is only reported."""
    estimate: Measurement[[Any], Estimate | None]

    def measure(self, model: Any) -> Result:
        """Estimate and verdict for a model, before the correction for many tests.

        Whatever has no finite value does not apply to the model; other errors are faults of the
        program and are raised.
        """
        try:
            found = self.estimate(model)
        except NotApplicable as why:
            return Result(self, None, str(why))
        if found is None:
            return Result(self, None, "it does not apply to this model")
        if not math.isfinite(found.value):
            return Result(self, None, "the measurement has no finite value for this model")
        return Result(self, found)


@dataclass(frozen=True)
class Result:
    """A finding about one model."""

    finding: Finding
    estimate: Estimate | None
    """None where the finding does not apply."""
    reason: str = ""
    """Why it does not apply."""
    p_adjusted: float | None = None
    """After the correction for all tests of the chapter; None for what tests nothing."""

    @property
    def p_value(self) -> float | None:
        """Two-sided p-value against the bound of the rule; None for what tests nothing."""
        if self.estimate is None or self.finding.expect is None:
            return None
        return self.finding.expect.p_value(self.estimate)

    @property
    def verdict(self) -> Verdict:
        """``supported`` where the rule holds, also after the correction for many tests."""
        if self.estimate is None:
            return "not applicable"
        if self.finding.expect is None:
            return "reported"
        significant = self.p_adjusted is None or self.p_adjusted < LEVEL
        holds = significant and self.finding.expect.holds(self.estimate)
        return "supported" if holds else "not supported"


def finding(
    *, expect: Rule | None = None, unit: str = ""
) -> Callable[[Callable[[Any], Estimate | None]], Finding]:
    """Make a finding of a function from a model to an `Estimate`.

    Without ``expect`` the value is reported and not tested.

    The function returns None, or raises `NotApplicable` with a reason, where the question does
    not apply to the model. Its docstring is one sentence that ends with a full stop.
    """

    def decorate(function: Callable[[Any], Estimate | None]) -> Finding:
        sentence = " ".join((function.__doc__ or "").split())
        if not sentence.endswith(".") or "{" in re.sub(r"\{(value|n)\}", "", sentence):
            raise TypeError(
                f"The docstring of the finding {function.__qualname__} must be a sentence with a "
                "full stop; only {value} and {n} are filled in."
            )
        module = function.__module__.rpartition(".")[2]
        id = f"{module}-{function.__name__}".replace("_", "-")
        return Finding(id, sentence, unit, expect, measurement(function))

    return decorate


def findings_of(module: ModuleType) -> dict[str, Finding]:
    """The findings that a module defines, by the name of their function, in its order."""
    prefix = module.__name__.rpartition(".")[2].replace("_", "-") + "-"
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, Finding) and value.id == prefix + name.replace("_", "-")
    }


def evaluate(findings: Sequence[Finding], model: Any) -> dict[str, Result]:
    """Results by id; those that test are corrected together (Benjamini and Hochberg 1995)."""
    results = [finding.measure(model) for finding in findings]
    tested = [result for result in results if result.p_value is not None]
    adjusted = benjamini_hochberg([float(result.p_value or 0.0) for result in tested])
    by_id = {r.finding.id: p for r, p in zip(tested, adjusted.tolist(), strict=True)}
    return {
        r.finding.id: replace(r, p_adjusted=by_id[r.finding.id]) if r.finding.id in by_id else r
        for r in results
    }
