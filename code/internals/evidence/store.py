"""Evidence files: one JSON per chapter in the build folder, written whole or not at all.

A file holds the model, its facts and the claims of one chapter; the Lua filter of the chapters and
the ledger read it. Files about another model are never mixed in.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from internals import paths
from internals.evidence.claims import Claim, EvidenceError

VERSION = 1
Fact = str | int | float | bool | None


@dataclass
class ChapterEvidence:
    """What one chapter has said so far; `save` writes it."""

    chapter: str
    file: str
    """Source of the chapter, relative to the project root."""
    model: dict[str, str]
    """spec, name and fingerprint."""
    facts: dict[str, Fact]
    claims: dict[str, Claim] = field(default_factory=dict)

    def save(self, build: Path | None = None) -> Path:
        """Replace the chapter's file in one step."""
        record = {
            "version": VERSION,
            "chapter": self.chapter,
            "file": self.file,
            "model": self.model,
            "facts": self.facts,
            "claims": [claim.record for claim in self.claims.values()],
        }
        path = folder(build) / f"{self.chapter}.json"
        write_json(path, record)
        return path


def folder(build: Path | None = None) -> Path:
    """Folder of the evidence files."""
    return (build or paths.BUILD) / "evidence"


def write_json(path: Path, record: Any, *, indent: int | None = None) -> None:
    """Write JSON atomically: readers see the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(record, ensure_ascii=False, indent=indent, allow_nan=False))
            stream.write("\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_chapters(build: Path | None = None, *, spec: str | None = None) -> list[dict[str, Any]]:
    """Evidence files of the chapters that the book has, in the book's order.

    ``spec`` keeps the files about that model only. Files of chapters that are gone are left out.
    """
    records = {}
    for path in sorted(folder(build).glob("*.json")):
        record = _read(path)
        if spec is None or record["model"]["spec"] == spec:
            records[record["chapter"]] = record
    order = [chapter_id(file) for file in book_files()]
    if not order:
        return list(records.values())
    return [records[chapter] for chapter in order if chapter in records]


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EvidenceError(
            f"The evidence file {path} cannot be read ({error}); delete it and render again."
        ) from error
    if not isinstance(record, dict) or record.get("version") != VERSION:
        raise EvidenceError(
            f"The evidence file {path} is of another version; delete it and render again."
        )
    return record


def chapter_id(file: str | Path) -> str:
    """``report/01-architecture.qmd`` to ``architecture``."""
    return re.sub(r"^[0-9]+[a-z]?[-_]", "", Path(file).stem)


def book_files(root: Path | None = None) -> list[str]:
    """Sources of the book in order, from ``_quarto.yml``; empty without one."""
    config = (root or paths.ROOT) / "_quarto.yml"
    if not config.is_file():
        return []
    book = (yaml.safe_load(config.read_text("utf-8")) or {}).get("book") or {}
    return list(_files(book.get("chapters"))) + list(_files(book.get("appendices")))


def _files(entries: Any) -> list[str]:
    """Flatten parts, titles and plain names."""
    found: list[str] = []
    for entry in entries or []:
        if isinstance(entry, str):
            found.append(entry)
        elif isinstance(entry, dict):
            for key in ("part", "file", "href"):
                if str(entry.get(key, "")).endswith(".qmd"):
                    found.append(entry[key])
            found += _files(entry.get("chapters"))
    return [name for name in found if name.endswith(".qmd")]


def source_of(chapter: str, root: Path | None = None) -> str:
    """Path of a chapter's source relative to the root; a guess if there is no such file."""
    root = root or paths.ROOT
    candidates = [*sorted(root.glob("report/*.qmd")), *sorted(root.glob("*.qmd"))]
    for path in candidates:
        if chapter_id(path) == chapter:
            return path.relative_to(root).as_posix()
    return f"report/{chapter}.qmd"


def link_between(source: str, target: str) -> str:
    """Relative link from one source to another, as Quarto wants it."""
    return Path(os.path.relpath(target, Path(source).parent)).as_posix()


def flat_facts(facts: Any) -> dict[str, Fact]:
    """Facts for chapters: every scalar field or property, and lists as "a, b"."""
    values = asdict(facts) if is_dataclass(facts) and not isinstance(facts, type) else vars(facts)
    derived = [n for n, member in vars(type(facts)).items() if isinstance(member, property)]
    values = {**values, **{name: getattr(facts, name) for name in derived}}
    flat: dict[str, Fact] = {}
    for name, value in values.items():
        if value is None or isinstance(value, str | bool | int | float):
            flat[name] = value
        elif isinstance(value, list | tuple) and all(isinstance(v, str | int) for v in value):
            flat[name] = ", ".join(map(str, value))
    return flat
