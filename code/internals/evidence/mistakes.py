"""The laboratory of common mistakes on the page: claims for the ledger, a table for each theme, and
the code that ran.

A row's claim says that the wrong sentence is wrong here, so it is supported where the sentence is
refuted, and not supported where it holds or where the test has not decided.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals.book import wording
from internals.book.tables import Table, escape, escape_code, pipe_table
from internals.evidence.claims import Claim

if TYPE_CHECKING:
    from internals.book import Report
    from internals.measure.laboratory.record import Refutation

Register = Mapping[str, "Refutation"]
_HOLDS = {"refuted": True, "holds here": False, "not decided": False, "does not apply": None}


def claims(report: Report, table: pd.DataFrame, register: Register) -> dict[str, Claim]:
    """Register one claim for each row of ``findings``; by the id of the refutation."""
    found = {}
    for row in table.itertuples():
        wrong = register[row.id].wrong.rstrip(".").replace("`", "")
        applies = row.verdict != "does not apply"
        exact = not (math.isfinite(row.low) and math.isfinite(row.high))
        found[row.id] = report.claim(
            f"mistake-{row.id}",
            f"“{wrong}” {'is wrong' if applies else 'does not apply'} here: {_lower(row.outcome)}",
            value=_number(row.value) if applies else None,
            interval=None if exact or not applies else (row.low, row.high),
            n=row.n if applies else None,
            n_unit=row.n_unit,
            unit=row.unit,
            holds=_HOLDS[row.verdict],
        )
    return found


def rows(table: pd.DataFrame, claims: Mapping[str, Claim], register: Register, theme: str) -> Table:
    """The refutations of one theme: the wrong sentence, the truth, the measurement, the verdict."""
    cells = [
        [
            f"“{_prose(register[row.id].wrong)}”",
            _prose(register[row.id].truth),
            escape(_measured(row, claims[row.id])) + claims[row.id].ref.markdown,
            f"[{row.verdict}]{{.verdict .{claims[row.id].verdict.replace(' ', '-')}}}",
        ]
        for row in table.itertuples()
        if register[row.id].theme == theme
    ]
    heads = ["The mistake", "The truth", "Measured here", "Verdict"]
    return Table(pipe_table(heads, cells, ["left"] * 4))


def code(register: Register, theme: str) -> Table:
    """The functions of one theme as they ran, their sentences left out."""
    parts = [_source(entry.test) for entry in register.values() if entry.theme == theme]
    return Table("```python\n" + "\n\n".join(parts) + "\n```\n")


def sentences(table: pd.DataFrame, register: Register, verdict: str) -> str:
    """The wrong sentences with one verdict, as a list in words; inline code is escaped later."""
    chosen = table.loc[table["verdict"] == verdict, "id"]
    return wording.listing(
        [f"“{register[id].wrong.rstrip('.').replace('`', '')}”" for id in chosen]
    )


def _prose(text: str) -> str:
    """Text in which only code between backticks is markup."""
    parts = text.split("`")
    return "".join(escape_code(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def predicted(low: float, high: float, unit: str) -> str:
    """What a wrong sentence expects, in words: "0%", "more than 0.01" or "50% to 100%"."""
    if low == high:
        return _text(low, unit)
    if math.isinf(high):
        return f"more than {_text(low, unit)}"
    return f"{_text(low, '%' if unit == 'share' else '', unit)} to {_text(high, unit)}"


def _measured(row: Any, claim: Claim) -> str:
    """The outcome with its numbers, and what the sentence had expected."""
    outcome = str(row.outcome)
    if row.verdict == "does not apply":
        return outcome
    value = claim.value_text
    if claim.unit == "share" and claim.value in (0, 1):
        value = wording.percent(float(claim.value))
    if claim.interval is not None:
        bare = wording.interval_text(
            claim.interval, unit=claim.unit, with_its_unit=False, reference=claim.reference
        )
        value = f"{value} {bare}"
    outcome = outcome.replace("{value}", value).replace("{n}", claim.n_text)
    expected = predicted(row.predicted_low, row.predicted_high, row.unit)
    return f"{outcome} The sentence expects {expected}."


def _text(x: float, unit: str, scaled_as: str = "") -> str:
    """A bound with three digits, or fewer that say the same; the smallest number above zero is told
    as zero."""
    shown = (0.0 if abs(x) < 1e-300 else x) * wording.scale_of(scaled_as or unit)
    if float(shown).is_integer():
        text = wording.count(shown)
    elif wording.significant_decimals(shown) > wording.MAX_DECIMALS:
        mantissa = f"{abs(shown):.2e}".partition("e")[0].rstrip("0").rstrip(".")
        text = wording.scientific(shown, len(mantissa.replace(".", "")))
    else:
        text = wording.number(shown).rstrip("0").rstrip(".")
    return wording.with_unit(text, unit)


def _number(x: float) -> float | int:
    """Whole numbers stay whole, so that they are written without decimals."""
    return int(x) if float(x).is_integer() and abs(x) < 2**53 else float(x)


def _lower(text: str) -> str:
    """An outcome after a colon; a name in capitals or a field in braces keeps its form."""
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def _source(test: Any) -> str:
    """Source from ``def`` on, without the docstring, which stands in the table."""
    text = inspect.getsource(test)
    text = text[text.index("def ") :]
    head, _, rest = text.partition('"""')
    return head.rstrip() + rest.partition('"""')[2].rstrip()
