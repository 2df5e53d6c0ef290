"""One word of foresight: does “a” or “an” anticipate the noun that is not yet written?

The same three nouns stand in two orders, and only the order says which noun comes first. After
“the” the noun has to be found; after “is” the article has to fit a noun that is still to come. The
unit of resampling is the noun that begins with a vowel, since sets that share it are alike.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure.capability import start_ids

if TYPE_CHECKING:
    from internals.models import ModelHandle

VOWEL = (
    *("apple", "egg", "eagle", "owl", "ant", "elephant", "axe", "arrow", "onion", "orange"),
    *("acorn", "anchor", "apron", "oar", "oven", "umbrella", "envelope", "otter", "ox", "octopus"),
    *("olive", "ostrich", "album", "instrument", "inkpot"),
)
CONSONANT = ("cup", "key", "book", "stone", "candle", "dog", "hat", "bell", "rope", "fox", "chair")
PEOPLE = ("Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry")
FORM = "{who} has these things: {first}, {second} and {third}. The first thing is"


def sets(n: int, seed: int = 0) -> list[tuple[str, str, str, str]]:
    """``n`` different sets: a person, a noun that begins with a vowel, two with a consonant."""
    rng = np.random.default_rng([seed, 64])
    found: list[tuple[str, str, str, str]] = []
    while len(found) < n:
        one, two = (CONSONANT[int(i)] for i in rng.permutation(len(CONSONANT))[:2])
        new = (PEOPLE[int(rng.integers(len(PEOPLE)))], VOWEL[len(found) % len(VOWEL)], one, two)
        if new not in found:
            found.append(new)
    return found


@measurement
def foresight(model: ModelHandle, n: int = 50, seed: int = 0) -> pd.DataFrame:
    """The article before a noun that is still to come

    Columns: ``item``, ``vowel`` (the noun that would take “an”), ``article`` (how much the order of
    the nouns moves the log-odds of “an” against “a”, in bits; positive is towards the noun that
    comes first), ``noun`` (the same for the nouns themselves after “the”: without it there is
    nothing to foresee). Sets that do not fit into the context are left out.
    """
    from internals.measure.answers import answer_scores

    loaded = model.loaded()
    start = start_ids(loaded)

    def ids(text: str) -> list[int]:
        return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])

    pairs, chosen = [], []
    for who, vowel, consonant, third in sets(n, seed):
        asked = []
        for first, second in ((vowel, consonant), (consonant, vowel)):
            text = FORM.format(who=who, first=first, second=second, third=third)
            for head, answers in ((text, ("an", "a")), (f"{text} the", (vowel, consonant))):
                asked += [([*start, *ids(head)], ids(f" {answer}")) for answer in answers]
        if max(len(head) + len(answer) for head, answer in asked) <= loaded.facts.context_length:
            pairs += asked
            chosen.append(vowel)
    if not chosen:
        return pd.DataFrame(columns=["item", "vowel", "article", "noun"])
    bits = answer_scores(loaded.model, pairs)["log_prob"].to_numpy() / math.log(2)
    # Axes: set, order (vowel first, consonant first), question, answer.
    table = bits.reshape(len(chosen), 2, 2, 2)
    odds = table[..., 0] - table[..., 1]
    moved = odds[:, 0] - odds[:, 1]
    return pd.DataFrame(
        {
            "item": range(len(chosen)),
            "vowel": chosen,
            "article": moved[:, 0],
            "noun": moved[:, 1],
        }
    )


def shift(table: pd.DataFrame, column: str) -> stats.Estimate | None:
    """Mean of ``article`` or ``noun`` in bits, over the nouns that begin with a vowel; None without
    rows."""
    if len(table) == 0:
        return None
    return stats.bootstrap_ci(
        table[column].to_numpy(),
        clusters=table["vowel"].to_numpy(),
        method="percentile",
        unit="nouns that begin with a vowel",
    )
