"""What the models read: exact exposure, held-out sums and wordings, the same bytes for a seed."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from fable import corpus, dataset, designed, general
from internals.errors import UserError

FACTS = designed.invented_facts(0, set())


@pytest.fixture(scope="module")
def told():
    """Documents and exposure table of all designed facts."""
    facts = dataset.planned_facts([], seed=0, scale=1)
    return dataset.designed_documents(facts, seed=0)


def test_every_invented_relation_has_ten_facts_at_each_level():
    table = pd.DataFrame([(f.relation, f.level) for f in FACTS], columns=["relation", "level"])
    sizes = table.groupby(["relation", "level"]).size()
    assert (sizes == designed.PER_LEVEL).all()
    assert len(sizes) == len(designed.INVENTED) * len(designed.LEVELS)


def test_each_answer_stands_once_at_each_level_so_that_chance_is_one_in_ten():
    for relation, answers in designed.CANDIDATES.items():
        for level in designed.LEVELS:
            used = [f.object for f in FACTS if (f.relation, f.level) == (relation, level)]
            assert sorted(used) == sorted(answers)


def test_invented_names_are_new_and_pronounceable():
    names = [f.subject.lower() for f in FACTS]
    assert len(set(names)) == len(names)
    assert all(re.search("[aeiou]", n) for n in names)
    taken = set(names[:50])
    again = designed.invented_facts(0, set(taken))
    assert not taken & {f.subject.lower() for f in again}


def test_statements_are_recounted_in_the_text(told):
    """A second count, by searching the finished documents for every possible wording."""
    documents, table = told
    text = "\n".join(d.text for d in documents)
    sample = table.sample(15, random_state=1)
    for row in sample.itertuples():
        for role, expected in (("trained", row.exposures), ("reverse", row.exposures_reverse)):
            patterns = designed.templates()[row.relation][role]
            sentences = [designed.state(p, row.subject, row.object) for p in patterns]
            found = sum(
                len(re.findall(rf"(?<![A-Za-z]){re.escape(s)}(?=\s|$)", text)) for s in sentences
            )
            # Pairs of countries share beginnings ("Guinea"), never a whole sentence.
            assert found == expected, (row.subject, role)


def test_planned_and_counted_exposures_agree(told):
    _, table = told
    assert (table["exposures"] == table["level"]).all()
    one_way = table["direction"] == "forward_only"
    assert (table.loc[one_way, "exposures_reverse"] == 0).all()
    assert (table.loc[~one_way & (table["level"] > 0), "exposures_reverse"] > 0).all()


def test_facts_that_were_never_told_do_not_occur(told):
    documents, table = told
    text = "\n".join(d.text for d in documents)
    never = table[(table["level"] == 0) & (table["kind"] == "invented")]
    assert len(never) == len(designed.INVENTED) * designed.PER_LEVEL
    for name in never["subject"]:
        assert not re.search(rf"\b{name}\b", text)


def test_held_out_wordings_do_not_occur(told):
    documents, _ = told
    text = "\n".join(d.text for d in documents)
    for roles in designed.templates().values():
        for pattern in roles["heldout"] + roles["heldout_reverse"]:
            parts = map(re.escape, re.split(r"\{[so]\}", pattern))
            assert not re.search("[^.?!]{1,40}?".join(parts), text), pattern


def test_a_prompt_ends_right_before_its_answer():
    for relation, roles in designed.templates().items():
        for pattern in roles["trained"] + roles["heldout"]:
            head = designed.prompt(pattern, "Xyz")
            assert designed.state(pattern, "Xyz", "qqq").startswith(f"{head} qqq"), relation


def test_held_out_sums_are_never_written():
    held = general.held_out_sums()
    assert len(held) > 300
    rng = np.random.default_rng(5)
    patterns = (r"(\d+) \+ (\d+)", r"(\d+) plus (\d+)")
    for _ in range(400):
        text = general.sums(rng)
        for pattern in patterns:
            for a, b in re.findall(pattern, text):
                assert (int(a), int(b)) not in held
        for c, a in re.findall(r"(\d+) - (\d+)", general.differences(rng)):
            assert (int(a), int(c) - int(a)) not in held


def test_written_sums_are_right():
    rng = np.random.default_rng(6)
    for _ in range(100):
        for a, b, c in re.findall(r"(\d+) \+ (\d+) = (\d+)", general.sums(rng)):
            assert int(a) + int(b) == int(c)


@pytest.mark.parametrize("kind", general.KINDS)
def test_every_kind_of_general_text_reads_as_text(kind):
    text = general.KINDS[kind][1](np.random.default_rng(1))
    assert len(text) > 20
    assert "{" not in text
    assert "  " not in text


def test_chance_contexts_have_their_true_frequencies():
    _, table = dataset.chance_documents(0, 1.0)
    for _, part in table.groupby("context"):
        assert part["probability"].sum() == pytest.approx(1)
        assert part["count"].sum() == part["exposures"].iloc[0]
    big = table[table["exposures"] == 1024]
    share = big["count"] / big["exposures"]
    error = np.sqrt(big["probability"] * (1 - big["probability"]) / 1024)
    assert ((share - big["probability"]).abs() < 4 * error).all()


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    sizes = {"target_tokens": 20_000, "vocab_size": 500, "scale": 0.01}
    one = dataset.build_dataset(None, tmp_path / "one", **sizes)
    two = dataset.build_dataset(None, tmp_path / "two", **sizes)
    other = dataset.build_dataset(None, tmp_path / "three", seed=1, **sizes)
    assert one == two
    assert one["train"]["sha256"] != other["train"]["sha256"]
    stream = np.fromfile(tmp_path / "one" / "train.bin", np.uint16)
    index = pd.read_csv(tmp_path / "one" / "train_docs.csv")
    assert stream[0] == stream[-1] == 0
    assert (stream[index["start"] + index["tokens"] - 1] == 0).all()
    assert index["tokens"].sum() + 1 == len(stream)


def test_held_out_documents_are_not_in_the_training_text(tmp_path):
    found = [corpus.Document("stories", str(i), f"text {i}") for i in range(1000)]
    train, held = dataset.split(found, seed=0)
    assert {d.text for d in train}.isdisjoint(d.text for d in held)
    assert 70 < len(held) < 130


def test_cooccurrences_are_counted_by_sentence():
    fact = designed.Fact("x", "capital", "Peru", "Lima", "real", 0, 0, "forward_only", "capital")
    texts = ["Lima is in Peru. Peru is far. Lima is big.", "Peru and its Lima! Peruvian Lima."]
    assert dataset.cooccurrences([fact], texts) == {"x": 2}


@pytest.mark.parametrize(
    ("licence", "taken"),
    [
        ("public domain", True),
        ("public domain text; edition CC0", True),
        ("CC-BY", True),
        ("CC-BY-SA 3.0", False),
        ("all rights reserved", False),
    ],
)
def test_only_works_that_ask_for_attribution_at_most_are_used(licence, taken):
    assert corpus.usable(licence) == taken


def test_books_are_cut_at_paragraphs_and_nothing_long_is_lost():
    text = "\n\n".join(f"paragraph {i} " + "x" * 500 for i in range(40))
    parts = list(corpus.chunks(text))
    assert "\n\n".join(parts) == text
    assert all(len(p) >= corpus.CHUNK_CHARACTERS for p in parts[:-1])


def test_a_missing_corpus_gets_one_sentence(tmp_path):
    with pytest.raises(UserError, match="is missing; give a folder with the story corpus"):
        list(corpus.works(tmp_path))
