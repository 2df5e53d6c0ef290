"""The questions of chapter 5 in `data/questions/`, read and checked; students edit these files.

A wrong edit is answered by one sentence that names the file, the line and the remedy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from internals.datafiles import fault, fields
from internals.inputs import no_blank
from internals.paths import DATA

QUESTIONS = DATA / "questions"
PAIRS = QUESTIONS / "pairs.yaml"
AMBIGUITY = QUESTIONS / "ambiguity.yaml"
PARAPHRASES = 3
"""Fewest wordings of a pair."""
ITEMS = 6
"""Fewest pairs of a family and fewest ambiguous words: with fewer no test could find anything."""


@dataclass(frozen=True)
class TrickPair:
    """A trick question and its control in several wordings, with two competing continuations."""

    id: str
    family: str
    control_right: str
    """Right after the control; the other one of the two continuations is wrong there."""
    trick_right: str
    trap: str
    """The tempting mistake after the trick."""
    paraphrases: tuple[tuple[str, str], ...]
    """(control, trick) in each wording."""

    @property
    def switches(self) -> bool:
        """Whether the trick changes which continuation is right; else it only tempts."""
        return self.control_right == self.trap


def trick_pairs(path: Path = PAIRS) -> list[TrickPair]:
    """Pairs of trick and control.

    Raises:
        InputError: for an entry that is not as the head of the file says, or a family with too few
            pairs.
    """
    names = ("id", "family", "control_right", "trick_right", "trap")
    found = []
    for entry in fields(path, "pairs", names, others=("paraphrases",)):
        pair = TrickPair(
            **{name: entry[name] for name in names},
            paraphrases=_paraphrases(path, entry["id"], entry["paraphrases"]),
        )
        _check_answers(path, pair)
        found.append(pair)
    for family in {pair.family for pair in found}:
        size = sum(pair.family == family for pair in found)
        if size < ITEMS:
            raise fault(
                path,
                next(pair.id for pair in found if pair.family == family),
                f"the family {family!r} has {size} pairs; give it {ITEMS} or more, since no test "
                "finds anything with fewer.",
            )
    return found


def _paraphrases(path: Path, id: str, entries: Any) -> tuple[tuple[str, str], ...]:
    wrong = partial(fault, path, id)
    if not isinstance(entries, list) or len(entries) < PARAPHRASES:
        raise wrong(f"{id!r} needs {PARAPHRASES} paraphrases or more, each with its trick.")
    rows = []
    for number, entry in enumerate(entries, start=1):
        texts = _texts(path, id, f"paraphrase {number}", entry, "control", "trick")
        for text in texts:
            no_blank(path, id, text)
        if texts[0] == texts[1]:
            raise wrong(f"{id!r} has the same text as control and trick; change the trick.")
        rows.append(texts)
    if len(set(rows)) < len(rows):
        raise wrong(f"{id!r} has the same paraphrase twice; reword one of them.")
    return tuple(rows)


def _texts(path: Path, id: str, what: str, entry: Any, *names: str) -> tuple[str, str]:
    """Two text fields of a small mapping that has no others."""
    good = isinstance(entry, dict) and set(entry) == set(names)
    if not good or not all(isinstance(v, str) and v for v in entry.values()):
        shape = ", ".join(f'{name}: "…"' for name in names)
        line = getattr(entry, "line", id)
        raise fault(path, line, f"{what} of {id!r} must be written {{{shape}}}, texts in quotes.")
    first, second = (entry[name] for name in names)
    return first, second


def _check_answers(path: Path, pair: TrickPair) -> None:
    for text in (pair.trick_right, pair.trap):
        _no_blank_around(path, pair.id, text)
    if pair.trap == pair.trick_right:
        raise fault(
            path, pair.id, f"the trap of {pair.id!r} is its right continuation; they must differ."
        )
    if pair.control_right not in (pair.trick_right, pair.trap):
        raise fault(
            path,
            pair.id,
            f"in {pair.id!r} `control_right` must be the same text as `trick_right` or `trap`, so "
            "that both sides compare the same two continuations.",
        )


def _no_blank_around(path: Path, id: str, text: str) -> None:
    if text != text.strip():
        raise fault(
            path,
            id,
            f"the continuation {text!r} of {id!r} begins or ends with a blank; remove it, the "
            "program puts it there.",
        )


@dataclass(frozen=True)
class AmbiguousWord:
    """A word with two readings, and two contexts that lead to one of them each."""

    id: str
    word: str
    question: str
    continuations: tuple[str, str]
    """Of the first and of the second reading."""
    contexts: tuple[str, str]
    """Sentences that lead to the first and to the second reading."""


def ambiguous_words(path: Path = AMBIGUITY) -> list[AmbiguousWord]:
    """Ambiguous words with their contexts.

    Raises:
        InputError: for an entry that is not as the head of the file says, or too few of them.
    """
    found = []
    for entry in fields(path, "items", ("id", "word", "question"), others=("first", "second")):
        id = entry["id"]
        no_blank(path, id, entry["question"])
        sides = [
            _texts(path, id, f"`{side}`", entry[side], "continuation", "context")
            for side in ("first", "second")
        ]
        for continuation, _ in sides:
            _no_blank_around(path, id, continuation)
        (one, first), (two, second) = sides
        item = AmbiguousWord(id, entry["word"], entry["question"], (one, two), (first, second))
        _check_word(path, item)
        found.append(item)
    if len(found) < ITEMS:
        raise fault(path, 1, f"the file has {len(found)} items; give it {ITEMS} or more.")
    return found


def _check_word(path: Path, item: AmbiguousWord) -> None:
    wrong = partial(fault, path, item.id)
    if item.continuations[0] == item.continuations[1]:
        raise wrong(f"both continuations of {item.id!r} are the same; they must differ.")
    if item.word.lower() not in item.question.lower().split():
        raise wrong(
            f"the question of {item.id!r} lacks the word {item.word!r} as a word of its own."
        )
    for context in item.contexts:
        if item.word.lower() in re.findall(r"\w+", context.lower()):
            raise wrong(
                f"a context of {item.id!r} holds the ambiguous word itself; only the question may."
            )
