"""Statistics against SciPy, closed forms and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from internals import stats

NORMAL = np.random.default_rng(7).normal(1.0, 2.0, 60)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (57, 60), (1, 1)])
def test_wilson_is_that_of_scipy(k, n):
    reference = scipy_stats.binomtest(k, n).proportion_ci(method="wilson")
    own = stats.wilson(k, n)
    assert own.interval == pytest.approx((reference.low, reference.high), abs=1e-12)
    assert own.value == k / n
    assert stats.share([True] * k + [False] * (n - k), unit="cases").interval == own.interval


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_wilson_refuses_impossible_counts(k, n):
    with pytest.raises(ValueError, match=r"successes must lie in|at least one case"):
        stats.wilson(k, n)


@pytest.mark.parametrize("statistic", [np.mean, np.median, lambda rows: float(np.std(rows))])
def test_the_bca_interval_agrees_with_scipy(statistic):
    skewed = np.exp(NORMAL / 2)
    own = stats.bootstrap_ci(skewed, statistic, n_resamples=6000)
    reference = scipy_stats.bootstrap(
        (skewed,), statistic, vectorized=False, method="BCa", n_resamples=6000, rng=1
    ).confidence_interval
    width = reference.high - reference.low
    assert own.low == pytest.approx(reference.low, abs=0.06 * width)
    assert own.high == pytest.approx(reference.high, abs=0.06 * width)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5])
def test_wilson_covers_the_truth_about_as_often_as_it_says(share):
    """Exact coverage: the probability of all counts whose interval holds the true share."""
    n = 60
    held = [k for k in range(n + 1) if stats.wilson(k, n).low <= share <= stats.wilson(k, n).high]
    drawn = np.random.default_rng(8).binomial(n, share, 4000)
    assert 0.92 < np.isin(drawn, held).mean() < 0.985
    exact = scipy_stats.binom.pmf(held, n, share).sum()
    assert np.isin(drawn, held).mean() == pytest.approx(exact, abs=0.02)


def sample(seed):
    return np.random.default_rng(1000 + seed).normal(size=40)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = 0
    for i in range(300):
        low, high = stats.bootstrap_ci(sample(i), n_resamples=400, seed=i).interval
        covered += low <= 0 <= high
    assert 0.90 < covered / 300 < 0.98


def test_clusters_are_drawn_whole():
    """Ten copies of each value must not make the interval narrower."""
    values = np.repeat(NORMAL, 10)
    clusters = np.repeat(np.arange(len(NORMAL)), 10)
    single = stats.bootstrap_ci(NORMAL, n_resamples=3000)
    copied = stats.bootstrap_ci(values, clusters=clusters, n_resamples=3000)
    naive = stats.bootstrap_ci(values, n_resamples=3000)
    assert copied.n == single.n == len(NORMAL)
    assert copied.interval == pytest.approx(single.interval, abs=0.05)
    assert (naive.high - naive.low) < 0.5 * (copied.high - copied.low)


def test_one_unit_has_no_interval():
    alone = stats.bootstrap_ci([1.0, 2.0], clusters=["a", "a"])
    assert alone.interval is None
    assert alone.value == 1.5
    assert alone.p_value(0) is None


def test_pairs_cancel_what_units_share():
    rng = np.random.default_rng(1)
    common = rng.normal(0, 50, 80)
    a, b = common + 1 + rng.normal(0, 0.1, 80), common
    paired = stats.paired_difference(a, b)
    loose = stats.difference(a, b)
    assert paired.value == pytest.approx(loose.value)
    assert paired.low > 0
    assert loose.low < 0 < loose.high
    assert (paired.high - paired.low) < 0.01 * (loose.high - loose.low)


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=30))
@settings(max_examples=30)
def test_the_interval_of_a_mean_lies_within_the_values(values):
    estimate = stats.bootstrap_ci(values, n_resamples=200)
    assert min(values) - 1e-9 <= estimate.low <= estimate.high <= max(values) + 1e-9


@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_no_values_and_nan_are_refused(values):
    with pytest.raises(ValueError, match=r"at least one value|not finite"):
        stats.bootstrap_ci(values)


def test_a_correlation_and_its_interval_are_those_of_scipy():
    rng = np.random.default_rng(5)
    x = np.round(rng.normal(size=60), 1)
    y = np.round(x + rng.normal(size=60), 1)
    own = stats.correlation(x, y, n_resamples=6000, unit="pairs")
    assert own.value == pytest.approx(scipy_stats.spearmanr(x, y).statistic)
    reference = scipy_stats.bootstrap(
        (x, y),
        lambda a, b: scipy_stats.spearmanr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        rng=1,
    ).confidence_interval
    width = reference.high - reference.low
    assert own.interval == pytest.approx((reference.low, reference.high), abs=0.08 * width)
    with pytest.raises(ValueError, match="all are equal"):
        stats.correlation(np.ones(5), np.arange(5), unit="pairs")


def test_the_area_under_the_curve_is_the_u_statistic():
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 6, 80).astype(float)
    labels = rng.random(80) < 0.4
    u = scipy_stats.mannwhitneyu(scores[labels], scores[~labels]).statistic
    expected = u / (labels.sum() * (~labels).sum())
    assert stats.auroc(scores, labels, n_resamples=200).value == pytest.approx(expected)
    with pytest.raises(ValueError, match="positives and negatives"):
        stats.auroc([1, 2], [1, 1])


def test_false_discovery_control_by_its_definition():
    p = np.array([[0.01, 0.04, np.nan], [0.03, 0.5, 0.005]])
    tested = np.sort(p[~np.isnan(p)])
    m = len(tested)
    by_hand = [min(tested[j] * m / (j + 1) for j in range(i, m)) for i in range(m)]
    adjusted = stats.benjamini_hochberg(p)
    assert np.isnan(adjusted[0, 2])
    assert np.sort(adjusted[~np.isnan(adjusted)]) == pytest.approx(by_hand)


def test_quartiles_are_no_confidence_interval():
    spread = stats.quartiles(range(1, 102))
    assert (spread.low, spread.value, spread.high) == (26, 51, 76)
    assert "quartiles" in spread.method
