"""Wrong sentences about tokens."""

from __future__ import annotations

import numpy as np

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, exact
from internals.findings.mistakes import mistake
from internals.measure import bench
from internals.measure.tokenization import casing, comparison, contexts, coverage, numbers
from internals.models import ModelHandle


@mistake(
    "The tokenizer knows meanings: a river bank and a bank for money are different tokens.",
    "A tokenizer sees characters and no meaning; only the layers can tell senses apart.",
    predicts=(0.5, 2.0),
)
def senses_have_tokens(model: ModelHandle) -> Estimate:
    """At the embedding two senses of a word are {value} apart."""
    table = contexts.similarity(model)
    gaps = table.loc[(table["layer"] == 0) & (table["kind"] == "two senses"), "gap"]
    return exact(round(float(gaps.abs().max()), 5), len(gaps), "words")


@mistake(
    "A word that is not in the vocabulary becomes an unknown token.",
    "A vocabulary with single bytes can spell any word; a rare word only takes more tokens.",
    predicts=(0.5, 1.0),
    unit="share",
)
def unknown_words(model: ModelHandle) -> Estimate:
    """An unknown token occurs in {value} of random strings in all scripts."""
    table = coverage.fuzz(model)
    return stats.wilson(int(table["unknown"].sum()), int(table["strings"].sum()), unit="strings")


@mistake(
    "'Paris' and ' Paris' are the same token.",
    "Most tokenizers write the blank into the token, so the two have different ids.",
    predicts=(1.0, 1.0),
    unit="share",
)
def the_blank_is_separate(model: ModelHandle) -> Estimate:
    """With and without a blank, {value} of common words keep their ids."""
    return _same_ids(model, "lower", "space lower")


@mistake(
    "'The' and 'the' are the same token to the model.",
    "In a cased vocabulary they have different ids; that they are related has to be learnt.",
    predicts=(1.0, 1.0),
    unit="share",
)
def capitals_are_equal(model: ModelHandle) -> Estimate:
    """Capitalised, {value} of common words keep their ids."""
    return _same_ids(model, "space lower", "space capital")


@mistake(
    "The model reads a number as a number.",
    "It reads groups of digits; which groups depends on the vocabulary.",
    predicts=(1.0, 1.0),
    unit="share",
)
def a_number_is_a_token(model: ModelHandle) -> Estimate:
    """Of the numbers with four digits, {value} are one token."""
    table = numbers.splits(model)
    four = table[(table["tokenizer"] == model.name) & (table["digits"] == 4)]
    if four.empty:
        raise NotApplicable("its tokenizer does not know numbers")
    whole = four.loc[four["pieces"] == 1, "numbers"].sum()
    return exact(whole / four["numbers"].sum(), four["numbers"].sum(), "numbers")


@mistake(
    "A text costs about as many tokens in one language as in another.",
    "A vocabulary is built from some text; in other languages and scripts its tokens are shorter.",
    predicts=(0.8, 1.25),
)
def languages_cost_the_same(model: ModelHandle) -> Estimate:
    """The same articles cost {value} times as many tokens as in English in the median language."""
    own = comparison.own(comparison.premiums(model))
    return stats.bootstrap_ci(own["value"], np.median, unit="languages")


@mistake(
    "A blank at the end of the prompt makes no difference.",
    "The blank usually belongs to the next token, so the model is asked for a word without it.",
    predicts=(0.0, 0.01),
    unit="share",
)
def a_trailing_blank_is_harmless(model: ModelHandle) -> Estimate:
    """A blank moves {value} of the probability to other tokens."""
    return stats.bootstrap_ci(bench.after_prompts(model)["moved_by_blank"], unit="prompts")


def _same_ids(model: ModelHandle, first: str, second: str) -> Estimate:
    forms = casing.forms(model).pivot(index="word", columns="form", values="ids")
    return exact((forms[first] == forms[second]).mean(), len(forms), "words")
