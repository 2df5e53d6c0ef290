"""Statistics against SciPy, closed forms and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from internals import stats
from internals.stats.significance import ranks

NORMAL = np.random.default_rng(7).normal(1.0, 2.0, 60)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (57, 60), (1, 1)])
def test_wilson_is_that_of_scipy(k, n):
    reference = scipy_stats.binomtest(k, n).proportion_ci(method="wilson")
    own = stats.wilson(k, n)
    assert own.interval == pytest.approx((reference.low, reference.high), abs=1e-12)
    assert own.value == k / n


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


def test_a_paired_statistic_other_than_the_mean():
    a, b = NORMAL + 3, NORMAL
    assert stats.paired_difference(a, b, np.median).value == pytest.approx(3)


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=30))
@settings(max_examples=30, deadline=None)
def test_the_interval_of_a_mean_lies_within_the_values(values):
    estimate = stats.bootstrap_ci(values, n_resamples=200)
    assert min(values) - 1e-9 <= estimate.low <= estimate.high <= max(values) + 1e-9


@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_no_values_and_nan_are_refused(values):
    with pytest.raises(ValueError, match=r"at least one value|not finite"):
        stats.bootstrap_ci(values)


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_correlations_are_those_of_scipy(kind):
    rng = np.random.default_rng(2)
    x = rng.integers(0, 8, 50).astype(float)
    y = x + rng.normal(0, 3, 50)
    reference = {"pearson": scipy_stats.pearsonr, "spearman": scipy_stats.spearmanr}[kind](x, y)
    assert stats.correlation(x, y, kind, n_resamples=200).value == pytest.approx(
        reference.statistic
    )


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_the_interval_of_a_correlation_agrees_with_scipy(kind):
    """Weights in place of resampled rows: same jackknife, same distribution, ties included."""
    rng = np.random.default_rng(5)
    x = np.round(rng.normal(size=60), 1)
    y = np.round(x + rng.normal(size=60), 1)
    function = {"pearson": scipy_stats.pearsonr, "spearman": scipy_stats.spearmanr}[kind]
    own = stats.correlation(x, y, kind, n_resamples=6000)
    reference = scipy_stats.bootstrap(
        (x, y),
        lambda a, b: function(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=6000,
        rng=1,
    ).confidence_interval
    width = reference.high - reference.low
    assert own.interval == pytest.approx((reference.low, reference.high), abs=0.06 * width)


def test_a_correlation_over_clusters_draws_whole_clusters():
    """Copies of each pair in one cluster add nothing: the interval is that of the pairs."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=30)
    y = x + rng.normal(size=30)
    once = stats.correlation(x, y)
    thrice = stats.correlation(np.tile(x, 3), np.tile(y, 3), clusters=np.tile(np.arange(30), 3))
    assert thrice.n == 30
    assert thrice.interval == pytest.approx(once.interval, abs=1e-9)
    with pytest.raises(ValueError, match="all are equal"):
        stats.correlation(np.ones(5), np.arange(5))


@given(st.lists(st.integers(0, 5), min_size=2, max_size=40))
def test_ranks_are_those_of_scipy(values):
    rows = np.array(values, float)
    assert np.array_equal(ranks(rows), scipy_stats.rankdata(rows))


def test_the_area_under_the_curve_is_the_u_statistic():
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 6, 80).astype(float)
    labels = rng.random(80) < 0.4
    u = scipy_stats.mannwhitneyu(scores[labels], scores[~labels]).statistic
    expected = u / (labels.sum() * (~labels).sum())
    assert stats.auroc(scores, labels, n_resamples=200).value == pytest.approx(expected)
    with pytest.raises(ValueError, match="positives and negatives"):
        stats.auroc([1, 2], [1, 1])


def test_sign_flips_are_exact_for_few_pairs_and_agree_with_scipy():
    few = np.array([0.5, 1.2, -0.3, 2.0, 0.9, 1.1])
    reference = scipy_stats.permutation_test(
        (few, np.zeros(6)), lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=1e5
    )
    assert stats.sign_flip_test(few).p_value == pytest.approx(reference.pvalue)
    many = np.random.default_rng(4).normal(0.3, 1, 80)
    p = stats.sign_flip_test(many).p_value
    assert p == pytest.approx(scipy_stats.ttest_1samp(many, 0).pvalue, abs=0.02)


def test_p_values_are_uniform_where_nothing_is_to_be_found():
    rng = np.random.default_rng(6)
    p = [
        stats.sign_flip_test(rng.normal(size=25), n_permutations=199, seed=i).p_value
        for i in range(200)
    ]
    assert scipy_stats.kstest(p, "uniform").pvalue > 0.01


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
