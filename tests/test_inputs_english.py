"""Inputs for a real English model: each file holds what its chapter and its statistics need."""

from __future__ import annotations

import re

import pandas as pd

from internals import questions
from internals.paths import DATA


def test_ratings_of_related_words_are_whole():
    table = pd.read_csv(DATA / "words" / "wordsim353.tsv", sep="\t", keep_default_na=False)
    assert table.columns.tolist() == ["word1", "word2", "rating"]
    assert len(table) == 353
    assert table["rating"].between(0, 10).all()
    assert table[["word1", "word2"]].map(str.isalpha).all(axis=None)
    assert pd.unique(table[["word1", "word2"]].to_numpy().ravel()).size == 437


def test_the_pairs_make_enough_families_of_both_kinds():
    """With fewer than six families of a kind no test over families could find anything."""
    pairs = pd.DataFrame([(p.family, p.switches) for p in questions.trick_pairs()])
    pairs.columns = ["family", "switches"]
    sizes = pairs.value_counts().reset_index()
    assert sizes["count"].min() >= questions.ITEMS
    assert sizes["family"].is_unique, "a family is of one kind"
    assert sizes["switches"].value_counts().min() >= 6


def test_what_tempts_stands_in_the_trick_alone():
    said = {"false premise", "distracting fact", "suggested answer", "misleading number"}
    pairs = [p for p in questions.trick_pairs() if p.family in said]
    assert {p.family for p in pairs} == said
    for pair in pairs:
        assert all(pair.trap in trick for _, trick in pair.paraphrases), pair.id
        assert not any(pair.trap in control for control, _ in pair.paraphrases), pair.id


def test_sums_of_the_pairs_are_right_and_were_not_held_out_from_the_embedded_models():
    sums = pd.read_csv(DATA / "training" / "sums.csv").set_index(["a", "b"])
    asked = [p for p in questions.trick_pairs() if p.family == "misleading number"]
    for pair in asked:
        for control, trick in pair.paraphrases:
            a, b = map(int, re.findall(r"\d+", control))
            assert a + b == int(pair.trick_right)
            assert not sums.loc[(a, b), "held_out"]
            assert re.findall(r"\d+", trick) == [pair.trap, str(a), str(b)]


def test_control_and_trick_differ_little():
    """A pair compares one change of the text, so most words of both sides are the same."""
    for pair in questions.trick_pairs():
        for texts in pair.paraphrases:
            first, second = (set(text.lower().split()) for text in texts)
            assert len(first & second) >= 2, texts
            assert abs(len(texts[0].split()) - len(texts[1].split())) <= 3, texts
