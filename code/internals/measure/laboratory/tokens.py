"""Wrong sentences about tokens: what a tokenizer sees, keeps and loses."""

from __future__ import annotations

import unicodedata

import numpy as np

from internals import stats
from internals.measure.laboratory.lab import Lab
from internals.measure.laboratory.record import (
    Finding,
    does_not_apply,
    estimated,
    exact,
    refutation,
)
from internals.measure.probability import one_prompt
from internals.measure.tokenization import breakdown, contexts, measured
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
    size = len(lab.tokenizer)
    ids = [i for i in range(0, size, max(1, size // 4000)) if i not in special]
    raw = [token_bytes(lab.tokenizer, i) for i in ids]
    shown = [breakdown.decode(lab.tokenizer, [i]).encode() for i in ids]
    lost = sum(a != b for a, b in zip(raw, shown, strict=True))
    outcome = "For {value} of {n} the decoded text is not what the token stands for."
    return exact(lost / len(ids), 0, outcome, n=len(ids), n_unit="tokens", unit="share")


@refutation
def one_segmentation(lab: Lab) -> Finding:
    """Wrong: Encoding the decoded text gives the same ids back.

    Truth: Many sequences of ids spell the same text, and the tokenizer returns only one of them.
    """
    rng = np.random.default_rng(0)
    special = set(lab.tokenizer.all_special_ids)
    plain = [i for i in range(len(lab.tokenizer)) if i not in special]
    drawn = [rng.choice(plain, 8).tolist() for _ in range(200)]
    same = [lab.ids(breakdown.decode(lab.tokenizer, ids)) == ids for ids in drawn]
    share = stats.wilson(sum(same), len(same), unit="random sequences")
    return estimated(share, 1.0, "{value} of {n} of eight tokens come back.", unit="share")


@refutation
def the_space_is_separate(lab: Lab) -> Finding:
    """Wrong: ‘Paris’ and ‘ Paris’ are the same token; the space is a token of its own.

    Truth: Most tokenizers write the space into the token, so the two have different ids.
    """
    forms = lab.measured(measured.case_forms).pivot(index="word", columns="form", values="ids")
    ends = forms["space lower"].str[-1] == forms["lower"].str[-1]
    same = ends & (forms["lower"].str.len() == 1)
    single = (forms["lower"].str.len() == 1) | (forms["space lower"].str.len() == 1)
    share = stats.wilson(int(same.sum()), int(single.sum()), unit="words")
    outcome = "With and without a space before it, {value} of {n} that are one token share it."
    return estimated(share, 1.0, outcome, unit="share")


@refutation
def capitals_are_equal(lab: Lab) -> Finding:
    """Wrong: ‘The’ and ‘the’ are the same token to the model.

    Truth: In a cased vocabulary they have different ids and different embeddings; that they are
    related has to be learned.
    """
    forms = lab.measured(measured.case_forms).pivot(index="word", columns="form", values="ids")
    same = int((forms["space lower"] == forms["space capital"]).sum())
    share = stats.wilson(same, len(forms), unit="words")
    return estimated(share, 1.0, "{value} of {n} keep their ids when capitalised.", unit="share")


@refutation
def a_word_is_a_token(lab: Lab) -> Finding:
    """Wrong: One word is one token.

    Truth: The commonest words mostly are; as a rule a rarer word has more pieces.
    """
    words = measured.words(4000)
    single = sum(len(lab.ids(" " + word)) == 1 for word in words)
    share = stats.wilson(single, len(words), unit="common words")
    return estimated(share, 1.0, "{value} of {n} are a single token.", unit="share")


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
    share = stats.wilson(int((four["pieces"] == 1).sum()), len(four), unit="numbers")
    return estimated(share, 1.0, "{value} of {n} with four digits are one token.", unit="share")


@refutation
def languages_cost_the_same(lab: Lab) -> Finding:
    """Wrong: A token is about four characters, whatever the language.

    Truth: A tokenizer is short for the text on which it was trained; the same articles of the
    Universal Declaration of Human Rights take several times the tokens in other languages.
    """
    table = lab.measured(measured.premiums)
    own = table[
        (table["tokenizer"] == table["tokenizer"].iloc[0]) & (table["language"] != "English")
    ]
    ratio = stats.bootstrap_ci(own["value"].to_numpy(), np.median, unit="languages")
    outcome = "The same text takes {value} times the tokens of English (median of {n})."
    return estimated(ratio, (0.8, 1.25), outcome)


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
    outcome = "The ids of {value} of {n} begin with the start token."
    n = len(begins)
    return exact(sum(begins) / n, 1, outcome, n=n, n_unit="prompts", unit="share")


@refutation
def any_tag_is_special(lab: Lab) -> Finding:
    """Wrong: A tag in brackets, as in chat prompts, is a special token.

    Truth: Only the tags in this tokenizer's own list are; all others are cut like any text.
    """
    special = [len(lab.ids(tag)) == 1 for tag in TAGS]
    outcome = "{value} of {n} taken from chat models are one token here."
    n = len(special)
    return exact(sum(special) / n, 1, outcome, n=n, n_unit="tags", unit="share")


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
    outcome = "{value} of {n} have the same ids in both ways of writing the accent."
    n = len(same)
    return exact(sum(same) / n, 1, outcome, n=n, n_unit="accented words", unit="share")
