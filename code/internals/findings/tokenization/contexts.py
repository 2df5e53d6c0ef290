"""The same word in different contexts: ids, then hidden states."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.findings import Estimate, above, exact, exactly, finding
from internals.measure.tokenization import contexts
from internals.models import ModelHandle


@finding(unit="share", expect=exactly(1))
def rule(model: ModelHandle) -> Estimate:
    """The rule "same adjacent characters, same ids" predicts the ids in {value} of the cases."""
    table = contexts.ids_in_frames(model)
    wrong, asked = table["failures"].sum(), table["predictions"].sum()
    return exact(1 - wrong / asked, asked, "predictions")


@finding()
def distinct(model: ModelHandle) -> Estimate:
    """A word has {value} different id sequences on average in sixteen contexts."""
    return stats.bootstrap_ci(contexts.ids_in_frames(model)["distinct"], unit="words")


@finding(expect=above(0))
def senses(model: ModelHandle) -> Estimate:
    """In the middle layer, sentences with one sense of a word are more alike than sentences with
    different senses, by a cosine of {value} beyond words of one sense."""
    middle = _at(model, 1 / 2)
    two, one = (middle.loc[middle["kind"] == k, "gap"] for k in ("two senses", "one sense"))
    return stats.difference(two.to_numpy(), one.to_numpy(), unit="words")


@finding()
def same_at_the_end(model: ModelHandle) -> Estimate:
    """In the last layer the states of one word in different sentences have a mean cosine of
    {value}."""
    return stats.bootstrap_ci(_at(model, 1)["same"], unit="words")


def _at(model: ModelHandle, depth: float) -> pd.DataFrame:
    """Rows of the layer at this part of the depth."""
    table = contexts.similarity(model)
    return table[table["layer"] == int(table["layer"].max() * depth)]
