"""Findings: rules decide both ways, whatever has no number does not apply, tests are corrected."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from internals import stats
from internals.errors import NotApplicable
from internals.findings import (
    Finding,
    above,
    at_least,
    at_most,
    below,
    between,
    chapters,
    evaluate,
    exact,
    exactly,
    finding,
    findings_of,
    outside,
    sections,
)
from internals.stats import Estimate


class Model:
    """Stands for a model handle: a fingerprint and what the experiment would measure."""

    def __init__(self, value=None, fingerprint="planted"):
        self.value, self.fingerprint = value, fingerprint


def estimate(value, low=math.nan, high=math.nan, n=40):
    return Estimate(value, low, high, n, "prompts", "BCa bootstrap")


@pytest.mark.parametrize(
    ("rule", "holds", "fails"),
    [
        (above(0), estimate(1, 0.5, 2), estimate(1, -0.1, 2)),
        (below(0), estimate(-1, -2, -0.5), estimate(-1, -2, 0.1)),
        (between(-1, 1), estimate(0, -0.9, 0.9), estimate(0, -1.1, 0.9)),
        (at_least(2), exact(2, 5, "facts"), exact(1.99, 5, "facts")),
        (at_most(2), exact(2, 5, "facts"), exact(2.01, 5, "facts")),
        (above(2), exact(2.01, 5, "facts"), exact(2, 5, "facts")),
        (exactly(1), exact(1 + 1e-12, 5, "facts"), exact(1.001, 5, "facts")),
        (outside(0, 1), estimate(2, 1.5, 3), estimate(2, 0.9, 3)),
        (outside(0, 0), exact(0.1, 5, "facts"), exact(0, 5, "facts")),
    ],
)
def test_a_rule_decides_by_the_whole_interval(rule, holds, fails):
    assert rule.holds(holds)
    assert not rule.holds(fails)


@given(value=st.floats(-5, 5), half=st.floats(0.1, 3), bound=st.floats(-5, 5))
def test_the_p_value_agrees_with_the_interval(value, half, bound):
    found = estimate(value, value - half, value + half)
    z = abs(value - bound) / (half / norm.ppf(0.975))
    assert found.p_value(bound) == pytest.approx(2 * norm.sf(z), abs=1e-12)
    if abs(abs(value - bound) - half) > 1e-6:
        assert (found.p_value(bound) < 0.05) == (not value - half <= bound <= value + half)


def test_exact_values_and_quartiles_test_nothing():
    assert exact(3, 4, "tokens").p_value(0) is None
    assert stats.quartiles([1.0, 2.0, 3.0, 4.0]).p_value(0) is None


def test_the_docstring_is_the_claim_and_the_name_the_id():
    @finding(unit="bits", expect=above(0))
    def loss_rises(model):
        """The loss of {n}
        rises by {value}."""
        return exact(1.0, 3, "documents")

    assert loss_rises.id == "test-findings-loss-rises"
    assert loss_rises.sentence == "The loss of {n} rises by {value}."


@pytest.mark.parametrize("claim", ["No full stop", "An {unknown} field.", ""])
def test_a_claim_that_is_no_sentence_is_refused(claim):
    def faulty(model):
        return None

    faulty.__doc__ = claim
    with pytest.raises(TypeError, match="full stop"):
        finding(unit="bits")(faulty)


@finding(expect=above(0))
def planted(model):
    """The planted value is {value}."""
    if isinstance(model.value, str):
        raise NotApplicable(model.value)
    return None if model.value is None else exact(model.value, 3, "prompts")


@pytest.mark.parametrize(
    ("value", "verdict", "reason"),
    [
        (2.0, "supported", ""),
        (-2.0, "not supported", ""),
        (math.nan, "not applicable", "no finite value"),
        (math.inf, "not applicable", "no finite value"),
        (None, "not applicable", "does not apply"),
        ("the context is too short", "not applicable", "the context is too short"),
    ],
)
def test_a_value_decides_and_no_value_does_not_apply(value, verdict, reason):
    result = planted.measure(Model(value, f"model {value}"))
    assert result.verdict == verdict
    assert reason in result.reason


def test_an_empty_group_does_not_apply_and_a_fault_is_raised():
    @finding(expect=above(0))
    def empty(model):
        """The mean of nothing is {value}."""
        return stats.bootstrap_ci([])

    @finding(expect=above(0))
    def broken(model):
        """The key is {value}."""
        return {}["missing"]

    assert empty.measure(Model()).verdict == "not applicable"
    with pytest.raises(KeyError):
        broken.measure(Model())


def test_a_refusal_is_stored_and_told_again():
    tried = []

    @finding(expect=above(0))
    def refused(model):
        """Nothing is {value}."""
        tried.append(model)
        raise NotApplicable("no room")

    assert [refused.measure(Model()).reason for _ in range(2)] == ["no room", "no room"]
    assert len(tried) <= 2  # a function of a test has no file and may not be stored


def test_many_tests_of_one_chapter_are_corrected_together():
    """One effect at p = 0.04 is supported alone and not among twenty tests of nothing."""

    def make(number, value):
        found = estimate(value, value - norm.ppf(0.975), value + norm.ppf(0.975))
        return Finding(f"number-{number}", "It is {value}.", "", above(0), lambda model: found)

    weak = norm.isf(0.02)
    alone = evaluate([make(0, weak)], Model())
    among = evaluate([make(0, weak), *(make(i, 0.1) for i in range(1, 21))], Model())
    name = next(iter(alone))
    assert alone[name].verdict == "supported"
    assert among[name].verdict == "not supported"
    assert among[name].p_value == pytest.approx(0.04)
    assert among[name].p_adjusted > 0.05


def test_a_value_without_expectation_is_reported():
    @finding(unit="share")
    def told(model):
        """The share is {value}."""
        return stats.wilson(3, 10)

    result = told.measure(Model())
    assert result.verdict == "reported"
    assert result.p_value is None


def test_every_chapter_lists_its_sections_and_ids_are_unique():
    ids = [
        f.id for chapter in chapters() for module in sections(chapter)
        for f in findings_of(module).values()
    ]  # fmt: skip
    assert ids
    assert len(ids) == len(set(ids))
    assert np.all([id.islower() and " " not in id for id in ids])
