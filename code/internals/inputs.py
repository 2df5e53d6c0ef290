"""The prompts in `data/`, which a user may edit: what they hold, and whether it is right.

A wrong edit is answered by one sentence that names the file and the line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internals.datafiles import InputError, fault, fields
from internals.paths import DATA

__all__ = ["InputError", "fields"]

PROMPTS = DATA / "prompts"
QUESTIONS = DATA / "questions"
WORDS = DATA / "words"


@dataclass(frozen=True)
class Sample:
    """A text whose tokenization is shown."""

    id: str
    title: str
    text: str
    lang: str = "en"
    """Language as BCP 47 names it: `mul` for several, `zxx` for none."""


_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def samples(path: Path = PROMPTS / "samples.yaml") -> list[Sample]:
    """The texts of chapter 2.

    Raises:
        InputError: as `fields`; also for what is no name of a language.
    """
    entries = fields(path, "samples", ("id", "title", "text"), optional=("lang",))
    found = [Sample(**entry) for entry in entries]
    for sample in found:
        if not _LANGUAGE.fullmatch(sample.lang):
            raise fault(
                path, sample.id, f"`lang` is {sample.lang!r}; write it as `en`, `hi` or `zh-Hant`."
            )
    return found


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


@dataclass(frozen=True)
class Trick:
    """A trick or ambiguous question that a model is asked in so many words."""

    id: str
    kind: str
    text: str
    """The question as a text to continue."""
    note: str
    """What is right."""


def tricks(path: Path = QUESTIONS / "tricks10.yaml") -> list[Trick]:
    """The questions that chapter 5 shows with their answers."""
    names = ("id", "kind", "text", "note")
    found = [Trick(**entry) for entry in fields(path, "tricks", names)]
    for trick in found:
        no_blank(path, trick.id, trick.text)
    return found


REAL = ("well_known", "little_known")
INVENTED = "invented"


@dataclass(frozen=True)
class Knowable:
    """A beginning about something that exists, or about something of which only the name does."""

    form: str
    group: str
    """`well_known`, `little_known` or `invented`."""
    name: str
    text: str


def answerable(path: Path = QUESTIONS / "answerable.yaml") -> list[Knowable]:
    """Questions with and without an answer, as many of each in every form.

    Raises:
        InputError: as `fields`; also for a form without its place for a name, names that are not
            written as in the other forms, a name that comes twice, or unequal numbers.
    """
    found = []
    for entry in fields(path, "forms", ("id", "text"), others=(*REAL, INVENTED)):
        id, text = entry["id"], entry["text"]
        no_blank(path, id, text)
        if text.count("{}") != 1:
            raise fault(path, id, f"the text of {id!r} needs {{}} once, in the place of the name.")
        for group in (*REAL, INVENTED):
            if not _are_texts(entry[group]):
                raise fault(path, id, f"`{group}` of {id!r} must hold a list of names.")
        real = [name for group in REAL for name in entry[group]]
        if not len(entry[INVENTED]) == len({*entry[INVENTED]} - {*real}) == len({*real}):
            raise fault(
                path, id, f"{id!r} needs as many invented names as real ones, each of them once."
            )
        found += [
            Knowable(id, group, name, text.replace("{}", name))
            for group in (*REAL, INVENTED)
            for name in entry[group]
        ]
    return found


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(v and isinstance(v, str) for v in value)


def categories(path: Path = WORDS / "categories.yaml") -> list[tuple[str, str]]:
    """Everyday words, each with its category.

    Raises:
        InputError: as `fields`; also for a category of one word, or a word that comes twice.
    """
    found: list[tuple[str, str]] = []
    for entry in fields(path, "categories", ("id", "words")):
        words = entry["words"].split()
        twice = {*words} & {word for word, _ in found}
        if len({*words}) < max(2, len(words)) or twice:
            raise fault(path, entry["id"], f"{entry['id']!r} needs two words or more, each once.")
        found += [(word, entry["id"]) for word in words]
    return found


def senses(path: Path = WORDS / "senses.yaml") -> list[tuple[str, int, str]]:
    """Words of two senses: word, number of the sense, and a sentence that ends with the word.

    Raises:
        InputError: as `fields`; also for a sense without two such sentences.
    """
    found = []
    for entry in fields(path, "words", ("id",), others=("first", "second")):
        word = entry["id"]
        for sense, name in enumerate(("first", "second")):
            texts = entry[name]
            if not _are_texts(texts) or [text.endswith(f" {word}") for text in texts] != [True] * 2:
                what = f"`{name}` of {word!r} must be two sentences that end with the word."
                raise fault(path, word, what)
            found += [(word, sense, text) for text in texts]
    return found
