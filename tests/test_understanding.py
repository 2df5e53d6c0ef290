"""Understanding or pattern matching: the n-gram model against hand and a second implementation,
probes and patches against planted structure, compositions against planted knowledge."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from internals import inputs, stats
from internals.evidence import verdicts
from internals.evidence.claims import make_claim
from internals.figures import style
from internals.figures import understanding as figures
from internals.measure.behaviour import (
    against_ngram,
    compositions,
    generalisation,
    memory,
    minimal_pairs,
    ngram,
    nonce,
    patching,
    probing,
)
from internals.models import open_model
from internals.paths import DATA


@pytest.fixture(scope="module")
def handle(tiny_folder):
    return open_model(str(tiny_folder("llama")))


# --- n-grams ------------------------------------------------------------------------------------


def test_a_bigram_model_agrees_with_a_sum_by_hand():
    """Text a b a c a b, no count of four: every discount is one half.

    Before b and c stands only a, before a stand b and c: values a 2, b 1, c 1 of 4. With the
    uniform share of 3/8 left by the discounts, p(b) = (1 - 1/2)/4 + 3/8 * 1/3 = 1/4. After a come
    b twice and c once: p(b | a) = (2 - 1/2)/3 + 1/3 * 1/4 = 7/12.
    """
    model = ngram.train(np.array([0, 1, 0, 2, 0, 1]), vocab=3, order=2)
    assert model.discounts.tolist() == [[0.5] * 3] * 2
    assert math.exp(model.log_probs(np.array([0, 1]))[0]) == pytest.approx(7 / 12)


def second_implementation(stream, vocab, order, boundary):
    """Interpolated modified Kneser–Ney with dictionaries, word by word from its definition."""
    counts = []
    for n in range(1, order + 1):
        grams = Counter()
        for i in range(len(stream) - n + 1):
            gram = tuple(stream[i : i + n])
            if boundary not in gram[1:-1]:
                grams[gram] += 1
        counts.append(grams)
    values = []
    for n in range(1, order):
        left = Counter(gram[1:] for gram in counts[n])
        values.append(
            {g: left[g] or (c if g[0] == boundary else 0) for g, c in counts[n - 1].items()}
        )
    values.append(counts[-1])
    discounts = []
    for table in values:
        n1, n2, n3, n4 = (sum(v == k for v in table.values()) for k in (1, 2, 3, 4))
        if not min(n1, n2, n3, n4):
            discounts.append([0.0, 0.5, 0.5, 0.5])
            continue
        y = n1 / (n1 + 2 * n2)
        raw = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        discounts.append([0.0, *(min(max(d, 0), k) for k, d in zip((1, 2, 3), raw, strict=True))])
    after = [defaultdict(dict) for _ in values]
    for n, table in enumerate(values):
        for gram, value in table.items():
            after[n][gram[:-1]][gram[-1]] = value

    def probability(context, word):
        if context is None:
            return 1 / vocab
        shorter = probability(context[1:] if context else None, word)
        n = len(context)
        seen = after[n].get(context, {})
        total = sum(seen.values())
        if not total:
            return shorter
        taken = {w: discounts[n][min(v, 3)] for w, v in seen.items()}
        own = seen.get(word, 0) - taken.get(word, 0.0)
        return own / total + sum(taken.values()) / total * shorter

    return lambda context, word: probability(tuple(context)[-(order - 1) :], word)


@pytest.fixture(scope="module")
def stream():
    """Texts over twelve tokens in which the next token depends on the two before it."""
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.full(12, 0.3), (12, 12))
    ids = [0, 1]
    for _ in range(4000):
        ids.append(int(rng.choice(12, p=table[ids[-2], ids[-1]])))
    return np.array(ids)


def test_the_model_agrees_with_a_second_implementation(stream):
    model = ngram.train(stream, 12, 4, boundary=0)
    reference = second_implementation(stream.tolist(), 12, 4, 0)
    for text in ([0, 3, 4, 1, 7, 2, 2, 9], [5, 5, 5, 5], [0, 11], stream[100:140].tolist()):
        text = [text[0], *(t for t in text[1:] if t)]  # no end inside
        found = np.exp(model.log_probs(np.array(text)))
        expected = [reference(text[:i], text[i]) for i in range(1, len(text))]
        assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("least", [None, (1, 2, 2), (3, 3, 5)])
def test_every_distribution_sums_to_one_pruned_or_not(stream, least):
    model = ngram.train(stream, 12, 4, boundary=0, least=least)
    for context in ([0], [3], [0, 5], [1, 2, 3], [9, 9, 9], [4, 0, 7, 8, 2]):
        p = model.distribution(np.array(context))
        assert p.min() > 0
        assert p.sum() == pytest.approx(1)
        if 0 not in context[1:]:
            one = model.log_probs(np.array([*context, 7]))[-1]
            assert math.log(p[7]) == pytest.approx(one)


def test_longer_contexts_help_where_the_text_has_them(stream):
    train, test = stream[:3500], stream[3500:]
    bits = [-ngram.train(train, 12, n, boundary=0).log_probs(test).mean() for n in (1, 2, 3)]
    assert bits[0] > bits[1] > bits[2]


def test_no_n_gram_goes_over_the_end_of_a_text():
    model = ngram.train(np.array([0, 1, 2, 0, 3, 4, 0]), 5, 3, boundary=0)
    nodes = model.nodes(np.array([2, 0, 3]))
    assert nodes[2, 1] >= 0  # a text may end after 2 …
    assert nodes[3, 2] == -1  # … but nothing is known of what comes after "2, end"
    lengths, total = model.contexts(np.array([0, 1, 2, 0]))
    assert lengths.tolist() == [1, 2, 2]
    assert total.tolist() == [2, 1, 1]


def test_a_saved_model_is_the_same_model(stream, tmp_path):
    for least in (None, (1, 2, 2)):
        model = ngram.train(stream, 12, 4, boundary=0, least=least)
        ngram.save(model, tmp_path / "counts.xz")
        again = ngram.load(tmp_path / "counts.xz")
        assert (again.vocab, again.order) == (12, 4)
        np.testing.assert_array_equal(again.counts, model.counts)
        for one, other in zip(again.levels, model.levels, strict=True):
            for name in ("keys", "values", "residual"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_the_shipped_counts_are_a_distribution_and_know_the_training_text():
    model = against_ngram._shipped()
    meta = json.loads((DATA / "training" / "meta.json").read_text("utf-8"))
    assert model.counts.sum() == meta["train"]["tokens"]
    assert model.distribution(np.array([0])).sum() == pytest.approx(1)
    sizes = pd.read_csv(DATA / "training" / "ngrams.csv")
    assert sizes["kept"].tolist() == [len(level.keys) for level in model.levels]


# --- beside the model ---------------------------------------------------------------------------


def test_repetition_counts_only_beyond_the_window(stream):
    model = ngram.train(stream, 12, 5, boundary=0)
    found = against_ngram.describe(model, np.array([0, 7, 1, 2, 3, 4, 7, 7, 1]))
    assert found["repeated"].tolist() == [False] * 5 + [True, True, True]
    assert found["position"].tolist() == list(range(1, 9))


def test_a_planted_gain_is_found_where_it_is():
    rng = np.random.default_rng(1)
    n = 4000
    table = pd.DataFrame(
        {
            "document": np.repeat(np.arange(40), 100),
            "kind": "stories",
            "position": np.tile(np.arange(1, 101), 40),
            "context": rng.integers(0, 5, n),
            "context_read": rng.integers(1, 300, n),
            "count": rng.integers(0, 50_000, n),
            "repeated": rng.random(n) < 0.5,
            "ngram_bits": rng.normal(5, 1, n),
            "bytes": 4.0,
        }
    )
    table["model_bits"] = table["ngram_bits"] - 1.5 * table["repeated"] + rng.normal(0, 0.1, n)
    bands = against_ngram.bands(table).set_index(["by", "group"])
    gain = bands["value"].xs("earlier in the document")
    assert gain["stood there before"] == pytest.approx(1.5, abs=0.05)
    assert gain["new in the document"] == pytest.approx(0, abs=0.05)
    assert against_ngram._repetition(table).value == pytest.approx(1.5, abs=0.05)
    assert bands.groupby("by")["share"].sum().max() == pytest.approx(1)
    fewer = table.assign(context_read=1 + table["context_read"] % 30)
    assert "last 4 tokens, read 1–9 times" in against_ngram.bands(fewer)["group"].tolist()
    pruned = fewer.assign(context_read=fewer["context_read"].clip(lower=2))
    named = against_ngram.bands(pruned)["group"].tolist()
    assert "last 4 tokens, read 2–9 times" in named
    assert against_ngram._least_read(pruned) == 2
    everything = against_ngram.rates(table).iloc[-1]
    assert everything["gain"] == pytest.approx(1.5 * table["repeated"].mean() / 4, abs=0.02)
    assert everything["gain_low"] < everything["gain"] < everything["gain_high"]
    assert against_ngram.gain(table).value == pytest.approx(
        1.5 * table["repeated"].mean(), abs=0.02
    )


def test_the_interval_of_a_ratio_is_that_of_the_general_bootstrap():
    rng = np.random.default_rng(2)
    above, below = pd.Series(rng.gamma(2, 5, 60)), pd.Series(rng.gamma(4, 5, 60))
    quick = against_ngram._ratio(above, below)
    rows = np.column_stack([above, below])
    slow = stats.bootstrap_ci(rows, against_ngram.ratio_of_sums, method="percentile", seed=5)
    assert quick.value == pytest.approx(slow.value)
    assert (quick.low, quick.high) == pytest.approx((slow.low, slow.high), abs=0.03)


def test_a_model_of_another_vocabulary_is_compared_on_the_other_half(handle):
    table = against_ngram.compare.uncached(handle, n=20)
    assert np.isfinite(table[["model_bits", "ngram_bits"]]).all().all()
    bands = against_ngram.bands(table)
    assert style.render(figures.gains, bands).svg


# --- minimal pairs ------------------------------------------------------------------------------


def test_the_shipped_pairs_are_enough_and_in_families():
    found = minimal_pairs.items()
    families = Counter(item.family for item in found)
    assert 2 * len(found) >= 40
    assert min(families.values()) >= 6
    for item in found:
        one, two = item.right.split(), item.wrong.split()
        assert sum(a != b for a, b in zip(one, two, strict=False)) + abs(len(one) - len(two)) > 0


def test_a_liking_for_one_word_is_right_in_half_of_the_pairs():
    """Scores that depend on the exchanged words alone are right once and wrong once an item."""
    found = minimal_pairs.items()
    words = sorted({w for item in found for text in item.sentences for w in text.split()})
    liking = dict(zip(words, np.random.default_rng(0).normal(size=len(words)), strict=True))
    form = [item for item in found if item.family in ("number agreement", "much and many")]
    bits = [sum(liking[w] for w in text.split()) for item in form for text in item.sentences]
    assert minimal_pairs.judged(form, np.array(bits))["right"].mean() == pytest.approx(0.5)
    assert minimal_pairs.judged(form, np.array(bits))["margin"].abs().max() < 1e-9


def test_planted_scores_are_judged_pair_by_pair(handle):
    found = minimal_pairs.items()
    bits = np.tile([0.0, -2.0, 1.0, 4.0], len(found))
    table = minimal_pairs.judged(found, bits)
    assert (table["right"] == 0.5).all()
    assert (table["margin"] == -0.5).all()
    margins = minimal_pairs.margins.uncached(handle)
    summary = minimal_pairs.by_family(margins)
    assert {"model", "five-gram", "random twin"} <= set(summary.columns)
    assert 0.3 < minimal_pairs.share(margins, meaning=False).value < 0.7
    assert minimal_pairs.against(margins, meaning=True, source="random twin").n > 10
    assert style.render(figures.pair_shares, summary).svg


@pytest.mark.parametrize("lost", [False, True])
def test_what_other_wordings_lose_is_found_only_where_it_is_planted(lost):
    """The family that comes in one wording alone is wrong throughout and must not count."""
    found = minimal_pairs.items()
    rng = np.random.default_rng(3)
    bits = []
    for item in found:
        right = 0.5 if lost and item.family.endswith(minimal_pairs.REWORDED) else 0.9
        right = 0.0 if item.family == "more and less" else right
        for _ in range(2):
            bits += [0.0, -1.0] if rng.random() < right else [-1.0, 0.0]
    table = minimal_pairs.judged(found, np.array(bits)).assign(source="model")
    gap = minimal_pairs.wording_gap(table)
    assert (gap.low > 0) == lost
    assert gap.high > 0
    assert gap.n == 32
    plain = table[~table["family"].str.endswith(minimal_pairs.REWORDED)]
    assert minimal_pairs.wording_gap(plain) is None


def test_a_pair_of_equal_sentences_is_refused(tmp_path):
    path = tmp_path / "pairs.yaml"
    entry = "{id: a, family: f, right: x, wrong: x, other_right: y, other_wrong: z}"
    path.write_text(f"items: [{entry}]")
    with pytest.raises(inputs.InputError, match="must differ"):
        minimal_pairs.items(path)


# --- planted knowledge --------------------------------------------------------------------------


class Planted(torch.nn.Module):
    """A model that continues known texts as they go on, and knows nothing else."""

    def __init__(self, tokenizer, start, texts, vocab):
        super().__init__()
        self.head, self.device = torch.nn.Identity(), torch.device("cpu")
        self.config = SimpleNamespace(vocab_size=vocab)
        self.next = {}
        for prompt, answer in texts:
            head = [*start, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
            ids = [*head, *tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]]
            for i in range(len(head), len(ids)):
                self.next[tuple(ids[:i])] = ids[i]

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, **_):
        logits = torch.zeros(*input_ids.shape, self.config.vocab_size)
        for row, ids in enumerate(input_ids.tolist()):
            for i in range(len(ids)):
                if (token := self.next.get(tuple(ids[: i + 1]))) is not None:
                    logits[row, i, token] = 30.0
        return SimpleNamespace(logits=self.head(logits))


@pytest.fixture(scope="module")
def planted(handle):
    """``planted(texts)`` is a handle of a model that knows how these (prompt, answer) go on."""
    loaded = handle.loaded()
    facts = dataclasses.replace(loaded.facts, context_length=512)
    start = minimal_pairs.beginning(loaded)

    def make(texts):
        model = Planted(loaded.tokenizer, start, texts, loaded.facts.vocab_size_tokenizer)
        known = SimpleNamespace(model=model, facts=facts, tokenizer=loaded.tokenizer)
        return SimpleNamespace(loaded=lambda: known)

    return make


def test_planted_two_step_knowledge_is_found_and_single_steps_alone_are_told_apart(planted):
    rows = compositions.known_countries()
    single = [(compositions.STEPS["second step"].format(**r), r["continent"]) for r in rows]
    both = [(compositions.TWO_STEPS.format(**r), r["continent"]) for r in rows]
    whole = compositions.two_steps.uncached(planted([*single, *both]))
    assert compositions.accuracy(whole, "both steps").value == 1
    assert compositions.against_no_link(whole).low > 0.3
    parts = compositions.two_steps.uncached(planted(single))
    assert compositions.accuracy(parts, "second step").value == 1
    found = compositions.accuracy(parts, "both steps")
    assert found.low <= compositions.chance(parts, "both steps") + 0.05
    assert style.render(figures.shares, compositions.shares(parts, _attributes(), None)).svg


def _attributes():
    frame = pd.DataFrame({"country": range(8), "truth": ["euro", "dollar"] * 4})
    alone = frame.assign(task="alone", chosen=frame["truth"])
    both = frame.assign(task="together", chosen="euro")
    return pd.concat([alone, both]).assign(correct=lambda t: t["truth"] == t["chosen"])


def test_a_random_model_composes_nothing(handle):
    steps = compositions.two_steps.uncached(handle)
    assert compositions.accuracy(steps, "both steps").value < 0.5
    both = compositions.together.uncached(handle, n=20)
    assert len(both) == 2 * 20
    for task in ("alone", "together"):
        found = compositions.accuracy(both, task)
        assert found.low <= compositions.chance(both, task)


def test_planted_currencies_are_found_alone_and_together(planted):
    from fable.dataset import countries

    rows = [r for r in countries() if r["language"] and r["currency"]]
    alone = [(compositions.ALONE.format(**r), r["currency"]) for r in rows]
    table = compositions.together.uncached(planted(alone), n=20)
    assert compositions.accuracy(table, "alone").value == 1
    assert compositions.accuracy(table, "together").value < 0.5
    assert compositions.crowded(table).low > 0.3


def test_a_liking_for_the_commonest_currency_is_at_chance(planted):
    """Always “euro” is right for every fourth country, and stands no higher than chance."""
    from fable.dataset import countries

    rows = [r for r in countries() if r["language"] and r["currency"]]
    table = compositions.together.uncached(
        planted([(compositions.ALONE.format(**r), "euro") for r in rows]), n=40
    )
    found = compositions.accuracy(table, "alone")
    assert found.low <= compositions.chance(table, "alone") <= found.high


def test_chance_is_that_of_shuffled_answers():
    table = pd.DataFrame(
        {"task": "t", "truth": ["a"] * 3 + ["b"], "chosen": ["a", "a", "b", "b"], "correct": True}
    )
    assert compositions.chance(table, "t") == pytest.approx(0.75 * 0.5 + 0.25 * 0.5)


def test_a_liking_for_one_answer_gains_nothing():
    scores = np.array([[5.0, 1.0, 0.0], [5.0, 0.0, 1.0]])
    assert compositions.chosen(scores, ["x", "y", "z"], ["y", "z"])["correct"].all()


def test_planted_one_way_facts_are_known_forward_only(planted):
    """The reversal test finds knowledge where it is planted, and only there."""
    from fable.designed import templates

    exposure = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    rulers = exposure[(exposure["relation"] == "ruler") & (exposure["level"] >= 64)]
    forward, backward = (templates()["ruler"][role][0] for role in ("trained", "reverse"))
    texts = [
        (generalisation._beginning(forward, "o", r.subject), r.object) for r in rulers.itertuples()
    ] + [
        (generalisation._beginning(backward, "s", r.object), r.subject)
        for r in rulers[rulers["direction"] == "both"].itertuples()
    ]
    table = generalisation.reversal.uncached(planted(texts))
    cells = generalisation.reversal_shares(table).set_index(["direction", "asked"])["value"]
    assert cells["forward_only", "forward"] == cells["both", "backward"] == 1
    # All candidates are equally likely, so that the right one is among the best, but unsure.
    unknown = table[(table["direction"] == "forward_only") & (table["asked"] == "backward")]
    assert unknown["prob"].max() < 0.1


# --- invented words -----------------------------------------------------------------------------


def test_invented_words_are_in_no_table_and_copying_is_wrong():
    words = nonce.invented(20)
    counts = set(pd.read_csv(DATA / "words" / "counts.csv", keep_default_na=False)["word"])
    assert len(set(words)) == 20
    assert not counts & set(words)
    for _, _, _, head, right, wrong in nonce._questions(words[:3]):
        stood = head.replace(",", " ").split()
        assert wrong in stood
        assert right not in stood


def test_planted_inflection_is_found_and_a_twin_has_none(handle, planted):
    loaded = planted(
        [(head, f"{right}.") for _, _, _, head, right, _ in nonce._questions(nonce.invented(4))]
    ).loaded()
    loaded.random_twin = lambda seed: handle.loaded().random_twin(seed)
    table = nonce.inflection.uncached(SimpleNamespace(loaded=lambda: loaded), n=4)
    assert nonce.margin(table, "plural of nouns").low > 5
    twin = nonce.margin(table, "plural of nouns", source="random twin")
    assert abs(twin.value) < 2


def test_descriptions_ask_for_both_words(handle):
    table = nonce.described.uncached(handle, n=3)
    assert table.groupby("pair").size().eq(2).all()
    assert 0.2 < nonce.binding(table).value < 0.8


# --- probes -------------------------------------------------------------------------------------


def _planted_states(signal, own, rng, items=120, width=24, frames=3):
    labels = np.arange(items) % 4
    centres = rng.normal(size=(4, width))
    single = rng.normal(size=(items, width))
    noise = rng.normal(size=(frames, items, width))
    return signal * centres[labels] + own * single + noise, labels


def test_a_planted_direction_is_found_by_a_selective_probe():
    states, labels = _planted_states(2.0, 0.0, np.random.default_rng(0))
    found = probing.probe(states, labels)
    assert found["low"] > 0.9
    assert found["selectivity_low"] > 0.4


def test_random_features_have_no_selectivity():
    """Features that only tell single items apart let a probe memorise any labels equally well."""
    states, labels = _planted_states(0.0, 3.0, np.random.default_rng(1), items=60, width=48)
    found = probing.probe(states, labels)
    assert found["seen"] > 0.6
    assert found["control"] > 0.6
    assert abs(found["selectivity"]) < 0.15
    assert found["low"] < 0.35


def test_the_ridge_solves_the_normal_equations(monkeypatch):
    rng = np.random.default_rng(2)
    x, y = rng.normal(2, 3, (40, 6)), rng.integers(0, 3, 40)
    monkeypatch.setattr(probing, "PENALTIES", np.array([0.5]))
    classify = probing.Ridge(x).fit(y)
    z = (x - x.mean(0)) / x.std(0)
    target = np.eye(3)[y]
    weights = np.linalg.solve(z.T @ z + 0.5 * 40 * np.eye(6), z.T @ (target - target.mean(0)))
    expected = (z @ weights + target.mean(0)).argmax(1)
    assert (classify(x) == expected).all()


def test_the_probe_runs_on_a_model_and_its_twin(handle):
    table = probing.continents.uncached(handle, n=60)
    assert set(table["source"]) == {"model", "random twin"}
    assert table["accuracy"].between(0, 1).all()
    assert (
        probing.best_layer(table)["accuracy"]
        == table.loc[table["source"] == "model", "accuracy"].max()
    )
    assert style.render(figures.probe_and_patch, table, pd.DataFrame()).svg


# --- patches ------------------------------------------------------------------------------------

CLASSES, PER_CLASS, WIDTH = 3, 8, 16


def _toy(planted_in: bool):
    """A two-block GPT-2 whose last token reads the mean of the states before it, and answers with
    the class that a subject's embedding points to; or one with random weights."""
    torch.manual_seed(0)
    subjects = CLASSES * PER_CLASS
    config = GPT2Config(
        vocab_size=subjects + CLASSES + 3, n_embd=WIDTH, n_layer=2, n_head=1, n_positions=8,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    if planted_in:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.fill_(1.0 if ".ln_" in name and name.endswith("weight") else 0.0)
            table = model.transformer.wte.weight
            table[:3, -1] = 1.0  # words of the frame
            for c in range(CLASSES):
                table[3 + c, c] = 1.0  # answers
                first = 3 + CLASSES + c * PER_CLASS
                table[first : first + PER_CLASS, c] = 1.0
            table[3 + CLASSES :] += 0.1 * torch.randn(subjects, WIDTH)
            attention = model.transformer.h[1].attn
            attention.c_attn.weight[:, 2 * WIDTH :] = torch.eye(WIDTH)
            attention.c_proj.weight.copy_(3 * torch.eye(WIDTH))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    rows = [[0, 3 + CLASSES + i, 1, 2] for i in range(subjects)]
    places, first = np.ones(subjects, int), np.arange(3, 3 + CLASSES)
    return model, patching.Questions(rows, places, labels, first)


def test_moving_a_planted_direction_changes_the_answer_and_a_random_one_does_not():
    model, asked = _toy(True)
    names = np.array([f"s{i}" for i in range(len(asked.rows))])
    table = patching.move(model, asked, names)
    effects = patching.by_layer(table).set_index(["layer", "direction"])
    for layer in (0, 1):
        assert effects.loc[(layer, "class means"), "flipped"] > 0.9
        assert effects.loc[(layer, "random"), "flipped"] < 0.35
    assert patching.against_random(table).low > 0
    top = patching.best_layer(table)
    assert patching.against_random(table, top) == patching.against_random(table)
    assert patching.against_random(table, 1 - top).value < patching.against_random(table).value
    assert [patching.nearest_layer(table, k) for k in (0, 1, 7)] == [0, 1, 1]
    assert patching.nearest_layer(table.iloc[:0], 1) is None
    assert patching.best_layer(table.iloc[:0]) is None
    assert len(patching.by_layer(table)) == 6
    assert style.render(figures.probe_and_patch, _layers(), patching.by_layer(table)).svg


def _layers():
    row = {"low": 0.4, "high": 0.6, "majority": 0.3, "accuracy": 0.5, "selectivity": 0.1}
    return pd.DataFrame(
        [{"source": s, "layer": i, **row} for s in ("model", "random twin") for i in (0, 1)]
    )


def test_moving_a_random_model_changes_little():
    """Asked for its own answers, a random model does not follow differences of class means."""
    model, asked = _toy(False)
    plain, _ = patching.run(model, asked, [])
    own = patching.Questions(asked.rows, asked.places, plain.argmax(1), asked.first)
    table = patching.move(model, own, np.arange(len(asked.rows)).astype(str))
    assert table.empty or patching.against_random(table).value < 0.5


def test_answers_that_are_right_by_luck_are_not_moved():
    """The planted model answers by its own classes; of other labels a third is right by luck."""
    model, asked = _toy(True)
    rows, places = asked.rows * 2, np.tile(asked.places, 2)
    shifted = np.concatenate([(asked.labels + np.arange(len(asked.rows))) % CLASSES] * 2)
    lucky = patching.Questions(rows, places, shifted, asked.first)
    answers = patching.run(model, lucky, [])[0].argmax(1)
    assert (answers == shifted).sum() >= 10
    assert patching.move(model, lucky, np.arange(len(rows)).astype(str)).empty


def test_naming_is_above_chance_only_if_more_is_right_than_a_liking_gives():
    truth = np.repeat([0, 1, 2, -1], [30, 5, 5, 10])
    assert patching.named_above_chance(np.maximum(truth, 0), truth)
    assert not patching.named_above_chance(np.zeros(50, int), truth)  # 30 of 40 are right
    assert not patching.named_above_chance(np.zeros(3, int), np.full(3, -1))


def test_a_patch_is_gone_after_its_scope():
    model, asked = _toy(True)
    before, states = patching.run(model, asked, [0, 1])
    added = np.random.default_rng(0).normal(0, 3, (len(asked.rows), WIDTH))
    changed, _ = patching.run(model, asked, [], 1, added)
    after, again = patching.run(model, asked, [0, 1])
    assert not np.allclose(before, changed)
    np.testing.assert_allclose(before, after)
    np.testing.assert_allclose(states, again)
    zero, _ = patching.run(model, asked, [], 1, 0 * added)
    np.testing.assert_allclose(before, zero)


def test_class_means_leave_the_item_out():
    states = np.array([[0.0], [2.0], [10.0], [14.0]])
    found = patching.differences(states, np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
    assert found.ravel().tolist() == [12 - 2, 12 - 0, 1 - 14, 1 - 10]


def test_a_model_that_knows_no_continent_is_not_moved(handle):
    assert patching.against_random(patching.patched.uncached(handle, n=40)) is None


# --- memory and verdict -------------------------------------------------------------------------


def test_memory_is_read_off_by_level_and_wording():
    rows = []
    for level, right in ((0, 0), (4, 0), (64, 1), (256, 1)):
        for fact in range(5):
            for wording in ("trained", "heldout"):
                correct = bool(right and (wording == "trained" or fact == 0))
                rows.append((f"{level}-{fact}", level, wording, correct, 10))
    answers = pd.DataFrame(rows, columns=["fact_id", "level", "wording", "correct", "candidates"])
    assert memory.half_level(answers) == 64
    assert memory.half_level(answers, "heldout") is None
    assert memory.rise(answers).value == 1
    found = memory.rewording(answers)
    assert found["loss"].value == pytest.approx(0.8)
    assert found["kept"] == pytest.approx((0.2 - 0.1) / 0.9)


def test_a_verdict_names_the_view_and_links_to_its_claim():
    claim = make_claim("some-test", "behaviour", "It is so.", value=0.5, n=9, holds=True)
    tests = [
        verdicts.Test("a | b", "fails", "succeeds", "works", verdicts.side(False, True), claim),
        verdicts.Test("c", "fails", "succeeds", "", verdicts.side(True, True), claim),
        verdicts.Test("d", "fails", "succeeds", "", verdicts.side(True, False, asked=False), claim),
    ]
    table = str(verdicts.table(tests, "Matching", "Understanding"))
    lines = table.splitlines()
    assert "understanding" in lines[2]
    assert "claim-some-test" in lines[2]
    assert "neither" in lines[3]
    assert "does not apply" in lines[4]
    assert r"a \| b" in lines[2]
    assert verdicts.tally(tests) == {"patterns": 0, "rules": 1, "between": 1, "not asked": 1}


def test_a_failure_counts_only_if_the_easier_test_was_passed():
    assert verdicts.side(True, False, able=True) == "patterns"
    assert verdicts.side(True, False, able=False) == "between"
    assert verdicts.side(False, True, able=False) == "rules"
    assert verdicts.side(True, False, able=False, asked=False) == "not asked"


def test_the_memorisation_figure_draws_both_wordings():
    table = pd.DataFrame(
        {
            "level": [0, 64] * 2,
            "wording": ["trained"] * 2 + ["heldout"] * 2,
            "accuracy": [0.1, 0.9, 0.1, 0.3],
            "accuracy_low": [0.0, 0.8, 0.0, 0.2],
            "accuracy_high": [0.2, 1.0, 0.2, 0.4],
        }
    )
    assert "held-out" in figures.memorisation(table, 0.1).legends[0].get_texts()[1].get_text()
