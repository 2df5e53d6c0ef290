"""The laboratory on the page: a table for each theme, and what became of all sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from internals.book.cited import Cited
from internals.book.tables import Table, escape, escape_code, pipe_table
from internals.book.wording import count, listing
from internals.findings import findings_of, sections
from internals.findings.mistakes import Mistake, Outcome, outcome

if TYPE_CHECKING:
    from internals.book import Report

_HEADS = ("The mistake", "What is usually true", "Measured here", "Verdict")
_CSS = {"refuted": "supported", "does not apply": "not-applicable"}


def table(report: Report, module: ModuleType) -> Table:
    """The mistakes of one theme: the wrong sentence, the truth, the measurement, the verdict."""
    rows = [
        [
            f"“{_prose(found.wrong.rstrip('.'))}”",
            _prose(found.truth),
            escape(_measured(found, cited)),
            f"[{verdict}]{{.verdict .{_CSS.get(verdict, 'not-supported')} #claim-{found.id}}}",
        ]
        for found, cited, verdict in _outcomes(report, module)
    ]
    return Table(pipe_table(_HEADS, rows, ["left"] * len(_HEADS)))


def summary(report: Report) -> str:
    """How many sentences have each outcome, in words."""
    outcomes = [o for module in sections("laboratory") for _, _, o in _outcomes(report, module)]
    counts = Counter(outcomes)
    many = {"holds here": "hold here", "does not apply": "do not apply"}
    found = [(n, v if n == 1 else many.get(v, v)) for v, n in counts.most_common()]
    parts = [f"{count(n)} {verdict}" for n, verdict in found]
    return f"{count(len(outcomes))} sentences ({listing(parts)})"


def _outcomes(report: Report, module: ModuleType) -> Iterator[tuple[Mistake, Cited, Outcome]]:
    for found in findings_of(module).values():
        if isinstance(found, Mistake):
            cited = report.found[found.id]
            yield found, cited, outcome(found, cited.result)


def _measured(found: Mistake, cited: Cited) -> str:
    if cited.result.estimate is None:
        return f"Not measured: {cited.result.reason.rstrip('.')}."
    sentence = found.measured.replace("{value}", str(cited.full))
    return f"{sentence[:-1]} ({cited.n})."


def _prose(text: str) -> str:
    """Text in which only code between backticks is markup."""
    parts = text.split("`")
    return "".join(escape_code(p) if i % 2 else escape(p) for i, p in enumerate(parts))
