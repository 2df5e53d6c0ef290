"""A book project from the part of ``_quarto.yml`` that has a meaning here."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bookbinder.errors import BookError
from bookbinder.model import Entry, Project

CONFIG = "_quarto.yml"


def load_project(root: Path) -> Project:
    """Read a book project.

    Raises:
        BookError: a file is missing or cannot be read, or there is no home page.
    """
    root = root.resolve()
    try:
        meta = yaml.safe_load((root / CONFIG).read_text("utf-8"))
        book = meta["book"]
    except FileNotFoundError:
        raise BookError("this file is missing; a book needs it.", CONFIG) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise BookError(f"this YAML cannot be read: {error.problem}.", CONFIG, line) from None
    except (KeyError, TypeError):
        raise BookError("a “book:” section with title and chapters is needed.", CONFIG) from None
    entries = (
        *_entries(book.get("chapters"), "chapter"),
        *_entries(book.get("appendices"), "appendix"),
    )
    for path in chapter_files(entries):
        if not (root / path).is_file():
            raise BookError(f"the chapter {path} is listed but missing.", CONFIG)
    if not any(entry.kind == "index" for entry in entries):
        raise BookError("the chapters must include a home page called index.qmd.", CONFIG)
    title = str(book.get("title", "Untitled"))
    return Project(
        root=root,
        title=title,
        subtitle=book.get("subtitle"),
        authors=tuple(_names(book.get("author"))),
        date=_date(book.get("date"), book.get("date-format", "MMMM D, YYYY")),
        description=book.get("description"),
        lang=meta.get("lang", "en"),
        output_dir=(meta.get("project") or {}).get("output-dir", "_book"),
        output_file=book.get("output-file") or re.sub(r"[^\w.-]+", "-", title),
        entries=entries,
        bibliography=tuple(_listed(meta.get("bibliography"))),
        filters=tuple(_listed(meta.get("filters"))),
    )


def chapter_files(entries: Sequence[Entry]) -> list[str]:
    """Paths of all chapters in reading order."""
    return [p for e in entries for p in [e.path, *chapter_files(e.children)] if p]


def _entries(items: Sequence[Any] | None, kind: str) -> Iterator[Entry]:
    for item in items or ():
        entry = {"file": item} if isinstance(item, str) else item
        if "part" in entry:
            yield Entry(None, "part", entry["part"], tuple(_entries(entry["chapters"], kind)))
        else:
            home = entry["file"].startswith("index.")
            yield Entry(entry["file"], "index" if home else kind, entry.get("text"))


def _names(author: Any) -> list[str]:
    """Names of authors, given as a text, as a mapping with ``name``, or as a list of them."""
    return [
        str(item["name"] if isinstance(item, Mapping) else item) for item in _listed(author)
    ]  # fmt: skip


def _date(value: Any, pattern: str) -> str | None:
    """A date as it is printed; ``today`` respects ``$SOURCE_DATE_EPOCH``."""
    if value is None:
        return None
    if value == "today":
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        day = dt.datetime.fromtimestamp(int(epoch), dt.UTC).date() if epoch else dt.date.today()
    else:
        try:
            day = dt.date.fromisoformat(str(value))
        except ValueError:
            return str(value)
    parts = {"YYYY": f"{day.year}", "MMMM": f"{day:%B}", "MM": f"{day:%m}",
             "DD": f"{day:%d}", "D": str(day.day)}  # fmt: skip
    return re.sub("|".join(parts), lambda m: parts[m.group()], pattern)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
