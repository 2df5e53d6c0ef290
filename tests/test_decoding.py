"""Sampling comparisons of chapter 4: metrics by hand, and models whose behaviour is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from internals import inputs
from internals.inputs import InputError
from internals.measure.generation import (
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


def test_broken_texts_are_counted_among_the_models_own():
    table = pd.DataFrame(
        {
            "setting": ["greedy", "T 1", samples.HUMAN],
            "broken": [1.0, 0.5, 0.9],
            "texts": [10, 30, 500],
        }
    )
    assert comparison.broken_share(table) == (25 / 40, 40)
    assert comparison.broken_share(table.assign(broken=0.0)) == (0, 40)


def test_a_text_with_bytes_that_are_no_character_is_broken():
    whole = {"setting": "T 1", "prompt": "a", "ids": [(1, 2)] * 2, "own_bits": 1, "judge_bits": 1}
    table = pd.DataFrame({**whole, "text": ["good", "bad \ufffd"]})
    assert comparison._per_prompt(table)["broken"].tolist() == [0.5]


def test_all_settings_that_share_the_largest_value_are_named():
    values = pd.Series({"a": 3, "b": 5, "c": 5})
    assert comparison.largest(values) == ["b", "c"]
    assert comparison.largest(-values) == ["a"]


def test_vocabulary_growth_ends_at_all_different_tokens():
    table = pd.DataFrame({"setting": "x", "ids": [(1, 2), (2, 3), (3, 4)]})
    growth = comparison._vocabulary_growth(table)
    assert growth["tokens"].tolist() == [2, 4, 6]
    assert growth["different"].iloc[0] == 2
    assert growth["different"].iloc[-1] == 4


def test_a_nucleus_is_the_one_of_the_sampler(handle):
    from internals.generation.sampling import top_k, top_p
    from internals.measure.probabilities.temperature import next_logits

    table = choices.nuclei.uncached(handle).set_index("prompt")
    z = next_logits(handle.loaded(), "The capital of France is")
    assert table.loc["main", "size"] == int(torch.isfinite(top_p(0.9)(z)).sum())
    p = z.softmax(-1).sort(descending=True).values
    left, size = table.loc["main", ["by_default", "size"]]
    assert left < size, "an untrained model has a wide nucleus"
    assert table.loc["main", "lost"] == pytest.approx(p[left:size].sum().item())
    assert table.loc["main", "lost"] > p[50:size].sum().item()
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


def test_a_repetition_counts_as_left_only_where_the_end_is_elsewhere():
    again, plain = tuple(range(8)) * 2, tuple(range(16))
    short = {"stays": again, "leaves": again, "later": again, "none": plain, "unwatched": again}
    ends = {"stays": 1.0, "leaves": np.nan, "later": 20.0, "none": np.nan}
    rows = [(p, i + 1, ends[p]) for p in ends for i in range(40)]
    longer = pd.DataFrame(rows, columns=["prompt", "position", "loop_from"])
    assert loops.left_again(short, longer) == (3, 2)
    assert loops.left_again(short, longer[longer["position"] <= 20]) is None


def test_the_control_of_loops_is_human_text_over_the_same_positions(handle, few):
    table = loops.surest_in_human_text.uncached(handle, few)
    greedy = loops.repetition_feeds_itself.uncached(handle, few)
    assert table["probability"].between(0, 1).all()
    assert table.groupby("prompt").size().nunique() == 1
    assert sorted(set(table["position"])) == sorted(set(greedy["position"]))


def test_human_text_is_as_long_as_the_samples_even_where_the_context_cuts_them(handle, few):
    room = handle.facts.context_length - 5
    long = few.with_name("long.yaml")
    text = " ".join(["cat"] * room)
    loaded = handle.loaded()
    while len(samples.token_ids(loaded, text)) > room:
        text = text[: -len(" cat")]
    long.write_text(f"openings: [{{id: a, text: {text}}}, {{id: b, text: the cat}}]\n")
    table = samples.with_human(handle, long)
    assert table["ids"].map(len).nunique() == 1
    assert len(table["ids"].iloc[0]) < samples.NEW_TOKENS
    assert (table["setting"] == samples.HUMAN).any()


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


def _answers(**right):
    return pd.DataFrame(
        [
            {"setting": s.replace("_", " "), "country": f"c{i}", "answers": 5, "right": r}
            for s, own in right.items()
            for i, r in enumerate(own)
        ]
    )


def test_a_setting_that_is_never_or_always_right_keeps_an_interval():
    """Null: nobody answers; planted: greedy decoding knows three, another setting never says one"""
    shares, known, _ = statements.known_rates(_answers(greedy=[0] * 9, T_1=[0] * 9))
    assert known == 0
    assert (shares["value"] == 0).all()
    assert shares["high"].between(0.2, 0.4).all()
    shares, known, _ = statements.known_rates(_answers(greedy=[5, 5, 5, 0], T_1=[0, 0, 0, 5]))
    shares = shares.set_index("setting")
    assert known == 3
    assert shares.loc["greedy", ["low", "value", "high"]].tolist() == [1, 1, 1], "chosen by it"
    assert shares.loc["T 1", "value"] == 0
    assert 0 < shares.loc["T 1", "high"] < 1


# --- rules --------------------------------------------------------------------------------------


def test_rules_are_those_of_the_library_and_draws_fit_them(handle):
    table = rules.rules.uncached(handle)
    assert (table["same_sets"] == table["prompts"]).all()
    assert table["largest"].max() < 1e-6
    assert (table["adjusted"].dropna() > 0.01).all()
    assert (table["adjusted"].notna() == (table["cells"] > 1)).all()
    assert (table["cells"] > 1).any()
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
    unsure = feeding.assign(probability=0.01)
    assert figures.feeding(unsure, unsure).axes[0].get_ylim()[1] < 0.05
    assert len(figures.kept_sets(choices.kept_sets.uncached(handle, few)).axes) == 2
    empty = statements.rates(_told(silent=[(0, 0)]))
    assert figures.wrong_statements(empty).axes, "a model that states nothing"


def _table_of(settings, diversity):
    table = pd.DataFrame({"setting": settings, "distinct_2": diversity, "judge_bits": 1.0})
    ends = {f"{c}_{end}": table[c] for c in ("distinct_2", "judge_bits") for end in ("low", "high")}
    return table.assign(**ends)


def test_labels_of_settings_never_cover_each_other():
    from matplotlib.text import Text

    from internals.figures import decoding as figures

    names = [s.name for s in samples.SETTINGS[1:]]
    for diversity, all_shown in ((0.99, False), (np.linspace(0.1, 0.9, len(names)), True)):
        figure = figures.frontier(_table_of(names, diversity))
        figure.canvas.draw()
        labels = figure.axes[0].texts
        boxes = [Text.get_window_extent(label) for label in labels]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert (len(labels) == len(names)) is all_shown
