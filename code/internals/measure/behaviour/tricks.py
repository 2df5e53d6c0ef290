"""Trick questions against controls, and whether confidence tells known from unknown.

A base model is not asked to answer but to continue, so each question is a beginning with two
competing continuations, scored by the joint log-probability of all their pieces. Unit: the pair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import inputs, stats
from internals.cache import measurement
from internals.measure.capability import start_ids
from internals.measure.probability.answers_by_exposure import answers

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle


@measurement
def tricks(model: ModelHandle, pairs: Path = inputs.PAIRS) -> pd.DataFrame:
    """Trick questions and their controls

    Columns: ``id``, ``family``, ``control``, ``trick``, ``control_margin`` and ``trick_margin``
    (log-odds in bits of the right against the wrong continuation), ``control_right``,
    ``trick_right`` (the margin is positive), ``entropy_control``, ``entropy_trick`` (bits, of the
    next token).
    """
    loaded = model.loaded()
    rows = []
    for pair in inputs.trick_pairs(pairs):
        wrong = pair.trap if pair.trap != pair.control_right else pair.trick_right
        control, h_control = _margin(loaded, pair.control, pair.control_right, wrong)
        trick, h_trick = _margin(loaded, pair.trick, pair.trick_right, pair.trap)
        rows.append(
            {
                "id": pair.id,
                "family": pair.family,
                "control": pair.control,
                "trick": pair.trick,
                "control_margin": control,
                "trick_margin": trick,
                "control_right": control > 0,
                "trick_right": trick > 0,
                "entropy_control": h_control,
                "entropy_trick": h_trick,
            }
        )
    return pd.DataFrame(rows)


def _margin(loaded: LoadedModel, text: str, right: str, wrong: str) -> tuple[float, float]:
    """Log-odds of two continuations in bits, and the entropy of the next token in bits."""
    from internals.measure.answers import answer_scores
    from internals.measure.probability.temperature import entropy_bits, next_logits

    def ids(part: str) -> list[int]:
        return list(loaded.tokenizer(part, add_special_tokens=False)["input_ids"])

    head = [*start_ids(loaded), *ids(text)]
    scores = answer_scores(loaded.model, [(head, ids(f" {right}")), (head, ids(f" {wrong}"))])
    margin = float(np.diff(scores["log_prob"])[0]) / -math.log(2)
    start = tuple(start_ids(loaded))
    return margin, entropy_bits(next_logits(loaded, text, start).log_softmax(-1))


def by_family(table: pd.DataFrame) -> pd.DataFrame:
    """One row a family and one for all: ``family``, ``pairs``, ``control_share``, ``trick_share``,
    ``loss`` (mean fall of the margin, bits), ``low``, ``high``, ``p`` (sign flips), ``adjusted``
    (Benjamini–Hochberg over families)."""
    rows = []
    for family, part in table.groupby("family", sort=False):
        gap = (part["control_margin"] - part["trick_margin"]).to_numpy()
        found = stats.bootstrap_ci(gap, unit="pairs")
        rows.append(
            {
                "family": family,
                "pairs": len(part),
                "control_share": float(part["control_right"].mean()),
                "trick_share": float(part["trick_right"].mean()),
                "loss": found.value,
                "low": found.low,
                "high": found.high,
                "p": stats.sign_flip_test(gap).p_value,
            }
        )
    frame = pd.DataFrame(rows)
    return frame.assign(adjusted=stats.benjamini_hochberg(frame["p"]))


def mcnemar(table: pd.DataFrame) -> stats.Significance:
    """Is the share of right answers the same after trick and control, pair by pair?"""
    only_control = int((table["control_right"] & ~table["trick_right"]).sum())
    only_trick = int((~table["control_right"] & table["trick_right"]).sum())
    return stats.mcnemar_exact(only_control, only_trick)


KNOWN_LEVELS = (64, 256)
"""Statements from which a fact counts as one that the model could know."""


@dataclass(frozen=True)
class Abstention:
    """What confidence is worth for telling known from unknown facts."""

    auroc: stats.Estimate
    """Chance that a fact stated often gets a more confident answer than one never stated."""
    curve: pd.DataFrame
    """``coverage`` (share of questions answered, most confident first), ``risk`` (share of wrong
    ones among them)."""
    risk_all: float
    risk_half: float
    """Risk when the less confident half is left unanswered."""


@measurement
def abstention(model: ModelHandle) -> Abstention:
    """Known facts against facts that were never stated"""
    table = answers(model)
    table = table[(table["wording"] == "trained") & table["level"].isin((0, *KNOWN_LEVELS))]
    known = (table["level"] > 0).to_numpy()
    area = stats.auroc(
        table["confidence"].to_numpy(),
        known,
        clusters=table["fact_id"].to_numpy(),
        unit="facts",
        n_resamples=500,
    )
    ordered = table.sort_values("confidence", ascending=False, kind="stable")
    wrong = (~ordered["correct"]).to_numpy(float)
    risk = wrong.cumsum() / np.arange(1, len(wrong) + 1)
    coverage = np.arange(1, len(wrong) + 1) / len(wrong)
    keep = np.unique(np.linspace(0, len(wrong) - 1, 200).round().astype(int))
    curve = pd.DataFrame({"coverage": coverage[keep], "risk": risk[keep]})
    return Abstention(area, curve, float(risk[-1]), float(risk[len(risk) // 2 - 1]))


def answer_prior(table: pd.DataFrame, exposure: pd.DataFrame) -> dict[str, Any]:
    """Do answers to facts that were never stated follow how often an answer was stated at all?

    Returns ``share`` (of these questions answered with the object stated most often in its
    relation), ``chance`` (one over the candidates), ``n`` (questions).
    """
    invented = exposure[exposure["kind"] == "invented"]
    counts = invented.groupby(["relation", "object"])["exposures"].sum().reset_index()
    top = counts.loc[counts.groupby("relation")["exposures"].idxmax()]
    most = dict(zip(top["relation"], top["object"], strict=True))
    part = table[(table["level"] == 0) & (table["relation"] != "ruler")]
    hits = part["chosen"] == part["relation"].map(most)
    return {
        "share": stats.bootstrap_ci(
            hits.to_numpy(float), clusters=part["fact_id"].to_numpy(), unit="facts"
        ),
        "chance": float((1 / part["candidates"]).mean()),
    }
