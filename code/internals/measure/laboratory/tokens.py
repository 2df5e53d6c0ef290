"""Wrong sentences about tokens: what a tokenizer sees, keeps and loses."""

from __future__ import annotations

import unicodedata
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from internals import stats
from internals.book import wording
from internals.measure.laboratory.lab import Lab
from internals.measure.laboratory.record import (
    Finding,
    does_not_apply,
    estimated,
    exact,
    refutation,
)
from internals.measure.probabilities import one_prompt
from internals.measure.tokenization import breakdown, contexts, measured
from internals.paths import DATA
from internals.tokens import token_bytes

ACCENTED = ("café", "naïve", "Zürich", "señor", "garçon", "déjà", "Ångström", "crème")
TAGS = ("<|assistant|>", "<|user|>", "<|im_start|>", "[INST]", "<bot>")
"""Marks of chat templates of several models."""


@refutation
def senses_have_tokens(lab: Lab) -> Finding:
    """Wrong: The tokenizer knows what a word means: a river bank and a bank for money are
    different tokens.

    Truth: A tokenizer sees characters and no meaning. Only the layers can tell senses apart, if
    anything does.
    """
    table = contexts.sense_sentences()
    texts = table[table["kind"] == "two senses"].groupby("word")["text"]
    apart = [len({lab.ids(text)[-1] for text in group}) > 1 for _, group in texts]
    share = stats.wilson(sum(apart), len(apart), unit="words with two senses")
    outcome = "The token at the word's end differs between its sentences for {value} of {n}."
    return estimated(share, 1.0, outcome, unit="share")


@refutation
def unknown_words(lab: Lab) -> Finding:
    """Wrong: A word that is not in the vocabulary becomes an unknown token.

    Truth: A vocabulary that holds all bytes can write any text; a rare word only takes more tokens.
    """
    table = lab.measured(measured.fuzz)
    share = stats.wilson(int(table["unknown"].sum()), int(table["n"].sum()), unit="random strings")
    outcome = "An unknown token occurs in {value} of {n} in all scripts."
    return estimated(share, (0.5, 1.0), outcome, unit="share")


@refutation
def decoding_shows_the_token(lab: Lab) -> Finding:
    """Wrong: To see what a token is, decode its id.

    Truth: A token is a string of bytes. It may be part of a character, which decoding shows as a
    replacement sign, and a decoder may drop its blank.
    """
    special = set(lab.tokenizer.all_special_ids)
    ids = [i for i in range(len(lab.tokenizer)) if i not in special]
    raw = [token_bytes(lab.tokenizer, i) for i in ids]
    shown = [breakdown.decode(lab.tokenizer, [i]).encode() for i in ids]
    lost = sum(a != b for a, b in zip(raw, shown, strict=True))
    outcome = "For {value} of all {n} the decoded text is not what the token stands for."
    return exact(lost / len(ids), 0, outcome, n=len(ids), n_unit="tokens", unit="share")


@refutation
def one_segmentation(lab: Lab) -> Finding:
    """Wrong: Encoding the decoded text gives the same ids back.

    Truth: Many sequences of ids spell the same text, and the tokenizer returns only one of them.
    """
    rng, special = np.random.default_rng(0), set(lab.tokenizer.all_special_ids)
    plain = np.array([i for i in range(len(lab.tokenizer)) if i not in special])
    drawn = (rng.choice(plain, 8).tolist() for _ in range(4000))
    # Half a character is lost in decoding, which is another cause.
    whole = list(islice((ids for ids in drawn if _is_utf8(lab.tokenizer, ids)), 200))
    if len(whole) < 20:
        return does_not_apply(
            "Random tokens of this vocabulary hardly ever spell whole characters."
        )
    same = [lab.ids(breakdown.decode(lab.tokenizer, ids)) == ids for ids in whole]
    share = stats.wilson(sum(same), len(same), unit="random sequences")
    outcome = "{value} of {n} of eight tokens, all of which spell whole characters, come back."
    return estimated(share, 1.0, outcome, unit="share")


def _is_utf8(tokenizer: Any, ids: list[int]) -> bool:
    """Whether the bytes of the tokens, one after another, are a text."""
    try:
        b"".join(token_bytes(tokenizer, i) for i in ids).decode()
    except UnicodeDecodeError:
        return False
    return True


@refutation
def the_space_is_separate(lab: Lab) -> Finding:
    """Wrong: ‘Paris’ and ‘ Paris’ are the same token; the space is a token of its own.

    Truth: Most tokenizers write the space into the token, so the two have different ids.
    """
    forms = lab.measured(measured.case_forms).pivot(index="word", columns="form", values="ids")
    ends = forms["space lower"].str[-1] == forms["lower"].str[-1]
    same = ends & (forms["lower"].str.len() == 1)
    single = (forms["lower"].str.len() == 1) | (forms["space lower"].str.len() == 1)
    share, n = same.sum() / max(single.sum(), 1), int(single.sum())
    outcome = "With and without a space before it, {value} of {n} that are one token share it."
    return exact(share, 1, outcome, n=n, n_unit="common words", unit="share")


@refutation
def capitals_are_equal(lab: Lab) -> Finding:
    """Wrong: ‘The’ and ‘the’ are the same token to the model.

    Truth: In a cased vocabulary they have different ids and different embeddings; that they are
    related has to be learned.
    """
    forms = lab.measured(measured.case_forms).pivot(index="word", columns="form", values="ids")
    same, n = (forms["space lower"] == forms["space capital"]).mean(), len(forms)
    outcome = "{value} of the {n} keep their ids when capitalised."
    return exact(same, 1, outcome, n=n, n_unit="commonest words", unit="share")


@refutation
def a_word_is_a_token(lab: Lab) -> Finding:
    """Wrong: One word is one token.

    Truth: The commonest words mostly are; as a rule a rarer word has more pieces.
    """
    words = measured.words(4000)
    share = sum(len(lab.ids(" " + word)) == 1 for word in words) / len(words)
    outcome, n = "{value} of the {n} are a single token.", len(words)
    return exact(share, 1, outcome, n=n, n_unit="commonest words", unit="share")


@refutation
def a_number_is_a_token(lab: Lab) -> Finding:
    """Wrong: The model reads a number as a number.

    Truth: It reads digits in groups that depend on the vocabulary; the same digit can be a token of
    its own in one number and part of a larger token in the next.
    """
    if breakdown.has_unknown(lab.tokenizer) and lab.tokenizer.unk_token_id in lab.ids(" 2024"):
        return does_not_apply("This tokenizer does not know such numbers at all.")
    table = lab.measured(measured.number_splits)
    four = table[table["space"] & (table["digits"] == 4)]
    share, n = float((four["pieces"] == 1).mean()), len(four)
    outcome = "{value} of the {n} with four digits are one token."
    return exact(share, 1, outcome, n=n, n_unit="numbers", unit="share")


@refutation
def languages_cost_the_same(lab: Lab) -> Finding:
    """Wrong: A token is about four characters, whatever the language.

    Truth: Tokens are long for text like that on which the tokenizer was trained. In other languages
    and scripts they are as a rule shorter.
    """
    by_language = _characters_by_language(lab)
    others = by_language.drop("English", errors="ignore").sort_values()
    if len(others) < 5:
        return does_not_apply("For nearly all other languages this tokenizer has unknown tokens.")
    median = stats.bootstrap_ci(others.to_numpy(), np.median, unit="other languages")
    ends = [f"{wording.number(others.iloc[i], digits=2)} in {others.index[i]}" for i in (0, -1)]
    outcome = "The declaration of human rights has {value} characters a token (median of {n}), "
    outcome += f"from {ends[0]} to {ends[1]}"
    if "English" in by_language:
        outcome += f"; in English it has {wording.number(by_language['English'], digits=2)}"
    return estimated(median, (3.2, 5.0), f"{outcome}.")


def _characters_by_language(lab: Lab) -> pd.Series:
    """Characters a token by language, for the same articles; an unknown token hides how a language
    is cut, so languages with one are left out."""
    table = pd.read_csv(DATA / "parallel" / "udhr.tsv", sep="\t", keep_default_na=False)
    unknown, found = getattr(lab.tokenizer, "unk_token_id", None), {}
    for language, part in table.groupby("language", sort=False):
        ids = [i for text in part["text"] for i in lab.ids(text)]
        if unknown not in ids:
            found[language] = float(part["text"].str.len().sum()) / len(ids)
    return pd.Series(found, dtype=float)


@refutation
def a_trailing_blank_is_harmless(lab: Lab) -> Finding:
    """Wrong: A space at the end of the prompt makes no difference.

    Truth: The space usually belongs to the next token, so the model is now asked for a word
    without its space.
    """
    moved = lab.measured(one_prompt.blank_effect)["moved"]
    share = stats.bootstrap_ci(moved.to_numpy(), unit="prompts")
    outcome = "A blank moves {value} of the probability to other tokens (mean of {n})."
    return estimated(share, (0.0, 0.01), outcome, unit="share")


@refutation
def texts_begin_with_bos(lab: Lab) -> Finding:
    """Wrong: The tokenizer puts a start token in front of every text.

    Truth: Some do, some have a start token and do not add it (GPT-2), some have none. Look at the
    ids.
    """
    if lab.facts.bos_id is None:
        return does_not_apply("This tokenizer has no start token.")
    begins = [lab.tokenizer(text)["input_ids"][:1] == [lab.facts.bos_id] for text in lab.prompts]
    share = stats.wilson(sum(begins), len(begins), unit="prompts")
    outcome = "The ids of {value} of {n} begin with the start token."
    return estimated(share, 1.0, outcome, unit="share")


@refutation
def any_tag_is_special(lab: Lab) -> Finding:
    """Wrong: A tag in brackets, as in chat prompts, is a special token.

    Truth: Only the tags in this tokenizer's own list are; all others are cut like any text.
    """
    special = [len(lab.ids(tag)) == 1 for tag in TAGS]
    share = stats.wilson(sum(special), len(special), unit="tags")
    outcome = "{value} of {n} taken from chat models are one token here."
    return estimated(share, 1.0, outcome, unit="share")


@refutation
def what_looks_alike_is_alike(lab: Lab) -> Finding:
    """Wrong: Two texts that look the same are the same to the model.

    Truth: An accented letter can be one character or two. Without a normaliser the bytes differ,
    and so do the ids.
    """
    same = [
        lab.ids(unicodedata.normalize("NFC", word)) == lab.ids(unicodedata.normalize("NFD", word))
        for word in ACCENTED
    ]
    share = stats.wilson(sum(same), len(same), unit="accented words")
    outcome = "{value} of {n} have the same ids in both ways of writing the accent."
    return estimated(share, 1.0, outcome, unit="share")
