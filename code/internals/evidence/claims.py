"""A claim: one empirical statement of the prose, tied to the measurement that decides it.

A claim has a value, an interval, n and a verdict; prose takes its numbers and its direction words
from it. Claims are made by `internals.book.Report.claim`, never by hand.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

from internals.book import wording
from internals.book.wording import Interval
from internals.errors import UserError

Verdict = Literal["supported", "not supported", "not applicable"]
VERDICTS: tuple[Verdict, ...] = ("supported", "not supported", "not applicable")

_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class EvidenceError(UserError):
    """A claim without its measurement, or evidence that cannot be read."""


@dataclass(frozen=True)
class Inline:
    """Markdown for the inside of a sentence; Jupyter and Quarto take it as it is."""

    markdown: str

    def _repr_markdown_(self) -> str:
        return self.markdown

    def __str__(self) -> str:
        return self.markdown


@dataclass(frozen=True)
class Claim:
    """A statement and what was measured about it; made by `Report.claim`."""

    id: str
    chapter: str
    sentence: str
    """The statement in words, complete with its numbers, ending with a full stop."""
    value: float | int | bool | None
    interval: Interval | None
    """Confidence interval; None for a value that is exact, or from too few units for one."""
    n: int | None
    """How many units the value rests on."""
    n_unit: str
    """What n counts: prompts, documents, facts, parameters …"""
    unit: str
    verdict: Verdict
    reference: float = 0.0
    """The value that means "no difference"."""
    ledger: str = "evidence.qmd"
    """Link from the chapter to the ledger page."""

    @property
    def value_text(self) -> str:
        """The value with the digits that its interval justifies, and its unit."""
        return wording.number(self.value, interval=self.interval, unit=self.unit)

    @property
    def interval_text(self) -> str:
        """``[low, high]``; a dash where there is none."""
        if self.value is None:
            return wording.MISSING
        return wording.interval_text(self.interval, unit=self.unit, reference=self.reference)

    @property
    def n_text(self) -> str:
        """``40 prompts``."""
        if self.n is None:
            return wording.MISSING
        return wording.with_unit(wording.count(self.n), self.n_unit)

    @property
    def full_text(self) -> str:
        """Value, interval and n in one phrase: ``0.12 bits [0.01, 0.20] (40 prompts)``."""
        return f"{self.estimate_text} ({self.n_text})"

    @property
    def estimate_text(self) -> str:
        """Value and interval, the unit once: ``0.12 bits [0.01, 0.20]``; the value alone where
        there is no interval."""
        if self.interval is None or self.value is None:
            return self.value_text
        return wording.estimate(self.value, self.interval, unit=self.unit, reference=self.reference)

    @property
    def holds(self) -> bool:
        """Whether the measurement supports the sentence."""
        return self.verdict == "supported"

    def word(self, more: str, less: str, same: str) -> str:
        """The direction word that the measurement chooses.

        ``same`` is the neutral form, taken when the interval includes no difference
        (`reference`) or when the claim does not apply.
        """
        if self.value is None:
            return same
        return wording.direction(
            float(self.value),
            self.interval,
            more=more,
            less=less,
            same=same,
            reference=self.reference,
        )

    def choose(self, supported: str, not_supported: str, not_applicable: str = "") -> str:
        """One of three phrases, by the verdict."""
        phrases = dict(zip(VERDICTS, (supported, not_supported, not_applicable), strict=True))
        return phrases[self.verdict]

    @property
    def ref(self) -> Inline:
        """A small link to the row of the ledger.

        The Lua filter raises it and gives the first mention that survives the choice of
        paragraphs the anchor ``cite-<id>``, to which the ledger links back.
        """
        title = f"{self.verdict}: {self.full_text}" if self.value is not None else self.verdict
        title = re.sub(r'["\\\\]', "", title)
        css = self.verdict.replace(" ", "-")
        return Inline(
            # The word joiner keeps the mark on the line of what it belongs to.
            f'{wording.JOINER}[[†]({self.ledger}#claim-{self.id} "{title}")]'
            f'{{.claim-ref .claim-{css} claim="{self.id}"}}'
        )

    @property
    def cited(self) -> Inline:
        """`full_text` and the link to the ledger in one value."""
        return Inline(f"{self.full_text}{self.ref}")

    @property
    def value_cited(self) -> Inline:
        """`value_text` and the link to the ledger in one value."""
        return Inline(f"{self.value_text}{self.ref}")

    @cached_property
    def record(self) -> dict[str, Any]:
        """What is written to the evidence file: plain JSON values only."""
        record = asdict(self)
        del record["ledger"]
        record["interval"] = None if self.interval is None else list(self.interval)
        record["value_text"] = self.value_text
        record["interval_text"] = self.interval_text
        record["n_text"] = self.n_text
        return record


def make_claim(
    id: str,
    chapter: str,
    sentence: str,
    *,
    value: Any,
    interval: Any = None,
    n: Any = None,
    holds: Any = None,
    unit: str = "",
    n_unit: str = "",
    reference: float = 0.0,
    ledger: str = "evidence.qmd",
) -> Claim:
    """Check everything a claim needs; raise `EvidenceError` in one sentence if it lacks it.

    ``value`` may be an `internals.stats.Estimate`, which brings its own interval and n.
    ``sentence`` may hold ``{value}``, ``{interval}`` and ``{n}``.
    """
    if not _ID.fullmatch(id):
        raise EvidenceError(
            f"Claim id {id!r} in chapter {chapter} must be lower-case words joined by hyphens."
        )
    value, interval, n, n_unit = _unpack(value, interval, n, n_unit)
    verdict = _verdict(id, holds)
    value = _plain(id, "value", value)
    n = _whole(id, n)
    span = _interval(id, interval)
    if verdict != "not applicable":
        _must_be_measured(id, value, n)
    if value is not None and span is not None and not isinstance(value, bool):
        _must_agree(id, value, span)
    claim = Claim(
        id, chapter, sentence, value, span, n, n_unit, unit, verdict, float(reference), ledger
    )
    return _with_sentence(claim, sentence)


def _unpack(value: Any, interval: Any, n: Any, n_unit: str) -> tuple[Any, Any, Any, str]:
    """Take interval and n from an `Estimate` where the caller did not give them."""
    if not all(hasattr(value, name) for name in ("value", "low", "high", "n", "unit")):
        return value, interval, n, n_unit
    if interval is None and math.isfinite(value.low) and math.isfinite(value.high):
        interval = (value.low, value.high)
    return value.value, interval, value.n if n is None else n, n_unit or value.unit


def _verdict(id: str, holds: Any) -> Verdict:
    if holds is None:
        return "not applicable"
    if hasattr(holds, "item"):
        holds = holds.item()
    if not isinstance(holds, bool):
        raise EvidenceError(f"Claim {id}: holds must be True, False or None, but is {holds!r}.")
    return "supported" if holds else "not supported"


def _plain(id: str, what: str, x: Any) -> float | int | bool | None:
    """A finite Python number out of a Python or NumPy number."""
    if x is None:
        return None
    if hasattr(x, "item") and getattr(x, "size", 1) == 1:
        x = x.item()
    if isinstance(x, bool | int):
        return x
    if isinstance(x, float) and math.isfinite(x):
        return x
    raise EvidenceError(
        f"Claim {id}: its {what} must be a finite number from a measurement, but is {x!r}."
    )


def _whole(id: str, n: Any) -> int | None:
    if n is None:
        return None
    number = _plain(id, "n", n)
    if number is None or isinstance(number, bool) or number != int(number) or number < 1:
        raise EvidenceError(f"Claim {id}: n must be a whole number above zero, but is {n!r}.")
    return int(number)


def _interval(id: str, interval: Any) -> Interval | None:
    if interval is None:
        return None
    if len(interval) != 2:
        raise EvidenceError(f"Claim {id}: its interval must be (low, high), but is {interval!r}.")
    low, high = (_plain(id, "interval", bound) for bound in interval)
    if low is None or high is None or low > high:
        raise EvidenceError(f"Claim {id}: its interval must be (low, high), but is {interval!r}.")
    return float(low), float(high)


def _must_be_measured(id: str, value: Any, n: Any) -> None:
    for what, x in (("value", value), ("n", n)):
        if x is None:
            raise EvidenceError(
                f"Claim {id} has no {what}; give the measured {what}, or holds=None if the claim "
                "does not apply to this model."
            )


def _must_agree(id: str, value: float, interval: Interval) -> None:
    """Catch a value and an interval in different units (percent against fractions).

    A bootstrap interval may exclude the estimate by a little; by more than its width it cannot.
    """
    low, high = interval
    slack = (high - low) + 1e-9 * max(abs(low), abs(high), 1e-300)
    if not low - slack <= value <= high + slack:
        raise EvidenceError(
            f"Claim {id}: the value {value:g} lies far outside its interval [{low:g}, {high:g}]; "
            "check that both come from the same measurement and have the same unit."
        )


def _with_sentence(claim: Claim, sentence: str) -> Claim:
    """Fill the fields in braces and check the full stop."""
    texts = {
        "{value}": claim.value_text,
        "{interval}": claim.interval_text,
        "{n}": claim.n_text,
    }
    for field_name, text in texts.items():
        sentence = sentence.replace(field_name, text)
    sentence = sentence.strip()
    if not sentence.endswith("."):
        raise EvidenceError(f"Claim {claim.id}: its sentence must end with a full stop.")
    return replace(claim, sentence=sentence)
