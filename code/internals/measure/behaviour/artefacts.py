"""What an unusual split costs: facts asked in other tokens, words edited in a text, spelling, sums.

Every change that should cost much stands beside one that changes as much elsewhere. The units are
the fact, the document and the word.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.behaviour import finite
from internals.measure.behaviour.rules import added
from internals.measure.windows import HELD_OUT, documents
from internals.paths import DATA
from internals.tokens import prompt_ids, start_ids, token_bytes, word_ids

if TYPE_CHECKING:
    from internals.models import ModelHandle

Rng = np.random.Generator
USUAL = "as usual"
BLANK, BLANK_CONTROL = "a blank at the end", "a blank more in the middle"
TYPO, TYPO_CONTROL = "“captial”", "“Teh”"
SPLIT, SPLIT_CONTROL = "“capital” cut elsewhere, same text", "“of” cut elsewhere, same text"
CAPITALS = "all in capitals"
ASKED: dict[str, tuple[str, ...]] = {
    USUAL: ("The capital of {} is",),
    BLANK: ("The capital of {} is ",),
    BLANK_CONTROL: ("The capital  of {} is",),
    TYPO: ("The captial of {} is",),
    TYPO_CONTROL: ("Teh capital of {} is",),
    SPLIT: ("The cap", "ital of {} is"),
    SPLIT_CONTROL: ("The capital o", "f {} is"),
    CAPITALS: ("THE CAPITAL OF {} IS",),
}
"""A fact in several writings; parts are cut into tokens one by one."""
CONTROL_OF = {BLANK: BLANK_CONTROL, TYPO: TYPO_CONTROL, SPLIT: SPLIT_CONTROL}


@measurement(files=["data/facts/countries.csv"])
def asked(model: ModelHandle, n: int = 36) -> pd.DataFrame:
    """One fact, written in several ways

    Columns: ``writing`` (of :data:`ASKED`), ``country``, ``tokens`` (of the prompt), ``p``
    (probability of the capital's first token), ``right`` (it is the first choice of all tokens).
    """
    from internals.measure.scoring import batches, logits_at, padded

    loaded = model.loaded()
    facts = well_known(effort.units(loaded.facts, n, least=n))
    rows, heads, answers = [], [], []
    for writing, parts in ASKED.items():
        for country, capital in facts:
            name = country.upper() if writing == CAPITALS else country
            heads.append(joined(loaded.tokenizer, [part.format(name) for part in parts]))
            answer = capital.upper() if writing == CAPITALS else capital
            answers.append(_answer(loaded.tokenizer, answer, blank=writing != BLANK))
            rows.append((writing, country, len(heads[-1])))
    table = pd.DataFrame(rows, columns=["writing", "country", "tokens"]).assign(p=0.0, right=False)
    if table["tokens"].max() > loaded.facts.context_length:
        raise NotApplicable("the prompts do not fit into the context")
    for group in batches(table["tokens"].tolist(), 1024):
        ids = padded([heads[i] for i in group], loaded.model.device)
        ends = [len(heads[i]) - 1 for i in group]
        shares = logits_at(loaded.model, ids, list(range(len(group))), ends).softmax(-1).cpu()
        wanted = [answers[i] for i in group]
        table.loc[group, "p"] = finite(shares[range(len(group)), wanted].numpy())
        table.loc[group, "right"] = shares.argmax(-1).numpy() == np.array(wanted)
    return table


def well_known(n: int) -> list[tuple[str, str]]:
    """Country and capital of well-known countries whose name does not give the answer."""
    from fable.dataset import countries
    from fable.designed import WELL_KNOWN

    capitals = {row["country"]: row["capital"] for row in countries()}
    known = [(c, capitals[c]) for c in WELL_KNOWN if capitals.get(c)]
    return [(c, a) for c, a in known if " " not in c and a[:4] not in c][:n]


def joined(tokenizer: Any, parts: list[str]) -> list[int]:
    """Ids of parts of a text that are cut into tokens one by one, with the usual start."""
    first, *others = parts
    ids = prompt_ids(tokenizer, first)
    for part in others:
        ids += spelled(tokenizer, part)
    return ids


def spelled(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that goes on within a word, so without a blank before it.

    Raises:
        NotApplicable: the tokenizer puts a blank there.
    """
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not ids or token_bytes(tokenizer, ids[0])[:1] == b" ":
        raise NotApplicable("the tokenizer puts a blank before every text")
    return ids


def _answer(tokenizer: Any, answer: str, *, blank: bool) -> int:
    """First id of an answer, after a blank of its own or after one that was typed."""
    return (word_ids(tokenizer, answer) if blank else spelled(tokenizer, answer))[0]


@dataclass(frozen=True)
class Place:
    """A word in a sentence of a document."""

    before: str
    word: str
    after: list[str]
    """Words that follow."""


EDITED = "as it stands"
OTHER = "another word (control)"
TWO_LETTERS = "two letters swapped"
LOOK_ALIKE = "one look-alike letter"
UPPER = "in capitals"
TWO_BLANKS = "two blanks before it"
HALVES, LETTERS = "cut in two, same text", "cut into letters, same text"
CYRILLIC = {"a": "а", "e": "е", "o": "о", "c": "с", "p": "р"}
FOLLOWING, LEAST_FOLLOWING = 8, 5
"""Tokens after the word that are scored."""
BEFORE = 9
"""Words before it, at most."""


@measurement(files=[HELD_OUT, "data/words/counts.csv"])
def edits(model: ModelHandle, n: int = 24, seed: int = 0) -> pd.DataFrame:
    """One word of a text written otherwise, and what follows it

    One place in each of ``n`` held-out documents. Columns: ``document``, ``word``, ``edit``,
    ``bits`` (mean surprisal of the following tokens, the same in every version).
    """
    from internals.measure.scoring import mean_surprisal

    loaded = model.loaded()
    tokenizer, rng = loaded.tokenizer, np.random.default_rng([seed, 50])
    common = common_words()
    rows: list[tuple[int, str, str]] = []
    heads, tails = [], []
    for number, text in enumerate(documents()):
        place = find_place(text, common)
        if place is None or len({row[0] for row in rows}) == effort.units(loaded.facts, n, least=n):
            continue
        tail = [i for word in place.after for i in word_ids(tokenizer, word)][:FOLLOWING]
        versions = written(tokenizer, place, common, rng)
        if max(map(len, versions.values())) + len(tail) > loaded.facts.context_length:
            continue
        rows += [(number, place.word, edit) for edit in versions]
        heads += list(versions.values())
        tails += [tail] * len(versions)
    table = pd.DataFrame(rows, columns=["document", "word", "edit"])
    if table["document"].nunique() < 3:
        raise NotApplicable("too few sentences fit into the context")
    bits = mean_surprisal(loaded.model, heads, tails, 1024) / math.log(2)
    return table.assign(bits=finite(bits))


def common_words(n: int = 4000) -> list[str]:
    """The commonest plain words of five letters or more."""
    table = pd.read_csv(DATA / "words" / "counts.csv", keep_default_na=False).head(n)
    return table.loc[table["word"].str.fullmatch("[a-z]{5,}"), "word"].tolist()


def find_place(text: str, common: list[str]) -> Place | None:
    """The first common word with a letter that has a look-alike, well inside a sentence."""
    known = set(common)
    for sentence in re.split(r"(?<=[.!?])\s+", text.replace("\n", " ")):
        words = sentence.split(" ")
        for i in range(4, len(words) - LEAST_FOLLOWING):
            if words[i] in known and set(words[i]) & set(CYRILLIC):
                before = " ".join(words[max(0, i - BEFORE) : i])
                return Place(before, words[i], words[i + 1 : i + 1 + FOLLOWING])
    return None


def written(tokenizer: Any, place: Place, common: list[str], rng: Rng) -> dict[str, list[int]]:
    """Ids up to the end of the word, by edit; a split that the vocabulary lacks is left out."""
    word = place.word
    others = [w for w in common if len(w) == len(word) and w != word]
    i = int(rng.integers(1, len(word) - 2))
    letter = next(k for k, c in enumerate(word) if c in CYRILLIC)
    forms = {
        EDITED: f" {word}",
        OTHER: f" {others[int(rng.integers(len(others)))]}",
        TWO_LETTERS: f" {word[:i]}{word[i + 1]}{word[i]}{word[i + 2 :]}",
        LOOK_ALIKE: f" {word[:letter]}{CYRILLIC[word[letter]]}{word[letter + 1 :]}",
        UPPER: f" {word.upper()}",
        TWO_BLANKS: f"  {word}",
    }
    found = {name: prompt_ids(tokenizer, place.before + form) for name, form in forms.items()}
    start = prompt_ids(tokenizer, place.before)
    for name, cut in ((HALVES, [word[: len(word) // 2], word[len(word) // 2 :]]), (LETTERS, word)):
        pieces = same_text(tokenizer, list(cut))
        if pieces is not None and pieces != word_ids(tokenizer, word):
            found[name] = [*start, *pieces]
    return found


def same_text(tokenizer: Any, parts: list[str]) -> list[int] | None:
    """Ids of a word that is cut at given places, with a blank before it; None if they stand for
    another text."""
    try:
        ids = [*word_ids(tokenizer, parts[0])]
        for part in parts[1:]:
            ids += spelled(tokenizer, part)
    except NotApplicable:
        return None
    raw = b"".join(token_bytes(tokenizer, i) for i in ids)
    return ids if raw.strip() == "".join(parts).encode() else None


SHOWN = "stone: s t o n e\nlight: l i g h t\n"
"""Two examples of the task."""
SPELLED = (
    "bread garden window market doctor bridge summer horse river chair house money paper table "
    "plant winter basket copper dinner engine farmer guitar hammer island cloud knife letter "
    "needle orange pencil queen sugar ticket village"
)
WHOLE, CUT = "whole word", "cut into letters, same text"


@measurement
def spelling(model: ModelHandle) -> pd.DataFrame:
    """Words to be spelled, seen whole or letter by letter

    Columns: ``word``, ``seen`` (whole word; cut into letters, same text), ``letters`` (share of its
    letters that greedy decoding writes at their places). Words that are one token only.
    """
    from internals.generation.generate import generate

    loaded = model.loaded()
    tokenizer = loaded.tokenizer
    start, rows, heads = prompt_ids(tokenizer, SHOWN), [], []
    words = SPELLED.split()
    for word in words[: effort.units(loaded.facts, len(words), least=len(words))]:
        whole = spelled(tokenizer, word)
        if len(word_ids(tokenizer, word)) > 1 or len(whole) == len(word):
            continue
        letters = [i for c in word for i in spelled(tokenizer, c)]
        for name, ids in ((WHOLE, whole), (CUT, letters)):
            rows.append((word, name))
            heads.append([*start, *ids, *spelled(tokenizer, ":")])
    if len(rows) < 15:
        raise NotApplicable("the vocabulary has too few of these words as one token")
    steps = max(len(word_ids(tokenizer, " ".join(row[0]))) for row in rows)
    if max(map(len, heads)) + steps > loaded.facts.context_length:
        raise NotApplicable("a question does not fit into the context")
    made = generate(loaded.model, heads, steps).ids
    texts = [tokenizer.decode(list(ids)).split("\n")[0].replace(" ", "") for ids in made]
    table = pd.DataFrame(rows, columns=["word", "seen"])
    shares = [
        sum(a == b for a, b in zip(text, word, strict=False)) / len(word)
        for text, word in zip(texts, table["word"], strict=True)
    ]
    return table.assign(letters=shares)


TOGETHER, DIGITS = "as they come", "cut into digits, same text"


@measurement(files=["data/training/sums.csv"])
def digits(model: ModelHandle, n: int = 100, seed: int = 0) -> pd.DataFrame:
    """Sums whose numbers are cut into digits

    Sums of numbers of two digits that the training data of the embedded models hold. Columns:
    ``a``, ``b``, ``cut`` (as they come; cut into digits, same text), ``right`` (greedy decoding
    writes the sum).
    """
    loaded = model.loaded()
    tokenizer, start = loaded.tokenizer, start_ids(loaded.tokenizer)
    table = pd.read_csv(DATA / "training" / "sums.csv")
    table = table[(table["sums"] > 0) & (table["a"] > 9) & (table["b"] > 9)]
    table = table.iloc[np.random.default_rng([seed, 55]).permutation(len(table))[:n]]
    rows, heads = [], []
    for a, b in zip(table["a"], table["b"], strict=True):
        usual = [*start, *spelled(tokenizer, f"{a} + {b} =")]
        first = [i for digit in str(a) for i in spelled(tokenizer, digit)]
        second = same_text(tokenizer, list(str(b))) or []
        forced = [*start, *first, *word_ids(tokenizer, "+"), *second, *word_ids(tokenizer, "=")]
        if tokenizer.decode(forced) == tokenizer.decode(usual) and len(forced) > len(usual):
            rows += [(a, b, TOGETHER), (a, b, DIGITS)]
            heads += [usual, forced]
    if not rows:
        raise NotApplicable("the tokenizer cuts numbers into digits anyway")
    found = pd.DataFrame(rows, columns=["a", "b", "cut"])
    return found.assign(right=added(loaded, heads, (found["a"] + found["b"]).tolist()))
