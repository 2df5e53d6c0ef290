"""Tricks, ambiguity and uncertainty: question files by schema, samples and scores against known
truth, planted knowledge that must be found, and a noisy twin in which nothing may be found."""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tf
import yaml

from internals import questions, stats
from internals.generation.branches import sample
from internals.generation.generate import generate
from internals.generation.sampling import Sampler
from internals.inputs import InputError
from internals.measure.answers import answer_scores
from internals.measure.behaviour import (
    ambiguity,
    sampled_answers,
    tricks,
    unanswerable,
    uncertainty,
)
from internals.models import open_model
from internals.paths import DATA
from tiny_models import FAMILIES, build

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


@pytest.fixture(scope="module")
def fable():
    return open_model("fable-gpt2").loaded()


@pytest.fixture(scope="module")
def tiny(tiny_folder):
    return open_model(str(tiny_folder("llama")))


# --- question files -----------------------------------------------------------------------------


def test_facts_in_the_own_language_are_those_stated_most_often():
    exposure = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    facts = exposure[exposure["level"] == 256].set_index("subject")["object"]
    for pair in questions.trick_pairs(questions.EMBEDDED_PAIRS):
        if pair.family == "false premise":
            words = set(pair.paraphrases[0][1].replace(".", "").split())
            (subject,) = words & set(facts.index)
            assert facts[subject] == pair.trick_right
            assert exposure["object"].eq(pair.trap).any()


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
        ({"first": {"continuation": "x", "context": "a b"}}, "equally many"),
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


def test_the_shipped_ambiguous_words_have_contexts_of_one_length():
    items = questions.ambiguous_words()
    assert len(items) >= 10
    assert len({len(c) for item in items for c in item.contexts}) == 1


# --- scores and samples against enumeration -----------------------------------------------------


def _next(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1].double().softmax(-1).numpy()


def test_scores_of_all_continuations_are_those_of_enumeration(toy):
    head = (3, 1, 4)
    every = list(itertools.product(range(VOCAB), repeat=2))
    scores = np.exp(answer_scores(toy, [(head, answer) for answer in every])["log_prob"])
    first = _next(toy, head)
    expected = [first[a] * _next(toy, [*head, a])[b] for a, b in every]
    assert scores.sum() == pytest.approx(1, abs=1e-4)
    assert scores.to_numpy() == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_samples_have_the_frequencies_of_enumeration_in_a_padded_batch(toy):
    """Done after token 0, else two tokens: the truth is a sum over all texts."""
    heads, n = [(3, 1, 4), (2,)], 20_000
    made = sample(toy, heads, n, 2, done=lambda ids: ids[-1] == 0, seed=1)
    for head, counts, entropy in zip(heads, made.counts, made.entropy_bits, strict=True):
        first = _next(toy, head)
        truth = {(0,): first[0]}
        for a in range(1, VOCAB):
            second = _next(toy, [*head, a])
            truth |= {(a, b): first[a] * second[b] for b in range(VOCAB)}
        assert sum(counts.values()) == n
        assert set(counts) <= set(truth)
        distance = sum(abs(counts.get(k, 0) / n - p) for k, p in truth.items()) / 2
        assert distance < 0.02
        assert entropy == pytest.approx(-(first * np.log2(first)).sum(), abs=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_cold_samples_are_greedy_texts_in_every_family_also_when_a_row_has_ended(family):
    """The first prompt is done after its first token; the padded second one goes on alone."""
    model = build(family)
    prompts = [tuple(range(5, 25)), (40, 41, 42)]
    first, second = generate(model, prompts, 4).ids
    cold = Sampler("cold", temperature=1e-4)
    made = sample(model, prompts, 3, 4, done=lambda ids: ids == first[:1], sampler=cold)
    assert made.counts[0] == {first[:1]: 3}
    assert made.counts[1] == ({second[:1]: 3} if second[0] == first[0] else {second: 3})


def test_the_same_seed_gives_the_same_samples_and_another_one_others(toy):
    draw = [sample(toy, [(1, 2)], 50, 3, done=lambda _: False, seed=s).counts for s in (1, 1, 2)]
    assert draw[0] == draw[1] != draw[2]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" the Red house is", "red"),
        (" Paris. It is", "paris"),
        (" in Rome, the", "rome"),
        (" seven apples", "7"),
        (' "Yes," said', "yes"),
        (". The", ""),
        (" the", "the"),
    ],
)
def test_samples_that_say_the_same_have_one_normal_form(text, answer):
    assert sampled_answers.normal_form(text) == answer


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (" Par", False),
        (" Paris is", True),
        (" Paris,", True),
        (" the", False),
        (" the red", False),
        (" the red ", True),
        (" twenty-", False),
        (".", True),
        ("", False),
    ],
)
def test_an_answer_is_complete_when_nothing_could_change_it(text, whole):
    assert sampled_answers.complete(text) == whole


def test_entropy_of_grouped_samples_is_that_of_known_shares(fable):
    """Three answers in known shares, one of them in two spellings that count as one."""
    truth = {" red": 0.4, " Red": 0.1, " blue": 0.25, " white": 0.25}
    ids = {fable.tokenizer(w)["input_ids"][0]: p for w, p in truth.items()}
    assert all(len(fable.tokenizer(w)["input_ids"]) == 1 for w in truth)
    planted = _planted(fable, lambda prefix: {i: math.log(p) + 30 for i, p in ids.items()})
    (answer,) = sampled_answers.sample_answers(planted, [(5, 6, 7)], n=4000)
    assert answer.share("Red") == pytest.approx(0.5, abs=0.03)
    assert answer.entropy_bits == pytest.approx(1.5, abs=0.03)
    assert answer.next_entropy_bits == pytest.approx(1.861, abs=0.01)
    assert answer.most_frequent == "red"
    assert sampled_answers.entropy_bits([5, 5, 5, 5]) == 2.0
    assert sampled_answers.entropy_bits([20]) == 0.0


# --- planted models -----------------------------------------------------------------------------


class _Planted(torch.nn.Module):
    """Logits from a rule on the tokens so far; a token fed alone (a cached step) is followed by a
    full stop."""

    def __init__(self, vocab, stop, rule):
        super().__init__()
        self.config = tf.GPT2Config(
            vocab_size=vocab, n_positions=512, bos_token_id=0, eos_token_id=0
        )
        self.head = torch.nn.Identity()
        self.vocab, self.stop, self.rule = vocab, stop, functools.cache(rule)
        self.device = torch.device("cpu")

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, attention_mask=None, **_):
        logits = torch.zeros(*input_ids.shape, self.vocab)
        for row, ids in enumerate(input_ids.tolist()):
            pad = 0 if attention_mask is None else int((attention_mask[row] == 0).sum())
            own = ids[pad:] if len(ids) > 1 else ids
            for i in range(len(own)):
                wanted = self.rule(tuple(own[: i + 1])) if len(own) > 1 else {self.stop: 30.0}
                for token, value in wanted.items():
                    logits[row, len(ids) - len(own) + i, token] = value
        return SimpleNamespace(logits=self.head(logits))


def _planted(loaded, rule):
    stop = loaded.tokenizer(".")["input_ids"][0]
    model = _Planted(loaded.facts.vocab_size_embedding, stop, rule)
    return SimpleNamespace(model=model, tokenizer=loaded.tokenizer, facts=loaded.facts)


def _handle(loaded):
    return SimpleNamespace(loaded=lambda: loaded)


def _noise(candidates, scale=3.0):
    """A twin that knows nothing: logits that depend on the whole text, but on nothing in it."""

    def rule(prefix):
        rng = np.random.default_rng([7, *prefix])
        return dict(zip(candidates, 12 + scale * rng.standard_normal(len(candidates)), strict=True))

    return rule


COLOURS = (" red", " blue", " green", " white", " black", " brown", " yellow", " golden")


@pytest.fixture(scope="module")
def colour_ids(fable):
    ids = [fable.tokenizer(c)["input_ids"] for c in COLOURS]
    assert all(len(i) == 1 for i in ids)
    return [i[0] for i in ids]


@pytest.fixture(scope="module")
def colour_pairs(tmp_path_factory):
    """Twelve pairs in two families: negation that switches, and a tempting word that does not."""
    entries = []
    for i in range(12):
        one, two = COLOURS[i % 8].strip(), COLOURS[(i + 3) % 8].strip()
        switch = i < 6
        rows = []
        for k, thing in enumerate(("hat", "cup", "door")):
            control = f"The {thing} {i} is" if switch else f"It is {one}. The {thing} {i} is"
            trick = f"The {thing} {i} is not" if switch else f"It is {two}. The {thing} {i} is"
            rows.append({"control": control, "trick": trick})
            assert k < 3
        right = {"control_right": two, "trick_right": one, "trap": two}
        stay = {"control_right": one, "trick_right": one, "trap": two}
        entry = {"id": f"p{i}", "family": "negation" if switch else "premise"}
        entries.append({**entry, **(right if switch else stay), "paraphrases": rows})
    return _write(tmp_path_factory.mktemp("q"), "p.yaml", "pairs", entries)


def _rule_for(loaded, path, deaf):
    """Knows every right answer; ``deaf`` families are answered as if the trick were a control."""
    rules = {}
    start = [loaded.facts.eos_id]
    for pair in questions.trick_pairs(path):
        for control, trick in pair.paraphrases:
            after = pair.trap if pair.family in deaf else pair.trick_right
            for text, answer in ((control, pair.control_right), (trick, after)):
                head = (*start, *loaded.tokenizer(text)["input_ids"])
                rules[head] = {loaded.tokenizer(f" {answer}")["input_ids"][0]: 20.0}
    return lambda prefix: rules.get(prefix, {})


def _asked(loaded, path, rule):
    return tricks.tricks.uncached(_handle(_planted(loaded, rule)), path, path, samples=20)


def test_a_model_that_knows_every_answer_falls_into_no_trap(fable, colour_pairs):
    table = _asked(fable, colour_pairs, _rule_for(fable, colour_pairs, deaf=()))
    assert set(table["source"]) == {"general", "own language"}
    assert table["trick_right"].all()
    assert table["control_right"].all()
    assert table["trick_hit"].min() > 0.9
    assert table["trick_entropy"].max() < 0.5
    assert tricks.moved(table).low > 30
    assert tricks.mcnemar(table).p_value == 1


def test_a_model_that_is_deaf_to_the_trick_is_found_in_its_family_alone(fable, colour_pairs):
    table = _asked(fable, colour_pairs, _rule_for(fable, colour_pairs, deaf=("negation",)))
    rows = tricks.by_family(table).set_index(["source", "family"])
    deaf, sound = rows.loc[("general", "negation")], rows.loc[("general", "premise")]
    assert (deaf["trick_share"], sound["trick_share"]) == (0, 1)
    assert deaf["trapped"] > 0.9
    assert (deaf["right_answer"], sound["right_answer"]) == ("changes", "stays")
    assert abs(deaf["effect"]) < 1e-3  # its habit cancels: it does not hear the trick
    assert abs(sound["effect"]) < 1e-3  # it is not tempted


def test_hearing_a_trick_and_being_tempted_by_it_are_told_apart(fable, colour_pairs):
    """Both families have effects of their own kind; six pairs give no p below 2 in 64."""
    table = _asked(fable, colour_pairs, _rule_for(fable, colour_pairs, deaf=("premise",)))
    rows = tricks.by_family(table).set_index(["source", "family"])
    heard, tempted = rows.loc[("general", "negation")], rows.loc[("general", "premise")]
    assert min(heard["effect"], tempted["effect"]) > 30
    assert max(heard["adjusted"], tempted["adjusted"]) < 0.07
    assert len(tricks.staying(table)) == (~table["switches"]).sum() > 0
    assert not tricks.staying(table)["trick_right"].any()


def test_a_family_with_both_kinds_of_pairs_is_two_rows(fable, colour_pairs):
    table = _asked(fable, colour_pairs, _rule_for(fable, colour_pairs, deaf=()))
    rows = tricks.by_family(table.assign(family="one"))
    assert set(rows["right_answer"]) == {"stays", "changes"}
    assert rows["pairs"].sum() == len(table)


def test_in_a_noisy_twin_no_family_is_found(fable, colour_pairs, colour_ids):
    table = _asked(fable, colour_pairs, _noise(colour_ids))
    rows = tricks.by_family(table)
    assert rows["adjusted"].min() > 0.05
    assert not tricks.moved(table).excludes(0)
    assert 0.2 < table["trick_right"].mean() < 0.8
    assert stats.paired_difference(table["trick_entropy"], table["control_entropy"]).low < 0.2


def test_a_pair_is_the_mean_of_its_wordings(fable, colour_pairs, colour_ids):
    rule = _noise(colour_ids)
    table = _asked(fable, colour_pairs, rule)
    pair = questions.trick_pairs(colour_pairs)[0]
    margins = []
    for control, _ in pair.paraphrases:
        head = (fable.facts.eos_id, *fable.tokenizer(control)["input_ids"])
        logits = rule(head)
        right, wrong = (
            logits[fable.tokenizer(f" {w}")["input_ids"][0]] for w in (pair.trap, pair.trick_right)
        )
        margins.append((right - wrong) / math.log(2))
    assert table["control_margin"].iloc[0] == pytest.approx(np.mean(margins), abs=1e-3)
    assert table["samples"].eq(60).all()


def test_a_habit_cancels_and_length_is_taken_out():
    rng = np.random.default_rng(0)
    bias, extra = rng.normal(0, 9, 60), rng.integers(0, 5, 60)
    noise = rng.normal(0, 0.3, 60)
    habit = pd.DataFrame({"control_margin": bias, "trick_margin": 1.5 - bias + noise})
    habit["switches"] = True
    assert tricks.moved(habit).value == pytest.approx(1.5, abs=0.15)
    long = pd.DataFrame({"control_tokens": 10.0, "trick_tokens": 10.0 + extra})
    long["control_margin"], long["trick_margin"] = bias, bias - 2 - 3 * extra + noise
    found = tricks.fall_at_equal_length(long)
    assert found.value == pytest.approx(2, abs=0.2)
    assert found.low < 2 < found.high
    assert tricks.moved(habit[:0]) is None


def test_totals_tell_the_families_that_a_mean_comes_from():
    table = pd.DataFrame({"family": ["a", "a", "b", "b"], "source": ["x", "x", "x", "y"]})
    found = tricks.totals_by_family(table, pd.Series([True, False, True, True]))
    assert found["total"].to_dict() == {"a (x)": 1, "b (x)": 1, "b (y)": 1}
    found = tricks.totals_by_family(table, pd.Series([0.0, 1.0, 4.0, -2.0]))
    assert found.index.tolist() == ["b (x)", "a (x)", "b (y)"]
    assert found["pairs"].tolist() == [1, 2, 1]


def test_a_small_context_leaves_out_what_does_not_fit(tiny):
    table = tricks.tricks.uncached(tiny, samples=2)
    limit = tiny.loaded().facts.context_length
    assert 0 < len(table) < len(questions.trick_pairs())
    assert table[["control_tokens", "trick_tokens"]].max().max() < limit
    assert np.isfinite(table.select_dtypes(float)).all().all()


# --- ambiguity ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ambiguous(tmp_path_factory):
    entries = []
    for i in range(16):
        one = {"continuation": "red", "context": f"now {i} fire again"}
        two = {"continuation": "blue", "context": f"now {i} sea again"}
        entry = {"id": f"w{i}", "word": "bank", "question": f"The bank {i} was"}
        entries.append({**entry, "first": one, "second": two})
    return _write(tmp_path_factory.mktemp("a"), "a.yaml", "items", entries)


def test_a_planted_cue_pulls_from_its_word_on(fable, ambiguous):
    words = ("red", "blue", "fire", "sea")
    red, blue, fire, sea = (fable.tokenizer(f" {w}")["input_ids"][0] for w in words)

    def rule(prefix):
        favour = 4.0 * ((fire in prefix) - (sea in prefix))
        return {red: 11 + favour * math.log(2) / 2, blue: 10 - favour * math.log(2) / 2}

    table = ambiguity.readings.uncached(_handle(_planted(fable, rule)), ambiguous)
    means = ambiguity.mean_pull(table)
    own = means[means["contexts"] == ambiguity.OWN].set_index("words")["value"]
    assert own.to_numpy() == pytest.approx([0, 0, 0, 4, 4], abs=1e-3)
    assert ambiguity.first_certain(means) == 3
    ends = ambiguity.intended(table)
    assert ends["intended"].eq(1).all()
    assert (ends["after"] < ends["before"]).all()
    one = ambiguity.example(table, ambiguous)
    assert set(one["reading_first"]) == {"red"}
    assert len(one) == 10


def test_a_noisy_twin_is_pulled_nowhere(fable, ambiguous, colour_ids):
    noise = _handle(_planted(fable, _noise(colour_ids)))
    table = ambiguity.readings.uncached(noise, ambiguous)
    bits = ambiguity.pull(table)
    last = bits[(bits["contexts"] == ambiguity.OWN) & (bits["words"] == 4)]["bits"]
    assert stats.sign_flip_test(last).p_value > 0.05
    assert table["first"].between(0, 1).all()


# --- questions without an answer ----------------------------------------------------------------


@pytest.fixture(scope="module")
def exposure():
    return pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)


def test_each_kind_of_question_is_what_its_name_says(exposure):
    asked = pd.DataFrame(vars(q) for q in unanswerable.designed(exposure, seed=0))
    subjects = exposure.set_index("subject")
    sizes = asked["group"].value_counts()
    assert sizes[unanswerable.OFTEN] == 120
    assert sizes.drop(unanswerable.OFTEN).eq(60).all()
    by_group = dict(iter(asked.groupby("group")))
    assert subjects.loc[by_group[unanswerable.NEVER]["subject"], "exposures"].eq(0).all()
    new = by_group[unanswerable.NEW]["subject"]
    assert not set(new) & (set(exposure["subject"]) | set(exposure["object"]))
    for row in by_group[unanswerable.FAMILIAR].itertuples():
        known = subjects.loc[[row.subject]]
        assert known["level"].max() >= 64
        assert row.relation not in set(known["relation"])
    assert asked.loc[asked["group"] != unanswerable.OFTEN, "answer"].eq("").all()
    assert all(row.subject in row.prompt for row in asked.itertuples())


def test_invented_countries_have_as_many_tokens_as_their_real_partners(fable):
    asked = list(unanswerable.public(fable, 12, seed=0))
    assert len(asked) == 24
    for real, invented in zip(asked[::2], asked[1::2], strict=True):
        assert (bool(real.answer), bool(invented.answer)) == (True, False)
        assert len(fable.tokenizer(f" {real.subject}")["input_ids"]) == len(
            fable.tokenizer(f" {invented.subject}")["input_ids"]
        )


def _few(exposure):
    """A quarter of the questions about colours, food and materials: answers of one token."""
    every = [q for q in unanswerable.designed(exposure, 0) if q.relation in ("colour", "material")]
    return every[::2]


def test_planted_knowledge_is_told_from_what_was_never_said(
    fable, exposure, colour_ids, monkeypatch
):
    chosen = _few(exposure)
    monkeypatch.setattr(unanswerable, "_questions", lambda *_: iter(chosen))
    known = {
        (fable.facts.eos_id, *fable.tokenizer(q.prompt)["input_ids"]): q.answer
        for q in chosen
        if q.answer
    }

    def rule(prefix):
        if prefix in known:
            return {fable.tokenizer(f" {known[prefix]}")["input_ids"][0]: 20.0}
        return dict.fromkeys(colour_ids, 15.0)

    table = unanswerable.asked.uncached(_handle(_planted(fable, rule)))
    assert table.loc[table["answerable"], "correct"].mean() > 0.9
    assert not table.loc[~table["answerable"], "correct"].any()
    found = uncertainty.separation(table, n_resamples=300)
    own = found[found["score"] == "answer entropy"]
    assert own["value"].min() > 0.99
    familiar = found[(found["against"] == unanswerable.FAMILIAR) & found["baseline"]]
    assert familiar["lead_low"].min() > 0.2
    risk = uncertainty.risk_coverage(table, n_resamples=300)
    assert risk.gain.low > 0
    assert risk.gain.value == pytest.approx(risk.best_gain, abs=0.03)


def test_a_noisy_twin_does_not_know_what_it_does_not_know(fable, exposure, colour_ids, monkeypatch):
    chosen = _few(exposure)
    monkeypatch.setattr(unanswerable, "_questions", lambda *_: iter(chosen))
    table = unanswerable.asked.uncached(_handle(_planted(fable, _noise(colour_ids))))
    found = uncertainty.separation(table, n_resamples=500)
    every = found[(found["against"] == "all") & ~found["baseline"]]
    assert (every["low"] < 0.5).all()
    assert (every["high"] > 0.5).all()
    assert not uncertainty.risk_coverage(table, n_resamples=500).gain.low > 0.02


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (" not known to anyone", True),
        (" never recorded.", True),
        (" I don’t know", True),
        (" I do not know.", True),
        (" No one knows", True),
        (" not far from here", False),
        (" not known", True),
        (" no longer red", False),
        (" never blue", False),
        (" I saw it", False),
        (" notknown", False),
    ],
)
def test_only_a_phrase_that_refuses_is_a_refusal(text, refused):
    assert unanswerable.is_refusal(text) == refused


def test_an_answer_that_begins_like_a_refusal_is_judged_by_how_it_goes_on(fable, monkeypatch):
    question = unanswerable.Question("new name", "colour", "Vex", "The colour of Vex is", "")
    monkeypatch.setattr(unanswerable, "_questions", lambda *_: iter([question]))
    ids = fable.tokenizer(" not")["input_ids"]
    table = unanswerable.asked.uncached(_handle(_planted(fable, lambda _: {ids[0]: 40.0})))
    assert table["said"].tolist() == ["not"]
    assert not table["declined"].any()  # the planted model stops after it: "not."
    assert unanswerable.refuses(Counter({" not known": 2, " not red": 2}))
    assert not unanswerable.refuses(Counter({" not known": 1, " not red": 2}))
    assert not unanswerable.refuses(Counter())


# --- areas and curves ---------------------------------------------------------------------------


def test_areas_are_those_of_the_rank_statistic_and_their_intervals_agree():
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(0.8, 1, 50).round(1), rng.normal(0, 1, 70).round(1)
    value, draws = uncertainty.areas(positive, negative, 2000, 0)
    labels = np.r_[np.ones(50), np.zeros(70)]
    known = stats.auroc(np.r_[positive, negative], labels)
    assert value == pytest.approx(known.value)
    assert np.quantile(draws, [0.025, 0.975]) == pytest.approx([known.low, known.high], abs=0.02)


def test_intervals_of_areas_cover_the_truth():
    truth = 0.7602  # Φ(1/√2): normal scores one standard deviation apart
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        _, draws = uncertainty.areas(rng.normal(1, 1, 60), rng.normal(0, 1, 60), 300, seed)
        low, high = np.quantile(draws, [0.025, 0.975])
        covered += low <= truth <= high
    assert 0.88 <= covered / 100 <= 0.99


def test_the_same_draws_serve_all_scores_so_that_equal_scores_lead_by_nothing():
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"entropy": rng.normal(size=40), "answerable": [True, False] * 20})
    table["group"] = np.where(table["answerable"], "a", "b")
    table["next_entropy"] = table["entropy"] * 2
    table["tokens"] = -table["entropy"]
    scores = {"entropy": "e", "next_entropy": "n", "tokens": "t"}
    found = uncertainty.separation(table, 200, scores=scores).set_index(["against", "score"])
    assert found.loc[("b", "n"), ["lead_low", "lead_high"]].eq(0).all()
    turned = found.loc[("b", "t"), "value"]
    assert turned >= 0.5  # a baseline gets the direction that helps it


def test_risk_and_coverage_of_a_worked_example():
    """Right, right, wrong, wrong in order of entropy; then all entropies equal."""
    table = pd.DataFrame({"entropy": [0.0, 1.0, 2.0, 3.0], "correct": [True, True, False, False]})
    found = uncertainty.risk_coverage(table, n_resamples=200)
    curve = found.curve.set_index("coverage")
    assert curve.loc[0.5, "risk"] == pytest.approx(0)
    assert curve.loc[1.0, "risk"] == pytest.approx(0.5)
    assert curve["risk"].to_numpy() == pytest.approx(curve["best"].to_numpy())
    assert found.gain.value == pytest.approx(found.best_gain)
    blind = uncertainty.risk_coverage(table.assign(entropy=1.0), n_resamples=200)
    assert blind.curve["risk"].to_numpy() == pytest.approx(np.full(50, 0.5))
    assert (blind.gain.value, blind.gain.low, blind.gain.high) == (0, 0, 0)


def test_the_prior_counts_the_most_stated_object():
    exposure = pd.DataFrame(
        {
            "kind": ["invented"] * 3,
            "relation": ["colour"] * 3,
            "object": ["red", "red", "blue"],
            "exposures": [1, 4, 3],
        }
    )
    answers = pd.DataFrame(
        {
            "level": [0, 0, 0, 64],
            "relation": ["colour"] * 4,
            "chosen": ["red", "blue", "red", "red"],
            "fact_id": ["a", "b", "c", "d"],
            "candidates": [10] * 4,
        }
    )
    found = uncertainty.answer_prior(answers, exposure)
    assert found["share"].value == pytest.approx(2 / 3)
    assert found["chance"] == pytest.approx(0.1)


def test_objects_stated_equally_often_leave_no_favourite_to_test():
    exposure = pd.DataFrame(
        {
            "kind": ["invented"] * 4,
            "relation": ["colour", "colour", "food", "food"],
            "object": ["red", "blue", "fish", "hay"],
            "exposures": [5, 5, 1, 4],
        }
    )
    answers = pd.DataFrame(
        {
            "level": [0, 0, 0],
            "relation": ["colour", "food", "food"],
            "chosen": ["blue", "hay", "fish"],
            "fact_id": ["a", "b", "c"],
            "candidates": [10, 4, 4],
        }
    )
    found = uncertainty.answer_prior(answers, exposure)
    assert found["share"].value == pytest.approx(1 / 2)
    assert found["chance"] == pytest.approx(1 / 4)
    assert uncertainty.answer_prior(answers.head(1), exposure) is None
