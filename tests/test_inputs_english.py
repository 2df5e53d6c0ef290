"""Inputs for a real English model: each file holds what its chapter and its statistics need."""

from __future__ import annotations

import re

import pandas as pd
import pytest
import yaml

from internals import inputs, questions
from internals.datafiles import InputError
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


def test_samples_name_their_language(tmp_path):
    shipped = {sample.id: sample.lang for sample in inputs.samples()}
    assert {shipped["plain"], shipped["code"], shipped["scripts"]} == {"en", "zxx", "mul"}
    path = tmp_path / "samples.yaml"
    entry = "samples:\n- {id: a, title: t, text: x"
    path.write_text(f"{entry}}}")
    assert inputs.samples(path)[0].lang == "en"
    for wrong, sentence in (("English!", "`lang` is 'English!'"), ("3", "needs `lang:`")):
        path.write_text(f"{entry}, lang: {wrong}}}")
        with pytest.raises(InputError, match=rf"samples\.yaml, line 2: .*{sentence}"):
            inputs.samples(path)


def test_prompts_come_in_families_that_can_be_compared():
    families = pd.Series([prompt.family for prompt in inputs.prompts()]).value_counts()
    assert families.sum() >= 50
    assert families.min() >= 8
    main = next(prompt for prompt in inputs.prompts() if prompt.id == "main")
    assert main.text == "The capital of France is"


def test_pairs_of_prompts_and_openings_are_enough():
    assert len(inputs.changes()) >= 15
    texts = [opening.text for opening in inputs.openings()]
    assert len(set(texts)) >= 20
    assert texts[0][0].isalpha(), "the first is printed between quotation marks"


def test_ten_trick_questions_are_of_the_kinds_that_are_asked_for():
    shown = inputs.tricks()
    assert len(shown) == 10
    kinds = {trick.kind for trick in shown}
    assert kinds >= {"counting", "false premise", "invented name", "ambiguity", "negation"}
    assert all(t.text.startswith("Question: ") and t.text.endswith("\nAnswer:") for t in shown)


def test_there_are_as_many_questions_without_an_answer_as_with_one_in_every_form():
    table = pd.DataFrame(inputs.answerable())
    sizes = table.groupby("form")["group"].value_counts().unstack()
    assert (sizes["invented"] == sizes["well_known"] + sizes["little_known"]).all()
    assert sizes["invented"].sum() >= 60
    assert len(sizes) >= 6, "the form is the unit"
    assert table["text"].is_unique


def test_what_exists_stands_in_the_tables_of_facts_and_no_invention_does():
    countries = pd.read_csv(DATA / "facts" / "countries.csv", keep_default_na=False)
    elements = pd.read_csv(DATA / "facts" / "elements.csv", keep_default_na=False)
    known = {*countries["country"], *elements["name"].str.lower()}
    for question in inputs.answerable():
        if question.form in {"capital", "symbol"}:
            exists = question.name.removeprefix("the ") in known
            assert exists == (question.group != inputs.INVENTED)


def _form(**changes):
    form = {"id": "capital", "text": "The capital of {} is", "well_known": ["France"]}
    form |= {"little_known": ["Bhutan"], "invented": ["Zorbania", "Melkaria"]}
    return form | changes


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"text": "The capital is"}, "needs {} once"),
        ({"text": "The capital of {} is "}, "ends with a blank"),
        ({"invented": ["Zorbania"]}, "as many invented names as real ones"),
        ({"invented": ["Zorbania", "Zorbania"]}, "each of them once"),
        ({"invented": ["Zorbania", "France"]}, "each of them once"),
        ({"invented": {"Zorbania": ["Zor"]}}, "must hold a list of names"),
        ({"invented": [["Zorbania"], 3]}, "must hold a list of names"),
        ({"well_known": {"France": "Paris"}}, "must hold a list of names"),
        ({"well_known": [33]}, "must hold a list of names"),
        ({"little_known": None}, "needs `little_known:`"),
    ],
)
def test_a_wrong_form_is_named_with_its_line(tmp_path, changes, sentence):
    path = tmp_path / "answerable.yaml"
    path.write_text(yaml.safe_dump({"forms": [_form(**changes)]}))
    with pytest.raises(InputError, match=sentence) as error:
        inputs.answerable(path)
    assert str(error.value).startswith("answerable.yaml, line ")


def test_a_right_form_is_read(tmp_path):
    path = tmp_path / "answerable.yaml"
    path.write_text(yaml.safe_dump({"forms": [_form()]}))
    texts = [question.text for question in inputs.answerable(path)]
    assert texts[0] == "The capital of France is"
    assert len(texts) == 4
