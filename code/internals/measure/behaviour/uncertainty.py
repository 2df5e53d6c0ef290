"""Does a model's uncertainty tell questions that it can answer from those that it cannot?

The score is the entropy of sampled answers (semantic entropy, Kuhn et al. 2023), beside the entropy
of the next token and beside scores that need no model. Unit: the question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure.behaviour.unanswerable import asked

if TYPE_CHECKING:
    from internals.models import ModelHandle

SCORES = {
    "entropy": "answer entropy",
    "next_entropy": "entropy of the next token",
    "tokens": "tokens of the question",
    "pieces": "tokens of the name",
    "rarity": "frequency of the name's tokens",
}
"""Scores that might tell where there is no answer."""
BASELINES = ("tokens", "pieces", "rarity")
"""Those that need no model; for them either direction counts, whichever tells more."""


def separation(
    table: pd.DataFrame, n_resamples: int = 2000, seed: int = 0, scores: Mapping[str, str] = SCORES
) -> pd.DataFrame:
    """Areas under the ROC curve of questions without against those with an answer.

    One row for each group without an answer (and ``all``) and each score: ``against``, ``score``,
    ``baseline``, ``value``, ``low``, ``high``, ``n``; ``lead``, ``lead_low``, ``lead_high`` (area
    of the answer entropy minus this one). All scores of a group are resampled together. A baseline
    below one half is turned round, so that it gets the benefit of the doubt.
    """
    known = table[table["answerable"]]
    unknown = table[~table["answerable"]]
    groups = [("all", unknown), *unknown.groupby("group", sort=False)]
    rows = []
    for against, part in groups:
        draws = {
            name: areas(part[name].to_numpy(), known[name].to_numpy(), n_resamples, seed)
            for name in scores
        }
        first, firsts = draws["entropy"]
        for name, (value, resamples) in draws.items():
            if name in BASELINES and value < 0.5:
                value, resamples = 1 - value, 1 - resamples
            low, high = np.quantile(resamples, [0.025, 0.975])
            lead = np.quantile(firsts - resamples, [0.025, 0.975])
            row = (against, scores[name], name in BASELINES, value, low, high)
            rows.append((*row, len(part) + len(known), first - value, *lead))
    names = ["against", "score", "baseline", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=[*names, "lead", "lead_low", "lead_high"])


def areas(
    positive: np.ndarray, negative: np.ndarray, n_resamples: int, seed: int
) -> tuple[float, np.ndarray]:
    """Area under the ROC curve (ties count half), and that of ``(n_resamples,)`` bootstrap draws.

    Both groups are resampled by themselves. The same seed draws the same questions, so that areas
    of different scores can be compared draw by draw.
    """
    wins = np.sign(positive[:, None] - negative[None, :]) / 2 + 0.5
    rng = np.random.default_rng(seed)
    first = _weights(len(positive), n_resamples, rng)
    second = _weights(len(negative), n_resamples, rng)
    return float(wins.mean()), np.einsum("bi,bi->b", first @ wins, second)


def _weights(n: int, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """``(n_resamples, n)``: how often each unit is drawn, as a share."""
    return rng.multinomial(n, np.full(n, 1 / n), n_resamples) / n


@dataclass(frozen=True)
class RiskCoverage:
    """What it helps to leave the most uncertain questions unanswered (El-Yaniv, Wiener 2010)."""

    curve: pd.DataFrame
    """``coverage`` (share of questions answered, surest first), ``risk`` (share of wrong answers
    among them) with ``low`` and ``high``, ``best`` (risk of a perfect order)."""
    risk_all: float
    """Risk when everything is answered, which is that of random abstention at any coverage."""
    risk_half: stats.Estimate
    area: stats.Estimate
    """Area under the curve."""
    gain: stats.Estimate
    """Area of random abstention minus this area."""
    best_gain: float
    """The same for a perfect order."""


def risk_coverage(table: pd.DataFrame, n_resamples: int = 2000, seed: int = 0) -> RiskCoverage:
    """Risk against coverage by answer entropy; an answer where there is none counts as wrong.

    Questions of equal entropy are answered in random order, so the risk within such a block is its
    mean. Bands: percentile bootstrap over questions.
    """
    wrong = (~table["correct"]).to_numpy(float)
    score = table["entropy"].to_numpy()
    grid = np.linspace(0.02, 1, 50)
    rng = np.random.default_rng(seed)
    draws = _weights(len(table), n_resamples, rng)
    curves = np.array([_risk(score, wrong, w, grid) for w in draws])
    even = np.full(len(table), 1 / len(table))
    risk = _risk(score, wrong, even, grid)
    best = _risk(wrong, wrong, even, grid)
    overall = draws @ wrong
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    curve = pd.DataFrame({"coverage": grid, "risk": risk, "low": low, "high": high, "best": best})
    half = int(np.abs(grid - 0.5).argmin())
    area, random = risk.mean(), float(wrong.mean())
    n = len(table)
    return RiskCoverage(
        curve=curve,
        risk_all=random,
        risk_half=_estimate(risk[half], curves[:, half], n),
        area=_estimate(area, curves.mean(axis=1), n),
        gain=_estimate(random - area, overall - curves.mean(axis=1), n),
        best_gain=random - float(best.mean()),
    )


def _risk(score: np.ndarray, wrong: np.ndarray, weight: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Risk at each coverage: wrong among those answered, lowest scores first."""
    _, block = np.unique(score, return_inverse=True)
    taken = np.concatenate([[0.0], np.bincount(block, weight).cumsum()])
    errors = np.concatenate([[0.0], np.bincount(block, weight * wrong).cumsum()])
    return np.interp(grid * taken[-1], taken, errors) / (grid * taken[-1])


def _estimate(value: float, resamples: np.ndarray, n: int) -> stats.Estimate:
    # Differences of equal curves are rounding; no claim may rest on their sign.
    low, high = (round(float(q), 12) + 0.0 for q in np.quantile(resamples, [0.025, 0.975]))
    method = f"percentile bootstrap, {len(resamples)} resamples"
    return stats.Estimate(round(float(value), 12) + 0.0, low, high, n, "questions", method)


@dataclass(frozen=True)
class Uncertainty:
    """Everything that the section on abstention shows."""

    groups: pd.DataFrame
    """``group``, ``questions``, ``correct`` (share), ``entropy`` with ``low`` and ``high``,
    ``tokens``, ``pieces``, ``rarity``."""
    separation: pd.DataFrame
    risk: RiskCoverage


@measurement
def uncertainty(model: ModelHandle) -> Uncertainty | None:
    """Uncertainty about questions with and without an answer

    None if the context is too short for questions of both kinds.
    """
    table = asked(model)
    if len(table) == 0 or table["answerable"].nunique() < 2:
        return None
    rows = []
    for group, part in table.groupby("group", sort=False):
        mean = stats.bootstrap_ci(part["entropy"].to_numpy(), unit="questions")
        row: dict[str, Any] = {"group": group, "questions": len(part)}
        row |= {"correct": float(part["correct"].mean()) if part["answerable"].all() else np.nan}
        row |= {"entropy": mean.value, "low": mean.low, "high": mean.high}
        rows.append(row | {k: float(part[k].mean()) for k in BASELINES})
    return Uncertainty(pd.DataFrame(rows), separation(table), risk_coverage(table))


def answer_prior(table: pd.DataFrame, exposure: pd.DataFrame) -> dict[str, Any] | None:
    """Do answers to facts that were never stated follow how often an answer was stated at all?

    ``table``: as `answers_by_exposure.answers` gives it. Returns ``share`` (of these questions
    answered with the object stated most often in its relation) and ``chance`` (one over the
    candidates). A relation in which several objects were stated most often has no favourite and is
    left out; None if no question is left.
    """
    invented = exposure[exposure["kind"] == "invented"]
    counts = invented.groupby(["relation", "object"])["exposures"].sum()
    top = counts[counts == counts.groupby("relation").transform("max")].reset_index()
    top = top.drop_duplicates("relation", keep=False)
    most = dict(zip(top["relation"], top["object"], strict=True))
    # Rulers are names of which each was stated for one land, so none of them is a habit.
    part = table[
        (table["level"] == 0) & (table["relation"] != "ruler") & table["relation"].isin(most)
    ]
    if part.empty:
        return None
    hits = part["chosen"] == part["relation"].map(most)
    return {
        "share": stats.bootstrap_ci(
            hits.to_numpy(float), clusters=part["fact_id"].to_numpy(), unit="facts"
        ),
        "chance": float((1 / part["candidates"]).mean()),
    }
