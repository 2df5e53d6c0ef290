"""Calibration: does an event that is given 70 % happen in 70 % of the cases?

Every measure comes with what a *perfectly* calibrated predictor of the same confidences would show
in a sample of this size, since the expected calibration error of a finite sample is never zero.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from internals.stats.intervals import (
    Estimate,
    as_units,
    bootstrap_ci,
    percentile_interval,
    wilson,
)

Values = NDArray[np.float64]


def bin_of(confidence: ArrayLike, n_bins: int = 10) -> NDArray[np.intp]:
    """Number of the bin of each confidence, ``(n,)``; bins are equally wide."""
    return np.minimum((np.asarray(confidence, float) * n_bins).astype(int), n_bins - 1)


def calibration_error(confidence: ArrayLike, correct: ArrayLike, n_bins: int = 10) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over bins, weighted by count.

    Naeini et al. 2015, Guo et al. 2017. ``confidence`` in [0, 1], ``correct`` 0 or 1, both
    ``(n,)``.
    """
    c, y = np.asarray(confidence, float), np.asarray(correct, float)
    number = bin_of(c, n_bins)
    gaps = np.bincount(number, c - y, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(c))


def null_error(confidence: ArrayLike, n_bins: int = 10, *, draws: int = 500) -> Values:
    """``(draw,)``: the error if every confidence were exactly right.

    Outcomes are drawn as independent Bernoulli variables with the given confidences.
    """
    c, rng = np.asarray(confidence, float), np.random.default_rng(0)
    return np.array([calibration_error(c, rng.random(len(c)) < c, n_bins) for _ in range(draws)])


def reliability(
    confidence: ArrayLike,
    correct: ArrayLike,
    n_bins: int = 10,
    *,
    clusters: ArrayLike | None = None,
) -> pd.DataFrame:
    """One row a bin that is not empty: ``bin``, ``n``, ``confidence``, ``accuracy`` (means),
    ``low`` and ``high`` (95 % interval of the accuracy over units).

    Bins whose outcomes are all alike, or all of one unit, get a Wilson interval with the number of
    their units, since resampling cannot vary there.
    """
    c, y = np.asarray(confidence, float), np.asarray(correct, float)
    number = bin_of(c, n_bins)
    labels = np.arange(len(c)) if clusters is None else np.asarray(clusters)
    rows = []
    for b in np.unique(number):
        part = number == b
        n_units = len(np.unique(labels[part]))
        share = float(y[part].mean())
        if 0 < share < 1 and n_units > 1:
            found = bootstrap_ci(y[part], clusters=labels[part], method="percentile")
        else:
            found = wilson(round(share * n_units), n_units)
        rows.append((int(b), int(part.sum()), c[part].mean(), share, found.low, found.high))
    return pd.DataFrame(rows, columns=["bin", "n", "confidence", "accuracy", "low", "high"])


def calibration_ci(
    confidence: ArrayLike,
    correct: ArrayLike,
    clusters: ArrayLike,
    *,
    n_bins: int = 10,
    unit: str = "documents",
    n_resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """The calibration error with a percentile bootstrap interval over whole units.

    The bins are those of the sample. A resample repeats units, which adds noise to every bin, so
    the error of resamples is too large on average; the excess over the estimate is taken off both
    ends (basic bootstrap bias correction), and the lower end is at least zero.
    """
    c, y = np.asarray(confidence, float), np.asarray(correct, float)
    units = as_units(len(c), clusters)
    value = calibration_error(c, y, n_bins)
    if len(units) < 2:
        return Estimate(value, math.nan, math.nan, len(units), unit, "one unit: no interval")
    number = bin_of(c, n_bins)
    gaps = np.stack([np.bincount(number[u], (c - y)[u], minlength=n_bins) for u in units])
    sizes = np.array([len(u) for u in units])
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), n_resamples)
    errors = np.abs(weights @ gaps).sum(1) / (weights @ sizes)
    low, high = percentile_interval(errors)
    shift = max((low + high) / 2 - value, 0.0)
    low, high = max(0.0, low - shift), high - shift
    label = f"percentile bootstrap over clusters, {n_resamples} resamples, bias removed"
    return Estimate(value, min(low, value), max(high, value), len(units), unit, label)
