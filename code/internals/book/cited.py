"""A result as prose needs it: numbers in words, and the value that leads to the ledger."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from internals.book import wording
from internals.findings import Result

LEDGER = "evidence.qmd"


@dataclass(frozen=True)
class Cited:
    """One finding in one chapter; printed, it is its value, linked to the ledger on the site."""

    result: Result
    ledger: str
    """Path of the ledger's page from the chapter."""

    @property
    def text(self) -> str:
        """The value with its unit, without a link."""
        return self._number()

    @property
    def interval(self) -> str:
        """``[low, high]``; a dash where there is none."""
        estimate = self.result.estimate
        if estimate is None:
            return wording.MISSING
        return wording.interval_text(
            estimate.interval, unit=self.result.finding.unit, reference=self._reference()
        )

    @property
    def n(self) -> str:
        """``54 prompts``."""
        estimate = self.result.estimate
        if estimate is None:
            return wording.MISSING
        return wording.with_unit(wording.count(estimate.n), estimate.unit)

    @property
    def full(self) -> Linked:
        """Value and interval, linked: ``5.2 bits [4.7, 5.7]``."""
        return Linked(self._full(), self._target(), self._title())

    @property
    def sentence(self) -> str:
        """The claim with its value, whatever the verdict."""
        filled = self.result.finding.sentence.replace("{value}", self.text)
        return filled.replace("{n}", self.n)

    def _repr_markdown_(self) -> str:
        return Linked(self.text, self._target(), self._title())._repr_markdown_()

    def __str__(self) -> str:
        return self.text

    def record(self) -> dict[str, Any]:
        """What evidence.json says of it: plain JSON values only."""
        result, estimate = self.result, self.result.estimate
        return {
            "id": result.finding.id,
            "sentence": self.sentence,
            "value": None if estimate is None else estimate.value,
            "interval": None
            if estimate is None or estimate.interval is None
            else list(estimate.interval),
            "interval_kind": None if estimate is None else estimate.method,
            "n": None if estimate is None else estimate.n,
            "n_unit": "" if estimate is None else estimate.unit,
            "unit": result.finding.unit,
            "expected": "" if result.finding.expect is None else str(result.finding.expect),
            "p_value": result.p_value,
            "p_adjusted": result.p_adjusted,
            "verdict": result.verdict,
            "reason": result.reason,
            "value_text": self.text,
            "interval_text": self.interval,
            "n_text": self.n,
        }

    def _number(self) -> str:
        estimate = self.result.estimate
        if estimate is None:
            return wording.MISSING
        # Counts are whole numbers and stay exact.
        exact = estimate.interval is None and float(estimate.value).is_integer()
        value = int(estimate.value) if exact else estimate.value
        return wording.number(value, interval=estimate.interval, unit=self.result.finding.unit)

    def _full(self) -> str:
        estimate = self.result.estimate
        if estimate is None or estimate.interval is None:
            return self.text
        unit = self.result.finding.unit
        return wording.estimate(
            estimate.value, estimate.interval, unit=unit, reference=self._reference()
        )

    def _reference(self) -> float:
        rule = self.result.finding.expect
        return 0.0 if rule is None else rule.bound

    def _target(self) -> str:
        return f"{self.ledger}#claim-{self.result.finding.id}"

    def _title(self) -> str:
        if self.result.estimate is None:
            return f"not applicable: {self.result.reason}"
        return f"{self.result.verdict}: {self._full()} ({self.n})"


@dataclass(frozen=True)
class Linked:
    """Text that is a link to the ledger on the site, and plain where there is no ledger."""

    text: str
    target: str
    title: str

    def _repr_markdown_(self) -> str:
        text = _escaped(self.text)
        title = re.sub(r'["\\\\<>]', "", self.title)
        link = f'[{text}]({self.target} "{title}"){{.finding aria-label="{title}"}}'
        return (
            f'[{link}]{{.content-visible when-format="html"}}'
            f'[{text}]{{.content-visible unless-format="html"}}'
        )

    def __str__(self) -> str:
        return self.text


def _escaped(text: str) -> str:
    """Plain text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|$@^~'\"])", r"\\\1", text)
