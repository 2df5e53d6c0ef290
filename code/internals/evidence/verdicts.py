"""A table of predictions and outcomes: what two views expected of each test, and what happened.

Each row rests on one claim, to which its last cell links; which view a row speaks for is decided
where the claim is made, by numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from internals.book.tables import Table, escape, pipe_table
from internals.evidence.claims import Claim

Side = Literal["patterns", "rules", "between", "not asked"]
"""The view that an outcome speaks for; ``not asked`` where a test does not apply."""


@dataclass(frozen=True)
class Test:
    """One test with the two predictions that were made before it."""

    __test__ = False  # no test of pytest's

    name: str
    patterns: str
    """What recall of surface patterns predicts."""
    rules: str
    """What general knowledge predicts."""
    outcome: str
    side: Side
    claim: Claim


def side(patterns: bool, rules: bool, *, asked: bool = True, able: bool = True) -> Side:
    """The view whose prediction came true, ``between`` if neither or both did.

    ``able``: the model passes an easier test of the same matter, which recall passes too. Where it
    does not, a failure confirms nothing, since a model that knows nothing fails as well.
    """
    if not asked:
        return "not asked"
    patterns = patterns and able
    if patterns == rules:
        return "between"
    return "patterns" if patterns else "rules"


def table(tests: Sequence[Test], patterns: str, rules: str) -> Table:
    """All tests as a table; ``patterns`` and ``rules`` are the names of the views."""
    names = {"patterns": patterns, "rules": rules, "between": "neither", "not asked": "–"}
    heads = ["Test", f"{patterns} predicts", f"{rules} predicts", "This model", "Speaks for"]
    rows = [
        [
            escape(test.name),
            escape(test.patterns),
            escape(test.rules),
            f"{escape(_outcome(test))}{test.claim.ref}",
            escape(names[test.side].lower()),
        ]
        for test in tests
    ]
    return Table(pipe_table([escape(head) for head in heads], rows, ["left"] * len(heads)))


def _outcome(test: Test) -> str:
    return "does not apply" if test.side == "not asked" else test.outcome


def tally(tests: Sequence[Test]) -> dict[Side, int]:
    """Number of tests on each side."""
    sides: tuple[Side, ...] = ("patterns", "rules", "between", "not asked")
    return {name: sum(test.side == name for test in tests) for name in sides}
