"""Chapter 2's comparisons and interventions against hand-worked and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from internals.measure.tokenization import casing, compare, contexts, rivals, segmentation
from internals.tokens import pieces, token_bytes
from tokenizers_small import TEXT, byte_level_bpe, wordpiece


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2, n_head=2, n_embd=16, vocab_size=len(byte_level_bpe()), n_positions=64
    )
    return GPT2LMHeadModel(config).eval()


def test_the_four_forms_of_a_word_are_spelt_as_said():
    assert [casing.spell(f, "the") for f in casing.FORMS] == ["the", "The", " the", " The"]


def test_the_case_table_counts_distinct_ids():
    table = casing.case_table(byte_level_bpe(), ["the", "x"])
    the = table[table["word"] == "the"]
    assert len(the) == 4
    ids = [tuple(byte_level_bpe()(text)["input_ids"]) for text in the["text"]]
    assert the["ids"].tolist() == ids
    assert the["distinct"].unique().tolist() == [len(set(ids))]


def test_a_tokenizer_that_ignores_case_and_space_has_one_form():
    table = casing.case_table(wordpiece(), ["the"])
    assert table["distinct"].tolist() == [1] * 4


def test_pairs_that_share_a_direction_are_told_from_random_pairs():
    """Embeddings built so that the two forms of a word are close and other words are not."""
    rng = np.random.default_rng(0)
    n, d = 60, 200
    words = [f"w{i}" for i in range(n)]
    meaning = rng.normal(size=(n, d))
    embedding = np.concatenate([meaning + 0.3 * rng.normal(size=(n, d)) for _ in range(2)])
    rows = []
    for i, word in enumerate(words):
        for form, token in (("space lower", i), ("space capital", n + i)):
            rows.append({"word": word, "form": form, "ids": (token,), "single": True})
    table = casing.embedding_pairs(embedding, pd.DataFrame(rows))
    assert set(table["pair"]) == {"case"}
    assert table["own"].mean() == pytest.approx(1 / 1.09, abs=0.02)
    assert abs(table["random"].mean()) < 0.05
    assert abs(table["neighbour"].mean()) < 0.05
    assert (table["random"] < 0.9).all(), "the control never takes the word itself"


def test_divergence_is_zero_where_nothing_changes_and_agrees_with_torch(model):
    words, frames = ["the", "cat"], ["on"]
    table = casing.next_token_divergence(model, byte_level_bpe(), words, frames)

    def log_probs(text):
        ids = torch.tensor([byte_level_bpe()(text)["input_ids"]])
        with torch.no_grad():
            return model(ids).logits[0, -1].double().log_softmax(-1)

    expected = torch.nn.functional.kl_div(
        log_probs("on The"), log_probs("on the"), log_target=True, reduction="sum"
    )
    assert table.loc[0, "kl_case_bits"] == pytest.approx(expected.item() / math.log(2), rel=1e-4)
    same = casing.next_token_divergence(model, byte_level_bpe(), ["2024", "2024"], frames)
    assert same["kl_case_bits"].tolist() == pytest.approx([0, 0], abs=1e-9)


def test_a_word_in_real_text_is_compared_with_its_form_and_a_control(model):
    table = casing.pair_in_text(model, byte_level_bpe(), ["on", "sat on"], ("the", "the", "cat"))
    assert table["kl_form_bits"].tolist() == pytest.approx([0, 0], abs=1e-9)
    alone = casing.next_token_divergence(model, byte_level_bpe(), ["the", "cat"], ["on"])
    assert table.loc[0, "kl_other_bits"] == pytest.approx(alone.loc[0, "kl_other_word_bits"])


def test_of_a_text_longer_than_the_context_the_end_is_read(model):
    """A model fails or extrapolates beyond its context."""
    tokenizer, room = byte_level_bpe(), model.config.max_position_embeddings
    text = "the cat sat on the mat " * room
    ids = tokenizer(text)["input_ids"]
    assert len(ids) > room
    with torch.no_grad():
        expected = model(torch.tensor([ids[-room:]])).logits[0, -1].double().log_softmax(-1)
    found = casing.next_log_probs(model, tokenizer, [text, "the cat"])
    assert found[0] == pytest.approx(expected.numpy(), abs=1e-4)


def test_intervals_by_layer_are_over_words():
    sentences = contexts.sense_sentences()
    states = np.random.default_rng(0).normal(size=(len(sentences), 2, 16))
    table = contexts.context_similarity(states, sentences)
    found = contexts.by_layer(table).set_index(["kind", "layer", "what"])
    row = found.loc[("two senses", 1, "gap")]
    own = table[(table["kind"] == "two senses") & (table["layer"] == 1)]["gap"]
    assert row["value"] == pytest.approx(own.mean())
    assert row["low"] < row["value"] < row["high"]


def test_ids_follow_from_adjacent_characters_for_byte_level_bpe():
    table = contexts.context_ids(byte_level_bpe(), ["cat", "table", "France"])
    report = contexts.prediction_failures(table)
    assert report["failures"].sum() == 0
    assert (report["predictions"] > 0).all()
    assert (report["distinct"] > 1).all(), "the frames should change some ids"


def test_a_tokenizer_that_looks_further_would_be_caught():
    table = contexts.context_ids(byte_level_bpe(), ["cat"])
    table.at[0, "ids"] = (1, 2, 3)
    assert contexts.prediction_failures(table)["failures"].sum() > 0


def test_every_frame_group_leaves_a_prediction():
    frames = pd.DataFrame(
        [(left[-1:], right[:1]) for left, right in contexts.FRAMES], columns=["a", "b"]
    )
    assert frames.duplicated().sum() >= 5


def test_senses_come_apart_where_the_states_hold_them():
    """States with a word part and, from layer 1 on, a sense part: the gap must appear there."""
    sentences = contexts.sense_sentences()
    rng = np.random.default_rng(0)
    n_words = sentences["word"].nunique()
    word = pd.factorize(sentences["word"])[0]
    two = (sentences["kind"] == "two senses").to_numpy()
    sense = word * 2 + np.where(two, sentences["group"], 0)
    words, senses = rng.normal(size=(n_words, 64)), rng.normal(size=(2 * n_words, 64))
    states = np.stack([words[word], words[word] + senses[sense]], axis=1)
    table = contexts.context_similarity(states, sentences)
    gap = table.groupby(["kind", "layer"])["gap"].mean()
    assert gap["two senses", 0] == pytest.approx(0, abs=1e-9)
    assert gap["two senses", 1] > 0.3
    assert gap["one sense", 1] == pytest.approx(0, abs=1e-9)


def test_every_sense_sentence_ends_with_its_word():
    for row in contexts.sense_sentences().itertuples():
        assert row.text.split()[-1] == row.word


@pytest.mark.parametrize("kind", rivals.KINDS)
def test_rivals_keep_to_their_vocabulary(kind):
    rival = rivals.train(kind, TEXT, 300)
    ids = rival.encode("the cat sat on 1234 字")
    assert 0 <= min(ids) <= max(ids) < rival.n_vocab <= 300
    assert (rival.unknown is None) == (kind in {"byte", "byte-level BPE"})


def test_wordpiece_is_the_same_in_every_training():
    """Many equal counts: the trainer alone would break the ties by the order of a hash table."""
    letters = "abcdefghijklmnop"
    texts = [" ".join(a + b + c for a in letters for b in letters for c in letters)]
    one, two, three = (rivals.train("WordPiece", texts, 200) for _ in range(3))
    assert compare.same_ids(one, two, texts)
    assert compare.same_ids(one, three, texts)
    assert one.n_vocab == 200
    assert len(one.encode("##a")) > 1, "a letter of the alphabet is no special token"


def test_tokenizers_that_cut_alike_are_told_from_others():
    bpe = rivals.from_transformers("a", byte_level_bpe())
    assert compare.same_ids(bpe, rivals.from_transformers("b", byte_level_bpe()), TEXT)
    smaller = rivals.from_transformers("c", byte_level_bpe(290))
    assert not compare.same_ids(bpe, smaller, TEXT)


def test_a_tokenizer_like_the_models_own_is_no_rival_of_it(monkeypatch, tmp_path):
    from types import SimpleNamespace

    from internals.measure.tokenization import measured

    for name, size in (("same", 320), ("other", 290)):
        byte_level_bpe(size).save_pretrained(tmp_path / name)
    monkeypatch.setenv(measured.TOKENIZERS, f"{tmp_path / 'same'},{tmp_path / 'other'}")
    monkeypatch.setattr(measured, "encodes_alike", measured.encodes_alike.uncached)
    model = SimpleNamespace(
        name="own",
        facts=SimpleNamespace(carries_exposure=True),
        loaded=lambda: SimpleNamespace(tokenizer=byte_level_bpe()),
    )
    assert [file.parent.name for file in measured.ready_made(model)] == ["other"]


def test_tokenizers_are_level_if_they_print_alike_or_cannot_be_told_apart():
    """Planted: "b" differs from "a" by nothing but noise, "c" by little but always, "d" by far."""
    rng = np.random.default_rng(0)
    a = rng.normal(3, 0.3, 40)
    a += 2.73 - a.mean()
    per = pd.DataFrame({"a": a, "b": a + rng.normal(0, 0.2, 40), "c": a + 0.001, "d": a + 1})
    assert set(compare.not_told_apart(per, "a")) == {"a", "b", "c"}
    assert compare.not_told_apart(per, "d") == ["d"]
    assert "c" not in compare.not_told_apart(per, "a", digits=4)


def test_bytes_and_characters_count_what_they_say():
    text = "naïve 中"
    assert len(rivals.train("byte", TEXT, 300).encode(text)) == len(text.encode())
    assert len(rivals.train("character", TEXT, 300).encode(text)) == len(text)


def test_ratio_interval_covers_the_truth():
    """Simulation: 95 % intervals of a ratio of sums cover the true ratio about as often."""
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        bottom = rng.integers(50, 150, 60)
        top = rng.poisson(1.7 * bottom)
        estimate = compare.ratio_interval(top, bottom, 400, trial)
        hits += estimate["low"] <= 1.7 <= estimate["high"]
    assert 0.88 <= hits / 200 <= 0.99


def test_rates_are_ratios_of_sums():
    counts = compare.document_counts([rivals.train("byte", TEXT, 256)], ["ab cd", "é"])
    table = compare.rates(counts, n_resamples=50).set_index("rate")
    assert table.loc["bytes per token", "value"] == 1
    assert table.loc["tokens per word", "value"] == pytest.approx(7 / 3)


def test_the_premium_of_english_is_one_and_of_bytes_is_their_ratio():
    parallel = pd.DataFrame(
        {
            "article": [1, 2, 1, 2],
            "language": ["English", "English", "Greek", "Greek"],
            "script": ["Latin", "Latin", "Greek", "Greek"],
            "text": ["all men", "free", "όλοι", "ναι"],
        }
    )
    table = compare.premiums([rivals.train("byte", TEXT, 256)], parallel, 100)
    table = table.set_index("language")
    assert table.loc["English", "value"] == 1
    assert table.loc["Greek", "value"] == pytest.approx(14 / 11)
    assert table.loc["Greek", "bytes_ratio"] == pytest.approx(14 / 11)


def test_unigram_bits_are_the_closed_form():
    """Two equally likely bytes: with add-one smoothing, -log2((n/2 + 1) / (n + 256))."""
    rival = rivals.train("byte", TEXT, 256)
    table = compare.unigram_bits_per_byte([rival], ["ab" * 500], ["abba"])
    assert table.loc[0, "bits_per_byte"] == pytest.approx(-math.log2(501 / 1256))
    assert table.loc[0, "used"] == 2


def test_equally_large_unigram_models_are_distributions():
    """With fewer cells than entries the rarer tokens share one; all probabilities add up to one."""
    from collections import Counter

    model = compare._Unigram(Counter({0: 7, 1: 5, 2: 1}), n_vocab=10, cells=4)
    total = sum(2 ** -model.bits(token) for token in range(10))
    assert total == pytest.approx(1)
    whole = compare._Unigram(Counter({0: 7, 1: 5, 2: 1}), n_vocab=10, cells=None)
    assert sum(2 ** -whole.bits(token) for token in range(10)) == pytest.approx(1)


def test_what_a_tokenizer_drops_is_sent_as_well():
    """Words keep neither blanks nor unknown words; the code must pay for both."""
    rival = rivals.train("word", ["the cat sat"] * 9, 60)
    text = "the  zebra sat"
    assert compare._gaps(rival, text) == ["", "  ", " ", ""]
    assert compare._hidden_bits(rival, text, rival.encode(text)) == 8 * (len("zebra") + 1)
    plain, lossy = (
        compare.unigram_bits_per_byte([rival], ["the cat sat"] * 9, [t]).loc[0, "bits_per_byte"]
        for t in ("the cat sat", text)
    )
    assert lossy > plain + 3
    assert not rivals.train("byte-level BPE", TEXT, 300).drops_blanks
    assert rivals.from_transformers("w", wordpiece()).drops_blanks
    assert not rivals.from_transformers("b", byte_level_bpe()).drops_blanks


def test_a_premium_follows_the_text_on_which_a_tokenizer_was_trained():
    """Two invented languages with disjoint letters: each is cheap where it was trained."""
    rows = []
    for article in range(8):
        for language, words in (("English", "abab abba baab "), ("Other", "cdcd dccd cddc ")):
            rows.append((article, language, "Latin", words * 6))
    parallel = pd.DataFrame(rows, columns=["article", "language", "script", "text"])
    table = compare.premium_by_training(parallel, 300, n_resamples=50).set_index("trained_on")
    assert table.loc["English", "value"] > 2
    assert table.loc["the language", "value"] < 0.5


def test_entries_used_are_counted():
    table = compare.vocabulary_used([rivals.train("byte", TEXT, 256)], ["abba", "c"])
    assert table.loc[0, "used"] == 3
    assert table.loc[0, "used_share"] == pytest.approx(3 / 256)


def test_larger_vocabularies_compress_the_text_they_were_trained_on():
    table = compare.growth("byte-level BPE", TEXT, TEXT, (260, 300, 400))
    assert table["bytes_per_token"].is_monotonic_increasing
    assert table["gain"].iloc[1:].gt(1).all()


def test_forced_splits_keep_the_bytes():
    tokenizer = byte_level_bpe()
    table = segmentation.split_sentences(tokenizer, TEXT, splits=(1, 2))
    assert len(table) == 3 * table["sentence"].nunique()
    for row in table.itertuples():
        raw = b"".join(token_bytes(tokenizer, i) for i in row.ids)
        assert raw == TEXT[row.sentence].encode()
        canonical = len(pieces(tokenizer, TEXT[row.sentence]))
        assert len(row.ids) == canonical + row.splits


def test_sentences_that_cannot_be_split_are_left_out():
    assert segmentation.split_sentences(byte_level_bpe(), ["a"], splits=(4,)).empty


def test_the_context_leaves_out_the_long_and_changes_no_other_split():
    """What too_long_to_split counts: the difference of the two tables is the length alone."""
    lengths = [len(pieces(byte_level_bpe(), text)) for text in TEXT]
    longest = sorted(lengths)[len(lengths) // 2] + 1
    every, fitting = (
        segmentation.split_sentences(byte_level_bpe(), TEXT, splits=(1,), longest=n)
        for n in (None, longest)
    )
    kept = {i for i in every["sentence"] if lengths[i] + 1 <= longest}
    assert 0 < len(kept) < every["sentence"].nunique()
    rows = every[every["sentence"].isin(kept)].reset_index(drop=True)
    pd.testing.assert_frame_equal(fitting.reset_index(drop=True), rows)


def test_scores_of_splits_are_those_of_the_library(model):
    tokenizer = byte_level_bpe()
    table = segmentation.split_sentences(tokenizer, TEXT[:6], splits=(1, 2), longest=40)
    found = segmentation.split_scores(model, table, start_id=0)
    for row, score in zip(table.itertuples(), found.itertuples(), strict=True):
        ids = torch.tensor([[0, *row.ids]])
        with torch.no_grad():
            out = model(ids, labels=ids)
        assert score.bits == pytest.approx(out.loss.item() * len(row.ids) / math.log(2), rel=1e-4)
        hits = (out.logits[0, :-1].argmax(-1) == ids[0, 1:]).tolist()
        behind = np.mean([hits[new] for _, new in row.kept]) if row.kept else math.nan
        assert score.accuracy == pytest.approx(behind, nan_ok=True)
    canonical = found[found["splits"] == 0]
    assert canonical["accuracy"].tolist() == canonical["accuracy_canonical"].tolist()


def test_changes_resample_documents_and_pair_sentences():
    """Every sentence loses exactly one bit per byte for each cut; two documents."""
    rows = [
        (sentence, sentence // 3, cuts, 10 + cuts, 1.0 + cuts, 0.5 - 0.1 * cuts, 0.5)
        for sentence in range(6)
        for cuts in (0, 1, 2)
    ]
    columns = [
        *("sentence", "document", "splits", "tokens", "bits_per_byte"),
        *("accuracy", "accuracy_canonical"),
    ]
    found = segmentation.changes(pd.DataFrame(rows, columns=columns))
    loss = segmentation.effect(found, "loss", 2)
    assert (loss.value, loss.n, loss.unit) == (2.0, 2, "documents")
    assert segmentation.effect(found, "accuracy", 1).value == pytest.approx(-0.1)
    assert segmentation.effect(found, "loss", 4) is None


@pytest.mark.parametrize(("price_of_oddness", "clear"), [(0.0, False), (3.0, True)])
def test_only_what_goes_beyond_a_mean_piece_is_due_to_the_split(price_of_oddness, clear):
    """Planted: every token costs about five bits; an odd split costs some bits more, or none."""
    rng = np.random.default_rng(4)
    rows = []
    for sentence in range(300):
        tokens, n_bytes = int(rng.integers(10, 30)), int(rng.integers(40, 160))
        usual = rng.normal(5, 1, tokens)
        for cuts in (0, 1, 4):
            new = rng.normal(5, 1, 2 * cuts) + price_of_oddness / 2
            bits = usual[cuts:].sum() + new.sum()
            rows.append((sentence, sentence // 4, cuts, tokens + cuts, bits / n_bytes, 0.5, 0.5))
    columns = [
        *("sentence", "document", "splits", "tokens", "bits_per_byte"),
        *("accuracy", "accuracy_canonical"),
    ]
    table = pd.DataFrame(rows, columns=columns)
    found = segmentation.changes(table)
    for cuts in (1, 4):
        beyond = segmentation.effect(found, "beyond", cuts)
        assert (beyond.low > 0) == clear
        loss, pieces = (segmentation.effect(found, what, cuts) for what in ("loss", "pieces"))
        assert loss.low > 0
        assert beyond.value == pytest.approx(loss.value - pieces.value)


def test_a_model_that_knows_nothing_pays_the_same_for_every_piece():
    """Equal probabilities: a split costs the logarithm of the vocabulary and nothing beyond it."""

    class Uniform:
        device = torch.device("cpu")

        def __call__(self, input_ids, **_):
            logits = torch.zeros(*input_ids.shape, len(byte_level_bpe()))
            return type("Output", (), {"logits": logits})

    table = segmentation.split_sentences(byte_level_bpe(), TEXT, splits=(1, 2))
    scored = segmentation.split_scores(Uniform(), table, start_id=0)
    scored["bits_per_byte"] = scored["bits"] / scored["bytes"]
    found = segmentation.changes(scored)
    mean = (math.log2(len(byte_level_bpe())) / scored.drop_duplicates("sentence")["bytes"]).mean()
    assert segmentation.effect(found, "pieces", 2).value == pytest.approx(2 * mean)
    assert segmentation.effect(found, "loss", 2).value == pytest.approx(2 * mean, rel=1e-5)
    assert segmentation.effect(found, "beyond", 1).value == pytest.approx(0, abs=1e-6)


def test_kept_tokens_are_the_same_in_both_segmentations_and_stand_behind_a_cut():
    table = segmentation.split_sentences(byte_level_bpe(), TEXT, splits=(2,))
    canonical = table[table["splits"] == 0].set_index("sentence")["ids"]
    for row in table[table["splits"] == 2].itertuples():
        usual = canonical[row.sentence]
        first = next(i for i, token in enumerate(usual) if token != row.ids[i])
        assert len(row.kept) == len(usual) - 1 - first - 1  # all behind the first cut but one
        assert all(usual[old] == row.ids[new] for old, new in row.kept)
        assert all(old > first and new > old for old, new in row.kept)
