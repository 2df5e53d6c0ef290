"""What a chapter leaves for the filter of its prose, and what evidence.json says of the whole book.

Evidence of different models lies in different folders, so that no order of renders mixes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from internals import paths
from internals.book.cited import LEDGER, Cited
from internals.errors import UserError
from internals.findings import VERDICTS, chapters, evaluate, findings_of, sections

VERSION = 2
SCHEMA = Path(__file__).with_name("evidence.schema.json")
Fact = str | int | float | bool | None


class EvidenceError(UserError):
    """Evidence that is missing or does not fit its schema."""


def cited(chapter: str, model: Any, page: str | None = None) -> dict[str, Cited]:
    """All findings of a chapter about a model, by id; corrected for many tests together.

    ``page``: the source that cites them, if it is another one.
    """
    if chapter not in chapters():
        return {}
    findings = [f for module in sections(chapter) for f in findings_of(module).values()]
    ledger = link_between(page or source_of(chapter), f"report/{LEDGER}")
    return {id: Cited(result, ledger) for id, result in evaluate(findings, model).items()}


def save(chapter: str, model: Any, found: Mapping[str, Cited]) -> Path:
    """Write what the filter of the chapter's prose reads; replaced in one step."""
    path = folder() / f"{chapter}.json"
    record = {
        "version": VERSION,
        "model": about(model),
        "facts": facts(model),
        "findings": {id: one.record() for id, one in found.items()},
    }
    write_json(path, record)
    return path


def about(model: Any) -> dict[str, str]:
    """Spec, name and fingerprint of a model."""
    return {"spec": model.spec, "name": model.name, "fingerprint": model.fingerprint}


def facts(model: Any) -> dict[str, Fact]:
    """Facts by which the prose chooses: the plain values among the facts about a model."""
    known = asdict(model.facts)
    derived = [n for n, member in vars(type(model.facts)).items() if isinstance(member, property)]
    known |= {name: getattr(model.facts, name) for name in derived}
    known |= {"name": model.name, "spec": model.spec}
    plain = (str, bool, int, float, type(None))
    return {name: value for name, value in known.items() if isinstance(value, plain)}


def folder(spec: str | None = None) -> Path:
    """Folder of one model's evidence; the filter finds it by the same variable."""
    spec = os.environ.get("REPORT_MODEL", "").strip() if spec is None else spec
    name = hashlib.sha1(spec.encode()).hexdigest() if spec else "default"
    return paths.BUILD / "evidence" / name


def collect(model: Any) -> dict[str, Any]:
    """All findings of the book about a model, in the order of the book."""
    found = {chapter: cited(chapter, model) for chapter in in_order()}
    records = [{"chapter": c, **one.record()} for c, all in found.items() for one in all.values()]
    return {
        "version": VERSION,
        "model": about(model),
        "facts": facts(model),
        "chapters": [{"id": c, "file": source_of(c)} for c in found],
        "summary": {v: sum(r["verdict"] == v for r in records) for v in VERDICTS},
        "findings": records,
    }


def export(model: Any, path: Path) -> Path:
    """Write ``evidence.json``, checked against its schema.

    Raises:
        EvidenceError: it does not fit.
    """
    import jsonschema

    record = collect(model)
    try:
        jsonschema.validate(record, json.loads(SCHEMA.read_text("utf-8")))
    except jsonschema.ValidationError as error:
        raise EvidenceError(
            f"The evidence does not fit its schema at {error.json_path}: {error.message}."
        ) from error
    write_json(path, record, indent=1)
    return path


def in_order() -> list[str]:
    """Chapters that have findings, as the book lists them."""
    known = set(chapters())
    listed = [c for c in map(chapter_id, book_files()) if c in known]
    return listed or sorted(known)


def write_json(path: Path, record: Any, *, indent: int | None = None) -> None:
    """Write JSON in one step."""
    text = json.dumps(record, ensure_ascii=False, indent=indent, allow_nan=False)
    paths.write_whole(path, f"{text}\n".encode())


def chapter_id(file: str | Path) -> str:
    """``report/01-architecture.qmd`` to ``architecture``."""
    return re.sub(r"^[0-9]+[a-z]?[-_]", "", Path(file).stem)


def book_files(root: Path | None = None) -> list[str]:
    """Sources of the book in order, from ``_quarto.yml``; empty without one."""
    config = (root or paths.ROOT) / "_quarto.yml"
    if not config.is_file():
        return []
    book = (yaml.safe_load(config.read_text("utf-8")) or {}).get("book") or {}
    return [*_files(book.get("chapters")), *_files(book.get("appendices"))]


def _files(entries: Any) -> list[str]:
    """Flatten parts, titles and plain names."""
    found: list[str] = []
    for entry in entries or []:
        if isinstance(entry, dict):
            found += [str(entry.get(key, "")) for key in ("part", "file", "href")]
            found += _files(entry.get("chapters"))
        else:
            found.append(str(entry))
    return [name for name in found if name.endswith(".qmd")]


def source_of(chapter: str, root: Path | None = None) -> str:
    """Path of a chapter's source relative to the root; a guess if there is no such file."""
    root = root or paths.ROOT
    for path in [*sorted(root.glob("report/*.qmd")), *sorted(root.glob("*.qmd"))]:
        if chapter_id(path) == chapter:
            return path.relative_to(root).as_posix()
    return f"report/{chapter}.qmd"


def link_between(source: str, target: str) -> str:
    """Relative link from one source to another, as Quarto wants it."""
    return Path(os.path.relpath(target, Path(source).parent)).as_posix()
