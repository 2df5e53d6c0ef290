"""Invented words: do inflection and use carry over to words that no text contains (Berko 1958)?

In every frame the form that stood in the context is the wrong one, so that copying fails and only
a rule succeeds. Real words in the same frames and a random-initialised twin are the controls.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour.minimal_pairs import question_ids, token_ids
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import ModelHandle

FRAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "plural of nouns": (
        ("One {w}, two", "Two {w}s, one"),
        ("There was a {w} in the garden, and now there are three", "There were three {w}s in the "
         "garden, and now there is only one"),
    ),
    "third person of verbs": (
        ("They {w} every day, and she also", "She {w}s every day, and they also"),
        ("You {w} well, but he never", "He {w}s well, but you never"),
    ),
}  # fmt: skip
"""Beginnings after which the other form must come: first the one with -s, then the bare one."""
REAL = {
    "plural of nouns": (
        *("dog", "cat", "house", "horse", "king", "tree"),
        *("boat", "stone", "window", "letter", "river", "song"),
    ),
    "third person of verbs": (
        *("sing", "run", "walk", "eat", "sleep", "swim"),
        *("speak", "write", "laugh", "play", "smile", "drink"),
    ),
}
RELATIONS = ("colour", "food", "material", "home", "occupation")


def invented(n: int, seed: int = 0) -> list[str]:
    """``n`` pronounceable words that are in no table of the project and take a plain -s."""
    from fable.designed import invent

    counts = pd.read_csv(DATA / "words" / "counts.csv", keep_default_na=False)["word"]
    exposure = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    taken = {str(w).lower() for w in (*counts, *exposure["subject"], *exposure["object"])}
    found = invent("thing", 2 * n, np.random.default_rng([seed, 53]), taken)
    return [word for word in found if word[-1] not in "sxzoy"][:n]


@measurement(files=["data/words/counts.csv", "data/training/exposure.csv"])
def inflection(model: ModelHandle, n: int = 20, seed: int = 0) -> pd.DataFrame:
    """Inflection of invented words

    Columns: ``source`` (model, random twin; the twin for invented words only), ``task``, ``kind``
    (invented, real), ``word``, ``margin`` (log-odds in bits of the right over the copied form, mean
    over frames and both directions), ``right`` (share of them above zero).
    """
    from internals.measure.answers import answer_scores

    loaded = model.loaded()
    pairs, owner = [], []
    for task, kind, word, head, right, wrong in _questions(
        invented(effort.units(loaded.facts, n, least=10), seed)
    ):
        question = question_ids(loaded, head)
        pairs += [(question, token_ids(loaded, f" {answer}.")) for answer in (right, wrong)]
        owner.append((task, kind, word))
    parts = []
    twin = loaded.random_twin(seed)
    for source, network, kinds in (
        ("model", loaded.model, None),
        ("random twin", twin, "invented"),
    ):
        part = pd.DataFrame(owner, columns=["task", "kind", "word"])
        part = part if kinds is None else part[part["kind"] == kinds]
        asked = [pair for i in part.index for pair in pairs[2 * i : 2 * i + 2]]
        scores = answer_scores(network, asked)["log_prob"].to_numpy().reshape(-1, 2)
        part = part.assign(margin=(scores[:, 0] - scores[:, 1]) / math.log(2))
        part["right"] = (part["margin"] > 0).astype(float)
        means = part.groupby(["task", "kind", "word"], sort=False)[["margin", "right"]].mean()
        parts.append(means.reset_index().assign(source=source))
    return pd.concat(parts, ignore_index=True)


def _questions(words: list[str]) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Task, kind, word, beginning, right and wrong form; the wrong one is in the beginning."""
    for task, frames in FRAMES.items():
        for kind, chosen in (("invented", words), ("real", REAL[task][: len(words)])):
            for word in chosen:
                for bare, with_s in frames:
                    yield task, kind, word, bare.format(w=word), f"{word}s", word
                    yield task, kind, word, with_s.format(w=word), word, f"{word}s"


@measurement(files=["data/words/counts.csv", "data/facts/templates.yaml"])
def described(model: ModelHandle, n: int = 16, seed: int = 0) -> pd.DataFrame:
    """What was said of an invented word a moment ago, asked in another wording

    Two invented words get two different answers of a closed set; both are asked. Chance is
    one half for ``bound``, since every statement is once asked for and once the other. Columns:
    ``pair``, ``relation``, ``place`` (first or second statement), ``correct`` (the right answer is
    first among ten), ``bound`` (it is above the other word's answer).
    """
    from internals.measure.answers import answer_scores

    loaded = model.loaded()
    asked = list(_descriptions(effort.units(loaded.facts, n, least=5), seed))
    pairs = [
        (question_ids(loaded, text), token_ids(loaded, f" {answer}"))
        for text, answers, _ in asked
        for answer in answers
    ]
    scores = answer_scores(loaded.model, pairs)["log_prob"].to_numpy().reshape(len(asked), -1)
    table = pd.DataFrame([about for *_, about in asked])
    return table.assign(correct=scores.argmax(1) == 0, bound=scores[:, 0] > scores[:, 1])


def _descriptions(n: int, seed: int) -> Iterator[tuple[str, list[str], dict[str, object]]]:
    """Text up to the answer; answers (right one, the other word's, the rest); what it is about."""
    from fable.designed import CANDIDATES, prompt, state, templates

    rng = np.random.default_rng([seed, 54])
    words = iter(invented(2 * n * len(RELATIONS), seed + 1))
    number = 0
    for relation in RELATIONS:
        told, question = templates()[relation]["trained"][:2]
        person = relation in ("home", "occupation")
        for _ in range(n):
            one, two = (w.capitalize() if person else w for w in (next(words), next(words)))
            a, b = (str(x) for x in rng.permutation(CANDIDATES[relation])[:2])
            rest = [c for c in CANDIDATES[relation] if c not in (a, b)]
            facts = f"{state(told, one, a)} {state(told, two, b)} "
            for place, word, answers in (("first", one, [a, b]), ("second", two, [b, a])):
                text = facts + prompt(question, word)
                yield (
                    text,
                    [*answers, *rest],
                    {"pair": number, "relation": relation, "place": place},
                )
            number += 1


def margin(
    table: pd.DataFrame, task: str, kind: str = "invented", source: str = "model"
) -> stats.Estimate:
    """Mean log-odds in bits of the right over the copied form, over words."""
    own = table[(table["source"] == source) & (table["task"] == task) & (table["kind"] == kind)]
    return stats.bootstrap_ci(own["margin"], unit="words")


def binding(table: pd.DataFrame) -> stats.Estimate:
    """Share of questions in which the right description beats the other word's, over pairs."""
    means = table.groupby("pair")["bound"].mean()
    return stats.bootstrap_ci(means, unit="pairs", method="percentile")
