"""Tokenization artefacts: controls that change as many characters as the edits, splits that keep
every byte, planted untrained tokens and planted spelling that must be found and twins that have
neither."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from internals import stats
from internals.figures import artefacts as figures
from internals.figures import style
from internals.measure import answers
from internals.measure.behaviour import (
    edits,
    number_splits,
    prompt_ends,
    resplit,
    spelling,
    typed_special,
    undertrained,
    writings,
)
from internals.measure.tokenization.segmentation import bytes_to_id
from internals.models import open_model
from internals.tokens import token_bytes
from tokenizers_small import byte_fallback_bpe, byte_level_bpe, wordpiece


@pytest.fixture(scope="module")
def handle(tiny_folder):
    return open_model(str(tiny_folder("llama")))


def raw(tokenizer, ids):
    return b"".join(token_bytes(tokenizer, i) for i in ids)


# --- pieces of answers --------------------------------------------------------------------------


def test_scores_of_pieces_add_up_to_the_score_of_the_answer(handle):
    """Against a plain forward pass in double precision, one sequence at a time."""
    model = handle.loaded().model
    pairs = [([5, 9, 7], [3, 4]), ([8], [2]), ([5, 9, 7], [3, 6, 1])]
    table = answers.piece_scores(model, pairs)
    for number, (question, answer) in enumerate(pairs):
        with torch.no_grad():
            lp = model(torch.tensor([[*question, *answer]])).logits[0].double().log_softmax(-1)
        own = table[table["pair"] == number]
        rows = range(len(question) - 1, len(question) + len(answer) - 1)
        expected = [lp[row, token].item() for row, token in zip(rows, answer, strict=True)]
        assert own["log_prob"].tolist() == pytest.approx(expected, abs=1e-4)
        ranks = [(lp[r] > lp[r, t]).sum().item() for r, t in zip(rows, answer, strict=True)]
        assert own["rank"].tolist() == ranks


# --- ids put together by hand -------------------------------------------------------------------


def test_letters_keep_the_bytes():
    tokenizer = byte_level_bpe()
    vocabulary = bytes_to_id(tokenizer)
    ids = resplit.as_letters(vocabulary, " capital")
    assert raw(tokenizer, ids) == b" capital"
    assert len(ids) in (7, 8)
    assert resplit.as_letters({b"a": 1}, "ab") is None


@pytest.mark.parametrize("text", [" Paris", "Paris"])
def test_a_continuation_has_a_blank_only_if_it_brings_one(text):
    for tokenizer in (byte_level_bpe(), byte_fallback_bpe()):
        assert raw(tokenizer, resplit.continuation(tokenizer, text)) == text.encode()
    lowered = wordpiece()
    assert raw(lowered, resplit.continuation(lowered, text)).strip() == b"paris"


def test_a_divergence_agrees_with_its_definition():
    rng = np.random.default_rng(0)
    p, q = (torch.tensor(rng.normal(size=(3, 7))).log_softmax(-1) for _ in range(2))
    expected = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    found = resplit.kl_bits(p.numpy(), q.numpy())
    assert found == pytest.approx(expected.numpy() / math.log(2))
    assert resplit.kl_bits(p.numpy(), p.numpy()) == pytest.approx(0, abs=1e-12)


def test_next_log_probs_are_those_of_each_sequence_alone(handle):
    model = handle.loaded().model
    sequences = [[3, 4, 5, 6], [7], [8, 9]]
    found = resplit.next_log_probs(model, sequences)
    for row, ids in zip(found, sequences, strict=True):
        with torch.no_grad():
            alone = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        assert row == pytest.approx(alone.numpy(), abs=1e-4)


# --- edits --------------------------------------------------------------------------------------


def distance(a: str, b: str) -> int:
    """Edit distance with swaps of neighbours counted as two, by dynamic programming."""
    table = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i, j in itertools.product(range(1, len(a) + 1), range(1, len(b) + 1)):
        table[i, j] = min(
            table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a[i - 1] != b[j - 1])
        )
    return table[len(a), len(b)]


@pytest.mark.parametrize("name", list(writings.EDITS))
def test_an_edit_changes_as_many_characters_as_its_control(name):
    edit = writings.EDITS[name]
    wanted = {writings.ONE: 1, writings.TWO: 2, writings.ALL: len("planet")}[edit.control]
    changed = edit.write("planet", np.random.default_rng(0))
    assert distance(" planet", changed) == wanted


def test_swapped_letters_are_the_same_letters_and_the_first_one_stays():
    changed = writings.swapped("garden", np.random.default_rng(0))
    assert sorted(changed) == sorted("garden")
    assert changed[0] == "g"


def test_a_look_alike_looks_alike_and_full_width_letters_normalise_to_the_word():
    import unicodedata

    changed = writings.look_alike("planet", np.random.default_rng(0))
    assert sum(not c.isascii() for c in changed) == 1
    assert writings.look_alike("filth", np.random.default_rng(0)) == "filth"
    for write in (writings.full_width, writings.mathematical):
        assert unicodedata.normalize("NFKC", write("planet")) == "planet"


def test_controls_are_ordinary_words_with_so_many_other_letters():
    lexicon = writings.Lexicon(byte_level_bpe(), 2000)
    word = "horse"
    for letters, wanted in ((writings.ONE, 1), (writings.TWO, 2), (writings.ALL, 5)):
        others = lexicon.others(word, letters)
        assert others
        assert all(sum(a != b for a, b in zip(word, w, strict=True)) == wanted for w in others)


def test_versions_keep_the_text_before_and_forced_splits_keep_every_byte(handle):
    loaded = handle.loaded()
    lexicon = writings.Lexicon(loaded.tokenizer, 2000)
    place = writings.find_place("He saw the horse of the old king and went home again.", lexicon)
    assert (place.before, place.word) == ("He saw the", "horse")
    assert f"{place.before} {place.word}{place.after}".endswith("home again.")
    rng = np.random.default_rng(0)
    found = edits.versions(loaded, place, lexicon, rng)
    assert raw(loaded.tokenizer, found["original"]).endswith(b"He saw the horse")
    assert raw(loaded.tokenizer, found["upper case"]).endswith(b"the HORSE")
    assert raw(loaded.tokenizer, found["no blank before"]).endswith(b"thehorse")
    vocabulary = bytes_to_id(loaded.tokenizer)
    split = edits.same_bytes(loaded, place, vocabulary, rng)
    assert "split into letters" in split
    for ids in split.values():
        assert raw(loaded.tokenizer, ids) == raw(loaded.tokenizer, found["original"])
    assert writings.find_place("No word of it", lexicon) is None


def test_a_model_that_reads_no_context_shows_no_cost(handle):
    """What comes after is scored by a model whose answer is the same everywhere."""
    loaded = handle.loaded()
    planted = SimpleNamespace(
        model=Constant(loaded.model), tokenizer=loaded.tokenizer, facts=loaded.facts
    )
    table = edits.edits.uncached(SimpleNamespace(loaded=lambda: planted), n=12)
    assert set(table["edit"]) > set(writings.EDITS)
    assert table["change"].abs().max() < 1e-5
    assert table["accuracy_change"].abs().max() == 0
    assert (table.loc[table["edit"] == "full-width letters", "extra_pieces"] > 5).all()


class Constant(torch.nn.Module):
    """The same logits after every context; the head is a real one, so that hooks work."""

    def __init__(self, like):
        super().__init__()
        self.config, self.device = like.config, torch.device("cpu")
        self.head = torch.nn.Linear(4, like.config.vocab_size)

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, **_):
        return SimpleNamespace(logits=self.head(torch.ones(*input_ids.shape, 4)))


def test_costs_are_taken_against_the_control_of_the_same_sentence():
    """Planted: the edit costs its sentence's control plus 0.5, noise of sentences cancels."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 3, 40)
    control = writings.CONTROLS[writings.ALL]
    common = {"sentence": range(40), "word": "x", "extra_pieces": 4, "accuracy_change": -0.1}
    parts = [
        {**common, "edit": control, "family": "control", "control": "", "change": noise},
        {**common, "edit": "upper case", "family": "case", "control": control}
        | {"change": noise + 0.5 + rng.normal(0, 0.01, 40)},
    ]
    table = edits.costs(pd.concat(map(pd.DataFrame, parts), ignore_index=True))
    found = edits.estimate(table, "upper case", "excess")
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.02
    assert table.set_index("edit").loc["upper case", "adjusted"] < 0.01
    assert edits.estimate(table, control, "excess") is None
    assert edits.estimate(table, "nothing") is None
    assert edits.compared(table, "upper case") == "more"
    assert edits.dearer(table).tolist() == [True]


def test_the_cost_beyond_the_control_leaves_out_what_changed_letters_cost():
    control = writings.CONTROLS[writings.ALL]
    table = pd.DataFrame(
        [
            (0, control, "control", "", 1.0),
            (1, control, "control", "", 3.0),
            (0, "upper case", "case", control, 1.25),
            (1, "upper case", "case", control, 2.0),
            (1, "split in two", "same bytes", "", 0.5),
        ],
        columns=["sentence", "edit", "family", "control", "change"],
    )
    assert edits.beyond_control(table).tolist() == [0.25, -1.0, 0.5]


def test_an_edit_is_compared_with_letters_only_if_it_adds_no_more_tokens():
    """Planted: capitals cost more than letters at equal tokens, swaps less; rare ones add more."""
    rng = np.random.default_rng(0)
    planted = {
        "upper case": ("w", 3.0, 0.5),
        "letters swapped": ("w", 2.0, 0.05),
        "mathematical letters": ("w", 20.0, 0.9),
        edits.SAME_BYTES[1]: ("", 3.0, 0.1),
        "another word": ("", 0.0, 0.9),
    }
    table = pd.DataFrame(
        [
            (i, edit, control, pieces, change + 0.01 * rng.standard_normal())
            for edit, (control, pieces, change) in planted.items()
            for i in range(12)
        ],
        columns=["sentence", "edit", "control", "extra_pieces", "change"],
    )
    assert edits.dearer_than_letters(table).to_dict() == {
        "letters swapped": False,
        "upper case": True,
    }
    assert edits.dearer_than_letters(table.head(36)).empty
    assert edits.dearer_than_letters(table.head(0)).empty


def test_an_interval_that_excludes_zero_is_not_enough_among_many_edits():
    """Planted: of many edits without an effect the luckiest one has such an interval."""
    rng = np.random.default_rng(3)
    control = writings.CONTROLS[writings.ALL]
    common = {"sentence": range(40), "word": "x", "extra_pieces": 4, "accuracy_change": 0.0}
    parts = [{**common, "edit": control, "family": "control", "control": "", "change": 0.0}]
    for i in range(60):
        noise = rng.normal(0, 1, 40)
        parts.append({**common, "edit": str(i), "family": "case", "control": control})
        parts[-1]["change"] = noise
    table = edits.costs(pd.concat(map(pd.DataFrame, parts), ignore_index=True))
    outside = table[(table["excess_low"] > 0) | (table["excess_high"] < 0)]
    assert len(outside) > 0
    assert {edits.compared(table, name) for name in outside["edit"]} == {"same"}
    assert not edits.dearer(table).any()


# --- a blank at the end -------------------------------------------------------------------------


def test_variants_of_a_prompt_add_the_same_character():
    found = prompt_ends.variants("The capital of France is")
    lengths = [len(text) for text, _ in found.values()]
    assert lengths == [24, 25, 25]
    assert found[prompt_ends.AT_END] == ("The capital of France is ", False)
    assert found[prompt_ends.ELSEWHERE][0].split() == ["The", "capital", "of", "France", "is"]


def test_facts_are_asked_in_all_variants_and_the_usual_one_diverges_from_nothing(handle):
    table = prompt_ends.blank_at_end.uncached(handle, n=24)
    assert table.groupby("fact_id").size().eq(3).all()
    usual = table[table["variant"] == prompt_ends.USUAL]
    assert usual["kl_bits"].abs().max() < 1e-5
    assert (table.loc[table["variant"] != prompt_ends.USUAL, "kl_bits"] > 0).all()
    assert table["blank_mass"].between(0, 1).all()
    rows = prompt_ends.by_variant(table)
    assert rows["n"].eq(usual.shape[0]).all()
    assert prompt_ends.against(table.head(0), "correct", "a", "b") is None
    assert prompt_ends.above_preference(table.head(0)) is None


def scored_by(score):
    """In place of `answers.answer_scores`: ``score(head, answer)`` in nats."""
    return lambda _, pairs: pd.DataFrame(
        {"log_prob": [score(tuple(h), tuple(a)) for h, a in pairs]}
    )


def liking(_, answer):
    """Likes some answers better than others, whatever was asked."""
    return float(np.random.default_rng(answer).uniform())


def test_a_mere_preference_is_right_as_often_after_another_prompt(handle, monkeypatch):
    monkeypatch.setattr(answers, "answer_scores", scored_by(liking))
    table = prompt_ends.blank_at_end.uncached(handle, n=24)
    assert (table["correct"] == table["preferred"]).all()
    found = prompt_ends.above_preference(table)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_planted_facts_are_right_after_their_own_prompt_only(handle, monkeypatch):
    loaded = handle.loaded()
    asked = prompt_ends.questions(loaded, 60, 0)
    right = {
        (tuple(prompt_ends.headed(loaded, text)), tuple(prompt_ends._answer(loaded, first, brings)))
        for question in asked
        for first in question.answers[:1]
        for text, brings in prompt_ends.variants(question.prompt).values()
    }
    knows = scored_by(lambda h, a: liking(h, a) + 2 * ((h, a) in right))
    monkeypatch.setattr(answers, "answer_scores", knows)
    table = prompt_ends.blank_at_end.uncached(handle)
    assert table["correct"].all()
    assert table["preferred"].mean() < 0.6
    assert prompt_ends.above_preference(table).low > 0.3


def test_another_fact_is_never_the_fact_itself_and_of_its_relation():
    table = pd.DataFrame({"fact_id": list("aabcdef"), "relation": list("xxxxyyz")})
    found = prompt_ends.other_facts(table)
    relation = dict(zip(table["fact_id"], table["relation"], strict=True))
    assert set(found) == set("abcdef")
    assert all(found[i] != i for i in found)
    assert all(relation[found[i]] == relation[i] for i in found if relation[i] != "z")


# --- numbers ------------------------------------------------------------------------------------


def test_cuts_are_counted_from_the_right():
    assert number_splits.cuts(("12",)) == frozenset()
    assert number_splits.cuts(("1", "23")) == {2}
    assert number_splits.cuts(("12", "3")) == {1}


def test_empty_cells_are_listed_and_small_ones_have_no_share():
    table = pd.DataFrame(
        {
            "group": ["x"] * 30 + ["y"] * 5,
            "pieces": [2] * 30 + [3] * 5,
            "aligned": [True] * 30 + [False] * 5,
            "correct": [True] * 15 + [False] * 20,
        }
    )
    cells = number_splits.cells(table).set_index(["group", "pieces"])
    assert cells.loc[("x", 2), "value"] == 0.5
    assert cells.loc[("x", 3), "n"] == 0
    assert math.isnan(cells.loc[("y", 3), "value"])


def test_patterns_are_compared_in_the_group_with_most_right_answers():
    def part(group, pieces, right, n):
        return pd.DataFrame(
            {"group": group, "pieces": pieces, "correct": [True] * right + [False] * (n - right)}
        )

    table = pd.concat(
        [
            part("a", 2, 5, 30),
            part("a", 3, 0, 30),
            part("b", 2, 27, 30),
            part("b", 4, 18, 30),
            part("c", 2, 30, 30),
        ]
    )
    group, gap = number_splits.pattern_gap(table)
    assert group == "b"
    assert gap.value == pytest.approx(0.3)
    assert number_splits.pattern_gap(table[table["group"] == "c"]) is None


def test_every_split_of_a_sum_has_the_same_bytes_and_the_control_as_many_tokens(fable):
    loaded = fable.loaded()
    vocabulary = bytes_to_id(loaded.tokenizer)
    found = dict(number_splits._variants(loaded, vocabulary, 23, 41, np.random.default_rng(0)))
    assert set(found) == {
        number_splits.USUAL,
        number_splits.SECOND,
        number_splits.BOTH,
        number_splits.WORDS,
    }
    assert len({raw(loaded.tokenizer, ids) for ids in found.values()}) == 1
    assert len(found[number_splits.BOTH]) == len(found[number_splits.WORDS])
    assert len(found[number_splits.SECOND]) == len(found[number_splits.USUAL]) + 1


@pytest.fixture(scope="module")
def fable():
    return open_model("fable-gpt2")


def test_held_out_sums_are_asked_apart_only_where_training_is_known():
    own, other = (number_splits.pool(known, 10, 0) for known in (True, False))
    assert set(own["group"]) == {"trained", "held out", "three digits"}
    assert set(other["group"]) == {"two digits", "three digits"}
    sums = pd.read_csv("data/training/sums.csv").set_index(["a", "b"])["held_out"]
    part = own[own["group"] == "held out"]
    assert all(sums[r.a, r.b] for r in part.itertuples())


# --- under-trained tokens -----------------------------------------------------------------------


def planted_weights(vocab=400, width=24, untrained=30, seed=0):
    """Rows that share a direction; the untrained ones stay near one point, as gradients leave
    them. Returns the matrix and the ids of the untrained rows."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 1, (vocab, width)) + 2
    ids = rng.permutation(vocab)[:untrained]
    rows[ids] = rng.normal(0, 1, width) + rng.normal(0, 0.02, (untrained, width))
    return rows, ids


def test_the_indicator_finds_planted_untrained_rows():
    rows, ids = planted_weights()
    reference, hidden = ids[:5].tolist(), set(ids[5:].tolist())
    found, name = undertrained.indicator(rows, rows, reference, tied=True)
    assert name == undertrained.COSINE
    order = [i for i in np.argsort(found) if i not in reference]
    assert set(order[: len(hidden)]) == hidden


def test_only_rows_that_were_left_near_one_point_lie_together():
    rows, ids = planted_weights()
    others = [i for i in range(len(rows)) if i not in set(ids)]
    left = undertrained.together(rows, ids[:8].tolist(), others)
    assert left.low > 0.99
    assert left.n == 8
    noise = undertrained.together(rows, others[:40], others[40:])
    assert noise.value == pytest.approx(0.5, abs=0.15)


def test_without_impossible_tokens_or_ties_the_norm_is_taken():
    rows, ids = planted_weights()
    small = rows.copy()
    small[ids] *= 1e-3
    for reference, tied in (([], True), (ids[:5].tolist(), False)):
        found, name = undertrained.indicator(rows, small, reference, tied)
        assert name == undertrained.NORM
        assert set(np.argsort(found)[: len(ids)]) == set(ids.tolist())


def test_the_first_direction_is_that_of_the_singular_value_decomposition():
    rows, _ = planted_weights()
    expected = np.linalg.svd(rows, full_matrices=False)[2][0]
    assert abs(undertrained._first_direction(rows) @ expected) == pytest.approx(1, abs=1e-6)


def test_kinds_tell_bytes_that_occur_nowhere_and_rows_without_a_token():
    for tokenizer in (byte_level_bpe(), byte_fallback_bpe()):
        table = undertrained.kinds(tokenizer, len(tokenizer) + 7)
        counts = table["kind"].value_counts()
        assert counts[undertrained.NO_TOKEN] == 7
        assert counts[undertrained.NO_BYTE] == 13
        assert counts[undertrained.SPECIAL] == len(set(tokenizer.all_special_ids))
        impossible = table[table["kind"] == undertrained.NO_BYTE]
        for i in impossible["id"]:
            with pytest.raises(UnicodeDecodeError):
                (token_bytes(tokenizer, i) + b"\x80").decode()
        unprinted = table[table["kind"] == undertrained.CONTROL_CHARACTER]
        found = {token_bytes(tokenizer, i) for i in unprinted["id"]}
        assert found == {bytes([i]) for i in (*range(32), 127) if chr(i) not in "\t\n\r"}


def test_controls_have_the_length_of_their_suspects_and_are_used_once():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"id": range(400), "length": rng.integers(1, 9, 400), "kind": undertrained.WHOLE}
    )
    table["indicator"] = np.arange(400.0)
    chosen = undertrained.choose(table, 20)
    suspects, controls = (
        chosen[chosen["group"] == g].set_index("pair").sort_index()
        for g in (undertrained.SUSPECT, undertrained.CONTROL)
    )
    assert suspects["id"].tolist() == list(range(20))
    assert (suspects["length"] == controls["length"]).all()
    assert controls["id"].is_unique
    assert controls["id"].min() >= 100


class Copier(Constant):
    """Gives what followed last time, and a token that was said again and again once more; it is
    blind to ``unknown`` ids."""

    def __init__(self, like, unknown):
        super().__init__(like)
        self.unknown = set(unknown)
        self.head = torch.nn.Identity()

    def forward(self, input_ids, **_):
        states = torch.zeros(*input_ids.shape, self.config.vocab_size)
        for row, ids in enumerate(input_ids.tolist()):
            for i, token in enumerate(ids):
                for j in range(i):
                    if ids[j] == token and ids[j + 1] not in self.unknown:
                        states[row, i, ids[j + 1]] = 12.0
                for seen in set(ids[:i]) - self.unknown:
                    states[row, i, seen] += 3.0
        return SimpleNamespace(logits=self.head(states))


def test_planted_untrained_tokens_are_verified_and_a_random_twin_has_none(handle):
    loaded = handle.loaded()
    tokens = undertrained.kinds(loaded.tokenizer, loaded.facts.vocab_size_embedding)
    planted = tokens[tokens["kind"] == undertrained.PARTIAL]["id"].head(20).tolist()
    tokens["indicator"] = np.where(tokens["id"].isin(planted), 0.0, 1.0)
    chosen = undertrained.choose(tokens, 20)
    assert set(chosen.loc[chosen["group"] == undertrained.SUSPECT, "id"]) == set(planted)
    usual = tokens.loc[tokens["kind"] == undertrained.WHOLE, "id"].to_numpy()
    others = undertrained._partners(chosen, 0)
    found = {}
    for name, model in (
        ("planted", Copier(loaded.model, planted)),
        ("twin", loaded.random_twin()),
    ):
        fake = SimpleNamespace(model=model, tokenizer=loaded.tokenizer, facts=loaded.facts)
        table = chosen.assign(occurs=True)
        scores = undertrained.copying(fake, table["id"].tolist(), others, usual)
        found[name] = undertrained.verify(table.join(scores))
    planted_result, twin = found["planted"], found["twin"]
    assert planted_result.copied["suspect"].value == 0
    assert planted_result.copied["control"].value == 1
    assert planted_result.recognised["suspect"].value == 0
    assert planted_result.recognised["control"].value == 1
    assert planted_result.halved["control"].value == 0
    assert planted_result.gap.low > 0.9 or planted_result.gap.value == 1
    assert planted_result.p_value < 1e-4
    assert planted_result.able
    assert not twin.able
    assert not twin.gap.low > 0
    assert twin.recognised["control"].value < 0.2


def test_noise_makes_as_many_tokens_likelier_as_less_likely():
    rng = np.random.default_rng(0)
    groups = [undertrained.SUSPECT] * 400 + [undertrained.CONTROL] * 400
    tokens = pd.DataFrame({"group": groups, "pair": [*range(400), *range(400)]})
    tokens = tokens.assign(prob=0.0, gain_bits=rng.normal(0, 1.5, 800), occurs=True)
    found = undertrained.verify(tokens)
    one_hit = tokens.assign(prob=[*[0.0] * 799, 1.0])
    assert not undertrained.verify(one_hit).able
    for group in set(groups):
        up, down = found.recognised[group], found.halved[group]
        assert up.value > 0.1
        assert up.low < down.value < up.high


def test_a_partner_is_another_token_of_the_same_group():
    chosen = pd.DataFrame({"group": ["a"] * 4 + ["b"] * 3, "id": range(7)})
    partners = undertrained._partners(chosen, 0)
    assert sorted(partners) == list(range(7))
    assert all(i != p and (i < 4) == (p < 4) for i, p in enumerate(partners))


def test_the_whole_measurement_runs_for_every_kind_of_vocabulary(handle):
    found = undertrained.undertrained.uncached(handle)
    groups = found.tokens["group"].value_counts()
    assert groups["suspect"] == groups["control"] >= 20
    assert groups["cannot occur"] == 13
    assert found.indicator == (
        undertrained.COSINE if handle.loaded().facts.tied_embeddings else undertrained.NORM
    )
    by_distance = found.indicator == undertrained.COSINE
    assert (found.together is not None) == (found.farthest is not None) == by_distance
    listed = undertrained.examples(found.tokens, 5)
    assert len(listed) == 5
    assert figures.recognition(found.tokens, found.indicator, 1.0).axes


# --- letters ------------------------------------------------------------------------------------


def test_pairs_are_disjoint_and_their_answers_differ():
    chosen = ["apple", "arm", "bread", "bone", "cat", "cold", "dog"]
    pairs = spelling.matched_pairs(chosen, lambda w: w[0], 10, "g", 0)
    words = [w for p in pairs for w in (p.first, p.second)]
    assert len(words) == len(set(words)) == 6
    assert all(p.answers == (p.first[0], p.second[0]) for p in pairs)
    assert all(p.answers[0] != p.answers[1] for p in pairs)


class Speller(Constant):
    """Likes the first letter of the last word that it saw as one token, and always likes "e"."""

    def __init__(self, loaded, words):
        super().__init__(loaded.model)
        self.head = torch.nn.Identity()
        first = resplit.continuation
        self.letters = {
            first(loaded.tokenizer, f" {w}")[-1]: first(loaded.tokenizer, f" {w[0]}")[-1]
            for w in words
        }
        self.always = first(loaded.tokenizer, " e")[-1]

    def forward(self, input_ids, **_):
        states = torch.zeros(*input_ids.shape, self.config.vocab_size)
        states[..., self.always] = 9.0
        for row, ids in enumerate(input_ids.tolist()):
            for i in range(len(ids)):
                for token in ids[: i + 1]:
                    if token in self.letters:
                        states[row, i, self.letters[token]] += 2.0
        return SimpleNamespace(logits=self.head(states))


def test_planted_spelling_is_found_and_a_constant_preference_is_not(fable):
    loaded = fable.loaded()
    words = spelling.word_groups(loaded)[spelling.UNTOLD][:60]
    question = spelling.QUESTIONS[0]
    pairs = spelling.matched_pairs(words, question.answer, 12, "g", 0)
    asked = [(question, i, p) for i, p in enumerate(pairs)]
    for model, share in ((Speller(loaded, words), 1.0), (Speller(loaded, []), 0.0)):
        jobs = spelling._margins(loaded, model, spelling.ONE_TOKEN, asked, {})
        margins = np.array([job["margin"] for job in jobs])
        assert (margins > 0.1).mean() == share
    assert np.abs(margins).max() < 1e-4  # what is likely for every word cancels
    jobs = spelling._margins(loaded, loaded.random_twin(), spelling.ONE_TOKEN, asked, {})
    right = sum(job["margin"] > 0 for job in jobs)
    assert not stats.wilson(right, len(jobs)).excludes(0.5)


def test_unknown_words_are_not_tokens():
    tokenizer = wordpiece()
    loaded = SimpleNamespace(tokenizer=tokenizer)
    assert spelling._is_token(loaded, "the")
    assert not spelling._is_token(loaded, "qqq")


def test_shares_have_an_interval_and_small_groups_are_left_out():
    table = pd.DataFrame(
        {
            "question": ["first letter"] * 10,
            "group": "g",
            "form": spelling.ONE_TOKEN,
            "pair": range(10),
            "margin": [1.0] * 9 + [-1.0],
        }
    )
    few = table.head(3).assign(question="last letter")
    shares = spelling.shares(pd.concat([table, few]))
    assert shares["question"].tolist() == ["first letter"]
    found = spelling.share_of(shares, "first letter", "g", spelling.ONE_TOKEN)
    assert found.value == 0.9
    assert found.low == pytest.approx(0.596, abs=1e-3)  # Wilson, by hand
    both = pd.concat([table, table.assign(form=spelling.LETTERS, margin=1.0)])
    assert spelling.letters_help(both, "first letter", "g").value == pytest.approx(0.1)
    assert spelling.letters_help(table, "first letter", "g") is None


# --- special tokens -----------------------------------------------------------------------------


def test_the_typed_text_keeps_its_characters_and_is_never_the_special_id(handle):
    table = typed_special.typed_special.uncached(handle, n=20)
    real = table[table["added"] == typed_special.REAL]
    typed = table[table["added"] == typed_special.TYPED]
    other = table[table["added"] == typed_special.SHUFFLED]
    assert (real["pieces"] == 1).all()
    assert (typed["pieces"] > 1).all()
    assert all(sorted(a) == sorted(b) for a, b in zip(typed["text"], other["text"], strict=True))
    assert (typed["text"].to_numpy() != other["text"].to_numpy()).all()
    assert (table["kl_bits"] >= -1e-6).all()


def test_a_model_that_looks_at_the_last_id_only_is_reset_by_the_real_token(handle):
    loaded = handle.loaded()

    class Last(Constant):
        def __init__(self, like):
            super().__init__(like)
            torch.manual_seed(0)
            self.table = torch.nn.Embedding(like.config.vocab_size, like.config.vocab_size)

        def forward(self, input_ids, **_):
            return SimpleNamespace(logits=self.table(input_ids))

    fake = SimpleNamespace(model=Last(loaded.model), tokenizer=loaded.tokenizer, facts=loaded.facts)
    table = typed_special.typed_special.uncached(SimpleNamespace(loaded=lambda: fake), n=20)
    mean = table.groupby("added")["kl_bits"].mean()
    assert mean[typed_special.REAL] == pytest.approx(0, abs=1e-9)
    assert mean[typed_special.TYPED] > 0.5
    gain = typed_special.nearer(table, typed_special.REAL, typed_special.TYPED)
    assert gain.low > 0


# --- figures ------------------------------------------------------------------------------------


def test_figures_take_empty_tables():
    columns = ["sentence", "edit", "family", "control"]
    columns += ["extra_pieces", "change", "accuracy_change"]
    nothing = edits.costs(pd.DataFrame(columns=columns))
    for draw, table in (
        (figures.edit_costs, nothing),
        (figures.cost_by_pieces, nothing),
        (figures.sums_by_split, number_splits.by_split(pd.DataFrame(columns=["group", "variant"]))),
        (figures.letters, spelling.shares(pd.DataFrame(columns=["question", "group", "form"]))),
    ):
        assert style.render(draw, table).svg
