"""Sampling comparisons of chapter 4: metrics by hand, and models whose behaviour is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from internals import inputs
from internals.inputs import InputError
from internals.measure.decoding import choices, metrics, samples
from internals.measure.scoring import mean_surprisal, score_tokens
from internals.models import open_model
from tiny_models import build


@pytest.fixture(scope="module")
def handle(tiny_folder):
    return open_model(str(tiny_folder("gpt2")))


def test_distinct_by_hand():
    """Bigrams ab, bc and ab, bd: three of four are different."""
    texts = [(1, 2, 3), (1, 2, 4)]
    assert metrics.distinct(texts, 1) == 4 / 6
    assert metrics.distinct(texts, 2) == 3 / 4
    assert math.isnan(metrics.distinct([(1,)], 2))


def test_repetition_and_loops_by_hand():
    assert metrics.repetition((1, 2, 1, 2, 1, 2), 2) == 1 - 2 / 5
    assert metrics.repetition(tuple(range(9)), 4) == 0
    assert metrics.loops(tuple(range(8)) * 2)
    assert not metrics.loops(tuple(range(16)))


def test_self_bleu_of_equal_and_of_foreign_texts():
    same = ["the cat sat on the mat today"] * 3
    assert metrics.self_bleu(same) == pytest.approx(100)
    foreign = ["a b c d e", "f g h i j", "k l m n o"]
    assert metrics.self_bleu(foreign) < 10
    assert math.isnan(metrics.self_bleu(["one"]))


def test_self_bleu_is_sacrebleus_with_the_others_as_references():
    from sacrebleu import sentence_bleu

    texts = ["the cat sat on the mat", "the dog sat on the mat", "a cat lay on a rug"]
    by_hand = [
        sentence_bleu(t, [u for u in texts if u != t], use_effective_order=True).score
        for t in texts
    ]
    assert metrics.self_bleu(texts) == pytest.approx(np.mean(by_hand))


def test_vocabulary_grows_to_all_tokens():
    sizes = metrics.vocabulary_growth([(1, 2), (2, 3), (9,)])
    assert sizes[-1] == 4
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("text", "right"),
    [(" Paris.", True), ("Paris", True), (" Parisian", False), (" in Paris", False), ("", False)],
)
def test_an_answer_is_a_whole_word_at_the_beginning(text, right):
    assert metrics.says(text, "Paris") is right


def test_mean_surprisal_is_that_of_the_token_scores():
    model = build("gpt2")
    heads, tails = [[1, 2, 3], [4]], [(5, 6), (7, 8, 9)]
    found = mean_surprisal(model, [*heads, [1]], [*tails, ()])
    scores = score_tokens(model, [[*h, *t] for h, t in zip(heads, tails, strict=True)])
    expected = [-s.log_prob[len(h) - 1 :].mean() for h, s in zip(heads, scores, strict=True)]
    assert found[:2] == pytest.approx(expected, abs=1e-4)
    assert math.isnan(found[2])


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    path = tmp_path_factory.mktemp("openings") / "openings.yaml"
    path.write_text(
        "openings:\n" + "".join(f"  - {{id: o{i}, text: the cat {i}}}\n" for i in range(4))
    )
    return path


def test_all_settings_give_texts_of_one_length(handle, few):
    made = samples.samples.uncached(handle, few)
    assert set(made["setting"]) == {s.name for s in samples.SETTINGS}
    assert made["ids"].map(len).nunique() == 1
    counts = made.groupby("setting").size()
    assert counts["greedy"] == 4
    assert counts.drop("greedy").eq(4 * samples.SEEDS).all()
    first = made[(made["setting"] == "p 0.9") & (made["prompt"] == "o0")]["ids"]
    assert first.nunique() > 1, "seeds differ"


def test_the_comparison_tells_settings_apart(handle, few):
    found = samples.comparison.uncached(handle, handle, few)
    rows = found.table.set_index("setting")
    assert rows.loc["k 5", "distinct_2"] < rows.loc["T 1", "distinct_2"]
    assert rows.loc["k 5", "own_bits"] < rows.loc["T 1", "own_bits"]
    assert math.isnan(rows.loc["greedy", "distinct_2"]), "one text has no diversity among samples"
    assert samples.HUMAN in rows.index
    assert (found.tests["adjusted"] >= found.tests["p"] - 1e-12).all()


def test_a_nucleus_is_the_one_of_the_sampler(handle):
    from internals.generation.sampling import top_p
    from internals.measure.probability.temperature import next_logits

    table = choices.nuclei.uncached(handle).set_index("prompt")
    z = next_logits(handle.loaded(), "The capital of France is")
    assert table.loc["main", "size"] == int(torch.isfinite(top_p(0.9)(z)).sum())
    p = z.softmax(-1).sort(descending=True).values
    lost = p[50 : table.loc["main", "size"]].sum().item()
    assert table.loc["main", "lost"] == pytest.approx(lost)


def test_beam_search_is_at_least_as_likely_on_most_openings(handle, few):
    table = choices.beams.uncached(handle, few)
    assert (table["beam_bits"] <= table["greedy_bits"] + 1e-3).mean() >= 0.75


def test_greedy_text_is_watched_token_by_token(handle, few):
    table = choices.repetition_feeds_itself.uncached(handle, few)
    one = table[table["prompt"] == "o0"]
    assert one["position"].tolist() == list(range(1, len(one) + 1))
    assert one["probability"].between(0, 1).all()
    assert not one["repeated"].iloc[:4].any()


def test_stated_facts_count_every_answer(handle):
    table = choices.stated_facts.uncached(handle)
    assert (table["right"] <= table["answers"]).all()
    assert set(table["setting"]) == {s.name for s in samples.SETTINGS}


def test_the_second_implementation_agrees():
    from internals.measure import second_implementation

    found = second_implementation.measured.uncached(open_model("fable-gpt2"))
    assert found.largest < 1e-3
    assert found.cache_gap < 1e-3
    assert found.same_text.value == 1


def test_the_shipped_openings(tmp_path):
    assert len(inputs.openings()) >= 24
    path = tmp_path / "openings.yaml"
    path.write_text("openings: [{id: a, text: 'x '}]")
    with pytest.raises(InputError, match="ends with a blank"):
        inputs.openings(path)


def test_figures_of_chapter_four_are_drawn_from_tables(handle, few):
    from internals.figures import decoding as figures

    table = samples.comparison.uncached(handle, handle, few).table
    assert len(figures.frontier(table).axes) == 1
    feeding = pd.DataFrame(
        {"position": range(1, 31), "probability": [0.5] * 30, "repeated": [False] * 30}
    )
    assert figures.feeding(feeding).axes[0].get_ylim() == (0, 1.02)
