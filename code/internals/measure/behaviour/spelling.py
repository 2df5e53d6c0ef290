"""Does a model know the letters of its tokens? First, second and last letter, length, letter count.

Questions are crossed: two words with different right answers are asked both answers, and the score
is how much better each word likes its own. Whatever makes an answer likely for any word cancels,
so chance is exactly a half. The same words in single letters show what the tokenization hides.
Unit: the pair of words; every word is in one pair of a question.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour.resplit import as_letters, continuation, headed
from internals.measure.tokenization.measured import words
from internals.measure.tokenization.segmentation import bytes_to_id
from internals.tokens import token_bytes

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
TIMES = ("never", "once", "twice", "thrice")
ONE_TOKEN, LETTERS, TWIN = "one token", "single letters", "random twin"
TOLD, UNTOLD, ANY = "told in training", "never told", "common words"


@dataclass(frozen=True)
class Question:
    """One thing to ask about a word."""

    name: str
    prompts: tuple[str, ...]
    """``{w}`` is the word; asked in each wording, scores averaged."""
    answer: Callable[[str], str | None]
    """The right answer for a word; None if it is not asked."""


def _times(word: str) -> str | None:
    n = word.count("e")
    return TIMES[n] if n in (1, 2) else None


QUESTIONS = (
    Question(
        "first letter",
        ("The word {w} begins with", "The first letter of the word {w} is"),
        lambda w: w[0],
    ),
    Question("second letter", ("The second letter of the word {w} is",), lambda w: w[1]),
    Question(
        "last letter",
        ("The word {w} ends with", "The last letter of the word {w} is"),
        lambda w: w[-1],
    ),
    Question(
        "number of letters",
        ("The word {w} has", "The number of letters in the word {w} is"),
        lambda w: NUMBERS[len(w)] if len(w) < len(NUMBERS) else None,
    ),
    Question("number of e", ("In the word {w} the letter e stands",), _times),
)


@dataclass(frozen=True)
class Pair:
    """Two words with different right answers."""

    group: str
    first: str
    second: str
    answers: tuple[str, str]


def matched_pairs(
    chosen: list[str], answer: Callable[[str], str | None], n: int, group: str, seed: int
) -> list[Pair]:
    """Up to ``n`` disjoint pairs of words whose right answers differ, at random."""
    rng = np.random.default_rng([seed, 59])
    free = [(w, a) for w in chosen if (a := answer(w)) is not None]
    free = [free[int(i)] for i in rng.permutation(len(free))]
    found: list[Pair] = []
    while free and len(found) < n:
        word, own = free.pop()
        other = next((k for k, (_, a) in enumerate(free) if a != own), None)
        if other is not None:
            second, theirs = free.pop(other)
            found.append(Pair(group, word, second, (own, theirs)))
    return found


def word_groups(loaded: LoadedModel) -> dict[str, list[str]]:
    """Common words of four to eight letters that are one token after a blank, by group.

    Embedded models were told the letters of a few words, and of no others.
    """
    from fable.general import world

    whole = [w for w in words(3000) if 4 <= len(w) <= 8 and _is_token(loaded, w)]
    if not loaded.facts.carries_exposure:
        return {ANY: whole}
    told = [w for w in world()["things"] if _is_token(loaded, w)]
    return {UNTOLD: [w for w in whole if w not in world()["things"]], TOLD: told}


def _is_token(loaded: LoadedModel, word: str) -> bool:
    """Whether a word after a blank is one token, and not an unknown one."""
    ids = continuation(loaded.tokenizer, f" {word}") or []
    return len(ids) == 1 and token_bytes(loaded.tokenizer, ids[0]).strip() == word.encode()


@measurement(files=["data/words/counts.csv", "data/facts/world.yaml"])
def spelling(model: ModelHandle, n: int = 40, seed: int = 0) -> pd.DataFrame:
    """Letters of words: first, second and last, and how many

    Columns: ``question``, ``group`` (told in training, never told; or common words), ``form`` (one
    token, single letters, random twin), ``pair``, ``words``, ``margin`` (crossed log-odds of the
    right answers in bits, mean over wordings; chance is an even sign). Empty if the tokenizer has
    too few whole words.
    """
    loaded = model.loaded()
    wanted = effort.units(loaded.facts, n, least=40)
    vocabulary = bytes_to_id(loaded.tokenizer)
    asked: list[tuple[Question, int, Pair]] = []
    for group, chosen in word_groups(loaded).items():
        for question in QUESTIONS:
            found = matched_pairs(chosen, question.answer, wanted, group, seed)
            asked += [(question, i, pair) for i, pair in enumerate(found)]
    jobs: list[dict[str, Any]] = []
    for form, network in ((ONE_TOKEN, loaded.model), (LETTERS, loaded.model), (TWIN, None)):
        part = asked if form != TWIN else [a for a in asked if a[2].group != TOLD]
        jobs += _margins(loaded, network or loaded.random_twin(seed), form, part, vocabulary)
    columns = ["question", "group", "form", "pair", "words", "margin"]
    return pd.DataFrame(jobs, columns=columns)


def _margins(
    loaded: LoadedModel,
    network: Any,
    form: str,
    asked: list[tuple[Question, int, Pair]],
    vocabulary: dict[bytes, int],
) -> list[dict[str, Any]]:
    """Score every pair under one form with one network."""
    from internals.measure.answers import answer_scores

    jobs: list[dict[str, Any]] = []
    pairs: list[tuple[list[int], list[int]]] = []
    for question, number, pair in asked:
        ids = _crossed(loaded, question, pair, vocabulary if form == LETTERS else None)
        if ids is None:
            continue
        pairs += ids
        jobs.append(
            {
                "question": question.name,
                "group": pair.group,
                "form": form,
                "pair": number,
                "words": f"{pair.first}, {pair.second}",
                "wordings": len(question.prompts),
            }
        )
    if not jobs:
        return []
    log_prob = iter(answer_scores(network, pairs)["log_prob"].tolist())
    for job in jobs:
        total = 0.0
        for _ in range(job.pop("wordings")):
            own, other, other_2, own_2 = (next(log_prob) for _ in range(4))
            total += own - other - other_2 + own_2
        job["margin"] = total / math.log(2) / 2
    return jobs


def _crossed(
    loaded: LoadedModel, question: Question, pair: Pair, vocabulary: dict[bytes, int] | None
) -> list[tuple[list[int], list[int]]] | None:
    """For each wording: both answers after the first word, then both after the second."""
    answers = [continuation(loaded.tokenizer, f" {a}") for a in pair.answers]
    found = []
    for prompt in question.prompts:
        for word in (pair.first, pair.second):
            head = word_in(loaded, prompt, word, vocabulary)
            if head is None or not all(answers):
                return None
            found += [(head, a) for a in answers if a]
    return found


def word_in(
    loaded: LoadedModel, prompt: str, word: str, vocabulary: dict[bytes, int] | None
) -> list[int] | None:
    """Ids of a prompt with the word in it, in single letters if a vocabulary is given."""
    before, after = prompt.split(" {w}")
    own = (
        continuation(loaded.tokenizer, f" {word}")
        if vocabulary is None
        else as_letters(vocabulary, f" {word}")
    )
    rest = continuation(loaded.tokenizer, after)
    return None if own is None or rest is None else [*headed(loaded, before), *own, *rest]


LEAST_PAIRS = 6


@measurement
def letters(model: ModelHandle, seed: int = 0) -> pd.DataFrame:
    """Shares of words whose letters are known

    Columns: as `shares`.
    """
    return shares(spelling(model, seed=seed))


def shares(table: pd.DataFrame, least: int = LEAST_PAIRS) -> pd.DataFrame:
    """Share of pairs with a positive margin, for at least ``least`` pairs.

    Columns: ``question``, ``group``, ``form``, ``n``, ``value``, ``low``, ``high`` (Wilson), ``p``
    (sign flips of the margin), ``adjusted`` (Benjamini–Hochberg over all rows).
    """
    rows = []
    for (question, group, form), part in table.groupby(["question", "group", "form"], sort=False):
        if len(part) < least:
            continue
        found = stats.wilson(int((part["margin"] > 0).sum()), len(part), unit="pairs")
        p = stats.sign_flip_test(part["margin"], n_permutations=1999).p_value
        rows.append((question, group, form, found.n, found.value, found.low, found.high, p))
    columns = ["question", "group", "form", "n", "value", "low", "high", "p"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(adjusted=stats.benjamini_hochberg(frame["p"].astype(float)))


def share_of(table: pd.DataFrame, question: str, group: str, form: str) -> stats.Estimate | None:
    """One row of `shares` as an estimate; None if there is none."""
    row = table[
        (table["question"] == question) & (table["group"] == group) & (table["form"] == form)
    ]
    if row.empty:
        return None
    r = row.iloc[0]
    return stats.Estimate(r["value"], r["low"], r["high"], int(r["n"]), "pairs", "Wilson interval")


def letters_help(table: pd.DataFrame, question: str, group: str) -> stats.Estimate | None:
    """Share of right pairs with the word in single letters minus that with one token, paired."""
    part = table[(table["question"] == question) & (table["group"] == group)]
    wide = part.pivot(index="pair", columns="form", values="margin").reindex(
        columns=[LETTERS, ONE_TOKEN]
    )
    wide = (wide.dropna() > 0).astype(float)
    if len(wide) < LEAST_PAIRS:
        return None
    return stats.paired_difference(wide[LETTERS], wide[ONE_TOKEN], unit="pairs")


def twin_share(table: pd.DataFrame) -> stats.Estimate | None:
    """Share of right pairs of the random twin over all questions; words are in several pairs."""
    part = table[table["form"] == TWIN]
    if part.empty:
        return None
    right = (part["margin"] > 0).to_numpy(float)
    return stats.bootstrap_ci(right, clusters=part["pair"].to_numpy(), unit="pairs")
