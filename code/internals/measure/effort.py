"""How many texts a measurement takes: fewer for a large model, by one stated rule.

A model of up to :data:`FULL_UP_TO` parameters is measured on everything that is asked for; a larger
one on the share ``FULL_UP_TO / parameters`` of it, but never on less than the named minimum. Every
table and interval carries the number that was taken.
"""

from __future__ import annotations

from internals.models.facts import ModelFacts

FULL_UP_TO = 40_000_000
"""Parameters; the cost of a forward pass grows in proportion to them."""


def units(facts: ModelFacts, wanted: int, least: int = 1) -> int:
    """Number of units (texts, documents, prompts) to measure on this model.

    Args:
        facts: of the model.
        wanted: the number for a small model.
        least: what a larger model gets at any rate, if ``wanted`` is not smaller still.
    """
    share = min(1.0, FULL_UP_TO / max(facts.n_parameters, 1))
    return min(wanted, max(least, round(wanted * share)))
