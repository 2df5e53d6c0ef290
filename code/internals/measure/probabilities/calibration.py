"""Is a model that says 70 % right in 70 % of the cases? Confidence against correctness.

Confidence is the probability of the first choice over the whole vocabulary. Intervals resample
units (documents, countries); every calibration error stands beside what a perfectly calibrated
model with the same confidences would show, since that is never zero on a finite sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from internals import stats
from internals.cache import measurement
from internals.measure.probabilities.capitals import FILE, capitals
from internals.measure.probabilities.positions import positions
from internals.measure.windows import HELD_OUT
from internals.stats import calibration as measures

if TYPE_CHECKING:
    from internals.models import ModelHandle

SURE = 0.9
"""From this probability on a first choice counts as sure."""


@dataclass(frozen=True)
class Calibration:
    """Confidence and correctness of one set of predictions."""

    bins: pd.DataFrame
    """A row a bin that is not empty: ``n``, ``share`` (of all predictions), ``confidence``,
    ``accuracy`` (means), ``low``, ``high`` (interval of the accuracy over units), ``null_low``,
    ``null_high`` (where the accuracy of a perfectly calibrated model would lie, 95 %)."""
    error: stats.Estimate
    """Expected calibration error, bins of equal width."""
    null: float
    """Mean error of a perfectly calibrated model with these confidences."""
    auroc: stats.Estimate | None
    """Chance that a right prediction is more confident than a wrong one; None with one class."""
    accuracy: stats.Estimate
    confidence: float
    """Mean."""
    over: stats.Estimate
    """Mean confidence minus accuracy."""
    n: int
    """Predictions; the intervals count units."""


def calibrate(table: pd.DataFrame, unit: str, *, alike: bool) -> Calibration:
    """All measures of one set.

    Args:
        table: ``confidence``, ``correct`` and ``cluster`` (the units that are resampled).
        unit: what a cluster is, in the plural.
        alike: whether a perfectly calibrated model might be right or wrong in a whole cluster
            together, as in wordings of one question; else its outcomes are independent.
    """
    c, y = table["confidence"].to_numpy(float), table["correct"].to_numpy(float)
    labels = table["cluster"].to_numpy()
    bins = measures.reliability(c, y, clusters=labels)
    errors, accuracies = _perfect(c, labels if alike else np.arange(len(c)))
    ends = np.quantile(accuracies[:, bins["bin"]], [0.025, 0.975], axis=0)
    units: dict[str, Any] = {"clusters": labels, "unit": unit}
    both = 0 < y.sum() < len(y)
    return Calibration(
        bins=bins.assign(share=bins["n"] / len(c), null_low=ends[0], null_high=ends[1]),
        error=measures.calibration_ci(c, y, **units),
        null=float(errors.mean()),
        auroc=stats.auroc(c, y, **units) if both else None,
        accuracy=stats.bootstrap_ci(y, **units),
        confidence=float(c.mean()),
        over=stats.bootstrap_ci(c - y, **units),
        n=len(c),
    )


def _perfect(
    confidence: NDArray[np.float64], clusters: NDArray[np.generic], draws: int = 500
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Calibration errors ``(draw,)`` and accuracies ``(draw, bin)`` of a model whose confidences
    are exactly right; one random number a cluster decides all its outcomes."""
    number, rng = measures.bin_of(confidence), np.random.default_rng(0)
    _, owner = np.unique(clusters, return_inverse=True)
    right = np.empty((draws, number.max() + 1))
    for row in right:
        y = rng.random(owner.max() + 1)[owner] < confidence
        row[:] = np.bincount(number, y)
    errors = np.abs(np.bincount(number, confidence) - right).sum(1) / len(confidence)
    return errors, right / np.maximum(np.bincount(number), 1)


@measurement(files=[HELD_OUT])
def of_text(model: ModelHandle) -> Calibration:
    """Calibration of the next token on held-out text"""
    table = positions(model).rename(columns={"top_prob": "confidence", "document": "cluster"})
    return calibrate(table, "documents", alike=False)


@measurement(files=[FILE])
def of_capitals(model: ModelHandle) -> Calibration:
    """Calibration of answers about capitals"""
    table = capitals(model).rename(columns={"country": "cluster"})
    return calibrate(table, "countries", alike=True)


def overview(sets: dict[str, Calibration]) -> pd.DataFrame:
    """A row a set of predictions: ``set``, ``predictions``, ``units`` (text), ``confidence``,
    ``accuracy``, ``error``, ``null`` and ``auroc``."""
    rows = []
    for name, found in sets.items():
        units = f"{found.accuracy.n:,} {found.accuracy.unit}"
        auroc = None if found.auroc is None else found.auroc.value
        values = (found.confidence, found.accuracy.value, found.error.value, found.null)
        rows.append((name, found.n, units, *values, auroc))
    columns = ["set", "predictions", "units", "confidence", "accuracy", "error", "null", "auroc"]
    return pd.DataFrame(rows, columns=columns)
