"""Question files by schema, and scores of continuations against enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import transformers as tf
import yaml

from internals import questions
from internals.inputs import InputError
from internals.measure.answers import answer_scores

VOCAB = 7


@pytest.fixture(scope="module")
def toy():
    """A random model of seven tokens, small enough to list all its texts."""
    torch.manual_seed(0)
    config = tf.GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=VOCAB, n_positions=24)
    model = tf.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    return model


# --- question files -----------------------------------------------------------------------------


def _pairs(n=6, **changes):
    entries = []
    for i in range(n):
        rows = [{"control": f"c {i} {k}", "trick": f"t {i} {k}"} for k in range(3)]
        entry = {"id": f"p{i}", "family": "f", "control_right": "a", "trick_right": "b"}
        entries.append({**entry, "trap": "a", "paraphrases": rows})
    entries[0].update(changes)
    return entries


def _write(tmp_path, name, key, entries):
    path = tmp_path / name
    path.write_text(yaml.safe_dump({key: entries}), "utf-8")
    return path


def test_a_well_formed_file_is_read(tmp_path):
    pairs = questions.trick_pairs(_write(tmp_path, "p.yaml", "pairs", _pairs()))
    assert pairs[2].paraphrases[1] == ("c 2 1", "t 2 1")
    assert pairs[0].switches


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trap": "b"}, "they must differ"),
        ({"control_right": "c"}, "must be the same text as `trick_right` or `trap`"),
        ({"trap": 5}, "needs `trap:` with a text in quotes"),
        ({"trap": "a "}, "begins or ends with a blank"),
        ({"colour": "x"}, "unknown field `colour`"),
        ({"id": "P 0"}, "lower-case letters"),
        ({"paraphrases": None}, "needs `paraphrases:`"),
        ({"paraphrases": [{"control": "x", "trick": "y"}]}, "needs 3 paraphrases or more"),
        ({"paraphrases": [{"control": "x", "trick": "y"}] * 3}, "the same paraphrase twice"),
        ({"paraphrases": [{"control": "x", "trick": "x"}] * 3}, "same text as control and trick"),
        ({"paraphrases": [{"control": "x ", "trick": "y"}] * 3}, "ends with a blank"),
        ({"paraphrases": [{"control": "x"}] * 3}, "must be written"),
        ({"family": "other"}, "give it 6 or more"),
    ],
)
def test_a_wrong_pair_is_answered_by_one_sentence_with_file_and_remedy(tmp_path, changes, message):
    path = _write(tmp_path, "p.yaml", "pairs", _pairs(7, **changes))
    with pytest.raises(InputError, match=message) as error:
        questions.trick_pairs(path)
    assert "p.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def _items(n=6, **changes):
    entries = []
    for i in range(n):
        first = {"continuation": "x", "context": f"red {i} one"}
        second = {"continuation": "y", "context": f"blue {i} two"}
        entry = {"id": f"w{i}", "word": "bank", "question": f"The bank {i} was"}
        entries.append({**entry, "first": first, "second": second})
    entries[0].update(changes)
    return entries


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"word": "river"}, "lacks the word 'river'"),
        ({"question": "The bank was "}, "ends with a blank"),
        ({"first": {"continuation": "y", "context": "a b c"}}, "are the same"),
        ({"first": {"continuation": "x", "context": "a bank c"}}, "holds the ambiguous word"),
        ({"first": "x"}, "must be written"),
        ({"second": None}, "needs `second:`"),
    ],
)
def test_a_wrong_ambiguous_word_is_answered_likewise(tmp_path, changes, message):
    path = _write(tmp_path, "a.yaml", "items", _items(**changes))
    with pytest.raises(InputError, match=message) as error:
        questions.ambiguous_words(path)
    assert "a.yaml" in str(error.value)


# --- scores and samples against enumeration -----------------------------------------------------


def _next(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1].double().softmax(-1).numpy()


def test_scores_of_all_continuations_are_those_of_enumeration(toy):
    head = (3, 1, 4)
    every = list(itertools.product(range(VOCAB), repeat=2))
    scores = np.exp(answer_scores(toy, [(head, answer) for answer in every]))
    first = _next(toy, head)
    expected = [first[a] * _next(toy, [*head, a])[b] for a, b in every]
    assert scores.sum() == pytest.approx(1, abs=1e-4)
    assert scores == pytest.approx(expected, rel=1e-3, abs=1e-7)
