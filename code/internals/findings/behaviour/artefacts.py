"""Tokenization artefacts: the same text in other tokens, and small changes of it."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.findings import Estimate, above, finding
from internals.measure.behaviour import artefacts as measured
from internals.measure.behaviour import shares
from internals.models import ModelHandle, open_model


def _right(model: ModelHandle, writing: str) -> Estimate:
    """Share of capitals that are the first choice."""
    table = measured.asked(model)
    return stats.share(table.loc[table["writing"] == writing, "right"], unit="capitals")


def _drop(model: ModelHandle, writing: str) -> Estimate:
    """Share right with a change elsewhere in the prompt minus that with the change itself."""
    wide = measured.asked(model).pivot(index="country", columns="writing", values="right")
    control = wide[measured.CONTROL_OF[writing]].astype(float)
    return stats.paired_difference(control, wide[writing].astype(float), unit="capitals")


@finding(unit="share")
def usual(model: ModelHandle) -> Estimate:
    """Asked as usual, {value} of the capitals are the first choice."""
    return _right(model, measured.USUAL)


@finding(unit="points", expect=above(0))
def blank(model: ModelHandle) -> Estimate:
    """A blank at the end of the prompt costs {value} of right capitals more than a blank
    elsewhere."""
    return _drop(model, measured.BLANK)


@finding(unit="points", expect=above(0))
def typo(model: ModelHandle) -> Estimate:
    """A typing error in “capital” costs {value} of right capitals more than one in “The”."""
    return _drop(model, measured.TYPO)


@finding(unit="points", expect=above(0))
def split(model: ModelHandle) -> Estimate:
    """Cutting “capital” into other tokens, without changing a letter, costs {value} of right
    capitals more than cutting “of”."""
    return _drop(model, measured.SPLIT)


def _cost(model: ModelHandle, edit: str, against: str = measured.EDITED) -> Estimate:
    """Surprisal of the text after the word, minus that after another version."""
    wide = measured.edits(model).pivot(index="document", columns="edit", values="bits")
    both = wide.reindex(columns=[edit, against]).dropna()
    return stats.paired_difference(both[edit], both[against], unit="documents")


@finding(unit="bits", expect=above(0))
def halves(model: ModelHandle) -> Estimate:
    """A word cut into two other tokens, same text, makes each token after it {value} less
    predictable."""
    return _cost(model, measured.HALVES)


@finding(unit="bits", expect=above(0))
def letters(model: ModelHandle) -> Estimate:
    """Cut into single letters instead of two pieces, a word costs another {value} a token."""
    return _cost(model, measured.LETTERS, measured.HALVES)


@finding(unit="bits", expect=above(0))
def milder(model: ModelHandle) -> Estimate:
    """Another word costs {value} a token more than the word with two letters swapped."""
    return _cost(model, measured.OTHER, measured.TWO_LETTERS)


def edit_costs(model: ModelHandle) -> pd.DataFrame:
    """One row an edit: ``edit``, ``cost``, ``low``, ``high`` (bits a token), ``n``."""
    names = [e for e in measured.edits(model)["edit"].unique() if e != measured.EDITED]
    found = {edit: _cost(model, edit) for edit in names}
    rows = [(edit, x.value, x.low, x.high, x.n) for edit, x in found.items()]
    table = pd.DataFrame(rows, columns=["edit", "cost", "low", "high", "n"])
    return table.sort_values("cost", ignore_index=True)


def _spelled(model: ModelHandle, seen: str) -> Estimate:
    table = measured.spelling(model)
    return stats.bootstrap_ci(table.loc[table["seen"] == seen, "letters"], unit="words")


@finding(unit="share")
def spelled_whole(model: ModelHandle) -> Estimate:
    """Of the letters of words seen as one token, {value} are spelled at their places."""
    return _spelled(model, measured.WHOLE)


@finding(unit="share")
def spelled_cut(model: ModelHandle) -> Estimate:
    """Of the letters of the same words cut into letters, {value} are spelled at their places."""
    return _spelled(model, measured.CUT)


@finding(unit="points", expect=above(0))
def spelling(model: ModelHandle) -> Estimate:
    """More letters are spelled at their places when they are tokens, by {value}."""
    wide = measured.spelling(model).pivot(index="word", columns="seen", values="letters")
    return stats.paired_difference(wide[measured.CUT], wide[measured.WHOLE], unit="words")


def _sums(cut: str) -> Estimate:
    table = measured.digits(open_model("fable-gpt2"))
    return stats.share(table.loc[table["cut"] == cut, "right"], unit="sums")


@finding(unit="share")
def sums_together(model: ModelHandle) -> Estimate:
    """fable-gpt2 answers {value} of trained sums rightly when numbers come as they do in
    training."""
    return _sums(measured.TOGETHER)


@finding(unit="share")
def sums_digits(model: ModelHandle) -> Estimate:
    """With the same numbers cut into digits, fable-gpt2 answers {value} of these sums rightly."""
    return _sums(measured.DIGITS)


def writings(model: ModelHandle) -> pd.DataFrame:
    """One row a writing: ``writing``, ``tokens`` (mean), ``probability`` (median), and the share of
    right first choices: ``right``, ``low``, ``high``."""
    table = measured.asked(model)
    found = shares(table, ["writing"], "right").set_index("writing").drop(columns="n")
    groups = table.groupby("writing")
    found.insert(0, "tokens", groups["tokens"].mean())
    found.insert(1, "probability", groups["p"].median())
    return found.rename(columns={"value": "right"}).reset_index()
