"""How one measurement goes with another: correlation and area under the ROC curve."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from internals.stats.intervals import (
    Estimate,
    NoValuesError,
    as_rows,
    as_units,
    bca_interval,
    percentile_interval,
)
from internals.stats.significance import standardised

_CHUNK = 1_000_000
"""Most weights looked at together."""
_TOLERANCE = 1e-12


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

    A resample is a row of weights, how often it holds each pair, so that all are one product. One
    in which all values happen to be equal counts as no correlation. Raises ValueError for values
    that are all equal.
    """
    first, second = as_rows(x), as_rows(y)
    if first.shape != second.shape:
        raise ValueError(f"pairs need equal lengths, not {len(first)} and {len(second)}")
    for values in (first, second):
        standardised(values, kind)
    units = as_units(len(first), clusters)
    owner = np.empty(len(first), int)
    for number, rows in enumerate(units):
        owner[rows] = number

    def weighted(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        step = max(1, _CHUNK // len(first))
        parts = [weights[i : i + step][:, owner] for i in range(0, len(weights), step)]
        return np.concatenate([_correlations(first, second, part, kind) for part in parts])

    k = len(units)
    estimate = float(weighted(np.ones((1, k)))[0])
    if k < 2:
        return Estimate(estimate, math.nan, math.nan, k, unit, "one unit: no interval")
    rng = np.random.default_rng(seed)
    resamples = weighted(rng.multinomial(k, np.full(k, 1 / k), n_resamples).astype(float))
    low, high = bca_interval(estimate, resamples, weighted(1 - np.eye(k)), level)
    clustered = "" if clusters is None else " over clusters"
    label = f"BCa bootstrap{clustered}, {n_resamples} resamples"
    return Estimate(estimate, low, high, k, unit, label)


def _correlations(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64], kind: str
) -> NDArray[np.float64]:
    """Correlation of the pairs under each row of ``weights``, ``(resample, pair)``."""
    total = weights.sum(axis=1, keepdims=True)
    centred = []
    for values in (x, y):
        rows = _weighted_ranks(values, weights) if kind == "spearman" else values[None]
        centred.append(rows - (weights * rows).sum(axis=1, keepdims=True) / total)
    one, two = centred
    size = [np.sqrt((weights * part**2).sum(axis=1)) for part in centred]
    flat = [s <= _TOLERANCE * np.maximum(1, np.abs(part).max(axis=1))
            for s, part in zip(size, centred, strict=True)]  # fmt: skip
    none = flat[0] | flat[1]
    together = (weights * one * two).sum(axis=1)
    return np.where(none, 0.0, together / np.where(none, 1.0, size[0] * size[1]))


def _weighted_ranks(
    values: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mid-ranks of each pair's value in each resample, ``(resample, pair)``."""
    distinct, codes = np.unique(values, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(distinct)))
    counts = np.add.reduceat(weights[:, order], starts, axis=1)
    return (np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, codes]


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
    low, high = percentile_interval(areas, level)
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
