"""Chapter 2's measurements of the tokenizer against the library and against hand-worked cases."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from internals.inputs import Sample, samples
from internals.measure.tokenization import breakdown, coverage, merges, numbers
from tokenizers_small import ALL, byte_fallback_bpe, byte_level_bpe, word_level, wordpiece


@pytest.mark.parametrize("make", ALL)
def test_the_breakdown_lists_the_ids_of_the_library(make):
    tokenizer = make()
    table = breakdown.breakdown(tokenizer, samples())
    for sample in samples():
        ids = tokenizer(sample.text, add_special_tokens=False)["input_ids"]
        assert table.loc[table["sample"] == sample.id, "id"].tolist() == ids


def test_bytes_of_the_breakdown_spell_each_sample():
    table = breakdown.breakdown(byte_level_bpe(), samples())
    for sample in samples():
        parts = table.loc[table["sample"] == sample.id, "bytes"]
        assert bytes.fromhex(" ".join(parts)) == sample.text.encode()


def test_nothing_is_shown_as_a_replacement_character():
    table = breakdown.breakdown(byte_level_bpe(), samples())
    assert not table["shown"].str.contains("\ufffd").any()
    assert table["decoded"].str.contains("\ufffd").any(), "the samples should split a character"


def test_the_summary_counts_what_is_there():
    text = "The cat sat"
    row = breakdown.sample_summary(byte_level_bpe(), [Sample("a", "A", text)]).iloc[0]
    ids = byte_level_bpe()(text)["input_ids"]
    assert (row["characters"], row["bytes"], row["words"]) == (11, 11, 3)
    assert row["tokens"] == len(ids)
    assert row["bytes_per_token"] == pytest.approx(11 / len(ids))
    assert row["returns"]


def test_unknown_words_are_counted_where_the_tokenizer_has_an_unknown_token():
    row = breakdown.sample_summary(word_level(), [Sample("a", "A", "the zebra sat")]).iloc[0]
    assert row["unknown"] == 1
    assert not row["returns"]


def test_a_typed_special_token_is_one_id_by_default_and_many_when_split():
    table = breakdown.typed_special_tokens(byte_level_bpe())
    row = table.set_index("token").loc["<|endoftext|>"]
    assert row["default_ids"] == (row["id"],)
    assert row["becomes_special"]
    assert row["n_plain"] > 1


def test_a_bar_of_the_text_is_told_from_the_bars_between_pieces():
    shown = breakdown.typed_special_tokens(byte_level_bpe()).set_index("token")["plain_pieces"]
    n_bars = shown["<|endoftext|>"].count("⟨7C⟩")
    assert n_bars == "<|endoftext|>".count("|")
    assert "|" not in shown["<|endoftext|>"].replace(" | ", "")


def test_no_string_is_lost_by_a_byte_level_tokenizer():
    table = coverage.fuzz(byte_level_bpe(), n_per_kind=60)
    assert (table["returned"] == table["n"]).all()
    assert (table["same_bytes"] == table["n"]).all()
    assert (table["unknown"] == 0).all()


def test_a_lower_casing_tokenizer_loses_strings_and_shows_the_shortest():
    table = coverage.fuzz(wordpiece(), n_per_kind=60).set_index("kind")
    assert table["unknown"].sum() > 0
    row = table.loc["ASCII"]
    assert row["returned"] < row["n"]
    assert row["example"]


@pytest.mark.parametrize("insists", [False, True])
def test_the_library_ignores_tidying_for_bpe_unless_a_flag_insists(monkeypatch, insists):
    tokenizer = byte_level_bpe()
    ids = tokenizer("It is , he said .")["input_ids"]
    monkeypatch.setattr(tokenizer, coverage.INSISTS, insists)
    tidy = tokenizer.decode(ids, clean_up_tokenization_spaces=True)
    assert (tidy != breakdown.decode(tokenizer, ids)) is insists
    assert coverage.heeds_tidying(tokenizer) is insists
    assert (coverage.fuzz(tokenizer, n_per_kind=5)["tidies"] == insists).all()
    assert coverage.heeds_tidying(wordpiece())


def test_fuzz_strings_are_the_same_for_the_same_seed_and_of_their_kind():
    one = coverage.random_strings("Indic scripts", 20, seed=3)
    assert one == coverage.random_strings("Indic scripts", 20, seed=3)
    assert one != coverage.random_strings("Indic scripts", 20, seed=4)
    assert all(0x900 <= ord(c) <= 0xDFF for s in one for c in s)


def test_texts_that_look_alike_are_compared_with_their_doubles():
    table = coverage.odd_forms(byte_level_bpe()).set_index("form")
    assert table.loc["precomposed é", "shown"] != table.loc["precomposed é", "double_shown"]
    doubles = table[table["double"] != ""]
    assert not doubles["same_ids"].any()
    assert table.loc["precomposed é", "nfc_joins"]
    assert not table.loc["full-width letters", "nfc_joins"]
    assert table.loc["full-width letters", "nfkc_joins"]
    assert table.loc["flag of two letters", "same_ids"] is None
    assert coverage.odd_forms(wordpiece()).set_index("form").loc["precomposed é", "same_ids"]


def test_every_lost_string_has_one_cause():
    table = coverage.fuzz(wordpiece(), n_per_kind=60)
    causes = table[list(coverage.CAUSES)].sum(axis=1)
    assert causes.tolist() == (table["n"] - table["returned"]).tolist()
    assert table["unknown token"].sum() > 0
    assert coverage.fuzz(byte_level_bpe(), n_per_kind=20)[list(coverage.CAUSES)].sum().sum() == 0


@pytest.mark.parametrize(
    ("text", "back", "cause"),
    [("Cat", "cat", "normaliser"), ("a  b", "a b", "blanks"), ("ab", "a-b", "other")],
)
def test_causes_of_a_loss_by_hand(text, back, cause):
    assert coverage._cause(wordpiece(), text, back) == cause


def test_only_byte_tokenizers_have_all_bytes():
    assert coverage.byte_tokens(byte_level_bpe()) == 256
    assert coverage.byte_tokens(byte_fallback_bpe()) == 256
    assert coverage.byte_tokens(wordpiece()) < 100


def test_merges_are_applied_by_rank_and_from_the_left():
    """Hand-worked: "aaab" with the rules aa, ab -> (aa)(ab); the second aa never forms."""
    path = merges.merge_path(list("aaab"), {("a", "a"): 0, ("a", "b"): 1})
    assert path["symbols"].tolist() == [
        ("a", "a", "a", "b"),
        ("aa", "a", "b"),
        ("aa", "ab"),
    ]
    assert path["rank"].tolist() == [-1, 0, 1]


@given(st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=12))
@settings(deadline=None)
def test_our_merges_end_at_the_tokens_of_the_library(word):
    path = merges.word_path(byte_level_bpe(), " " + word)
    assert path is not None
    assert path["agrees"].iloc[-1]


def test_merges_of_a_tokenizer_that_adds_its_own_space_end_at_its_tokens():
    path = merges.word_path(byte_fallback_bpe(), " capital")
    assert path is not None
    assert path["agrees"].all()
    assert path["symbols"].iloc[0][0] == "▁"


def test_a_tokenizer_without_merges_has_no_path():
    assert merges.word_path(wordpiece(), "cat") is None


def test_rare_words_have_more_pieces_by_direct_encoding():
    words = pd.DataFrame({"word": ["the", "flibbertigibbet"], "count": [1000, 1]})
    table = merges.pieces_by_rarity(byte_level_bpe(), words)
    assert table["band"].tolist() == [3, 0]
    for row in table.itertuples():
        assert row.pieces == len(byte_level_bpe()(" " + row.word)["input_ids"])


@pytest.mark.parametrize("surplus", [0, 2])
def test_only_the_surplus_at_the_same_length_is_due_to_the_count(surplus):
    rng = np.random.default_rng(1)

    def words(n, lengths, more):
        characters = rng.choice(lengths, n)
        return pd.DataFrame(
            {"characters": characters, "pieces": characters + more + rng.integers(0, 2, n)}
        )

    rare, common = words(600, np.arange(4, 12), surplus), words(200, np.arange(2, 7), 0)
    assert rare["pieces"].mean() - common["pieces"].mean() > surplus + 2
    found = merges.difference_at_length(rare, common)
    assert found.low <= surplus <= found.high
    assert found.excludes(0) is (surplus > 0)
    assert found.n == rare["characters"].between(4, 6).sum() + common["characters"].gt(3).sum()


def test_groups_without_a_common_length_are_not_compared():
    short, long = (pd.DataFrame({"characters": [n] * 9, "pieces": [1] * 9}) for n in (2, 8))
    assert merges.difference_at_length(long, short) is None
    few = pd.DataFrame({"characters": [2] * 4, "pieces": [1] * 4})
    assert merges.difference_at_length(few, short) is None


def test_a_blank_that_is_a_piece_of_its_own_is_no_piece_of_a_number():
    tokenizer = byte_level_bpe()
    assert tokenizer.convert_ids_to_tokens(tokenizer(" 7")["input_ids"]) == ["Ġ", "7"]
    assert numbers.split_number(tokenizer, "7", space=True) == ("7",)
    row = numbers.number_table(tokenizer, last=7).set_index(["number", "space"]).loc[(7, True)]
    assert row["pieces"] == 1


@pytest.mark.parametrize("make", [byte_level_bpe, byte_fallback_bpe])
def test_the_number_table_agrees_with_direct_encoding(make):
    tokenizer = make()
    table = numbers.number_table(tokenizer, last=120)
    spaced = table[table["space"]].set_index("number")
    for number in (0, 7, 10, 99, 100, 120):
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(f" {number}")["input_ids"])
        groups = [re.sub("<0x..>", "0", t.strip("Ġ▁")) for t in tokens if t.strip("Ġ▁")]
        assert spaced.loc[number, "pieces"] == len(groups)
        assert spaced.loc[number, "pattern"] == "+".join(str(len(g)) for g in groups)
    assert len(table) == 2 * 121


def test_a_cut_is_aligned_if_it_leaves_whole_thousands():
    table = numbers.number_table(byte_level_bpe(), last=9999)
    for row in table[table["digits"] == 4].drop_duplicates("pattern").itertuples():
        lengths = list(map(int, row.pattern.split("+")))
        expected = {sum(lengths[i:]) for i in range(1, len(lengths))} <= {3}
        assert row.aligned == expected


def test_digits_behind_an_unknown_token_are_no_pattern():
    table = numbers.number_table(word_level(), last=99).set_index(["number", "space"])
    assert table.loc[(10, True), "pattern"] == "2"
    assert table.loc[(77, True), "pattern"] == "unknown"
    assert table.loc[(77, True), "pieces"] == 1
    assert not table.loc[(77, True), "aligned"]


def test_shares_of_patterns_sum_to_one_for_each_length():
    counts = numbers.pattern_counts(numbers.number_table(byte_level_bpe(), last=999))
    sums = counts.groupby(["digits", "space"])["share"].sum()
    assert sums.to_numpy() == pytest.approx(1)
    assert counts["n"].sum() == 2000


def test_written_numbers_show_every_byte():
    table = numbers.written_numbers(byte_level_bpe())
    for row in table.itertuples():
        assert row.shown.replace(" | ", "").replace("·", " ") == " " + row.text


def test_the_listing_leads_from_input_back_to_the_text():
    tokenizer = byte_level_bpe()
    samples = [Sample("a", "First", "the cat\tsat"), Sample("b", "Second", "é")]
    table = breakdown.listing(tokenizer, samples)
    assert table["stage"].tolist() == ["input", "ids", "pieces", "decoded"] * 2
    texts = table.set_index("stage")["text"]
    assert texts["input"].tolist() == texts["decoded"].tolist()
    assert [int(i) for i in texts["ids"].iloc[0].split()] == tokenizer("the cat\tsat")["input_ids"]


def test_a_control_character_without_a_sign_in_the_font_is_its_own_code_point():
    from internals.figures import tokenization as figures

    table = breakdown.breakdown(byte_level_bpe(), [Sample("a", "First", "a\r\u0007")])
    shown = "".join(t.get_text() for t in figures.chips(table, {"a": "First"}).axes[0].texts)
    assert "⟨U+000D⟩" in shown
    assert "⟨U+0007⟩" in shown
    assert "240D" not in shown


def test_every_token_is_a_chip_and_broken_characters_are_framed():
    from internals.figures import tokenization as figures

    tokenizer = byte_level_bpe()
    samples = [Sample("a", "First", "the cat sat on the mat " * 4), Sample("b", "Second", "中é𐍈")]
    table = breakdown.breakdown(tokenizer, samples)
    figure = figures.chips(table, {"a": "First", "b": "Second"})
    axes = figure.axes[0]
    assert len(axes.patches) == 2 * len(table)
    assert max(p.get_x() + p.get_width() for p in axes.patches) <= figures.CHIPS_WIDE
    framed = sum(p.get_linewidth() > 1 for p in axes.patches)
    assert framed == (~table["whole"]).sum() > 0
    shown = {t.get_text() for t in axes.texts}
    assert {str(i) for i in table["id"]} <= shown
