"""The ledger: every claim of the book with value, interval, n and verdict; page and JSON export."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from internals import paths
from internals.book.tables import Table, escape, pipe_table
from internals.book.wording import NO_BREAK
from internals.evidence import store
from internals.evidence.claims import VERDICTS, EvidenceError

SCHEMA = Path(__file__).with_name("evidence.schema.json")


def collect(build: Path | None = None, spec: str | None = None) -> dict[str, Any]:
    """All claims of one run: model, facts, chapters and claims in the order of the book.

    Raises `EvidenceError` when chapters speak of different models or share a claim id.
    """
    chapters = store.read_chapters(build, spec=spec)
    if not chapters:
        raise EvidenceError("There is no evidence yet; render the chapters first.")
    models = {record["model"]["fingerprint"]: record["model"] for record in chapters}
    if len(models) > 1:
        names = " and ".join(sorted(model["name"] for model in models.values()))
        raise EvidenceError(f"The evidence mixes two models ({names}); render all chapters again.")
    claims = [claim for record in chapters for claim in record["claims"]]
    repeated = [id for id, times in Counter(c["id"] for c in claims).items() if times > 1]
    if repeated:
        raise EvidenceError(f"Claim id {repeated[0]!r} is used in two chapters; rename one.")
    return {
        "version": store.VERSION,
        "model": chapters[0]["model"],
        "facts": chapters[0]["facts"],
        "chapters": [{"id": r["chapter"], "file": r["file"]} for r in chapters],
        "summary": {v: sum(c["verdict"] == v for c in claims) for v in VERDICTS},
        "claims": claims,
    }


def export_evidence(
    path: Path | None = None, build: Path | None = None, spec: str | None = None
) -> Path:
    """Write ``evidence.json`` for readers of the book, checked against the schema."""
    import jsonschema

    record = collect(build, spec)
    try:
        jsonschema.validate(record, json.loads(SCHEMA.read_text("utf-8")))
    except jsonschema.ValidationError as error:
        raise EvidenceError(
            f"The evidence does not fit its schema at {error.json_path}: {error.message}."
        ) from error
    path = path or paths.BOOK / "evidence.json"
    store.write_json(path, record, indent=1)
    return path


def evidence_table(
    build: Path | None = None, spec: str | None = None, page: str | None = None
) -> Table:
    """The ledger page: one table for each chapter, each row linked to where it is argued."""
    record = collect(build, spec)
    page = page or store.source_of("evidence")
    parts = []
    for chapter in record["chapters"]:
        claims = [c for c in record["claims"] if c["chapter"] == chapter["id"]]
        if claims:
            link = store.link_between(page, chapter["file"])
            title = escape(_title(chapter["file"]) or chapter["id"])
            parts.append(f"**[{title}]({link})**\n\n{_chapter_table(claims, link)}")
    return Table("\n\n".join(parts) + "\n")


def _chapter_table(claims: list[dict[str, Any]], link: str) -> str:
    heads = ["Claim", "Value", "Interval", "n", "Verdict"]
    rows = [
        [
            # Typst needs an anchor with content: the link itself carries it.
            f"[[{escape(c['sentence'])}]({link}#cite-{c['id']})]{{#claim-{c['id']}}}",
            escape(_foldable(c["value_text"])),
            escape(_foldable(c["interval_text"])),
            escape(_foldable(c["n_text"])),
            f"[{c['verdict']}]{{.verdict .{c['verdict'].replace(' ', '-')}}}",
        ]
        for c in claims
    ]
    return pipe_table(heads, rows, ["left", "right", "right", "right", "left"])


def _foldable(text: str) -> str:
    """A narrow column may break before the unit, but not inside an interval."""
    return text.replace(NO_BREAK, " ").replace(", ", f",{NO_BREAK}")


def _title(file: str) -> str | None:
    """First heading or ``title:`` of a chapter's source."""
    source = paths.ROOT / file
    if not source.is_file():
        return None
    for line in source.read_text("utf-8").splitlines():
        if line.startswith("# "):
            return line[2:].split("{")[0].strip()
        if line.startswith("title:"):
            return line.removeprefix("title:").strip().strip("\"'")
    return None
