"""The forms of a word: case and the blank before it."""

from __future__ import annotations

from internals import stats
from internals.findings import Estimate, above, finding
from internals.measure.tokenization import casing
from internals.models import ModelHandle


@finding(unit="share", expect=above(0.9))
def four_ids(model: ModelHandle) -> Estimate:
    """Of common words, {value} have four different id sequences for their four forms."""
    distinct = casing.forms(model).groupby("word")["ids"].nunique()
    return stats.wilson(int((distinct == 4).sum()), len(distinct), unit="words")


@finding(unit="points", expect=above(0))
def lower_whole(model: ModelHandle) -> Estimate:
    """The lower-case form inside a sentence is one token more often than the capitalised form, by
    {value}."""
    single = casing.forms(model).assign(single=lambda t: (t["pieces"] == 1).astype(float))
    wide = single.pivot(index="word", columns="form", values="single")
    return stats.paired_difference(wide["space lower"], wide["space capital"], unit="words")


@finding()
def own_cosine(model: ModelHandle) -> Estimate:
    """The embeddings of a word and of its capitalised form have a mean cosine of {value}."""
    return stats.bootstrap_ci(casing.embeddings(model)["own"], unit="words")


@finding(expect=above(0))
def closer(model: ModelHandle) -> Estimate:
    """A word's embedding is closer to that of its own capitalised form than to that of another
    word of like frequency, by a cosine of {value}."""
    table = casing.embeddings(model)
    return stats.paired_difference(table["own"], table["neighbour"], unit="words")


@finding(unit="bits")
def case_bits(model: ModelHandle) -> Estimate:
    """Capitalising a word moves the prediction of the next token by {value}."""
    return stats.bootstrap_ci(casing.divergence(model)["case_bits"], unit="words")


@finding(unit="bits", expect=above(0))
def other_word_moves_more(model: ModelHandle) -> Estimate:
    """Another word in its place moves the prediction more than a capital does, by {value}."""
    table = casing.divergence(model)
    return stats.paired_difference(table["other_word_bits"], table["case_bits"], unit="words")
