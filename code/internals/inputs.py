"""The prompts in `data/`, which a user may edit: what they hold, and whether it is right.

A wrong edit is answered by one sentence that names the file and the line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from internals.datafiles import InputError, fault, fields
from internals.paths import DATA

__all__ = ["InputError", "fields"]

PROMPTS = DATA / "prompts"


@dataclass(frozen=True)
class Sample:
    """A text whose tokenization is shown."""

    id: str
    title: str
    text: str


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
        raise fault(path, 1, "the file needs one prompt with `id: main`, which is shown in full.")
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
        same = len(first) == len(second)
        if not same or sum(a != b for a, b in zip(first, second, strict=True)) != 1:
            raise fault(
                path,
                pair.id,
                f"the texts of {pair.id!r} must have equally many words and differ in exactly one.",
            )
    return found


def no_blank(path: Path, id: str, text: str) -> None:
    """A blank at the end would be a token of its own and change the question."""
    if text != text.rstrip():
        raise fault(
            path,
            id,
            f"the text of {id!r} ends with a blank; remove it, since the blank belongs to the "
            "next token.",
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
