"""How one measurement goes with another: correlation and area under the ROC curve."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from internals.stats.intervals import Estimate, as_rows, bootstrap_ci
from internals.stats.significance import ranks, standardised


def correlation(
    x: ArrayLike,
    y: ArrayLike,
    kind: Literal["pearson", "spearman"] = "spearman",
    *,
    clusters: ArrayLike | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    unit: str = "pairs",
) -> Estimate:
    """Correlation with a BCa interval over pairs (or clusters of pairs).

    A resample in which all values happen to be equal counts as no correlation.
    """

    def statistic(rows: NDArray[np.float64]) -> float:
        if (np.ptp(rows, axis=0) == 0).any():
            return 0.0
        return float(standardised(rows[:, 0], kind) @ standardised(rows[:, 1], kind))

    return bootstrap_ci(
        np.column_stack([as_rows(x), as_rows(y)]),
        statistic,
        clusters=clusters,
        n_resamples=n_resamples,
        seed=seed,
        level=level,
        unit=unit,
    )


def auroc(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    unit: str = "observations",
) -> Estimate:
    """Chance that a positive scores above a negative, ties counting half (Hanley and McNeil 1982).

    Percentile bootstrap over units; a resample with one class only counts as 0.5.
    """
    truth = np.asarray(labels, dtype=bool)
    rows = np.column_stack([as_rows(scores), truth.astype(float)])
    if truth.all() or not truth.any():
        raise ValueError("an area under the ROC curve needs positives and negatives")
    return bootstrap_ci(
        rows,
        _area,
        clusters=clusters,
        n_resamples=n_resamples,
        seed=seed,
        level=level,
        method="percentile",
        unit=unit,
    )


def _area(rows: NDArray[np.float64]) -> float:
    """Mann-Whitney U over the number of pairs."""
    positive = rows[:, 1] > 0
    n_positive = int(positive.sum())
    n_negative = len(rows) - n_positive
    if n_positive == 0 or n_negative == 0:
        return 0.5
    u = float(ranks(rows[:, 0])[positive].sum()) - n_positive * (n_positive + 1) / 2
    return u / (n_positive * n_negative)
