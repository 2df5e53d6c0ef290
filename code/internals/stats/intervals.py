"""Estimates with intervals: bootstrap over units, Wilson for shares, quartiles for timings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from internals.errors import NotApplicable

Values = NDArray[np.float64]
Statistic = Callable[[Values], Any]
Method = Literal["BCa", "percentile"]

QUARTILES = "median and quartiles"
_Z95 = float(ndtri(0.975))
_CHUNK = 4_000_000
"""Largest matrix of resampling weights held at once (numbers)."""


class NoValuesError(NotApplicable, ValueError):
    """A statistic of nothing, or of values that are not all numbers."""


@dataclass(frozen=True)
class Estimate:
    """A value, its interval and the number of units behind it."""

    value: float
    low: float
    """Lower end; NaN where one unit gives no interval."""
    high: float
    n: int
    """Number of resampled units (prompts, documents, facts), not of tokens."""
    unit: str
    """What n counts, in the plural."""
    method: str
    """How the interval was made; "exact" for a value without sampling error."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """``(low, high)``, or None where there is none."""
        return (self.low, self.high) if math.isfinite(self.low + self.high) else None

    def p_value(self, reference: float) -> float | None:
        """Two-sided p-value that belongs to the interval (Altman and Bland 2011, BMJ 343:d2304).

        It is below 0.05 exactly where a 95 % interval leaves out ``reference``. None for exact
        values and for quartiles, which test nothing.
        """
        if self.interval is None or self.method == QUARTILES:
            return None
        half = self.value - self.low if reference < self.value else self.high - self.value
        if half <= 0:
            return 1.0 if self.low <= reference <= self.high else 0.0
        return float(2 * ndtr(_Z95 * -abs(self.value - reference) / half))


def exact(value: float, n: int, unit: str) -> Estimate:
    """A value that was counted or derived, without sampling error; ``unit``: what n counts."""
    return Estimate(float(value), math.nan, math.nan, int(n), unit, "exact")


def bootstrap_ci(
    values: ArrayLike,
    statistic: Statistic = np.mean,
    *,
    clusters: ArrayLike | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
    method: Method = "BCa",
    unit: str = "observations",
) -> Estimate:
    """Bootstrap interval of a statistic, resampling whole units.

    ``values``: ``(n,)`` or ``(n, columns)``; ``statistic`` maps such an array to a number.
    ``clusters``: ``(n,)`` labels; rows with one label are drawn together (Davison and Hinkley 1997,
    section 3.8). ``method``: bias-corrected and accelerated (Efron 1987; acceleration by the
    jackknife over units) or percentile. Raises ValueError for no values or NaN among them.
    """
    rows = as_rows(values)
    units = as_units(len(rows), clusters)
    estimate = float(statistic(rows))
    if len(units) < 2:
        return Estimate(estimate, math.nan, math.nan, len(units), unit, "one unit: no interval")
    resamples = np.fromiter(
        _resampled(rows, units, statistic, n_resamples, np.random.default_rng(seed)),
        float,
        n_resamples,
    )
    if method == "BCa":
        low, high = _bca_interval(estimate, resamples, _jackknife(rows, units, statistic))
    else:
        low, high = percentile_interval(resamples)
    clustered = "" if clusters is None else " over clusters"
    label = f"{method} bootstrap{clustered}, {n_resamples} resamples"
    return Estimate(estimate, low, high, len(units), unit, label)


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, clusters: ArrayLike | None = None, unit: str = "pairs"
) -> Estimate:
    """Mean of ``a[i] - b[i]`` where both come from the same unit.

    Both are resampled together, so what units have in common cancels.
    """
    first, second = as_rows(a), as_rows(b)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(
            f"pairs need two vectors of one length, not shapes {first.shape} and {second.shape}"
        )
    return bootstrap_ci(first - second, clusters=clusters, unit=unit)


def difference(a: ArrayLike, b: ArrayLike, *, unit: str = "observations") -> Estimate:
    """Mean of ``a`` minus mean of ``b``, two independent groups; percentile bootstrap.

    Each group is resampled by itself (Efron and Tibshirani 1993, chapter 8).
    """
    rng, n_resamples = np.random.default_rng(0), 2000
    groups = [as_rows(values) for values in (a, b)]
    first, second = (
        np.fromiter(_resampled(g, as_units(len(g), None), np.mean, n_resamples, rng), float)
        for g in groups
    )
    low, high = percentile_interval(first - second)
    sizes = [len(group) for group in groups]
    if min(sizes) < 2:
        low = high = math.nan
    label = f"percentile bootstrap of two groups, {n_resamples} resamples"
    value = float(groups[0].mean() - groups[1].mean())
    return Estimate(value, low, high, sum(sizes), unit, label)


def share(flags: ArrayLike, *, unit: str) -> Estimate:
    """Share of flags that are true, with Wilson's interval."""
    held = np.asarray(flags, bool)
    return wilson(int(held.sum()), len(held), unit=unit)


def wilson(successes: int, n: int, *, unit: str = "observations") -> Estimate:
    """Score interval of a share of independent units (Wilson 1927).

    Stays inside [0, 1] and keeps its width at 0 and n successes, unlike the textbook interval.
    """
    if n == 0:
        raise NoValuesError("a share needs at least one case, but there is none")
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie in 0..n but are {successes} of {n}")
    z, value = _Z95, successes / n
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(value, low, high, n, unit, "Wilson interval, 95%")


def quartiles(values: ArrayLike, *, unit: str = "repeats") -> Estimate:
    """Median with first and third quartile: spread of timings, not a confidence interval."""
    rows = as_rows(values)
    low, middle, high = (float(q) for q in np.quantile(rows, [0.25, 0.5, 0.75]))
    return Estimate(middle, low, high, len(rows), unit, QUARTILES)


def percentile_interval(resamples: Values) -> tuple[float, float]:
    """Central 95 % of the resampled values."""
    low, high = np.quantile(resamples, [0.025, 0.975])
    return float(low), float(high)


def as_rows(values: ArrayLike) -> Values:
    rows = np.asarray(values, dtype=float)
    if rows.ndim == 0 or len(rows) == 0:
        raise NoValuesError("a statistic needs at least one value, but there is none")
    if not np.isfinite(rows).all():
        bad = int((~np.isfinite(rows)).sum())
        raise NoValuesError(f"{bad} of {rows.size} values are not finite (NaN or overflow)")
    return rows


def as_units(n: int, clusters: ArrayLike | None) -> list[NDArray[np.intp]]:
    """Row numbers of each unit, in order of first appearance."""
    if clusters is None:
        return list(np.arange(n)[:, None])
    labels = np.asarray(clusters)
    if labels.shape != (n,):
        raise ValueError(f"clusters must have one label for each of {n} rows, not {labels.shape}")
    _, codes = np.unique(labels, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def _resampled(
    rows: Values,
    units: list[NDArray[np.intp]],
    statistic: Statistic,
    n_resamples: int,
    rng: np.random.Generator,
) -> Iterator[float]:
    """The statistic of each resample; weighted sums where it is the mean, and all at once where it
    is the median of single values."""
    k = len(units)
    if statistic is np.mean and rows.ndim == 1:
        sums = np.array([rows[unit].sum() for unit in units])
        sizes = np.array([len(unit) for unit in units], dtype=float)
        step = max(1, _CHUNK // k)
        for start in range(0, n_resamples, step):
            draws = rng.integers(0, k, size=(min(step, n_resamples - start), k))
            yield from sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
        return
    if statistic is np.median and rows.ndim == 1 and k == len(rows):
        step = max(1, _CHUNK // k)
        for start in range(0, n_resamples, step):
            draws = rng.integers(0, k, size=(min(step, n_resamples - start), k))
            yield from np.median(rows[draws], axis=1)
        return
    for _ in range(n_resamples):
        chosen = rng.integers(0, k, size=k)
        yield float(statistic(rows[np.concatenate([units[i] for i in chosen])]))


def _jackknife(rows: Values, units: list[NDArray[np.intp]], statistic: Statistic) -> Values:
    """The statistic with each unit left out in turn."""
    if statistic is np.mean and rows.ndim == 1:
        sums = np.array([rows[unit].sum() for unit in units])
        sizes = np.array([len(unit) for unit in units], dtype=float)
        return (sums.sum() - sums) / (sizes.sum() - sizes)
    left_out = []
    for unit in units:
        keep = np.ones(len(rows), dtype=bool)
        keep[unit] = False
        left_out.append(float(statistic(rows[keep])))
    return np.array(left_out)


def _bca_interval(estimate: float, resamples: Values, jackknife: Values) -> tuple[float, float]:
    """Bias-corrected and accelerated interval (Efron 1987, equations 2.3 and 6.6)."""
    if np.ptp(resamples) == 0:
        return estimate, estimate
    below = np.mean(resamples < estimate) + np.mean(resamples == estimate) / 2
    # A statistic at the edge of all resamples has no finite correction; stay inside.
    below = np.clip(below, 1 / (2 * len(resamples)), 1 - 1 / (2 * len(resamples)))
    bias = ndtri(below)
    deviations = jackknife.mean() - jackknife
    spread = float((deviations**2).sum())
    scale = 6 * spread**1.5  # may be zero although spread is not
    acceleration = float((deviations**3).sum()) / scale if scale > 0 else 0.0
    z = np.array([-_Z95, _Z95])
    shares = ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
    low, high = np.quantile(resamples, shares)
    return float(low), float(high)
