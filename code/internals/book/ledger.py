"""The ledger: every finding of the book with value, interval, n and verdict, as a page."""

from __future__ import annotations

from typing import Any

from internals.book import evidence
from internals.book.cited import LEDGER
from internals.book.tables import Table, escape, pipe_table
from internals.book.wording import NO_BREAK, count, fixed, listing
from internals.findings import VERDICTS, findings_of, sections

_HEADS = ("Finding", "Value", "Interval", "n", "Expected", "p", "Corrected p", "Verdict")
_SIDES = ("left", "right", "right", "right", "left", "right", "right", "left")


def ledger(model: Any) -> Table:
    """A table for each chapter; the name of a section leads to where it is argued."""
    parts = []
    for chapter in evidence.in_order():
        found = evidence.cited(chapter, model)
        page = evidence.link_between(f"report/{LEDGER}", evidence.source_of(chapter))
        rows = []
        for module in sections(chapter):
            section = module.__name__.rpartition(".")[2].replace("_", "-")
            # The laboratory's themes are named as chapters are, whose labels are taken.
            section = f"mistakes-{section}" if chapter == "laboratory" else section
            rows += [
                _row(found[finding.id].record(), f"{page}#sec-{section}")
                for finding in findings_of(module).values()
            ]
        table = pipe_table([escape(head) for head in _HEADS], rows, _SIDES)
        title = escape(chapter.capitalize())
        parts.append(f"## {title} {{.unnumbered}}\n\n::: {{.sortable .filterable}}\n{table}:::\n")
    return Table("\n\n".join(parts))


def summary(model: Any) -> str:
    """How many findings have each verdict, in words."""
    counts = evidence.collect(model)["summary"]
    total = sum(counts.values())
    parts = [f"{count(counts[verdict])} {verdict}" for verdict in VERDICTS]
    return f"{count(total)} findings: {listing(parts)}"


def _row(record: dict[str, Any], link: str) -> list[str]:
    sentence = record["sentence"] if record["verdict"] != "not applicable" else _unfilled(record)
    return [
        # Typst needs an anchor with content: the link itself carries it.
        f"[[{escape(sentence)}]({link})]{{#claim-{record['id']}}}",
        escape(_foldable(record["value_text"])),
        escape(_foldable(record["interval_text"])),
        escape(_foldable(record["n_text"])),
        escape(record["expected"]),
        escape(_p(record["p_value"])),
        escape(_p(record["p_adjusted"])),
        f"[{record['verdict']}]{{.verdict .{record['verdict'].replace(' ', '-')}}}",
    ]


def _unfilled(record: dict[str, Any]) -> str:
    """A claim about nothing, with the reason."""
    return f"{record['sentence']} Does not apply: {record['reason'].rstrip('.')}."


def _p(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else fixed(p, 3)


def _foldable(text: str) -> str:
    """A narrow column may break before the unit, but not inside an interval."""
    return text.replace(NO_BREAK, " ").replace(", ", f",{NO_BREAK}")
