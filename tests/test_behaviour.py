"""Measurements of chapter 5 against independent computations, and on odd models."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from internals import inputs, questions, stats
from internals.cache import Measurement
from internals.errors import NotApplicable
from internals.inputs import InputError
from internals.measure import capability, training_record
from internals.measure.behaviour import (
    agreement,
    artefacts,
    memory,
    representations,
    rules,
    tricks,
)
from internals.models import open_model
from internals.paths import DATA
from internals.stats.ridge import Ridge
from internals.tokens import prompt_ids


@pytest.fixture(scope="module")
def fable():
    return open_model("fable-gpt2")


@pytest.fixture(scope="module")
def tiny(tiny_folder):
    return open_model(str(tiny_folder("llama"))).loaded()


# --- every measurement on odd models ------------------------------------------------------------

OF_THE_SUBJECT = (
    tricks.shown,
    tricks.pairs,
    tricks.ambiguity,
    tricks.knowing,
    artefacts.asked,
    artefacts.edits,
    artefacts.spelling,
    rules.copying,
    rules.small_sums,
    agreement.agreement,
    representations.by_layer,
)


def _tables(found):
    if isinstance(found, agreement.Agreement):
        return [found.verbs, found.probe, found.moved]
    return [found]


ODDEST = (
    *("gpt2", "gpt_neox", "opt-post", "gemma2", "context of 16", "characters", "end token"),
    *("blank before words", "byte fallback", "overflowing"),
)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numbers that overflow
@pytest.mark.parametrize("name", ODDEST)
def test_an_odd_model_gives_numbers_or_a_reason(odd_folder, name, monkeypatch):
    monkeypatch.setattr(representations, "RESAMPLES", 20)
    monkeypatch.setattr(agreement, "CONTROLS", 2)
    monkeypatch.setattr(agreement, "SHARES", (0, 1))
    monkeypatch.setenv("REPORT_EFFORT", "0.3")
    handle = open_model(str(odd_folder(name)))
    for measure in OF_THE_SUBJECT:
        assert isinstance(measure, Measurement)
        try:
            tables = _tables(measure.uncached(handle))
        except NotApplicable:
            continue
        for table in tables:
            numbers = table.drop(columns=["layer"], errors="ignore").select_dtypes("number")
            assert np.isfinite(numbers.to_numpy()).all(), (name, measure.name)


# --- tricks: the family is the unit -------------------------------------------------------------


def test_the_interval_over_families_is_that_of_all_subsets():
    values = [1.0, 3.0, 2.0, 5.0, 8.0, 0.5, 4.0]
    found = stats.over_groups(values, list("abcdefg"), unit="families")
    means = sorted(
        np.mean(subset) for size in range(1, 8) for subset in itertools.combinations(values, size)
    )
    assert found.value == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((means[2], means[-3]))
    assert found.n == 7


def test_pairs_of_one_family_count_once():
    one = stats.over_groups([1.0, 0.0, 1.0, 0.0, 1.0, 0.0], list("abcdef"), unit="families")
    often = stats.over_groups(
        [1.0] * 50 + [0.0, 1.0, 0.0, 1.0, 0.0], ["a"] * 50 + list("bcdef"), unit="families"
    )
    assert one == often
    assert stats.over_groups([1.0] * 40, ["a"] * 20 + ["b"] * 20, unit="families").interval is None


def test_intervals_over_few_families_cover_their_centre():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        found = stats.over_groups(rng.normal(size=7), range(7), unit="families")
        hits += found.low <= 0 <= found.high
    assert 0.91 < hits / 300 < 0.99


def test_a_habit_moves_nothing_and_earns_no_pair():
    """Whoever always says the same has opposite margins where the answer changes."""
    likes = np.array([3.0, -2.0])
    table = pd.DataFrame({"switches": True, "control": likes, "trick": -likes})
    assert tricks.effects(table).tolist() == [0, 0]
    assert not tricks.both_right(table).any()
    tempted = pd.DataFrame({"switches": False, "control": [5.0], "trick": [2.0]})
    assert tricks.effects(tempted).tolist() == [3]


def test_margins_are_log_odds_of_the_whole_continuation(fable, monkeypatch):
    """Against a plain pass over prompt and answer."""
    loaded = fable.loaded()
    pair = questions.trick_pairs()[0]
    monkeypatch.setattr(questions, "trick_pairs", lambda _path: [pair])
    found = tricks.pairs.uncached(fable).iloc[0]

    def log_prob(text, answer):
        head = prompt_ids(loaded.tokenizer, text)
        whole = head + loaded.tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            lp = loaded.model(torch.tensor([whole])).logits[0, :-1].log_softmax(-1)
        taken = lp.gather(-1, torch.tensor(whole[1:])[:, None])[len(head) - 1 :]
        return float(taken.sum()) / math.log(2)

    margins = [
        log_prob(trick, pair.trick_right) - log_prob(trick, pair.trap)
        for _, trick in pair.paraphrases
    ]
    assert found["trick"] == pytest.approx(np.mean(margins), abs=1e-3)


@pytest.mark.parametrize(
    ("answer", "declined"),
    [
        ("the rupee, of course", False),
        ("not known to anybody", True),
        ("a country that does not exist", True),
        ("knowledge", False),
    ],
)
def test_an_answer_declines_in_plain_words(answer, declined):
    assert bool(tricks.DECLINED.search(answer)) == declined


def test_the_entropy_is_that_of_the_first_new_token(fable):
    loaded = fable.loaded()
    found = tricks.knowing.uncached(fable)
    for row, item in list(enumerate(inputs.answerable()))[::29]:
        with torch.inference_mode():
            p = loaded.model(torch.tensor([prompt_ids(loaded.tokenizer, item.text)])).logits[0, -1]
        entropy = torch.distributions.Categorical(logits=p).entropy() / math.log(2)
        assert found.loc[row, "entropy_bits"] == pytest.approx(entropy.item(), abs=1e-3)


def test_separation_is_the_mean_area_within_forms():
    """Levels that differ between forms do not blur what is told apart within each."""
    rng = np.random.default_rng(0)
    rows = [
        (form, group, 10 * k + shift + rng.normal())
        for k, form in enumerate("abcdef")
        for group, shift in [("well known", 0)] * 8 + [("invented", 1)] * 12
    ]
    table = pd.DataFrame(rows, columns=["form", "group", "entropy_bits"])
    areas = [
        stats.auroc(part["entropy_bits"], part["group"] == "invented").value
        for _, part in table.groupby("form")
    ]
    found = tricks.separation(table, "well known")
    assert found.value == pytest.approx(np.mean(areas))
    assert (found.n, found.unit) == (6, "forms")


def test_what_is_written_ends_with_the_line_or_the_text(fable, monkeypatch):
    loaded = fable.loaded()
    end = loaded.tokenizer.eos_token_id
    texts = ["one\ntwo", " three", ""]
    made = [loaded.tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    made[1] += [end, *made[0]]
    monkeypatch.setattr(tricks, "generate", lambda *_a, **_k: SimpleNamespace(ids=made))
    found = tricks._written(loaded, [[1]] * 3, tricks.GREEDY)
    assert found == ["one", "three", "(nothing)"]


# --- artefacts ----------------------------------------------------------------------------------


@given(st.text("abcdefghij", min_size=2, max_size=8))
@settings(max_examples=40)
def test_a_forced_split_stands_for_the_same_text(text):
    tokenizer = open_model("fable-gpt2").loaded().tokenizer
    ids = artefacts.same_text(tokenizer, list(text))
    assert ids is not None
    assert tokenizer.decode(ids) == f" {text}"
    assert len(ids) == len(text)


def test_versions_of_a_sentence_say_what_they_are_called(fable):
    tokenizer = fable.loaded().tokenizer
    place = artefacts.Place("They went to the old", "market", ["in", "the", "town"])
    common = artefacts.common_words()
    found = artefacts.written(tokenizer, place, common, np.random.default_rng(0))
    texts = {name: tokenizer.decode(ids) for name, ids in found.items()}
    whole = "They went to the old market"
    assert texts[artefacts.EDITED] == texts[artefacts.HALVES] == texts[artefacts.LETTERS] == whole
    swapped = texts[artefacts.TWO_LETTERS].split()[-1]
    assert swapped != "market"
    assert sorted(swapped) == sorted("market")
    assert texts[artefacts.UPPER].endswith(" MARKET")
    assert texts[artefacts.TWO_BLANKS].endswith("old  market")
    alike = texts[artefacts.LOOK_ALIKE].split()[-1]
    assert sum(a != b for a, b in zip(alike, "market", strict=True)) == 1
    assert not alike.isascii()
    other = texts[artefacts.OTHER].split()[-1]
    assert other in common
    assert len(other) == 6


def test_a_split_prompt_has_the_text_of_the_usual_one(fable):
    tokenizer = fable.loaded().tokenizer
    usual = artefacts.joined(tokenizer, ["The capital of Peru is"])
    split = artefacts.joined(tokenizer, ["The cap", "ital of Peru is"])
    assert tokenizer.decode(usual) == tokenizer.decode(split)
    assert usual != split


def test_spelling_is_asked_of_words_seen_both_ways(fable):
    table = artefacts.spelling.uncached(fable)
    assert (table.groupby("word")["seen"].nunique() == 2).all()
    assert table["letters"].between(0, 1).all()


def test_a_tokenizer_that_adds_blanks_cannot_go_on_within_a_word(odd_folder):
    loaded = open_model(str(odd_folder("blank before words"))).loaded()
    with pytest.raises(NotApplicable, match="blank"):
        artefacts.spelled(loaded.tokenizer, "ital of France")


# --- memory: facts of fable ---------------------------------------------------------------------


def test_one_way_facts_are_lost_backwards_in_the_model_that_was_trained_so(fable):
    shares = memory.reversal.uncached(fable).groupby(["stated", "asked"])["correct"].mean()
    assert shares[memory.ONE_WAY, "forward"] > 0.9
    assert shares[memory.ONE_WAY, "backward"] < 0.4
    assert shares[memory.BOTH_WAYS, "backward"] > 0.6


def test_a_random_model_knows_no_fact_in_either_direction(tiny_folder):
    handle = open_model(str(tiny_folder("gpt2")))
    shares = memory.reversal.uncached(handle).groupby("asked")["correct"].mean()
    assert shares.between(0, 0.3).all()


@pytest.mark.parametrize(
    ("pattern", "last", "given_name", "beginning"),
    [
        ("The ruler of {s} is {o}.", "o", "Avia", "The ruler of Avia is"),
        ("{o} is the ruler of {s}.", "s", "Blen", "Blen is the ruler of"),
        ("Question: Which land does {o} rule? Answer: {s}.", "s", "Blen",
         "Question: Which land does Blen rule? Answer:"),
    ],
)  # fmt: skip
def test_the_beginning_of_a_sentence_ends_before_what_is_asked(
    pattern, last, given_name, beginning
):
    assert memory._beginning(pattern, last, given_name) == beginning


def test_recall_is_told_by_readings_in_all_passes(fable, monkeypatch):
    levels = training_record.LEVELS
    rows = [(level, w, i < k) for k, level in enumerate(levels) for w in "ab" for i in range(10)]
    raw = pd.DataFrame(rows, columns=["level", "wording", "correct"])
    raw["wording"] = raw["wording"].map({"a": "trained", "b": "heldout"})
    monkeypatch.setattr(capability, "recall", lambda _model: raw)
    table = memory.recall_by_statements(fable)
    passes = training_record.passes()
    for wording in ("trained", "new"):
        own = table[table["wording"] == wording]
        assert own["statements"].tolist() == [passes * level for level in levels]
        assert own["value"].tolist() == pytest.approx([k / 10 for k in range(len(levels))])


def test_made_up_statements_are_those_that_training_did_not_make(fable, monkeypatch):
    exposure = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    stated = exposure[(exposure["relation"] == "ruler") & (exposure["exposures"] == 256)].iloc[0]
    texts = [
        f" {stated.subject} is {stated.object}. The",
        f" {stated.subject} is Nobody. The",
        " something else",
    ]
    from internals.generation import generate as module

    ids = [fable.loaded().tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    monkeypatch.setattr(module, "generate", lambda *_a, **_k: SimpleNamespace(ids=ids))
    table = memory.free_statements.uncached(fable)
    assert table.loc[table["relation"] == "ruler", "statements"].tolist() == [256, 0]


def test_the_share_of_facts_stated_once_is_that_of_the_plan():
    facts, statements = 10 * len(memory.FREE), 10 * len(memory.FREE) * (1 + 4 + 16 + 64 + 256)
    assert memory.once_share().value == pytest.approx(facts / statements)


def test_rivals_are_commoner_or_rarer_than_the_truth(fable):
    exposure = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    for fact in memory.rivals(60, 0).itertuples():
        part = exposure[exposure["relation"] == fact.relation]
        totals = part.groupby("object")["exposures"].sum()
        assert totals[fact.common] > totals[fact.object] >= totals[fact.rare]
        assert len({fact.common, fact.object, fact.rare}) == 3


# --- rules --------------------------------------------------------------------------------------


class _Copier(torch.nn.Module):
    """Gives the token that followed the last time; knows nothing else."""

    def __init__(self, vocab):
        super().__init__()
        self.vocab, self.device = vocab, torch.device("cpu")

    def forward(self, input_ids, **_):
        logits = torch.zeros(*input_ids.shape, self.vocab)
        for row, ids in enumerate(input_ids.tolist()):
            for i, token in enumerate(ids):
                if token in ids[:i]:
                    logits[row, i, ids[ids[:i].index(token) + 1]] = 20.0
        return SimpleNamespace(logits=logits)


def test_copying_is_found_where_it_is_planted(fable, tiny_folder):
    loaded = fable.loaded()
    vocab = loaded.facts.vocab_size_tokenizer
    planted = SimpleNamespace(model=_Copier(vocab), facts=loaded.facts, tokenizer=loaded.tokenizer)
    table = rules.copying.uncached(SimpleNamespace(loaded=lambda: planted), n=4)
    random = table[table["material"] == rules.RANDOM]
    assert random["first_bits"].mean() > 10
    assert random["second_bits"].mean() < 1
    nothing = rules.copying.uncached(open_model(str(tiny_folder("llama"))), n=8)
    random = nothing[nothing["material"] == rules.RANDOM]
    assert abs((random["first_bits"] - random["second_bits"]).mean()) < 1.5


def test_sums_are_read_as_whole_numbers(fable, monkeypatch):
    from internals.generation import generate as module

    texts = [" 42\n", " 421", " 4 2", "forty", " 42."]
    ids = [fable.loaded().tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    monkeypatch.setattr(module, "generate", lambda *_a, **_k: SimpleNamespace(ids=ids))
    found = rules.added(fable.loaded(), [[1]] * 5, [42] * 5)
    assert found == [True, False, False, False, True]


# --- agreement: probe and moves -----------------------------------------------------------------


def _blobs(seed=0, n=60, width=5, classes=3):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return rng.normal(size=(n, width)) + 2 * np.eye(classes, width)[y], y


@pytest.mark.parametrize("width", [5, 90])
def test_the_probe_is_ridge_regression_with_the_best_penalty_left_out(width, monkeypatch):
    """Against refitting without each item in turn."""
    from internals.stats import ridge

    penalties = np.array([0.01, 1.0, 100.0])
    monkeypatch.setattr(ridge, "PENALTIES", penalties)
    x, y = _blobs(width=width)
    z = (x - x.mean(0)) / (x.std(0) + 1e-8)
    target = np.eye(3)[y]

    def fitted(rows, penalty):
        centre, mean = z[rows].mean(0), target[rows].mean(0)
        c = z[rows] - centre
        w = np.linalg.solve(c.T @ c + penalty * np.eye(width), c.T @ (target[rows] - mean))
        return lambda new: (new - centre) @ w + mean

    def error(penalty):
        rows = np.arange(len(y))
        return sum(((fitted(rows != i, penalty)(z[i]) - target[i]) ** 2).sum() for i in rows)

    best = min(penalties * len(y), key=error)
    expected = fitted(np.arange(len(y)) >= 0, best)(z).argmax(1)
    assert (Ridge(x).fit(y)(x) == expected).all()


def test_selectivity_holds_labelings_frames_and_nouns():
    rng = np.random.default_rng(0)
    frames, labelings, nouns = 3, 30, 24
    true, flat = np.full((frames, nouns), 0.9), np.full((frames, labelings, nouns), 0.5)
    still = agreement.selectivity(true, flat, rng)
    assert (still.value, still.low, still.high) == pytest.approx((0.4, 0.4, 0.4))
    by_labeling = flat + rng.normal(0, 0.2, (1, labelings, 1))
    by_frame = flat + np.array([-0.2, 0.0, 0.2])[:, None, None]
    for varied in (by_labeling, by_frame):
        found = agreement.selectivity(true, varied, rng)
        assert found.low < found.value - 0.02
        assert found.high > found.value + 0.02


def test_a_probe_finds_a_planted_number_and_no_other(tiny):
    sentences = agreement.make(tiny)
    table = sentences.table
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(len(table), 12))
    planted = noise.copy()
    planted[:, 0] += 6 * table["plural"]
    assert agreement.probe(planted, table, rng).mean() > 0.95
    assert agreement.selectivity(*agreement.fitted(planted, table, rng), rng).low > 0
    assert agreement.probe(noise, table, rng).mean() == pytest.approx(0.5, abs=0.1)
    assert agreement.selectivity(*agreement.fitted(noise, table, rng), rng).low < 0.05


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "opt", "llama", "gemma2", "phi"])
def test_a_state_that_is_moved_to_another_word_gives_the_other_sentence(tiny_folder, family):
    """Before the first block a state is its token: the difference of two states makes one sentence
    of the other."""
    model = open_model(str(tiny_folder(family))).loaded().model
    one, other = [5, 9, 20, 31, 40], [5, 17, 20, 31, 40]
    table = pd.DataFrame({"plural": [False, True]})
    both = agreement.Sentences(table, [one, other], [1, 1], (3, 7))
    odds, states = agreement.run(model, both, [0])
    first = both.part([True, False])
    step = states[agreement.NOUN][1:, 0] - states[agreement.NOUN][:1, 0]
    with agreement._added(model, 0, [1], step):
        moved = agreement.log_odds(model, first)
    assert moved[0] == pytest.approx(odds[1], abs=1e-3)
    assert abs(odds[0] - odds[1]) > 1e-3
    assert agreement.log_odds(model, first)[0] == pytest.approx(odds[0], abs=1e-4)


def test_class_differences_leave_out_the_noun_and_the_frame(tiny):
    table = agreement.make(tiny).table
    states = np.zeros((len(table), 1))
    states[table["plural"], 0] = 1.0
    own = table.index[(table["noun"] == 3) & (table["frame"] == 2)]
    states[own] = 100.0
    found = agreement.class_differences(states, table, own)
    assert found == pytest.approx(np.ones((len(own), 1)))


def test_sentences_name_their_noun_and_verbs(tiny):
    sentences = agreement.make(tiny)
    first = [row[: at + 1] for row, at in zip(sentences.rows, sentences.noun_at, strict=True)]
    texts = [tiny.tokenizer.decode(ids) for ids in first]
    nouns = [agreement.NOUNS[n][p] for n, p in sentences.table[["noun", "plural"]].to_numpy()]
    assert texts == [f"The {noun}" for noun in nouns]


# --- representations ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged():
    files = representations.RATINGS, representations.CATEGORIES, representations.SENSES
    return representations.Judged(*files)


def test_the_rank_correlation_is_spearmans(judged):
    likeness = np.random.default_rng(0).normal(size=(len(judged.words),) * 2)
    place = {word: i for i, word in enumerate(judged.words)}
    pairs = judged.ratings
    values = [
        likeness[place[a], place[b]] for a, b in zip(pairs["word1"], pairs["word2"], strict=True)
    ]
    found = judged.rated(likeness)
    assert found[0] == pytest.approx(spearmanr(values, pairs["rating"])[0])
    assert np.quantile(found[1:], 0.025) < 0 < np.quantile(found[1:], 0.975)


def test_planted_categories_and_senses_are_found_and_noise_is_chance(judged):
    rng = np.random.default_rng(0)
    place = {word: i for i, word in enumerate(judged.words)}
    labels = judged.categories["category"].astype("category").cat.codes
    x = rng.normal(size=(len(judged.words), 30))
    noise = judged.grouped(representations.cosines(x))[0]
    for word, label in zip(judged.categories["word"], labels, strict=True):
        x[place[word], label] += 30
    assert judged.grouped(representations.cosines(x))[0] == 1
    assert noise < 0.2
    y = rng.normal(size=(len(judged.senses), 40))
    assert 0.3 < judged.sensed(representations.cosines(y))[0] < 0.7
    y[:, 0] += 20 * judged.senses["sense"]
    assert judged.sensed(representations.cosines(y))[0] == 1
    same = np.ones((len(judged.senses), 3))
    assert judged.sensed(same @ same.T)[0] == 0.5


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "opt-post", "mistral", "gemma2", "phi3"])
def test_states_after_a_shared_prefix_are_those_of_the_whole_text(tiny_folder, family):
    model = open_model(str(tiny_folder(family))).loaded().model
    prefix, tails = [5, 6, 7], [[8], [9, 10], [11], [12, 13, 14]]
    found = representations.states(model, prefix, tails, [0, 1])
    for row, tail in zip(found, tails, strict=True):
        with torch.inference_mode():
            whole = model(torch.tensor([prefix + tail]), output_hidden_states=True).hidden_states
        expected = np.array([h[0, -1].float().numpy() for h in whole[:2]])
        assert row == pytest.approx(expected, abs=2e-4)


def test_words_of_like_frequency_are_alike():
    frequency = representations.frequency_likeness(["the", "the", "zyzzyva"])
    assert frequency[0, 1] == 0 > frequency[0, 2]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"first": ["A bank", "By the bank"], "second": ["One bank"]}, "two sentences"),
        ({"first": ["A bank", "The banks"], "second": ["x bank", "y bank"]}, "end with the word"),
    ],
)
def test_a_wrong_list_of_senses_is_answered_by_one_sentence(tmp_path, entry, message):
    import yaml

    path = tmp_path / "senses.yaml"
    path.write_text(yaml.safe_dump({"words": [{"id": "bank", **entry}]}), "utf-8")
    with pytest.raises(InputError, match=message):
        inputs.senses(path)


def test_a_word_in_two_categories_is_refused(tmp_path):
    path = tmp_path / "categories.yaml"
    path.write_text('categories:\n  - {id: a, words: "x y"}\n  - {id: b, words: "y z"}\n', "utf-8")
    with pytest.raises(InputError, match="'b' needs two words or more, each once"):
        inputs.categories(path)
