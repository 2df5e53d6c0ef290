"""Distributions across prompts and along a text."""

from __future__ import annotations

import re

import numpy as np

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, above, exact, finding
from internals.measure.probabilities import surprisal
from internals.measure.probabilities.positions import over_documents, positions
from internals.models import ModelHandle


@finding(unit="share")
def first_choice(model: ModelHandle) -> Estimate:
    """Of the tokens of held-out text {value} are the model's first choice."""
    table = positions(model)
    return over_documents(table, table["rank"] == 0)


@finding(unit="share")
def first_ten(model: ModelHandle) -> Estimate:
    """Of the tokens of held-out text {value} are among the model's first ten choices."""
    table = positions(model)
    return over_documents(table, table["rank"] < 10)


@finding(unit="bits", expect=above(0))
def openings(model: ModelHandle) -> Estimate:
    """A token that begins a word costs {value} more than one that goes on with it."""
    table = positions(model)
    table = table.assign(bits=-table["log_prob"] / np.log(2))
    means = table.pivot_table(index="document", columns="opens", values="bits").dropna()
    if set(means.columns) != {False, True}:
        raise NotApplicable("no token of its vocabulary begins with a blank")
    return stats.paired_difference(means[True], means[False], unit="documents")


@finding(unit="share", expect=above(0.4))
def few(model: ModelHandle) -> Estimate:
    """The fifth of the tokens that cost most carries {value} of the surprisal of a text."""
    cost = np.sort(-positions(model)["log_prob"].to_numpy())
    return exact(cost[-(len(cost) // 5) :].sum() / cost.sum(), len(cost), "positions")


@finding(unit="bits", expect=above(0))
def again(model: ModelHandle) -> Estimate:
    """The second time a rare name costs {value} less than the first time."""
    table = surprisal.paragraph(model)
    sizes = table["text"].str.len()
    per_letter = np.repeat((table["bits"] / sizes).to_numpy(), sizes)
    names = re.finditer(f" {surprisal.RARE}", "".join(table["text"]))
    first, second = (per_letter[m.start() : m.end()].sum() for m in names)
    return exact(first - second, 1, "names")
