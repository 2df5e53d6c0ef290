"""A book project from ``_quarto.yml`` and its profiles; refuses what it would ignore."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bookbinder import options, yamlio
from bookbinder.errors import BookError
from bookbinder.model import Entry, Project
from bookbinder.yamlio import KeyPath

CONFIG = "_quarto.yml"


def load_project(root: Path, profiles: Sequence[str] = ()) -> Project:
    """Read and check a book project.

    Args:
        root: folder of ``_quarto.yml``.
        profiles: names whose ``_quarto-<name>.yml`` are merged over it, the first one strongest;
            by default those of ``$QUARTO_PROFILE``, then ``profile.default``.

    Raises:
        BookError: a file is missing, or a key would have no effect.
    """
    root = root.resolve()
    meta = _read(root, CONFIG)
    for name in reversed(_profiles(profiles, meta)):
        file = f"_quarto-{name}.yml"
        if not (root / file).is_file():
            raise BookError(f"the profile “{name}” needs a file {file}, which is missing.", CONFIG)
        meta = yamlio.merge(meta, _read(root, file))
    book = meta.get("book")
    if not isinstance(book, Mapping):
        raise BookError("a “book:” section with title and chapters is needed.", CONFIG)
    return _project(root, meta, book)


def _profiles(given: Sequence[str], meta: Mapping[str, Any]) -> list[str]:
    if given:
        return list(given)
    if chosen := os.environ.get("QUARTO_PROFILE"):
        return [name for name in re.split(r"[,\s]+", chosen) if name]
    default = (meta.get("profile") or {}).get("default", [])
    return [default] if isinstance(default, str) else list(default)


def _read(root: Path, name: str) -> dict[str, Any]:
    path = root / name
    if not path.is_file():
        raise BookError("this file is missing; a book needs it in its root folder.", name)
    data, lines = yamlio.load(path.read_text("utf-8"), name)
    if not isinstance(data, dict):
        raise BookError("this file must hold a YAML mapping.", name)
    _check(data, name, lines)
    for extra in _strings(data.pop("metadata-files", [])):
        data = yamlio.merge(_read(root, extra), data)
    return data


def _check(data: Mapping[str, Any], file: str, lines: Mapping[KeyPath, int]) -> None:
    known = options.TOP_KEYS | {key for key in data if str(key).startswith("x-")}
    yamlio.check_keys(data, known, "here", file, lines)
    for key, names in (
        ("project", options.PROJECT_KEYS),
        ("book", options.BOOK_KEYS),
        ("execute", options.EXECUTE_KEYS),
        ("crossref", options.CROSSREF_KEYS),
    ):
        section = data.get(key)
        if isinstance(section, Mapping):
            yamlio.check_keys(section, names, f"in “{key}”", file, lines, (key,))
    if data.get("number-sections") is False:
        place = lines.get(("number-sections",))
        raise BookError("number-sections: false is not known here.", file, place)
    check_formats(data.get("format"), file, lines)
    kind = (data.get("project") or {}).get("type", "book")
    if kind != "book":
        place = lines.get(("project", "type"))
        raise BookError(f"only projects of type “book” can be bound, not “{kind}”.", file, place)


def check_formats(formats: Any, file: str, lines: Mapping[KeyPath, int]) -> None:
    """Refuse unknown formats and unknown options of known ones.

    Raises:
        BookError: with the line of the first such key.
    """
    if formats is None or isinstance(formats, str):
        formats = {formats: None} if formats else {}
    known = {"html": options.HTML_KEYS, "typst": options.TYPST_KEYS}
    yamlio.check_keys(formats, known, "as a format", file, lines, ("format",))
    for name, section in formats.items():
        if isinstance(section, Mapping):
            where = f"in “format: {name}”"
            yamlio.check_keys(section, known[name], where, file, lines, ("format", name))
            if section.get("number-sections") is False:
                place = lines.get(("format", name, "number-sections"))
                raise BookError("number-sections: false is not known here.", file, place)


def _project(root: Path, meta: dict[str, Any], book: Mapping[str, Any]) -> Project:
    entries = _entries(book.get("chapters"), "chapter") + _entries(
        book.get("appendices"), "appendix"
    )
    _check_entries(root, entries)
    top = {key: value for key, value in meta.items() if key in options.SHARED_KEYS}
    html = {**{"theme": meta.get("theme"), "css": meta.get("css")}, **top, **_format(meta, "html")}
    return Project(
        root=root,
        title=str(book.get("title") or "Untitled"),
        subtitle=_text(book.get("subtitle")),
        authors=tuple(authors(book.get("author"))),
        date=format_date(book.get("date"), book.get("date-format") or meta.get("date-format")),
        description=_text(book.get("description")),
        lang=str(meta.get("lang") or "en"),
        output_file=str(book.get("output-file") or _slug(str(book.get("title") or "book"))),
        entries=tuple(entries),
        bibliography=tuple(_strings(meta.get("bibliography"))),
        csl=_text(meta.get("csl")),
        filters=tuple(_strings(meta.get("filters"))),
        number_depth=int(html.get("number-depth") or 3),
        execute=options.DEFAULT_EXECUTE | _figure_defaults(html) | (meta.get("execute") or {}),
        html=html,
        typst={**top, **_format(meta, "typst")},
        book=book,
        meta=meta,
    )


def _figure_defaults(html: Mapping[str, Any]) -> dict[str, Any]:
    return {k: html[k] for k in ("fig-width", "fig-height", "fig-dpi") if html.get(k) is not None}


def _format(meta: Mapping[str, Any], name: str) -> dict[str, Any]:
    formats = meta.get("format")
    section = formats.get(name) if isinstance(formats, Mapping) else None
    return dict(section) if isinstance(section, Mapping) else {}


def _entries(items: Any, kind: str) -> list[Entry]:
    result = []
    for item in items or []:
        if isinstance(item, str):
            result.append(Entry(item, "index" if item.startswith("index.") else kind))
        elif isinstance(item, Mapping) and "part" in item:
            yamlio.check_keys(item, {"part", "chapters"}, "in a part", CONFIG, {})
            part = str(item["part"])
            is_page = part.endswith((".qmd", ".md"))
            result.append(
                Entry(
                    path=part if is_page else None,
                    kind="part",
                    title=None if is_page else part,
                    children=tuple(_entries(item.get("chapters"), kind)),
                )
            )
        elif isinstance(item, Mapping) and ("file" in item or "href" in item):
            yamlio.check_keys(item, {"file", "href", "text"}, "in a chapter", CONFIG, {})
            path = str(item.get("file") or item.get("href"))
            role = "index" if path.startswith("index.") else kind
            result.append(Entry(path, role, _text(item.get("text"))))
        else:
            raise BookError(f"the chapter entry {item!r} is neither a file nor a part.", CONFIG)
    return result


def walk_entries(entries: Sequence[Entry]) -> list[Entry]:
    """All entries in reading order, parts before their chapters."""
    flat: list[Entry] = []
    for entry in entries:
        flat.append(entry)
        flat.extend(walk_entries(entry.children))
    return flat


def _check_entries(root: Path, entries: Sequence[Entry]) -> None:
    seen: set[str] = set()
    for entry in walk_entries(entries):
        if entry.path is None:
            continue
        if not (root / entry.path).is_file():
            raise BookError(f"the chapter {entry.path} is listed but missing.", CONFIG)
        if entry.path in seen:
            raise BookError(f"the chapter {entry.path} is listed twice.", CONFIG)
        seen.add(entry.path)
    if not any(entry.kind == "index" for entry in entries):
        raise BookError("the chapters must include a home page called index.qmd.", CONFIG)


def authors(value: Any) -> list[str]:
    """Names from any form that Quarto takes: a text, a mapping with ``name``, or a list of them."""
    if value is None:
        return []
    if isinstance(value, list):
        return [name for item in value for name in authors(item)]
    if isinstance(value, Mapping):
        name = value.get("name")
        if isinstance(name, Mapping):
            name = " ".join(str(name[k]) for k in ("given", "family") if name.get(k))
        return [str(name)] if name else []
    return [str(value)]


_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def format_date(value: Any, style: Any = None) -> str | None:
    """A date as it is printed; ``today`` and ``now`` respect ``$SOURCE_DATE_EPOCH``.

    Quarto's styles ``long`` (default) and ``iso`` and the patterns ``YYYY MMMM MMM MM D DD`` are
    known; a text that is no ISO date stays as it is.
    """
    if value is None:
        return None
    string = str(value)
    if string in ("today", "now", "last-modified"):
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        day = dt.datetime.fromtimestamp(int(epoch), dt.UTC).date() if epoch else dt.date.today()
    else:
        try:
            day = dt.date.fromisoformat(string[:10])
        except ValueError:
            return string
    month = _MONTHS[day.month - 1]
    pattern = {"long": "MMMM D, YYYY", "iso": "YYYY-MM-DD"}.get(str(style or "long"), str(style))
    parts = {"YYYY": f"{day.year}", "MMMM": month, "MMM": month[:3], "MM": f"{day:%m}",
             "DD": f"{day:%d}", "D": str(day.day)}  # fmt: skip
    return re.sub("|".join(parts), lambda m: parts[m.group()], pattern)


def _strings(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _slug(title: str) -> str:
    return re.sub(r"[^\w.-]+", "-", title).strip("-") or "book"
