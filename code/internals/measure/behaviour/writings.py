"""Unusual ways to write a word, and ordinary words that differ in as many letters.

Text only: no model is run here. Lower-case Latin words come in; what stands for a word includes the
blank before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from internals.measure.tokenization.measured import words

LOOK_ALIKES = {"a": "а", "e": "е", "o": "о", "c": "с", "p": "р"}
"""Latin letters and Cyrillic ones that look the same."""
ONE, TWO, ALL = "one letter", "two letters", "all letters"
CONTROLS = {name: f"another word, {name} (control)" for name in (ONE, TWO, ALL)}
"""Controls by the number of characters that they change."""

Rng = np.random.Generator


def swapped(word: str, rng: Rng) -> str:
    """Two neighbouring inner letters change places (a typing error)."""
    i = int(rng.integers(1, len(word) - 2))
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def doubled(word: str, rng: Rng) -> str:
    """An inner letter is typed twice."""
    i = int(rng.integers(1, len(word) - 1))
    return word[:i] + word[i] + word[i:]


def left_out(word: str, rng: Rng) -> str:
    """An inner letter is missing."""
    i = int(rng.integers(1, len(word) - 1))
    return word[:i] + word[i + 1 :]


def look_alike(word: str, rng: Rng) -> str:
    """One letter from another alphabet that looks the same; the word itself if it has none."""
    places = [i for i, c in enumerate(word) if c in LOOK_ALIKES]
    if not places:
        return word
    i = int(rng.choice(places))
    return word[:i] + LOOK_ALIKES[word[i]] + word[i + 1 :]


def invisible(word: str, rng: Rng) -> str:
    """A zero-width space in the middle: no reader sees it."""
    return word[: len(word) // 2] + "\u200b" + word[len(word) // 2 :]


def full_width(word: str) -> str:
    """Letters as wide as Chinese characters (U+FF41 and so on)."""
    return "".join(chr(ord(c) - ord("a") + 0xFF41) for c in word)


def mathematical(word: str) -> str:
    """Bold letters of mathematics (U+1D41A and so on), as in decorated names."""
    return "".join(chr(ord(c) - ord("a") + 0x1D41A) for c in word)


@dataclass(frozen=True)
class Edit:
    """A way to write a word and the blank before it."""

    family: str
    control: str
    """How many letters its control changes: a key of :data:`CONTROLS`."""
    write: Callable[[str, Rng], str]
    """From a word to what stands for it, the blank before it included."""


EDITS: dict[str, Edit] = {
    "letters swapped": Edit("typing error", TWO, lambda w, rng: " " + swapped(w, rng)),
    "letter typed twice": Edit("typing error", ONE, lambda w, rng: " " + doubled(w, rng)),
    "letter missing": Edit("typing error", ONE, lambda w, rng: " " + left_out(w, rng)),
    "no blank before": Edit("blanks", ONE, lambda w, rng: w),
    "two blanks before": Edit("blanks", ONE, lambda w, rng: "  " + w),
    "split by a blank": Edit(
        "blanks", ONE, lambda w, rng: f" {w[: len(w) // 2]} {w[len(w) // 2 :]}"
    ),
    "first letter capital": Edit("case", ONE, lambda w, rng: " " + w.capitalize()),
    "upper case": Edit("case", ALL, lambda w, rng: " " + w.upper()),
    "look-alike letter": Edit("Unicode", ONE, lambda w, rng: " " + look_alike(w, rng)),
    "invisible character": Edit("Unicode", ONE, lambda w, rng: " " + invisible(w, rng)),
    "full-width letters": Edit("Unicode", ALL, lambda w, rng: " " + full_width(w)),
    "mathematical letters": Edit("Unicode", ALL, lambda w, rng: " " + mathematical(w)),
}


class Lexicon:
    """Common words by length, with the number of their tokens after a blank."""

    def __init__(self, tokenizer: Any, n: int = 6400) -> None:
        common = words(n)
        rows = tokenizer([f" {word}" for word in common], add_special_tokens=False)["input_ids"]
        self.pieces = dict(zip(common, map(len, rows), strict=True))
        self.by_length: dict[int, list[str]] = defaultdict(list)
        for word in common:
            self.by_length[len(word)].append(word)

    def others(self, word: str, letters: str) -> list[str]:
        """Words of the same length in which one, two or all letters differ.

        Those of as many tokens as ``word``, if there are any: the control is to be ordinary.
        """
        wanted = {ONE: 1, TWO: 2, ALL: len(word)}[letters]
        same = self.by_length[len(word)]
        table = np.array(same, dtype=f"U{len(word)}").view("U1").reshape(len(same), -1)
        differing = (table != np.array(list(word))).sum(1)
        found = [same[i] for i in np.flatnonzero(differing == wanted)]
        usual = [w for w in found if self.pieces[w] == self.pieces[word]]
        return usual or found


@dataclass(frozen=True)
class Place:
    """A word in a sentence."""

    before: str
    """Text up to the blank before the word, which is left out."""
    word: str
    after: str
    """The rest, beginning with a blank."""


def find_place(text: str, lexicon: Lexicon) -> Place | None:
    """The first word of the first half that every edit and every control can change."""
    parts = text.split(" ")
    for i in range(1, len(parts) // 2 + 1):
        word = parts[i]
        plain = len(word) >= 5 and word.isascii() and word.islower() and word.isalpha()
        if not plain or word not in lexicon.pieces or not set(word) & set(LOOK_ALIKES):
            continue
        if all(lexicon.others(word, letters) for letters in CONTROLS):
            return Place(" ".join(parts[:i]), word, " " + " ".join(parts[i + 1 :]))
    return None
