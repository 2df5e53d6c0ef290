"""How many texts a measurement takes: fewer for a large model, by one stated rule.

A model of up to :data:`FULL_UP_TO` parameters is measured on everything that is asked for; a larger
one on the share ``FULL_UP_TO / parameters`` of it, but never on less than the named minimum. Every
table and interval carries the number that was taken. REPORT_EFFORT (0 to 1) scales all of it down,
for a quick draft.
"""

from __future__ import annotations

import os

from internals.errors import UserError
from internals.models.facts import ModelFacts

FULL_UP_TO = 40_000_000
"""Parameters; the cost of a forward pass grows in proportion to them."""
VARIABLE = "REPORT_EFFORT"


def units(facts: ModelFacts, wanted: int, least: int = 1) -> int:
    """Number of units (texts, documents, prompts) to measure on this model.

    Args:
        facts: of the model.
        wanted: the number for a small model.
        least: what a larger model gets at any rate, if ``wanted`` is not smaller still.
    """
    share = min(1.0, FULL_UP_TO / max(facts.n_parameters, 1))
    taken = min(wanted, max(least, round(wanted * share)))
    return min(taken, max(3, round(taken * factor())))


def factor() -> float:
    """The wanted share of the usual effort, 1 unless REPORT_EFFORT says less.

    Raises:
        UserError: if it is no number above 0 and up to 1.
    """
    text = os.environ.get(VARIABLE, "").strip() or "1"
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise UserError(f"{VARIABLE} must be a number above 0 and up to 1, but is {text!r}.")
    return value
