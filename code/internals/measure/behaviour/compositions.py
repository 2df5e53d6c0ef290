"""New compositions: facts that were read apart, asked together, beside each fact alone.

Two steps ("the country whose capital is … lies in"), two attributes in one sentence, and pairs of
words that no training text held side by side. Unit: the country, or the pair of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour.minimal_pairs import question_ids, token_ids
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

TWO_STEPS = "The country whose capital is {capital} lies in"
STEPS = {
    "first step": "{capital} is the capital of",
    "second step": "{country} lies in",
    "both steps": TWO_STEPS,
    "no link named": "The city of {capital} lies in",
}
"""The last one asks for the same answer as the two steps, but names nothing that links them."""
TOGETHER = "In {country}, people speak {language} and pay with the"
ALONE = "In {country}, people pay with the"
TALK = (
    '"Where is the {colour} {noun}?" asked Anna.\n"It is on the table," said Ben.\n'
    "Anna looked on the table and found the {colour}"
)
COMBINATIONS = "data/training/combinations.csv"


def known_countries() -> list[dict[str, str]]:
    """Well-known countries, for which the training text states the capital in both directions."""
    from fable.dataset import countries
    from fable.designed import WELL_KNOWN

    return [
        row
        for row in countries()
        if row["country"] in WELL_KNOWN and row["capital"] and row["capital"] not in row["country"]
    ]


@measurement(files=["data/facts/countries.csv"])
def two_steps(model: ModelHandle, seed: int = 0) -> pd.DataFrame:
    """Facts in two steps, and each step alone

    Columns: ``country``, ``task`` (of :data:`STEPS`), ``truth``, ``chosen``, ``correct``. A
    candidate's mean over all questions of a task is taken off first (Zhao et al. 2021), so that
    liking one answer gains nothing.
    """
    loaded = model.loaded()
    rows = known_countries()
    order = np.random.default_rng([seed, 60]).permutation(len(rows))
    rows = [rows[i] for i in order[: effort.units(loaded.facts, len(rows), least=30)]]
    lands = [row["country"] for row in rows]
    continents = sorted({row["continent"] for row in rows})
    parts = []
    for task, frame in STEPS.items():
        answers, key = (lands, "country") if task == "first step" else (continents, "continent")
        prompts = [frame.format(**row) for row in rows]
        scores = closed_scores(loaded, prompts, answers)
        truth = [row[key] for row in rows]
        parts.append(chosen(scores, answers, truth).assign(country=lands, task=task))
    return pd.concat(parts, ignore_index=True)


def closed_scores(loaded: LoadedModel, prompts: list[str], answers: Sequence[str]) -> np.ndarray:
    """``(prompt, answer)`` joint log-probabilities of the same answers to every prompt."""
    from internals.measure.answers import answer_scores

    tails = [token_ids(loaded, f" {answer}") for answer in answers]
    pairs = [(question_ids(loaded, text), tail) for text in prompts for tail in tails]
    return answer_scores(loaded.model, pairs)["log_prob"].to_numpy().reshape(len(prompts), -1)


def chosen(scores: np.ndarray, answers: Sequence[str], truth: Sequence[str]) -> pd.DataFrame:
    """The best answer of each row once every answer's mean is taken off: ``truth``, ``chosen``,
    ``correct``."""
    best = np.asarray(answers)[(scores - scores.mean(0)).argmax(1)]
    frame = pd.DataFrame({"truth": list(truth), "chosen": best})
    return frame.assign(correct=frame["truth"] == frame["chosen"])


def accuracy(table: pd.DataFrame, task: str) -> stats.Estimate:
    """Share of right answers of a task."""
    part = table[table["task"] == task]
    return stats.wilson(int(part["correct"].sum()), len(part), unit="countries")


def chance(table: pd.DataFrame, task: str) -> float:
    """Expected share of right answers if the same answers were given to shuffled questions."""
    part = table[table["task"] == task]
    shares = part["truth"].value_counts(normalize=True)
    given = part["chosen"].value_counts(normalize=True)
    return float((shares * given.reindex(shares.index, fill_value=0)).sum())


def against_no_link(table: pd.DataFrame) -> stats.Estimate:
    """Share right of the two-step question minus that of the same question without the link."""
    wide = table.pivot(index="country", columns="task", values="correct").astype(float)
    return stats.paired_difference(
        wide["both steps"], wide["no link named"], unit="countries", method="percentile"
    )


@measurement(files=["data/facts/countries.csv", "data/facts/world.yaml"])
def together(model: ModelHandle, n: int = 60, seed: int = 0) -> pd.DataFrame:
    """Two attributes of a country in one sentence, and one alone

    Columns: ``country``, ``task`` (alone, together), ``truth``, ``chosen``, ``correct``, as in
    :func:`two_steps`: few countries have a currency that no other has, so liking “dollar” would
    gain much.
    """
    from fable.dataset import countries

    loaded = model.loaded()
    rng = np.random.default_rng([seed, 55])
    rows = [row for row in countries() if row["language"] and row["currency"]]
    rows = [rows[i] for i in rng.permutation(len(rows))[: effort.units(loaded.facts, n, least=40)]]
    pool = sorted({row["currency"] for row in rows})
    lands = [row["country"] for row in rows]
    parts = []
    for task, frame in (("alone", ALONE), ("together", TOGETHER)):
        scores = closed_scores(loaded, [frame.format(**row) for row in rows], pool)
        found = chosen(scores, pool, [row["currency"] for row in rows])
        parts.append(found.assign(country=lands, task=task))
    return pd.concat(parts, ignore_index=True)


def crowded(table: pd.DataFrame) -> stats.Estimate:
    """Share of currencies right alone minus the share right after the language."""
    wide = table.pivot(index="country", columns="task", values="correct").astype(float)
    return stats.paired_difference(wide["alone"], wide["together"], unit="countries")


@measurement(files=[COMBINATIONS])
def new_pairs(model: ModelHandle, n: int = 40, seed: int = 0) -> pd.DataFrame:
    """Colours and animals that were read together and that never were

    Each pair is named once in a short talk and asked for a line later. Columns: ``colour``,
    ``noun``, ``read`` (together in the training text), ``bits`` (surprisal of the noun),
    ``correct`` (it is first among all animals).
    """
    import math

    loaded = model.loaded()
    table = pd.read_csv(DATA / "training" / "combinations.csv")
    table = table[table["group"] == "animal"]
    nouns = sorted(table["noun"].unique())
    rng = np.random.default_rng([seed, 56])
    parts = []
    for read in (False, True):
        own = table[(table["together"] > 0) == read]
        parts.append(own.iloc[rng.permutation(len(own))[:n]].assign(read=read))
    pairs = pd.concat(parts)[["colour", "noun", "read"]].reset_index(drop=True)
    prompts = [TALK.format(colour=r.colour, noun=r.noun) for r in pairs.itertuples()]
    scores = closed_scores(loaded, prompts, nouns)
    right = np.array([nouns.index(noun) for noun in pairs["noun"]])
    pairs["bits"] = -scores[np.arange(len(pairs)), right] / math.log(2)
    pairs["correct"] = scores.argmax(1) == right
    return pairs


def new_pair_gap(table: pd.DataFrame) -> stats.Estimate:
    """Share right for pairs that were read together minus that for pairs that never were."""
    read, new = (table.loc[table["read"] == r, "correct"].astype(float) for r in (True, False))
    return stats.difference(read, new, unit="pairs")


def shares(
    steps: pd.DataFrame, attributes: pd.DataFrame, pairs: pd.DataFrame | None
) -> pd.DataFrame:
    """All shares of right answers with Wilson intervals and chance: ``label``, ``value``, ``low``,
    ``high``, ``chance``, ``control`` (a single fact, the question without its link, or a pair that
    was read)."""
    rows: list[tuple[str, stats.Estimate, float, bool]] = [
        (task, accuracy(steps, task), chance(steps, task), task != "both steps") for task in STEPS
    ]
    for task, label in (("alone", "currency alone"), ("together", "currency after the language")):
        found = accuracy(attributes, task)
        rows.append((label, found, chance(attributes, task), task == "alone"))
    if pairs is not None:
        animals = pd.read_csv(DATA / "training" / "combinations.csv")
        few = 1 / animals.loc[animals["group"] == "animal", "noun"].nunique()
        for read, label in ((True, "pair of words read before"), (False, "pair never read")):
            own = pairs.loc[pairs["read"] == read, "correct"]
            rows.append((label, stats.wilson(int(own.sum()), len(own), unit="pairs"), few, read))
    return pd.DataFrame(
        [(label, e.value, e.low, e.high, by_chance, alone) for label, e, by_chance, alone in rows],
        columns=["label", "value", "low", "high", "chance", "control"],
    )
