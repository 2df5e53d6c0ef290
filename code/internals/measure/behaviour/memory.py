"""How recall grows with the number of statements, and what of it survives another wording.

Read off the answers of chapter 3: facts with invented names, each with ten candidates, in wordings
that training used and in wordings that it did not. Unit: the fact.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from internals import stats

KNOWN_LEVELS = (64, 256)
"""Statements from which a fact counts as one that the model could know."""
FEW = 4
"""Statements of a fact that a reader would need at most."""


def _by_fact(answers: pd.DataFrame, levels: tuple[int, ...]) -> pd.DataFrame:
    """``fact_id`` by ``wording``: mean share of right answers over templates."""
    part = answers[answers["level"].isin(levels)].assign(
        correct=lambda t: t["correct"].astype(float)
    )
    return part.pivot_table(index="fact_id", columns="wording", values="correct")


def half_level(answers: pd.DataFrame, wording: str = "trained") -> int | None:
    """The smallest number of statements from which half of the facts are answered rightly; None
    if no level reaches it."""
    part = answers[(answers["level"] >= 0) & (answers["wording"] == wording)]
    shares = part.groupby("level")["correct"].mean()
    reached = shares[shares >= 0.5]
    return int(reached.index[0]) if len(reached) else None


def rise(answers: pd.DataFrame) -> stats.Estimate:
    """Share of right answers for facts stated most often minus that for facts never stated."""
    often, never = (_by_fact(answers, levels)["trained"] for levels in (KNOWN_LEVELS, (0,)))
    return stats.difference(often, never, unit="facts")


def rewording(answers: pd.DataFrame) -> dict[str, Any]:
    """Facts stated most often in trained and in held-out wordings.

    Returns ``loss`` (share right in trained minus held-out wordings, paired by fact), ``kept``
    (share of the advantage over chance that is left in held-out wordings), ``chance``.
    """
    wide = _by_fact(answers, KNOWN_LEVELS).dropna()
    chance = float((1 / answers.loc[answers["level"].isin(KNOWN_LEVELS), "candidates"]).mean())
    above = wide["trained"].mean() - chance
    return {
        "loss": stats.paired_difference(wide["trained"], wide["heldout"], unit="facts"),
        "kept": float((wide["heldout"].mean() - chance) / above) if above > 0 else 0.0,
        "heldout": stats.bootstrap_ci(wide["heldout"], unit="facts"),
        "chance": chance,
    }
