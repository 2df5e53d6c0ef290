"""Calibration: does an event that is given 70 % happen in 70 % of the cases?

Every measure comes with what a *perfectly* calibrated predictor of the same confidences would show
in a sample of this size, since the expected calibration error of a finite sample is never zero.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from internals.stats.intervals import Estimate, bootstrap_ci

Values = NDArray[np.float64]
Bins = Literal["equal width", "equal mass"]


def bin_of(confidence: ArrayLike, n_bins: int = 10, kind: Bins = "equal width") -> NDArray[np.intp]:
    """Number of the bin of each confidence, ``(n,)``; bins of equal mass hold equally many."""
    c = np.asarray(confidence, float)
    if kind == "equal width":
        return np.minimum((c * n_bins).astype(int), n_bins - 1)
    order = np.argsort(c, kind="stable")
    number = np.empty(len(c), int)
    number[order] = np.arange(len(c)) * n_bins // len(c)
    return number


def calibration_error(
    confidence: ArrayLike, correct: ArrayLike, n_bins: int = 10, kind: Bins = "equal width"
) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over bins, weighted by count.

    Naeini et al. 2015, Guo et al. 2017. ``confidence`` in [0, 1], ``correct`` 0 or 1, both
    ``(n,)``.
    """
    c, y = np.asarray(confidence, float), np.asarray(correct, float)
    number = bin_of(c, n_bins, kind)
    gaps = np.bincount(number, c - y, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(c))


def null_band(
    confidence: ArrayLike,
    n_bins: int = 10,
    kind: Bins = "equal width",
    *,
    draws: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Mean and central interval of the error if every confidence were exactly right.

    Outcomes are drawn as independent Bernoulli variables with the given confidences.
    """
    c = np.asarray(confidence, float)
    number = bin_of(c, n_bins, kind)
    rng = np.random.default_rng(seed)
    errors = np.empty(draws)
    for i in range(draws):
        y = rng.random(len(c)) < c
        errors[i] = np.abs(np.bincount(number, c - y, minlength=n_bins)).sum() / len(c)
    low, high = np.quantile(errors, [(1 - level) / 2, (1 + level) / 2])
    return float(errors.mean()), float(low), float(high)


def reliability(
    confidence: ArrayLike, correct: ArrayLike, n_bins: int = 10, kind: Bins = "equal width"
) -> pd.DataFrame:
    """One row a bin that is not empty: ``bin``, ``n``, ``confidence``, ``accuracy`` (means)."""
    table = pd.DataFrame(
        {
            "bin": bin_of(confidence, n_bins, kind),
            "confidence": np.asarray(confidence, float),
            "accuracy": np.asarray(correct, float),
        }
    )
    grouped = table.groupby("bin")
    found = grouped[["confidence", "accuracy"]].mean()
    found.insert(0, "n", grouped.size())
    return found.reset_index()


def brier(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean squared gap of confidence and outcome (Brier 1950), of the predicted class only."""
    return float(np.mean((np.asarray(confidence, float) - np.asarray(correct, float)) ** 2))


def calibration_ci(
    confidence: ArrayLike,
    correct: ArrayLike,
    clusters: ArrayLike,
    *,
    kind: Bins = "equal width",
    n_bins: int = 10,
    unit: str = "documents",
    n_resamples: int = 500,
    seed: int = 0,
) -> Estimate:
    """The calibration error with a percentile bootstrap interval over whole units.

    A resample repeats units, which adds noise to every bin, so the error of resamples is too large
    on average; the excess over the estimate is taken off both ends (basic bootstrap bias
    correction), and the lower end is at least zero.
    """
    rows = np.column_stack([np.asarray(confidence, float), np.asarray(correct, float)])

    def error(part: Values) -> float:
        return calibration_error(part[:, 0], part[:, 1], n_bins, kind)

    raw = bootstrap_ci(
        rows,
        error,
        clusters=clusters,
        n_resamples=n_resamples,
        seed=seed,
        method="percentile",
        unit=unit,
    )
    shift = (raw.low + raw.high) / 2 - raw.value
    low, high = max(0.0, raw.low - max(shift, 0)), raw.high - max(shift, 0)
    return Estimate(raw.value, min(low, raw.value), max(high, raw.value), raw.n, unit, raw.method)
