"""Small edits of a text and what they cost the rest of it, beside a control edit.

The loss is taken on the text *after* the edit, byte for byte the same in every version, so that
only the context differs. Unit: the sentence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.measure import effort
from internals.measure.tokenization.measured import sentences, words
from internals.measure.windows import HELD_OUT

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

LOOK_ALIKES = {"a": "а", "e": "е", "o": "о", "c": "с", "p": "р"}
"""Latin letters and Cyrillic ones that look the same."""

Rng = np.random.Generator
Edit = Callable[[str, Rng], str]


def swapped(word: str, rng: Rng) -> str:
    """Two neighbouring inner letters change places (a typing error)."""
    i = int(rng.integers(1, len(word) - 2))
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def look_alike(word: str, rng: Rng) -> str:
    """One letter from another alphabet that looks the same."""
    places = [i for i, c in enumerate(word) if c in LOOK_ALIKES]
    if not places:
        return word
    i = int(rng.choice(places))
    return word[:i] + LOOK_ALIKES[word[i]] + word[i + 1 :]


def another_word(word: str, rng: Rng) -> str:
    """A common word of the same length: as many characters change, in the usual tokens."""
    same = [w for w in words(3000) if len(w) == len(word) and w != word.lower()]
    return str(rng.choice(same)) if same else word


EDITS: dict[str, Edit] = {
    "another word (control)": another_word,
    "letters swapped": swapped,
    "upper case": lambda word, rng: word.upper(),
    "look-alike letter": look_alike,
    "split by a blank": lambda word, rng: word[: len(word) // 2] + " " + word[len(word) // 2 :],
    "two blanks before": lambda word, rng: " " + word,
}


@measurement(files=[HELD_OUT, "data/words/counts.csv"])
def edits(model: ModelHandle, n: int = 160, seed: int = 0) -> pd.DataFrame:
    """Small edits and the loss of the text after them

    Columns: ``sentence``, ``edit``, ``extra_pieces`` (tokens of the edited beginning minus those of
    the original one), ``change`` (bits per byte of the rest, minus the original's).
    """
    from internals.measure.scoring import mean_surprisal

    loaded = model.loaded()
    rng = np.random.default_rng([seed, 50])
    jobs: list[tuple[int, str, str, str]] = []
    for number, text in enumerate(sentences("stories", effort.units(loaded.facts, n, least=50))):
        place = _place(text)
        if place is None:
            continue
        before, word, rest = place
        jobs.append((number, "original", before + word, rest))
        for name, edit in EDITS.items():
            changed = edit(word, rng)
            if changed != word:
                jobs.append((number, name, before + changed, rest))
    from internals.measure.capability import start_ids

    heads = [[*start_ids(loaded), *_ids(loaded, head)] for _, _, head, _ in jobs]
    rests = [_ids(loaded, rest) for *_, rest in jobs]
    nats = mean_surprisal(loaded.model, heads, rests)
    sizes = np.array([len(rest.encode()) for *_, rest in jobs])
    table = pd.DataFrame(
        {
            "sentence": [j[0] for j in jobs],
            "edit": [j[1] for j in jobs],
            "pieces": [len(h) for h in heads],
            "bits": nats * np.array([len(r) for r in rests]) / math.log(2) / sizes,
        }
    )
    base = table[table["edit"] == "original"].set_index("sentence")
    table = table[table["edit"] != "original"].copy()
    table["extra_pieces"] = table["pieces"] - table["sentence"].map(base["pieces"])
    table["change"] = table["bits"] - table["sentence"].map(base["bits"])
    return table[["sentence", "edit", "extra_pieces", "change"]].reset_index(drop=True)


def _ids(loaded: LoadedModel, text: str) -> list[int]:
    room = loaded.facts.context_length // 2 - 2
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])[:room]


def _place(text: str) -> tuple[str, str, str] | None:
    """The text before a word of the first half, the word, and the rest from the next blank on."""
    parts = text.split(" ")
    for i in range(1, len(parts) // 2 + 1):
        if len(parts[i]) >= 5 and parts[i].isascii() and parts[i].islower() and parts[i].isalpha():
            before = " ".join(parts[:i]) + " "
            rest = " " + " ".join(parts[i + 1 :])
            return (before, parts[i], rest) if len(rest) > 20 else None
    return None
