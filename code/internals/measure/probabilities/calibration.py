"""Confidence against correctness: next tokens of held-out text, and facts by exposure.

Intervals resample documents or facts. Each calibration error stands beside what a perfectly
calibrated model with the same confidences would show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure.probabilities.answers_by_exposure import answers
from internals.measure.probabilities.positions import best_temperature, positions
from internals.stats import calibration as measures

if TYPE_CHECKING:
    from internals.models import ModelHandle

KINDS: tuple[measures.Bins, ...] = ("equal width", "equal mass")
SMALL = 0.05
"""Calibration errors below this are called small."""
BESIDE_ACCURACY = 0.2
"""… if they are also below this part of the accuracy: a model that gives everything one percent and
is never right has a small error, and says nothing."""
_PAIR = ("confidence", "accuracy")


@dataclass(frozen=True)
class Calibration:
    """Confidence and correctness of one set of predictions."""

    errors: pd.DataFrame
    """``bins`` (equal width, equal mass), ``value``, ``low``, ``high`` (calibration error with
    interval), ``null``, ``null_low``, ``null_high`` (of a perfectly calibrated model)."""
    auroc: stats.Estimate | None
    """Chance that a right prediction is more confident than a wrong one; None with one class."""
    accuracy: stats.Estimate
    confidence: stats.Estimate
    over: stats.Estimate
    """Mean confidence minus accuracy."""
    brier: float
    loss_bits: stats.Estimate
    """Mean surprisal of the right outcome (negative log-likelihood)."""
    n: int
    """Predictions; the intervals count units."""


def calibrate(
    confidence: pd.Series,
    correct: pd.Series,
    loss_bits: pd.Series,
    clusters: pd.Series,
    unit: str,
) -> Calibration:
    """All measures of one set; ``clusters`` are the units that are resampled."""
    c, y = confidence.to_numpy(float), correct.to_numpy(float)
    labels = clusters.to_numpy()
    rows = []
    for kind in KINDS:
        error = measures.calibration_ci(c, y, labels, kind=kind, unit=unit)
        mean, low, high = measures.null_band(c, kind=kind)
        rows.append((kind, error.value, error.low, error.high, mean, low, high))
    columns = ["bins", "value", "low", "high", "null", "null_low", "null_high"]
    both = 0 < y.sum() < len(y)
    return Calibration(
        errors=pd.DataFrame(rows, columns=columns),
        auroc=stats.auroc(c, y, clusters=labels, unit=unit) if both else None,
        accuracy=stats.bootstrap_ci(y, clusters=labels, unit=unit),
        confidence=stats.bootstrap_ci(c, clusters=labels, unit=unit),
        over=stats.paired_difference(c, y, clusters=labels, unit=unit),
        brier=measures.brier(c, y),
        loss_bits=stats.bootstrap_ci(loss_bits.to_numpy(float), clusters=labels, unit=unit),
        n=len(c),
    )


def is_small(found: Calibration) -> bool:
    """Whether the error (equal width) is small in itself and beside the accuracy."""
    value = float(found.errors.set_index("bins").loc[KINDS[0], "value"])
    return value < SMALL and value < BESIDE_ACCURACY * found.accuracy.value


@measurement
def of_tokens(model: ModelHandle) -> Calibration:
    """Calibration of the next token on held-out text"""
    table = positions(model)
    bits = -table["log_prob"] / math.log(2)
    return calibrate(table["top_prob"], table["correct"], bits, table["document"], "documents")


def overview(sets: dict[str, Calibration]) -> pd.DataFrame:
    """One row a set of predictions, ready for a table: ``set``, ``predictions``, ``units`` (text),
    ``accuracy``, ``confidence``, ``error`` (equal width), ``null`` (error of a perfectly calibrated
    model), ``error_equal_mass``, ``brier``, ``loss_bits``, ``auroc``. Cells are estimates, or None.
    """
    rows = []
    for name, found in sets.items():
        errors = found.errors.set_index("bins")
        n, unit = found.accuracy.n, found.accuracy.unit
        wide, mass = (_estimate(errors.loc[kind], n, unit) for kind in KINDS)
        centre, low, high = errors.loc[KINDS[0], ["null", "null_low", "null_high"]].tolist()
        null = stats.Estimate(centre, low, high, n, unit, "simulation")
        rows.append(
            {
                "set": name,
                "predictions": found.n,
                "units": f"{n:,} {unit}",
                "accuracy": found.accuracy,
                "confidence": found.confidence,
                "error": wide,
                "null": null,
                "error_equal_mass": mass,
                "brier": found.brier,
                "loss_bits": found.loss_bits,
                "auroc": found.auroc,
            }
        )
    return pd.DataFrame(rows)


def _estimate(row: pd.Series, n: int, unit: str) -> stats.Estimate:
    return stats.Estimate(float(row["value"]), row["low"], row["high"], n, unit, "bootstrap")


@dataclass(frozen=True)
class Scaling:
    """One temperature for all logits, chosen on half of the documents, judged on the other."""

    temperature: float
    documents: int
    """Documents of the half on which it is judged."""
    before: pd.DataFrame
    """Errors at temperature 1 on that half; columns as in `Calibration.errors`."""
    after: pd.DataFrame
    gain: stats.Estimate
    """Fall of the loss in bits per token (positive is better)."""


@measurement
def scaling(model: ModelHandle) -> Scaling:
    """Temperature scaling, fitted and judged on different documents"""
    table = positions(model)
    fit, judge = table[table["document"] % 2 == 0], table[table["document"] % 2 == 1]
    t = best_temperature(fit)
    gain = (judge["nll@1.0"] - judge[f"nll@{t}"]) / math.log(2)
    documents = judge["document"]

    def errors(column: str) -> pd.DataFrame:
        loss = judge["nll@1.0"]  # not used for the errors
        return calibrate(judge[column], judge["correct"], loss, documents, "documents").errors

    return Scaling(
        temperature=t,
        documents=int(documents.nunique()),
        before=errors("top_prob"),
        after=errors(f"top@{t}"),
        gain=stats.bootstrap_ci(gain.to_numpy(), clusters=documents.to_numpy(), unit="documents"),
    )


@measurement
def of_facts(model: ModelHandle) -> dict[str, Calibration]:
    """Calibration of answers about facts

    By wording: ``trained`` and ``heldout`` (facts stated at least once), ``never`` (facts never
    stated, all wordings); ``asked`` for models whose training data is unknown.
    """
    table = answers(model)
    groups = {
        "asked": table["wording"] == "asked",
        "trained": (table["wording"] == "trained") & (table["level"] > 0),
        "heldout": (table["wording"] == "heldout") & (table["level"] > 0),
        "never": table["level"] == 0,
    }
    found = {}
    for name, chosen in groups.items():
        part = table[chosen]
        if len(part):
            bits = -np.log2(part["right_share"].clip(1e-300))
            found[name] = calibrate(
                part["confidence"], part["correct"], bits, part["fact_id"], "facts"
            )
    return found


@measurement
def by_exposure(model: ModelHandle) -> pd.DataFrame:
    """Confidence and accuracy by number of statements

    Columns: ``level``, ``wording``, ``facts``, ``confidence``, ``confidence_low``,
    ``confidence_high``, ``accuracy``, ``accuracy_low``, ``accuracy_high``, ``right_prob`` (median
    joint probability of the right answer), ``first_rank`` (median rank of its first piece in the
    whole vocabulary, 0 is the first); empty for a model whose training data is unknown.
    """
    table = answers(model)
    table = table[table["level"] >= 0]
    rows = []
    for (level, wording), part in table.groupby(["level", "wording"], sort=True):
        facts = part["fact_id"].to_numpy()
        c = stats.bootstrap_ci(part["confidence"].to_numpy(), clusters=facts, unit="facts")
        a = stats.bootstrap_ci(part["correct"].to_numpy(float), clusters=facts, unit="facts")
        right = (float(part["prob"].median()), float(part["first_rank"].median()))
        rows.append((level, wording, c.n, c.value, c.low, c.high, a.value, a.low, a.high, *right))
    return pd.DataFrame(
        rows,
        columns=[
            "level",
            "wording",
            "facts",
            *("confidence", "confidence_low", "confidence_high"),
            *("accuracy", "accuracy_low", "accuracy_high"),
            *("right_prob", "first_rank"),
        ],
    )


def ahead(exposed: pd.DataFrame, wording: str) -> pd.DataFrame:
    """Rows of `by_exposure` with one wording, by level, and ``ahead``: ``confidence`` or
    ``accuracy`` where one interval lies above the other, else ``neither``."""
    part = exposed[exposed["wording"] == wording].sort_values("level", ignore_index=True)
    sure, right = (part[f"{a}_low"] > part[f"{b}_high"] for a, b in (_PAIR, _PAIR[::-1]))
    return part.assign(ahead=np.select([sure, right], _PAIR, "neither"))


def entropy_by_family(sweep: pd.DataFrame) -> pd.DataFrame:
    """Median and quartiles of the entropy over the prompts of each family: ``family``,
    ``temperature``, ``middle``, ``low``, ``high``, ``n``."""
    grouped = sweep.groupby(["family", "temperature"], sort=False)["entropy_bits"]
    found = grouped.quantile([0.25, 0.5, 0.75]).unstack()
    found.columns = pd.Index(["low", "middle", "high"])
    return found.assign(n=grouped.size()).reset_index()


def at_asked(sweep: pd.DataFrame, temperatures: tuple[float, ...]) -> pd.DataFrame:
    """Means over all prompts at some temperatures: ``temperature``, ``entropy_bits``,
    ``top_prob``, ``kl_bits``, ``nucleus`` (median), ``prompts``."""
    part = sweep[sweep["temperature"].isin(temperatures)]
    grouped = part.groupby("temperature")
    found = grouped[["entropy_bits", "top_prob", "kl_bits"]].mean()
    found["nucleus"] = grouped["nucleus"].median().round().astype(int)
    found["prompts"] = grouped.size()
    return found.reset_index()


def known_distance(table: pd.DataFrame) -> pd.DataFrame:
    """Mean distance to the truth by ``exposures``: ``contexts``, ``distance``,
    ``sample_distance``, ``outside``."""
    grouped = table.groupby("exposures")
    found = grouped[["distance", "sample_distance", "outside"]].mean()
    found.insert(0, "contexts", grouped.size())
    return found.reset_index()


def correlation_with_exposure(table: pd.DataFrame, column: str = "distance") -> stats.Estimate:
    """Rank correlation of a column with the number of exposures, over contexts.

    Ranks are taken within each ``kind`` of context (as shares, so that kinds of unequal size
    compare): what one kind has more of than another is no effect of the exposures.
    """
    kinds = table["kind"]
    exposures, values = (
        table[c].groupby(kinds).transform(lambda x: (x.rank() - 0.5) / len(x)).to_numpy()
        for c in ("exposures", column)
    )
    return stats.correlation(exposures, values, unit="contexts")
