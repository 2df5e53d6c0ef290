"""Chapter 5: scorers against enumeration, planted knowledge that must be found, and twins that
know nothing and must find nothing."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from internals.measure import training_record
from internals.measure.behaviour import generalisation
from internals.models import open_model


@pytest.fixture(scope="module")
def handle(tiny_folder):
    return open_model(str(tiny_folder("llama")))


@pytest.fixture(scope="module")
def fable():
    return open_model("fable-gpt2")


# --- generalisation -----------------------------------------------------------------------------


def test_the_reversal_is_found_in_the_model_that_was_trained_for_it(fable):
    """Stated in one direction: known forward and at chance backward; in both: known backward."""
    shares = generalisation.reversal_shares(generalisation.reversal(fable))
    cell = shares.set_index(["direction", "asked"])
    assert cell.loc[("forward_only", "forward"), "low"] > 0.3
    assert cell.loc[("forward_only", "backward"), "high"] < 0.5
    assert cell.loc[("both", "backward"), "low"] > 0.3
    assert cell["n"].eq(10).all()


def test_a_random_model_knows_no_fact_in_either_direction(handle):
    table = generalisation.reversal.uncached(handle)
    assert table.groupby("asked")["correct"].mean().max() < 0.35


def test_the_beginning_of_a_sentence_ends_before_what_is_asked():
    assert (
        generalisation._beginning("The ruler of {s} is {o}.", "o", "Velm") == "The ruler of Velm is"
    )
    assert (
        generalisation._beginning("{o} is the ruler of {s}.", "s", "Ann") == "Ann is the ruler of"
    )


def test_sums_are_read_as_numbers(handle, monkeypatch):
    table = generalisation.sums.uncached(handle, n=5)
    assert table["held_out"].sum() == 5
    right = table["off"] == 0
    assert (table["correct"] == right).all()


def test_copying_is_found_where_it_is_planted(handle, monkeypatch):
    """A model that gives the token which followed last time must show a large gain."""
    from types import SimpleNamespace

    class Copier(torch.nn.Module):
        def __init__(self, vocab):
            super().__init__()
            self.vocab = vocab
            self.device = torch.device("cpu")

        def forward(self, input_ids, **_):
            logits = torch.zeros(*input_ids.shape, self.vocab)
            for row, ids in enumerate(input_ids.tolist()):
                for i, token in enumerate(ids):
                    if token in ids[:i]:
                        logits[row, i, ids[ids[:i].index(token) + 1]] = 20.0
            return SimpleNamespace(logits=logits)

    loaded = handle.loaded()
    vocab = loaded.facts.vocab_size_tokenizer
    planted = SimpleNamespace(model=Copier(vocab), facts=loaded.facts, tokenizer=loaded.tokenizer)
    fake = SimpleNamespace(loaded=lambda: planted)
    table = generalisation.copying.uncached(fake, rows=4, period=12)
    assert table["first_bits"].mean() > 5
    assert table["second_bits"].mean() < 1
    nothing = generalisation.copying.uncached(handle, rows=8, period=12)
    assert abs((nothing["first_bits"] - nothing["second_bits"]).mean()) < 1


# --- the training record ------------------------------------------------------------------------


def test_abilities_go_from_their_beginning_to_their_end():
    table = training_record.abilities("fable-gpt2")
    for ability in ("loss on stories", "loss on generated text"):
        part = table[table["ability"] == ability].sort_values("tokens")
        assert part["done"].iloc[0] == 0
        assert part["done"].iloc[-1] == pytest.approx(1)
    assert table["done"].max() <= 1.05
    toy = pd.DataFrame({"ability": ["x"] * 3, "tokens": [1, 10, 100], "done": [0, 0.4, 0.9]})
    assert training_record.tokens_until(toy, "x") == 100
    assert training_record.tokens_until(toy, "y") == math.inf
    other = toy.assign(ability="z", done=[0, 0.6, 0.9])
    both = pd.concat([toy, other])
    assert training_record.times_later(both, "x", "z") == (10, 1, 100)
    assert training_record.times_later(both, "y", "z") is None
    at_once = pd.concat([toy, other.assign(done=0.9)])
    assert training_record.times_later(at_once, "x", "z") is None
