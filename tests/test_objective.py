"""What the objective implies: scorers against second implementations, toy models with planted
abilities that must be found, and toy models without them in which nothing may be found."""

from __future__ import annotations

import dataclasses
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from internals import stats
from internals.figures import representations as pictures
from internals.figures import style
from internals.measure import answers, scoring, training_record
from internals.measure.behaviour import context_use, drift, embers, planning, truth_frequency
from internals.models import open_model
from internals.paths import DATA


@pytest.fixture(scope="module")
def handle(tiny_folder):
    return open_model(str(tiny_folder("llama")))


@pytest.fixture(scope="module")
def exposure():
    return pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)


def scorer(monkeypatch, handle, rule):
    """Answers are scored by ``rule(question, answer) -> (natural log-probability, greedy)``."""
    tokenizer = handle.loaded().tokenizer

    def scores(_model, pairs):
        rows = [rule(tokenizer.decode(q), tokenizer.decode(a)) for q, a in pairs]
        return pd.DataFrame(rows, columns=["log_prob", "greedy"])

    monkeypatch.setattr(answers, "answer_scores", scores)


# --- scores of tails ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "opt-post"])
def test_the_surprisal_of_a_tail_is_that_of_the_whole_scorer(tiny_folder, name):
    model = open_model(str(tiny_folder(name))).loaded().model
    heads, tails = [[5, 6, 7], [9], [3, 4]], [[8, 9], [1, 2, 3, 4], []]
    found = scoring.tail_surprisal(model, heads, tails)
    whole = scoring.score_tokens(model, [h + t for h, t in zip(heads, tails, strict=True)])
    for nats, score, head, tail in zip(found, whole, heads, tails, strict=True):
        expected = -score.log_prob[len(head) - 1 :]
        assert len(nats) == len(tail)
        assert np.allclose(nats, expected, atol=1e-4)
    with pytest.raises(ValueError, match="at least one token"):
        scoring.tail_surprisal(model, [[]], [[1]])


# --- context --------------------------------------------------------------------------------------


class Memory(torch.nn.Module):
    """Gives what was read before a high probability; everything else is equally likely."""

    def __init__(self, vocab, strength):
        super().__init__()
        self.vocab, self.strength = vocab, strength

    def surprisal(self, _model, heads, tails):
        rows = []
        for head, tail in zip(heads, tails, strict=True):
            ids, bits = list(head), []
            for token in tail:
                logits = np.zeros(self.vocab)
                logits[list(set(ids))] = self.strength
                bits.append(np.log(np.exp(logits).sum()) - logits[token])
                ids.append(token)
            rows.append(np.array(bits))
        return rows


@pytest.mark.parametrize("strength", [6.0, 0.0])
def test_memory_of_the_text_is_found_where_it_is_planted(handle, monkeypatch, strength):
    loaded = handle.loaded()
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{rng.integers(30)}" for _ in range(60)) for _ in range(6)]
    monkeypatch.setattr(context_use, "documents", lambda: texts)
    monkeypatch.setattr(context_use, "COMMON", 3)
    memory = Memory(len(loaded.tokenizer), strength)
    monkeypatch.setattr(scoring, "tail_surprisal", memory.surprisal)
    table = context_use.context_use.uncached(handle)
    assert sorted(table["context"].unique()) == context_use.context_lengths(loaded)
    assert table["seen"].any()
    if strength:
        seen, unseen = context_use.copy_means(table)
        assert unseen < 1 < 2 < seen
        assert context_use.copy_gain(table).value == pytest.approx(seen - unseen)
        assert context_use.copy_gain(table).low > 1
    else:
        assert context_use.gain(table).value == pytest.approx(0, abs=1e-9)
        assert context_use.copy_gain(table).value == pytest.approx(0, abs=1e-9)


def test_a_context_that_is_too_short_for_the_lengths_shortens_them(handle):
    facts = SimpleNamespace(context_length=40, eos_id=0, bos_id=0, bos_behaviour="none")
    short = context_use.context_lengths(SimpleNamespace(facts=facts))
    assert short == [8, 40 - context_use.BLOCK - 1]


def test_gains_without_tokens_of_the_kind_are_none():
    table = pd.DataFrame(
        {
            "document": [0, 0, 1, 1],
            "context": [8, 32, 8, 32],
            "position": [40, 40, 50, 50],
            "bits": [5.0, 4.0, 3.0, 2.5],
            "common": [False] * 4,
            "seen": [False] * 4,
        }
    )
    assert context_use.gain(table).value == pytest.approx(0.75)
    assert context_use.copy_means(table) is None
    assert context_use.copy_gain(table) is None


# --- drift ----------------------------------------------------------------------------------------


def test_segments_add_up_to_the_whole_continuation(handle):
    loaded = handle.loaded()
    prompts, tails = drift.beginnings(loaded, 4)
    table = drift.own_bits(loaded, prompts, tails)
    text = loaded.tokenizer.decode(prompts[0], skip_special_tokens=True)
    whole = loaded.tokenizer.decode([*prompts[0], *tails[0]], skip_special_tokens=True)
    nats = scoring.mean_surprisal(loaded.model, [prompts[0]], [tails[0]])[0] * len(tails[0])
    assert len(table[table["document"] == 0]) == drift.SEGMENTS
    edges = [len(t.encode()) for t in drift._edges(loaded, prompts[0], tails[0])]
    assert (edges[0], edges[-1]) == (len(text.encode()), len(whole.encode()))
    bits = table.loc[table["document"] == 0, "bits"] * np.diff(edges)
    assert bits.sum() == pytest.approx(nats / math.log(2), rel=1e-4)


def test_a_judge_with_the_same_tokens_says_what_the_model_says(handle):
    """Human text is its own segmentation, so both ways of scoring must agree."""
    loaded = handle.loaded()
    prompts, tails = drift.beginnings(loaded, 6)
    own = drift.own_bits(loaded, prompts, tails)
    judged = drift.judged_bits(loaded, prompts, tails, loaded)
    mean = own.groupby("document")["bits"].mean(), judged.groupby("document")["bits"].mean()
    assert np.allclose(*mean, rtol=0.05)


def test_planted_drift_is_found_and_a_constant_gap_is_none():
    rng = np.random.default_rng(0)
    rows = [
        (d, source, k, 1.5 + extra + grow * k + 0.1 * rng.normal())
        for d in range(20)
        for source, extra, grow in (
            (drift.HUMAN, 0, 0),
            (drift.SAMPLED, 0.5, 0.2),
            (drift.GREEDY, -0.5, 0),
        )
        for k in range(1, drift.SEGMENTS + 1)
    ]
    table = pd.DataFrame(rows, columns=["document", "source", "segment", "judge_bits"])
    grown = drift.growth(table, drift.SAMPLED)
    assert grown.value == pytest.approx(0.2 * (drift.SEGMENTS - 1), abs=0.1)
    assert grown.low > 0
    assert not drift.growth(table, drift.GREEDY).excludes(0)
    level = drift.against_human(table, drift.GREEDY, "judge_bits")
    assert level.value == pytest.approx(-0.5, abs=0.1)
    assert drift.growth(table[table["segment"] < drift.SEGMENTS], drift.SAMPLED) is None
    assert "<svg" in style.render(pictures.drift, drift.by_segment(table, "judge_bits")).svg


def test_drift_of_a_tiny_model_has_every_source_and_segment(handle):
    table = drift.drift.uncached(handle, handle, n=4)
    assert set(table["source"]) == {drift.HUMAN, drift.SAMPLED, drift.GREEDY}
    assert np.isfinite(table[["own_bits", "judge_bits"]]).all().all()
    greedy, sampled = (
        drift.against_human(table, s, "own_bits").value for s in ("own greedy text", "own sample")
    )
    assert greedy < sampled


# --- truth against frequency ----------------------------------------------------------------------


def test_wrong_answers_are_what_they_are_said_to_be(exposure):
    table = truth_frequency.rivals(exposure)
    assert (table["common_statements"] > table["true_statements"]).all()
    assert (table["rare_statements"] <= table["true_statements"]).all()
    assert (table["statements"] <= table["true_statements"]).all()
    assert (table["rare_statements"] <= truth_frequency.RARE).all()
    assert (table["common"] != table["object"]).all()
    assert (table["rare"] != table["object"]).all()
    assert not [f for f in table.itertuples() if truth_frequency._shows(f.subject, f.object)]
    for lowest, highest, _ in truth_frequency.BANDS:
        n = table["statements"].between(lowest, highest).sum()
        assert 20 <= n <= truth_frequency.PER_BAND


def test_answers_that_show_in_the_subject_are_seen():
    assert truth_frequency._shows("Tunisia", "Tunis")
    assert truth_frequency._shows("Guatemala", "Guatemala City")
    assert not truth_frequency._shows("France", "Paris")


@pytest.mark.parametrize("evidence", [3.0, 0.0])
def test_frequency_covers_knowledge_in_a_planted_world(handle, exposure, monkeypatch, evidence):
    """Log-odds are the sum of log frequency and evidence: only with evidence does the correction
    bring the truth forward."""
    real = exposure[exposure["kind"] == "real"]
    totals = real.groupby("object")["exposures"].sum().to_dict()
    stated = {(f.subject, f.object): f.exposures for f in real.itertuples()}
    subjects = sorted(set(real["subject"]), key=len, reverse=True)

    def rule(question, answer):
        subject = next((s for s in subjects if s in question), "")
        known = math.log1p(stated.get((subject, answer.strip()), 0))
        return 2 * math.log1p(totals.get(answer.strip(), 0)) + evidence * known, False

    scorer(monkeypatch, handle, rule)
    table = truth_frequency.truth_frequency.uncached(handle)
    few = truth_frequency.rarely_stated(table)
    shares = {c: truth_frequency.share(few, c).value for c in truth_frequency.SIDES}
    assert shares["common_margin"] < 0.5
    if evidence:
        assert shares["rare_margin"] > shares["common_margin"] + 0.2
        assert shares["common_corrected"] == 1
        assert truth_frequency.against_never(table, "common_corrected").low > 0.5
        assert truth_frequency.lift(few, "common_corrected", "common_margin").low > 0.3
    else:
        assert shares["common_corrected"] < 0.2
        assert not truth_frequency.against_never(table, "common_corrected").low > 0
    found = truth_frequency.by_statements(table)
    assert set(found["band"]) == {name for *_, name in truth_frequency.BANDS}
    assert "<svg" in style.render(pictures.truth_by_statements, found).svg


# --- probable outputs -----------------------------------------------------------------------------


def test_sequences_are_the_same_words_with_no_neighbours_left():
    found = embers.sequences(40)
    assert len(found) == 40
    for run, shuffled in found:
        assert sorted(run) == sorted(shuffled)
        pairs = set(itertools.pairwise(run))
        assert not pairs & set(itertools.pairwise(shuffled))


def test_both_sides_of_a_task_contrast_have_the_same_answer():
    table = embers.questions(30).pivot(index="item", columns="condition", values="answer")
    for contrast in embers.CONTRASTS:
        same = (table[contrast.likely] == table[contrast.unlikely]).all()
        assert same == (contrast.kind == "task")
    prompts = embers.questions(30).set_index(["condition", "item"])["prompt"]
    for (condition, _), prompt in prompts.items():
        if condition.startswith("turn"):
            words = prompt.strip().split("\n")[-1].removeprefix("Backwards: ").split()
            assert len(words) == embers.WORDS


def test_a_rule_pays_for_no_unlikely_output(handle, monkeypatch):
    scorer(monkeypatch, handle, lambda _question, answer: (-0.1 * len(answer), True))
    table = embers.embers.uncached(handle, n=12)
    found = embers.contrasts(table)
    assert found["cost"].abs().max() < 0.05
    assert found[["likely_right", "unlikely_right"]].eq(1).all().all()
    assert (found["adjusted"] > 0.05).all()


def test_a_predictor_of_text_pays_for_it(tmp_path, monkeypatch):
    """Bigrams of the held-out stories are cheap, others dear; and one task is unknown."""
    fable = open_model("fable-gpt2")
    runs = {tuple(run) for run, _ in embers.sequences(60)}
    known = {pair for run in runs for pair in itertools.pairwise(run)}

    def rule(question, answer):
        words = answer.split()
        new = sum(pair not in known for pair in itertools.pairwise(words))
        return -1.0 - 2.0 * new - 5.0 * ("Count back" in question), False

    scorer(monkeypatch, fable, rule)
    found = embers.contrasts(embers.embers.uncached(fable, n=30))
    by_name = found.set_index("contrast")
    for contrast in embers.CONTRASTS:
        row = by_name.loc[contrast.name]
        expected = contrast.kind == "output" or contrast.likely == "count on"
        assert (row["low"] > 0 and row["adjusted"] < 0.05) == expected
    assert embers.cost(found, embers.CONTRASTS[0]).low > 0
    assert embers.cost(found.iloc[:0], embers.CONTRASTS[0]) is None


def copied(prior_sentence, prior_shuffled, bits_sentence, bits_shuffled):
    """Rows of sentences and shuffled words as `embers.embers` gives them."""
    sides = (
        ("copy sentence", prior_sentence, bits_sentence),
        ("copy shuffled", prior_shuffled, bits_shuffled),
    )
    return pd.concat(
        pd.DataFrame(
            {"condition": name, "item": range(len(bits)), "bits": bits, "prior_bits": prior}
        )
        for name, prior, bits in sides
    )


def test_a_dose_is_more_than_the_mean_cost_of_shuffling():
    rng = np.random.default_rng(0)
    sentence, order, noise = rng.normal(5, 1, 60), rng.normal(3, 1, 60), rng.normal(3, 1, 60)
    # Shuffling costs in both columns, but not where it is the more improbable.
    table = copied(sentence, sentence + order, sentence, sentence + noise)
    found = embers.dose(table)
    assert found.low < 0 < found.high
    table = copied(sentence, sentence + order, sentence, sentence + order / 2)
    assert embers.dose(table).value == pytest.approx(1)
    assert embers.dose(copied(sentence, sentence + order, sentence, sentence)) is None


def test_what_does_not_fit_the_context_is_left_out(handle):
    """The tiny model holds 64 tokens, fewer than the rows of words need."""
    table = embers.embers.uncached(handle, n=10)
    assert "copy sentence" not in set(table["condition"])
    assert embers.dose(table) is None
    assert {"count on", "count back"} <= set(table["condition"])


# --- foresight ------------------------------------------------------------------------------------


def first_noun(question):
    return question.split("things: ")[1].split(",")[0]


@pytest.mark.parametrize("ahead", [2.0, 0.0])
def test_foresight_is_found_where_it_is_planted(handle, monkeypatch, ahead):
    def rule(question, answer):
        noun, answer = first_noun(question), answer.strip()
        if question.endswith("the"):
            return 3.0 * (answer == noun), False
        fits = answer == ("an" if noun[0] in "aeiou" else "a")
        return ahead * fits - (answer == "an"), False

    scorer(monkeypatch, handle, rule)
    found = planning.foresight.uncached(handle, n=12)
    assert found["noun"].to_numpy() == pytest.approx(6 / math.log(2))
    assert found["article"].to_numpy() == pytest.approx(2 * ahead / math.log(2))
    assert planning.shift(found, "article").n == 12


def test_lists_that_do_not_fit_are_not_asked(handle):
    loaded = handle.loaded()
    short = dataclasses.replace(loaded, facts=dataclasses.replace(loaded.facts, context_length=8))
    found = planning.foresight.uncached(SimpleNamespace(loaded=lambda: short), n=3)
    assert len(found) == 0
    assert planning.shift(found, "noun") is None


def test_a_liking_that_goes_with_single_nouns_is_no_foresight():
    """Sets that share a noun are one unit: a shift of each noun by chance is not clear of zero."""
    rng = np.random.default_rng(5)
    clear = {"clusters": 0, "sets": 0}
    for _ in range(60):
        own = np.tile(rng.normal(size=10), 5)
        table = pd.DataFrame({"vowel": [*planning.VOWEL[:10]] * 5, "article": own})
        clear["clusters"] += planning.shift(table, "article").excludes()
        clear["sets"] += stats.bootstrap_ci(own, method="percentile").excludes()
    assert clear["clusters"] < 15 < clear["sets"]


def test_sets_of_nouns_differ_and_only_one_begins_with_a_vowel():
    found = planning.sets(50)
    assert len(set(found)) == 50
    for _, vowel, one, two in found:
        assert [w[0] in "aeiou" for w in (vowel, one, two)] == [True, False, False]
        assert one != two


# --- the training record --------------------------------------------------------------------------


def test_copying_in_the_record_is_the_share_of_the_loss_that_is_saved():
    log = training_record.logs()
    own = log[log["model"] == "fable-gpt2"].sort_values("tokens")
    table = training_record.abilities("fable-gpt2")
    part = table[table["ability"] == training_record.COPYING].sort_values("tokens")
    expected = (own["first_copy_bits"] - own["second_copy_bits"]) / own["first_copy_bits"]
    assert np.allclose(part["done"], expected.clip(lower=0))
