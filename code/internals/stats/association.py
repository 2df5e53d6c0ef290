"""How one measurement goes with another: correlation and area under the ROC curve."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from internals.stats.intervals import (
    Estimate,
    NoValuesError,
    as_rows,
    as_units,
    bootstrap_ci,
    percentile_interval,
)


def correlation(x: ArrayLike, y: ArrayLike, *, n_resamples: int = 2000, unit: str) -> Estimate:
    """Spearman's rank correlation with a BCa interval over pairs.

    A resample in which all values of a side are equal counts as no correlation.

    Raises:
        NoValuesError: the values of a side are all equal.
    """
    pairs = np.column_stack([as_rows(x), as_rows(y)])
    if not np.ptp(pairs, axis=0).all():
        raise NoValuesError("a correlation needs values that differ, but all are equal")
    return bootstrap_ci(pairs, _spearman, n_resamples=n_resamples, unit=unit)


def _spearman(pairs: NDArray[np.float64]) -> float:
    ranks = rankdata(pairs, axis=0) - (len(pairs) + 1) / 2
    sizes = math.prod(np.linalg.norm(ranks, axis=0))
    return float(ranks[:, 0] @ ranks[:, 1] / sizes) if sizes else 0.0


def auroc(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
    unit: str = "observations",
) -> Estimate:
    """Chance that a positive scores above a negative, ties counting half (Hanley and McNeil 1982).

    Percentile bootstrap over units; a resample with one class only counts as 0.5. Which units beat
    which is counted once, so that a resample is two products of its weights.
    """
    truth = np.asarray(labels, dtype=bool)
    values = as_rows(scores)
    if truth.all() or not truth.any():
        raise NoValuesError("an area under the ROC curve needs positives and negatives")
    units = as_units(len(values), clusters)
    wins, positive, negative = _wins(values, truth, units)
    estimate = wins.sum() / (positive.sum() * negative.sum())
    if len(units) < 2:
        return Estimate(float(estimate), math.nan, math.nan, len(units), unit, "one unit")
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), n_resamples)
    pairs = (weights @ positive) * (weights @ negative)
    above = np.einsum("ij,ij->i", weights @ wins, weights)
    areas = np.where(pairs > 0, above / np.maximum(pairs, 1), 0.5)
    low, high = percentile_interval(areas)
    label = f"percentile bootstrap, {n_resamples} resamples"
    return Estimate(float(estimate), low, high, len(units), unit, label)


def _wins(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], units: list[NDArray[np.intp]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """``(unit, unit)`` pairs in which a positive of the first is above a negative of the second
    (ties half), and positives and negatives of each unit, ``(unit,)``."""
    owner = np.empty(len(scores), int)
    for number, rows in enumerate(units):
        owner[rows] = number
    positive = np.bincount(owner[truth], minlength=len(units)).astype(float)
    negative = np.bincount(owner[~truth], minlength=len(units)).astype(float)
    high, own = scores[truth], owner[truth]
    wins = np.zeros((len(units), len(units)))
    for number, rows in enumerate(units):
        low = np.sort(scores[rows][~truth[rows]])
        if len(low):
            below = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
            wins[:, number] = np.bincount(own, below / 2, minlength=len(units))
    return wins, positive, negative
