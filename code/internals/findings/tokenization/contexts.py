"""The same word in different contexts: ids, then hidden states."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.errors import NotApplicable
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


@finding()
def embedding_gap(model: ModelHandle) -> Estimate:
    """At the embedding, before any layer, two senses of a word are apart by {value}."""
    table = contexts.similarity(model)
    rows = table[(table["layer"] == 0) & (table["kind"] == "two senses")]
    return exact(round(rows["gap"].abs().max(), 5), len(rows), "words")


@finding(expect=above(0))
def senses(model: ModelHandle) -> Estimate:
    """In the middle layer, sentences with one sense of a word are more alike than sentences with
    different senses, by a cosine of {value} beyond words of one sense."""
    table = contexts.similarity(model)
    middle = at_layer(table, int(table["layer"].max()) // 2)
    two, one = (middle.loc[middle["kind"] == k, "gap"] for k in ("two senses", "one sense"))
    if two.empty or one.empty:
        raise NotApplicable("no words of both kinds")
    return stats.difference(two.to_numpy(), one.to_numpy(), unit="words")


@finding()
def same_at_the_end(model: ModelHandle) -> Estimate:
    """In the last layer the states of one word in different sentences have a mean cosine of
    {value}."""
    table = contexts.similarity(model)
    return stats.bootstrap_ci(at_layer(table, int(table["layer"].max()))["same"], unit="words")


def at_layer(table: pd.DataFrame, layer: int) -> pd.DataFrame:
    """Rows of one layer."""
    return table[table["layer"] == layer]
