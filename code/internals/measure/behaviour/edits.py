"""One word of a sentence, written in unusual ways, and what that costs the text after it.

The text after the word is the same in every version, byte for byte and token for token, so that
only the context differs. Every edit has a control that changes as many characters and is an
ordinary word; forced splits change no character at all. Unit: the sentence, one of a document.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour.resplit import (
    as_letters,
    continuation,
    headed,
    one_sentence_each,
)
from internals.measure.tokenization.measured import words
from internals.measure.tokenization.segmentation import bytes_to_id, forced_split
from internals.measure.windows import HELD_OUT, utf8_bytes
from internals.tokens import pieces

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

LOOK_ALIKES = {"a": "а", "e": "е", "o": "о", "c": "с", "p": "р"}
"""Latin letters and Cyrillic ones that look the same."""
FOLLOWING = 10
"""Tokens after the word that are scored, at most."""
LEAST_FOLLOWING = 5
ONE, TWO, ALL = "one letter", "two letters", "all letters"
CONTROLS = {name: f"another word, {name} (control)" for name in (ONE, TWO, ALL)}
"""Controls by the number of characters that they change."""
SAME_BYTES = ("split in two", "split into letters")

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
        self.pieces: dict[str, int] = {}
        self.by_length: dict[int, list[str]] = defaultdict(list)
        for word in words(n):
            self.pieces[word] = len(continuation(tokenizer, f" {word}") or ())
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


def versions(loaded: LoadedModel, place: Place, lexicon: Lexicon, rng: Rng) -> dict[str, list[int]]:
    """Ids up to the end of the word, by edit; ``original`` is the sentence as it is."""
    found = {"original": headed(loaded, f"{place.before} {place.word}")}
    for letters, name in CONTROLS.items():
        other = str(rng.choice(lexicon.others(place.word, letters)))
        found[name] = headed(loaded, f"{place.before} {other}")
    for name, edit in EDITS.items():
        found[name] = headed(loaded, place.before + edit.write(place.word, rng))
    return found


def same_bytes(
    loaded: LoadedModel, place: Place, vocabulary: dict[bytes, int], rng: Rng
) -> dict[str, list[int]]:
    """Ids of the unchanged text with the word cut in two, or into its letters, where possible."""
    text = f"{place.before} {place.word}"
    found = pieces(loaded.tokenizer, text, split_special=True)
    own = [p for p in found if p.end > len(place.before)]
    start = headed(loaded, text)[: -len(own)]
    by_name: dict[str, list[int]] = {}
    if (two := forced_split(own, vocabulary, 1, rng)) is not None:
        by_name["split in two"] = [*start, *two.ids]
    whole = b"".join(p.raw for p in own) == f" {place.word}".encode()
    letters = as_letters(vocabulary, f" {place.word}") if whole else None
    if letters is not None:
        by_name["split into letters"] = [*start, *letters]
    return by_name


@measurement(files=[HELD_OUT, "data/words/counts.csv"])
def edits(model: ModelHandle, n: int = 80, seed: int = 0) -> pd.DataFrame:
    """One word written in unusual ways, and the text after it

    Columns: ``sentence`` (number of its document), ``word``, ``edit`` (controls among them),
    ``family``, ``control`` (name of the control edit; empty for controls and forced splits),
    ``extra_pieces`` (tokens beyond those of the original), ``change`` (bits per byte of the
    following tokens, minus the original's), ``accuracy_change`` (share of them that are the first
    choice, likewise).
    """
    from internals.measure.answers import piece_scores

    loaded = model.loaded()
    rng = np.random.default_rng([seed, 50])
    lexicon, vocabulary = Lexicon(loaded.tokenizer), bytes_to_id(loaded.tokenizer)
    wanted = effort.units(loaded.facts, n, least=50)
    jobs: list[dict[str, Any]] = []
    for number, texts in one_sentence_each():
        for place in filter(None, (find_place(text, lexicon) for text in texts)):
            tail = (continuation(loaded.tokenizer, place.after) or [])[:FOLLOWING]
            heads = versions(loaded, place, lexicon, rng)
            heads |= same_bytes(loaded, place, vocabulary, rng)
            longest = max(map(len, heads.values())) + len(tail)
            if len(tail) < LEAST_FOLLOWING or longest > loaded.facts.context_length:
                continue
            common = {"sentence": number, "word": place.word, "tail": tail}
            common["b"] = utf8_bytes(loaded, tail)
            jobs += [{**common, "edit": edit, "head": head} for edit, head in heads.items()]
            break
        if len({job["sentence"] for job in jobs}) == wanted:
            break
    columns = ["sentence", "word", "edit", "head", "tail", "b"]
    table = pd.DataFrame(jobs, columns=columns)
    if len(table):
        scores = piece_scores(loaded.model, list(zip(table["head"], table["tail"], strict=True)))
        by_job = scores.assign(hit=scores["rank"] == 0).groupby("pair")
        table["bits"] = -by_job["log_prob"].sum() / math.log(2) / table["b"]
        table["accuracy"] = by_job["hit"].mean()
    return _against_original(table)


def _against_original(table: pd.DataFrame) -> pd.DataFrame:
    """Changes against the unedited sentence."""
    table = table.reindex(columns=[*table.columns[:6], "bits", "accuracy"])
    table["pieces"] = table["head"].map(len)
    base = table[table["edit"] == "original"].set_index("sentence")
    table = table[table["edit"] != "original"].copy()
    for new, old in (
        ("extra_pieces", "pieces"),
        ("change", "bits"),
        ("accuracy_change", "accuracy"),
    ):
        table[new] = table[old] - table["sentence"].map(base[old])
    family = {name: edit.family for name, edit in EDITS.items()}
    family |= dict.fromkeys(CONTROLS.values(), "control") | dict.fromkeys(SAME_BYTES, "same bytes")
    table["family"] = table["edit"].map(family)
    control = {name: CONTROLS[edit.control] for name, edit in EDITS.items()}
    table["control"] = table["edit"].map(control).fillna("")
    kept = ["sentence", "word", "edit", "family", "control"]
    return table[[*kept, "extra_pieces", "change", "accuracy_change"]].reset_index(drop=True)


def costs(table: pd.DataFrame) -> pd.DataFrame:
    """One row an edit, by cost, intervals over sentences.

    Columns: ``edit``, ``family``, ``n``, ``pieces`` (mean of the extra ones), ``change``, ``low``,
    ``high`` (bits per byte), ``accuracy``, ``accuracy_low``, ``accuracy_high``, and against the
    control of as many characters, for edits that have one: ``excess``, ``excess_low``,
    ``excess_high`` (bits per byte), ``p`` (sign flips), ``adjusted`` (Benjamini–Hochberg).
    """
    wide = table.pivot(index="sentence", columns="edit", values="change")
    rows = []
    for (edit, family, control), part in table.groupby(["edit", "family", "control"], sort=False):
        bits = stats.bootstrap_ci(part["change"], unit="sentences")
        hits = stats.bootstrap_ci(part["accuracy_change"], unit="sentences")
        row = {"edit": edit, "family": family, "n": bits.n}
        row["pieces"] = float(part["extra_pieces"].mean())
        row |= {"change": bits.value, "low": bits.low, "high": bits.high}
        row |= {"accuracy": hits.value, "accuracy_low": hits.low, "accuracy_high": hits.high}
        if control:
            both = wide[[edit, control]].dropna()
            more = stats.paired_difference(both[edit], both[control], unit="sentences")
            p = stats.sign_flip_test(both[edit] - both[control], n_permutations=1999).p_value
            row |= {"excess": more.value, "excess_low": more.low, "excess_high": more.high, "p": p}
        rows.append(row)
    columns = ["edit", "family", "n", "pieces", "change", "low", "high"]
    columns += ["accuracy", "accuracy_low", "accuracy_high"]
    columns += ["excess", "excess_low", "excess_high", "p"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["adjusted"] = stats.benjamini_hochberg(frame["p"].astype(float))
    return frame.sort_values("change", ascending=False, ignore_index=True)


@dataclass(frozen=True)
class Summary:
    """What the edits cost, ready for the chapter."""

    costs: pd.DataFrame
    """As `costs`; empty if too few sentences can be edited."""
    by_pieces: stats.Estimate | None
    """Rank correlation of the change of the loss with the number of extra tokens, over edits
    (controls left out), resampling sentences."""
    more_cuts: stats.Estimate | None
    """Cost of a word cut into letters minus that of the same word cut in two, bits per byte."""
    n: int
    """Sentences."""


LEAST_SENTENCES = 10


@measurement
def summary(model: ModelHandle, seed: int = 0) -> Summary:
    """Costs of the edits with intervals"""
    table = edits(model, seed=seed)
    n = int(table["sentence"].nunique())
    if n < LEAST_SENTENCES:
        return Summary(costs(table.head(0)), None, None, n)
    own = table[table["family"] != "control"]
    related = stats.correlation(
        own["extra_pieces"], own["change"], clusters=own["sentence"].to_numpy(), unit="sentences"
    )
    wide = table.pivot(index="sentence", columns="edit", values="change")
    wide = wide.reindex(columns=list(SAME_BYTES)).dropna()
    more = None
    if len(wide) >= LEAST_SENTENCES:
        more = stats.paired_difference(wide[SAME_BYTES[1]], wide[SAME_BYTES[0]], unit="sentences")
    return Summary(costs(table), related, more, n)


def estimate(table: pd.DataFrame, edit: str, what: str = "change") -> stats.Estimate | None:
    """One cell of `costs` (``change``, ``accuracy`` or ``excess``); None if it is not there."""
    row = table[table["edit"] == edit]
    if row.empty or not math.isfinite(row[what].iloc[0]):
        return None
    r = row.iloc[0]
    low, high = ("low", "high") if what == "change" else (f"{what}_low", f"{what}_high")
    return stats.Estimate(r[what], r[low], r[high], int(r["n"]), "sentences", "BCa bootstrap")
