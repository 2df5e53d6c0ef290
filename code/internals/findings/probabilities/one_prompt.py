"""The distribution after one prompt, and what a small change of the prompt does to it."""

from __future__ import annotations

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, above, exact, finding
from internals.measure.probabilities import temperature
from internals.models import ModelHandle


@finding(unit="share", expect=above(0.5))
def first(model: ModelHandle) -> Estimate:
    """After the main prompt the likeliest token has {value} of the probability."""
    return _main(model, "top_prob")


@finding(unit="share", expect=above(0.5))
def ten(model: ModelHandle) -> Estimate:
    """After the main prompt the ten likeliest tokens hold {value} of the probability."""
    return _main(model, "ten_prob")


@finding(unit="share")
def ten_elsewhere(model: ModelHandle) -> Estimate:
    """Over all prompts the ten likeliest tokens hold {value} of the probability on average."""
    table = temperature.sweep(model)
    return stats.bootstrap_ci(table.query("temperature == 1")["ten_prob"], unit="prompts")


@finding(unit="share", expect=above(0.1))
def blank(model: ModelHandle) -> Estimate:
    """A blank at the end of a prompt moves {value} of the probability to other tokens."""
    table = temperature.blank_effect(model)
    if table["same_ids"].all():
        raise NotApplicable("its tokenizer drops a blank at the end of a text")
    return stats.bootstrap_ci(table["moved"], unit="prompts")


@finding(unit="share", expect=above(0.1))
def word(model: ModelHandle) -> Estimate:
    """One changed word moves {value} of the probability to other tokens."""
    return stats.bootstrap_ci(temperature.word_effect(model)["moved"], unit="pairs")


def _main(model: ModelHandle, column: str) -> Estimate:
    row = temperature.sweep(model).query("temperature == 1 and prompt == 'main'")
    return exact(row[column].iloc[0], 1, "prompts")
