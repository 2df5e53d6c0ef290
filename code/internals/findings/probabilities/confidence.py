"""Confidence, the probability of the first choice, against correctness: text, capitals, fable."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, above, at_most, below, exact, finding
from internals.measure.probabilities import answers_by_exposure, calibration
from internals.measure.probabilities.answers_by_exposure import fable, over_facts
from internals.measure.probabilities.capitals import NAMING, TEMPLATES, capitals
from internals.measure.probabilities.positions import over_documents, positions
from internals.models import ModelHandle
from internals.tokens import SPACE

OFTEN, NEVER = 256, 0


@finding(unit="share")
def text_error(model: ModelHandle) -> Estimate:
    """On held-out text the calibration error is {value}."""
    return calibration.of_text(model).error


@finding(unit="share", expect=below(0.03))
def fable_error(model: ModelHandle) -> Estimate:
    """On the same text the calibration error of fable-gpt2 is {value}."""
    return calibration.of_text(fable()).error


@finding(unit="share")
def fable_null(model: ModelHandle) -> Estimate:
    """With the confidences of fable-gpt2 a perfectly calibrated model would show {value}."""
    found = calibration.of_text(fable())
    return exact(found.null, found.n, "positions")


@finding(unit="share", expect=above(0.5))
def text_auroc(model: ModelHandle) -> Estimate | None:
    """On held-out text a right prediction is more confident than a wrong one in {value} of the
    pairs."""
    return calibration.of_text(model).auroc


@finding(unit="points", expect=above(0))
def text_over(model: ModelHandle) -> Estimate:
    """On held-out text confidence exceeds accuracy by {value}."""
    return calibration.of_text(model).over


@finding(unit="share", expect=above(0.8))
def text_sure(model: ModelHandle) -> Estimate:
    """Where the model is at least 90 % sure of the next token of a text, it is right in {value}."""
    table = positions(model)
    part = table[table["top_prob"] >= calibration.SURE]
    return over_documents(part, part["correct"])


@finding(unit="share")
def capital_first(model: ModelHandle) -> Estimate:
    """The first choice begins the name of the capital in {value} of the questions."""
    return _over_countries(model, "correct")


@finding(unit="share")
def capital_whole(model: ModelHandle) -> Estimate:
    """Greedy decoding writes the whole name of the capital in {value} of the questions."""
    return _over_countries(model, "whole")


@finding(unit="points", expect=above(0))
def capital_cut(model: ModelHandle) -> Estimate:
    """The first token of the capital is the first choice more often than its whole name is
    written, by {value}."""
    return _over_countries(model, "cut")


@finding(unit="share", expect=above(0.5))
def capital_auroc(model: ModelHandle) -> Estimate | None:
    """A right answer about a capital is more confident than a wrong one in {value} of the pairs."""
    return calibration.of_capitals(model).auroc


@finding(unit="points", expect=above(0))
def capital_under(model: ModelHandle) -> Estimate:
    """About capitals accuracy exceeds confidence by {value}."""
    found = calibration.of_capitals(model).over
    return replace(found, value=-found.value, low=-found.high, high=-found.low)


@finding(unit="share", expect=above(0.5))
def sydney(model: ModelHandle) -> Estimate:
    """That Sydney is the capital of Australia the model takes for likely: {value} on its first
    token."""
    table = capitals(model)
    rows = table[(table["country"] == "Australia") & (table["template"] == NAMING)]
    if rows.empty:
        raise NotApplicable("Australia is not among the countries that were asked")
    row = rows.iloc[0]
    says_so = len(row["token"]) > 2 and "Sydney".startswith(row["token"].lstrip(SPACE))
    if not says_so:
        raise NotApplicable("another token is its first choice")
    return exact(row["confidence"], 1, "questions")


@finding(unit="share", expect=below(0.25))
def unsure(model: ModelHandle) -> Estimate:
    """After “is the city of” the least confident of its right answers has {value}."""
    table = capitals(model)
    right = table[table["whole"] & (table["template"] == NAMING)]
    return exact(right["confidence"].min(), len(right), "right answers")


@finding(unit="points", expect=above(0))
def wording(model: ModelHandle) -> Estimate:
    """Asked for “the city of”, the model's first choice is right more often than after “is”, by
    {value}."""
    table = capitals(model).pivot(index="country", columns="template", values="correct")
    named, plain = (table[t].to_numpy(float) for t in (TEMPLATES[1], TEMPLATES[0]))
    return stats.paired_difference(named, plain, unit="countries")


@finding(unit="share")
def never_sure(model: ModelHandle) -> Estimate:
    """About facts that it never read fable-gpt2 is {value} sure."""
    return _over_stated(NEVER, "confidence")


@finding(unit="share")
def never_right(model: ModelHandle) -> Estimate:
    """Facts that it never read fable-gpt2 gets right in {value} of the cases."""
    return _over_stated(NEVER, "correct")


@finding(unit="points", expect=above(0.1))
def never_gap(model: ModelHandle) -> Estimate:
    """About facts that it never read fable-gpt2 is more confident than right, by {value}."""
    return _gap(_stated(NEVER))


@finding(unit="points", expect=above(0.1))
def once_gap(model: ModelHandle) -> Estimate:
    """About facts that it read once a pass fable-gpt2 is more confident than right, by {value}."""
    return _gap(_stated(1))


@finding(unit="share", expect=above(0.8))
def often_right(model: ModelHandle) -> Estimate:
    """Facts that it read most often fable-gpt2 gets right in {value} of the cases."""
    return _over_stated(OFTEN, "correct")


@finding(unit="share")
def often_sure(model: ModelHandle) -> Estimate:
    """About facts that it read most often fable-gpt2 is {value} sure."""
    return _over_stated(OFTEN, "confidence")


@finding(unit="share", expect=below(0.5))
def reworded(model: ModelHandle) -> Estimate:
    """Asked in words that it never read, fable-gpt2 gets the facts that it read most often right in
    {value} of the cases."""
    return _over_stated(OFTEN, "correct", "heldout")


@finding(unit="share", expect=at_most(0.75))
def never_auroc(model: ModelHandle) -> Estimate:
    """Among facts that it never read, fable-gpt2 is more confident where it happens to be right in
    {value} of the pairs."""
    part = _stated(NEVER)
    facts = part["fact_id"].to_numpy()
    return stats.auroc(part["confidence"], part["correct"], clusters=facts, unit="facts")


def _stated(level: int, wording: str = "trained") -> pd.DataFrame:
    """Answers of the project's model about the facts of one level, whatever the subject is."""
    table = answers_by_exposure.answers(fable())
    part = table[(table["level"] == level) & (table["wording"] == wording)]
    if part.empty:
        raise NotApplicable(f"no fact was stated {level} times")
    return part


def _over_stated(level: int, column: str, wording: str = "trained") -> Estimate:
    part = _stated(level, wording)
    return over_facts(part, part[column])


def _gap(part: pd.DataFrame) -> Estimate:
    return over_facts(part, part["confidence"] - part["correct"])


def _over_countries(model: ModelHandle, column: str) -> Estimate:
    table = capitals(model).assign(cut=lambda t: t["correct"].astype(float) - t["whole"])
    values, countries = table[column].astype(float), table["country"].to_numpy()
    return stats.bootstrap_ci(values, clusters=countries, unit="countries")
