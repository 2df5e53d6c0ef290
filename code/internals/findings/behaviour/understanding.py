"""Understanding or pattern matching: memory, reversal, sums, copying, agreement."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, above, below, finding
from internals.measure import capability
from internals.measure.behaviour import agreement as number
from internals.measure.behaviour import memory, rules
from internals.measure.probabilities.answers_by_exposure import fable
from internals.models import ModelHandle


def recalled(level: int, wording: str = "trained") -> Estimate:
    """Share of facts with ``level`` statements a pass that fable-gpt2 recalls."""
    table = capability.recall(fable())
    part = (table["level"] == level) & (table["wording"] == wording)
    return stats.share(table.loc[part, "correct"], unit="facts")


@finding(unit="share", expect=below(0.5))
def few(model: ModelHandle) -> Estimate:
    """Facts that fable-gpt2 read twelve times are recalled in {value} of the cases."""
    return recalled(4)


@finding(unit="share", expect=above(0.5))
def many(model: ModelHandle) -> Estimate:
    """Facts that fable-gpt2 read 768 times are recalled in {value} of the cases."""
    return recalled(256)


@finding(unit="share", expect=below(0.5))
def reworded(model: ModelHandle) -> Estimate:
    """Facts that fable-gpt2 read 768 times are recalled in {value} when worded in a new way."""
    return recalled(256, "heldout")


def _asked(stated: str, asked: str) -> Estimate:
    table = memory.reversal(fable())
    part = (table["stated"] == stated) & (table["asked"] == asked)
    return stats.share(table.loc[part, "correct"], unit="facts")


@finding(unit="share")
def forward(model: ModelHandle) -> Estimate:
    """Facts that fable-gpt2 read in one direction are right in that direction in {value}."""
    return _asked(memory.ONE_WAY, "forward")


@finding(unit="share", expect=below(0.5))
def backward(model: ModelHandle) -> Estimate:
    """Facts that fable-gpt2 read in one direction are right backwards in {value}."""
    return _asked(memory.ONE_WAY, "backward")


@finding(unit="share", expect=above(0.5))
def both_ways(model: ModelHandle) -> Estimate:
    """Facts that fable-gpt2 read in both directions are right backwards in {value}."""
    return _asked(memory.BOTH_WAYS, "backward")


def _sums(held_out: bool) -> pd.Series:
    table = memory.sums(fable())
    return table.loc[table["held_out"] == held_out, "correct"].astype(float)


@finding(unit="share")
def sums_read(model: ModelHandle) -> Estimate:
    """Of sums in its training data, fable-gpt2 answers {value} rightly."""
    return stats.share(_sums(False), unit="sums")


@finding(unit="share", expect=above(0.05))
def sums_new(model: ModelHandle) -> Estimate:
    """Of sums held out of its training data, fable-gpt2 answers {value} rightly."""
    return stats.share(_sums(True), unit="sums")


@finding(unit="points", expect=above(0))
def sums_gap(model: ModelHandle) -> Estimate:
    """fable-gpt2 answers sums that it read rightly more often than held-out ones, by {value}."""
    return stats.difference(_sums(False), _sums(True), unit="sums")


def _small(model: ModelHandle, digits: int) -> pd.Series:
    table = rules.small_sums(model)
    return table.loc[table["digits"] == digits, "correct"].astype(float)


@finding(unit="share")
def one_digit(model: ModelHandle) -> Estimate:
    """Sums of numbers of one digit are right in {value}."""
    return stats.share(_small(model, 1), unit="sums")


@finding(unit="share")
def two_digits(model: ModelHandle) -> Estimate:
    """Sums of numbers of two digits are right in {value}."""
    return stats.share(_small(model, 2), unit="sums")


@finding(unit="points", expect=above(0))
def digits_gap(model: ModelHandle) -> Estimate:
    """Sums of one digit are right more often than sums of two, by {value}."""
    return stats.difference(_small(model, 1), _small(model, 2), unit="sums")


def _copied(model: ModelHandle, material: str) -> pd.DataFrame:
    table = rules.copying(model)
    return table[table["material"] == material].set_index("row")


@finding(unit="bits", expect=above(1))
def copying(model: ModelHandle) -> Estimate:
    """Repeating random tokens makes each of them {value} more predictable."""
    table = _copied(model, rules.RANDOM)
    return stats.paired_difference(table["first_bits"], table["second_bits"], unit="sequences")


@finding(unit="bits")
def copying_fable(model: ModelHandle) -> Estimate:
    """For fable-gpt2, repeating random tokens makes each of them {value} more predictable."""
    table = _copied(fable(), rules.RANDOM)
    return stats.paired_difference(table["first_bits"], table["second_bits"], unit="sequences")


def _nouns(table: pd.DataFrame, column: str) -> Estimate:
    """Share of nouns for which a column holds in all rows."""
    return stats.share(table.groupby("noun")[column].all(), unit="nouns")


def _verbs(model: ModelHandle) -> Estimate:
    table = number.agreement(model).verbs
    return _nouns(table[table["attracted"]], "right")


@finding(unit="share", expect=above(0.5))
def verbs(model: ModelHandle) -> Estimate:
    """For {value} of the nouns the verb always agrees with them, although another noun of the other
    number stands before it."""
    return _verbs(model)


@finding(unit="share", expect=below(0.5))
def verbs_fable(model: ModelHandle) -> Estimate:
    """For fable-gpt2 the verb always agrees with the first noun for {value} of the nouns."""
    return _verbs(fable())


@finding(unit="share", expect=above(0.5))
def probe(model: ModelHandle) -> Estimate:
    """From the state of the last word in the middle layer, a linear probe reads the number of the
    first noun in {value} of the cases, for nouns on which it was not fitted."""
    return number.agreement(model).accuracy


@finding(unit="share", expect=above(0.5))
def probe_fable(model: ModelHandle) -> Estimate:
    """For fable-gpt2, the same probe reads the number of the first noun in {value}."""
    return number.agreement(fable()).accuracy


@finding(unit="share")
def control(model: ModelHandle) -> Estimate:
    """Fitted to random labels of the noun forms, the probe is right in {value} on average."""
    return number.agreement(model).control


@finding(unit="points", expect=above(0))
def selectivity(model: ModelHandle) -> Estimate:
    """In the middle layer the probe beats the same probe on random labels by {value}."""
    return number.agreement(model).selectivity


def _flipped(model: ModelHandle, place: str, direction: str = number.MEANS) -> Estimate:
    """Share of nouns whose verb changes in both numbers, by a move in the middle layer."""
    found = number.agreement(model)
    table = found.moved
    if table.empty:
        raise NotApplicable("too few verbs agree before anything is moved")
    part = table[(table["layer"] == found.depth // 2) & (table["place"] == place)]
    return _nouns(part[part["direction"] == direction], "flipped")


@finding(unit="share", expect=above(0.5))
def moved_noun(model: ModelHandle) -> Estimate:
    """Moving the state of the first noun to the other number, in the middle layer, changes the verb
    for {value} of the nouns."""
    return _flipped(model, number.NOUN)


@finding(unit="share", expect=below(0.5))
def moved_last(model: ModelHandle) -> Estimate:
    """Moving the state of the last word, from which the probe reads the number, changes the verb
    for {value} of the nouns."""
    return _flipped(model, number.LAST)


@finding(unit="share", expect=below(0.5))
def moved_random(model: ModelHandle) -> Estimate:
    """Moving the state of the first noun as far in a random direction changes the verb for
    {value} of the nouns."""
    return _flipped(model, number.NOUN, number.RANDOM)


def by_layer(model: ModelHandle) -> pd.DataFrame:
    """What the probe reads and what moves do: ``layer``, ``what``, ``value``."""
    found = number.agreement(model)
    read = found.probe[["layer", "accuracy"]].rename(columns={"accuracy": "value"})
    parts = [read.assign(what="read from the last word")]
    names = {
        (number.NOUN, number.MEANS): "moved at the first noun",
        (number.LAST, number.MEANS): "moved at the last word",
        (number.NOUN, number.RANDOM): "moved at random, first noun",
    }
    for (place, direction), what in names.items():
        table = found.moved
        part = table[(table["place"] == place) & (table["direction"] == direction)]
        means = part.groupby("layer")["flipped"].mean().rename("value").reset_index()
        parts.append(means.assign(what=what))
    return pd.concat(parts, ignore_index=True)
