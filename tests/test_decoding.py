"""Sampling comparisons of chapter 4: metrics by hand, and models whose behaviour is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from internals import inputs
from internals.inputs import InputError
from internals.measure.decoding import (
    choices,
    comparison,
    loops,
    metrics,
    rules,
    samples,
    statements,
)
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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ((1, 2, 3, *(7, 8) * 5), (3, 2)),
        ((5, *(4,) * 9), (1, 1)),
        (tuple(range(20)), None),
        ((*(7, 8) * 8, 1, 2, 3), None),  # it left the loop
        ((1, 2, 3, 4, 4, 4), None),  # too short to be one
        ((9, *range(10, 20), *range(10, 20)), (1, 10)),
        ((9, *range(10, 20), *range(10, 19)), None),  # not two whole rounds
    ],
)
def test_a_loop_is_where_the_text_never_leaves_again(text, found):
    assert metrics.final_loop(text) == found


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
    assert set(made["setting"]) == {*(s.name for s in samples.SETTINGS), samples.BEAM}
    assert made["ids"].map(len).nunique() == 1
    counts = made.groupby("setting").size()
    assert counts["greedy"] == counts[samples.BEAM] == 4
    assert counts.drop(["greedy", samples.BEAM]).eq(4 * samples.SEEDS).all()
    first = made[(made["setting"] == "p 0.9") & (made["prompt"] == "o0")]["ids"]
    assert first.nunique() > 1, "seeds differ"


def test_the_comparison_tells_settings_apart(handle, few):
    found = comparison.comparison.uncached(handle, handle, few)
    rows = found.table.set_index("setting")
    assert rows.loc["k 5", "distinct_2"] < rows.loc["T 1", "distinct_2"]
    assert rows.loc["k 5", "own_bits"] < rows.loc["T 1", "own_bits"]
    assert math.isnan(rows.loc["greedy", "distinct_2"]), "one text has no diversity among samples"
    assert samples.HUMAN in rows.index
    assert (found.tests["adjusted"] >= found.tests["p"] - 1e-12).all()
    assert set(found.tests["measure"]) == {"judge_bits", "rep_4"}
    assert np.isfinite(rows.loc[samples.BEAM, "judge_bits"])
    growth = found.growth[found.growth["setting"] == "T 1"]
    assert growth["different"].is_monotonic_increasing
    everything = found.growth.groupby("setting").last()
    length = 4 * samples.SEEDS * samples.NEW_TOKENS
    assert everything.loc["T 1", "tokens"] == length


def test_vocabulary_growth_ends_at_all_different_tokens():
    table = pd.DataFrame({"setting": "x", "ids": [(1, 2), (2, 3), (3, 4)]})
    growth = comparison._vocabulary_growth(table)
    assert growth["tokens"].tolist() == [2, 4, 6]
    assert growth["different"].iloc[0] == 2
    assert growth["different"].iloc[-1] == 4


def test_a_nucleus_is_the_one_of_the_sampler(handle):
    from internals.generation.sampling import top_k, top_p
    from internals.measure.probability.temperature import next_logits

    table = choices.nuclei.uncached(handle).set_index("prompt")
    z = next_logits(handle.loaded(), "The capital of France is")
    assert table.loc["main", "size"] == int(torch.isfinite(top_p(0.9)(z)).sum())
    p = z.softmax(-1).sort(descending=True).values
    lost = p[50 : table.loc["main", "size"]].sum().item()
    assert table.loc["main", "lost"] == pytest.approx(lost)
    # The library's own generate: top-k of fifty first unless it is switched off.
    own = table.loc["main"]
    assert own["switched_off"] == own["size"]
    assert own["by_default"] == int(torch.isfinite(top_p(0.9)(top_k(50)(z))).sum())


def test_what_is_kept_at_a_step_is_what_the_rules_keep(handle, few):
    table = choices.kept_sets.uncached(handle, few)
    assert table.groupby(["setting", "prompt"]).size().nunique() == 1
    by = table.groupby("setting")
    assert (by["kept"].min()["k 50"], by["kept"].max()["k 50"]) == (50, 50)
    plain = table[table["setting"] == "T 1"]
    assert plain["kept_bits"].to_numpy() == pytest.approx(plain["entropy_bits"].to_numpy())
    assert (plain["kept"] == handle.facts.vocab_size_embedding).all()
    assert (table["kept_bits"] <= np.log2(table["kept"]) + 1e-9).all()


def test_beam_search_is_at_least_as_likely_on_most_openings(handle, few):
    table = choices.beams.uncached(handle, few)
    assert (table["beam_bits"] <= table["greedy_bits"] + 1e-3).mean() >= 0.75


def test_greedy_text_is_watched_token_by_token(handle, few):
    table = loops.repetition_feeds_itself.uncached(handle, few)
    one = table[table["prompt"] == "o0"]
    assert one["position"].tolist() == list(range(1, len(one) + 1))
    assert one["probability"].between(0, 1).all()
    assert not one["repeated"].iloc[:4].any()
    assert (one["loop_from"].isna() == one["period"].isna()).all()


def test_the_control_of_loops_is_human_text(handle):
    table = loops.surest_in_human_text.uncached(handle)
    assert table["probability"].between(0, 1).all()
    assert table.groupby("prompt").size().nunique() == 1


class _Copier(torch.nn.Module):
    """A planted model: it gives most probability to the token that followed last time."""

    device = torch.device("cpu")

    def __init__(self, vocab: int):
        super().__init__()
        self.vocab = vocab
        self.head = torch.nn.Identity()

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, **_):
        from types import SimpleNamespace

        logits = torch.zeros(*input_ids.shape, self.vocab)
        for row, ids in enumerate(input_ids.tolist()):
            for i, token in enumerate(ids):
                for j in range(i - 1, -1, -1):
                    if ids[j] == token:
                        logits[row, i, ids[j + 1]] = 10.0
                        break
        return SimpleNamespace(logits=self.head(logits))


def test_a_model_that_copies_finds_repetition_easy_and_other_text_not(handle, monkeypatch):
    loaded = handle.loaded()
    fake = type(loaded)(**{**vars(loaded), "model": _Copier(loaded.facts.vocab_size_embedding)})
    monkeypatch.setattr(type(handle), "loaded", lambda self: fake)
    table = loops.repeated_pieces.uncached(handle)
    mean = table.groupby(["text", "round"])["bits"].mean()
    assert mean["repeated", 3] < 0.6 * mean["control", 3]
    assert mean["repeated", 1] == pytest.approx(mean["control", 1])


# --- statements ---------------------------------------------------------------------------------


def test_statements_are_found_and_compared_with_the_tables():
    text = (
        "France is a country in Europe. The capital of Japan is Paris. In Guinea-Bissau, people "
        'speak Portuguese. Tokyo is the capital of Japan. "What is the capital of Kenya?" asked '
        'the teacher. "It is Nairobi." The capital of Ruritania is Paris. '
        "The capital of Italy is nice."
    )
    found = {(s.relation, s.subject, s.object, s.right) for s in statements.statements(text)}
    assert found == {
        ("continent", "France", "Europe", True),
        ("capital", "Japan", "Paris", False),
        ("language", "Guinea-Bissau", "Portuguese", True),
        ("capital", "Japan", "Tokyo", True),
        ("capital", "Kenya", "Nairobi", True),
    }


def test_any_language_of_a_country_is_right():
    several = next(c for c, a in statements.truths()["language"].items() if len(a) > 2)
    for language in statements.truths()["language"][several]:
        (found,) = statements.statements(f"The language of {several} is {language}.")
        assert found.right


def _told(**wrong_and_right):
    rows = [
        {"setting": s, "opening": f"o{i}", "texts": 1, "right": r, "wrong": w, "chance": 0.5}
        for s, pairs in wrong_and_right.items()
        for i, (w, r) in enumerate(pairs)
    ]
    return pd.DataFrame(rows).assign(example="")


def test_rates_pool_statements_and_differences_pair_openings():
    table = _told(greedy=[(0, 2)] * 8, hot=[(1, 1)] * 8, silent=[(0, 0)] * 8)
    rates = statements.rates(table).set_index("setting")
    assert rates["wrong"].to_dict() == {"greedy": 0, "hot": 0.5}
    assert rates.loc["hot", "statements"] == 16
    found = statements.rate_difference(table, "hot", "greedy")
    assert (found.value, found.n) == (0.5, 8)
    assert statements.rate_difference(table, "silent", "greedy") is None


def test_objects_dealt_out_anew_are_right_by_chance_only():
    """Every country has its own capital, so of n distinct facts one is right on average."""
    pairs = list(statements.truths()["capital"].items())[:10]
    found = [[statements.Statement("capital", c, next(iter(a)), True)] for c, a in pairs]
    lucky = statements._dealt(found, np.random.default_rng(0))
    assert sum(lucky) == pytest.approx(1, abs=0.6)
    same = [[statements.Statement("continent", "France", "Europe", True)]] * 5
    assert statements._dealt(same, np.random.default_rng(0)) == pytest.approx([1.0] * 5)


def test_free_texts_and_answers_of_a_random_model_are_counted(handle, monkeypatch):
    monkeypatch.setattr(statements, "NEW_TOKENS", 4)
    told = statements.written.uncached(handle, seeds=1)
    assert set(told["setting"]) == set(statements.FREE)
    assert told[["right", "wrong"]].to_numpy().sum() == 0
    assert statements.rates(told).empty
    table = statements.asked.uncached(handle, times=1)
    assert (table["right"] <= table["answers"]).all()
    shares, known, everything = statements.known_rates(table)
    assert known == 0 < everything
    assert set(shares["setting"]) == {s.name for s in samples.SETTINGS}


# --- rules --------------------------------------------------------------------------------------


def test_rules_are_those_of_the_library_and_draws_fit_them(handle):
    table = rules.rules.uncached(handle)
    assert (table["same_sets"] == table["prompts"]).all()
    assert table["largest"].max() < 1e-6
    assert (table["adjusted"] > 0.01).all()
    assert (table["draws"] >= 20_000).all()


def test_draws_from_other_probabilities_would_not_fit(monkeypatch):
    """Negative control: draws at another temperature are told from their claimed probabilities."""
    from internals.generation import sampling

    honest = sampling.draws
    monkeypatch.setattr(sampling, "draws", lambda z, n, g=None: honest(z / 1.2, n, g))
    logits = 2 * torch.randn(40, generator=torch.Generator().manual_seed(0))
    assert rules._fit(logits, 0)[2] < 1e-6


def test_one_certain_token_fits_in_one_cell():
    logits = torch.full((5,), -math.inf)
    logits[2] = 0.0
    assert rules._fit(logits, 0) == (0.0, 1, 1.0)


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

    compared = comparison.comparison.uncached(handle, handle, few)
    table = compared.table
    assert len(figures.frontier(table).axes) == 1
    assert len(figures.growth(compared.growth, ("greedy", "T 1", samples.HUMAN)).axes[0].lines) == 3
    feeding = pd.DataFrame(
        {
            "prompt": ["a", "b"] * 15,
            "position": range(1, 31),
            "probability": [0.5] * 30,
            "repeated": [False] * 30,
        }
    )
    assert figures.feeding(feeding, feeding).axes[0].get_ylim() == (0, 1.02)
    assert len(figures.kept_sets(choices.kept_sets.uncached(handle, few)).axes) == 2
    empty = statements.rates(_told(silent=[(0, 0)]))
    assert figures.wrong_statements(empty).axes, "a model that states nothing"
