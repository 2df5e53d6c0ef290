"""The small fixed inputs in `data/` that a user may edit, read and checked.

A wrong edit is answered by one sentence that names the file and the entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from internals.errors import UserError
from internals.paths import DATA

PROMPTS = DATA / "prompts"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class InputError(UserError):
    """A file in `data/` that cannot be used as it is."""


@dataclass(frozen=True)
class Sample:
    """A text whose tokenization is shown."""

    id: str
    title: str
    text: str


def read_yaml(path: Path, key: str) -> list[dict[str, Any]]:
    """The list under ``key`` of a YAML file, each entry a mapping.

    Raises:
        InputError: if the file is missing, is no YAML, or has another shape.
    """
    name = path.name
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing; restore it with `git checkout {path.name}`."
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{name} is no valid YAML{line}; check quotes, colons and indentation there."
        ) from error
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{name} must hold a list named {key!r} with at least one entry.")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise InputError(f"Entry {number} of {name} must be a mapping such as `id: …`.")
    return entries


def fields(
    path: Path, key: str, names: tuple[str, ...], others: tuple[str, ...] = ()
) -> Iterator[dict[str, Any]]:
    """Entries of ``path`` that have exactly the text fields ``names``, ids unique.

    ``others``: fields that are no text; that they are there is checked, not what they hold.
    """
    seen: set[str] = set()
    for number, entry in enumerate(read_yaml(path, key), start=1):
        where = f"Entry {number} of {path.name}"
        for name in names:
            value = entry.get(name)
            if not isinstance(value, str) or not value:
                raise InputError(f"{where} needs `{name}:` with a text in quotes.")
        for name in others:
            if not entry.get(name):
                raise InputError(f"{where} needs `{name}:`; look at its neighbours in the file.")
        if unknown := sorted(set(entry) - {*names, *others}):
            raise InputError(
                f"{where} has an unknown field `{unknown[0]}`; known are "
                f"{', '.join((*names, *others))}."
            )
        if not _NAME.fullmatch(entry["id"]):
            raise InputError(
                f"{where} has the id {entry['id']!r}; use lower-case letters, digits and hyphens."
            )
        if entry["id"] in seen:
            raise InputError(f"{where} repeats the id {entry['id']!r}; ids must differ.")
        seen.add(entry["id"])
        yield entry


def samples(path: Path = PROMPTS / "samples.yaml") -> list[Sample]:
    """The texts of chapter 2."""
    return [Sample(**entry) for entry in fields(path, "samples", ("id", "title", "text"))]


@dataclass(frozen=True)
class Prompt:
    """A beginning of a text whose next token is asked for."""

    id: str
    family: str
    text: str


def prompts(path: Path = PROMPTS / "next_token.yaml") -> list[Prompt]:
    """The prompts of chapter 3; one of them has the id ``main``.

    Raises:
        InputError: as `fields`; also for a text that ends with a blank, or no ``main``.
    """
    found = [Prompt(**entry) for entry in fields(path, "prompts", ("id", "family", "text"))]
    for prompt in found:
        no_blank(path, prompt.id, prompt.text)
    if all(prompt.id != "main" for prompt in found):
        raise InputError(f"{path.name} needs one prompt with `id: main`, which is shown in full.")
    return found


@dataclass(frozen=True)
class Change:
    """Two prompts that differ in one word."""

    id: str
    text: str
    changed: str


def changes(path: Path = PROMPTS / "changes.yaml") -> list[Change]:
    """The pairs of chapter 3; each pair differs in exactly one word."""
    found = [Change(**entry) for entry in fields(path, "changes", ("id", "text", "changed"))]
    for pair in found:
        no_blank(path, pair.id, pair.text)
        no_blank(path, pair.id, pair.changed)
        first, second = pair.text.split(), pair.changed.split()
        if (
            len(first) != len(second)
            or sum(a != b for a, b in zip(first, second, strict=True)) != 1
        ):
            raise InputError(
                f"The texts of {pair.id!r} in {path.name} must have equally many words and differ "
                "in exactly one."
            )
    return found


def no_blank(path: Path, id: str, text: str) -> None:
    """A blank at the end would be a token of its own and change the question."""
    if text != text.rstrip():
        raise InputError(
            f"The text of {id!r} in {path.name} ends with a blank; remove it, since the blank "
            "belongs to the next token."
        )


@dataclass(frozen=True)
class Opening:
    """A beginning of a text that is continued by sampling."""

    id: str
    text: str


def openings(path: Path = PROMPTS / "openings.yaml") -> list[Opening]:
    """The openings of chapter 4."""
    found = [Opening(**entry) for entry in fields(path, "openings", ("id", "text"))]
    for opening in found:
        no_blank(path, opening.id, opening.text)
    return found
