"""Bytes and visible forms of tokens, for tokenizers of each algorithm."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from internals.tokens import (
    TokenizerFacts,
    byte_alphabet,
    doubles_space,
    pieces,
    token_bytes,
    tokenizer_facts,
    visible,
    word_ids,
)
from tokenizers_small import ALL, byte_fallback_bpe, byte_level_bpe, word_level, wordpiece

anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def test_the_byte_alphabet_is_the_one_of_the_tokenizers_library():
    from tokenizers import pre_tokenizers

    alphabet = byte_alphabet()
    assert set(alphabet) == set(pre_tokenizers.ByteLevel.alphabet())
    # The library maps a string to the characters of its UTF-8 bytes: compare byte by byte.
    mapper = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for text in ("a b", "\n\t\x00\x7f", "é中😀\u200d"):
        (mapped, _), *_ = mapper.pre_tokenize_str(text)
        assert bytes(alphabet[c] for c in mapped) == text.encode()


@given(anything)
def test_bytes_of_byte_level_tokens_spell_the_text(text):
    assert b"".join(p.raw for p in pieces(byte_level_bpe(), text, split_special=True)) == (
        text.encode()
    )


@given(anything)
def test_bytes_of_byte_fallback_tokens_spell_the_text_after_its_prefix_space(text):
    raw = b"".join(p.raw for p in pieces(byte_fallback_bpe(), text, split_special=True))
    # "▁" itself cannot be told from a space by this kind of tokenizer.
    expected = (" " + text if text else "").replace("▁", " ").encode()
    assert raw == expected


def test_continuation_marks_of_wordpiece_are_no_text():
    raw = [p.raw for p in pieces(wordpiece(), "capitals")]
    assert b"".join(raw) == b"capitals"


@given(anything)
def test_nothing_is_invisible(text):
    shown = visible(text)
    assert not any(unicodedata.category(c)[0] in "CZ" for c in shown)
    assert len(shown) >= len(text)
    assert "\ufffd" not in shown or "\ufffd" in text


@given(st.binary(max_size=12))
def test_bytes_that_are_no_character_are_shown_in_hex(raw):
    shown = visible(raw)
    assert "\ufffd" not in shown or "\ufffd".encode() in raw
    assert not any(0xDC00 <= ord(c) <= 0xDFFF for c in shown)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b" a\n", "·a↵"),
        ("中".encode()[:2], "⟨E4⟩⟨B8⟩"),
        ("e\u0301", "e◌\u0301"),
        ("\u200d", "⟨U+200D⟩"),
        ("<b>", "<b>"),
    ],
)
def test_visible_forms(raw, shown):
    assert visible(raw) == shown


@pytest.mark.parametrize(
    ("make", "facts"),
    [
        (byte_level_bpe, TokenizerFacts("BPE", True, False, False)),
        (byte_fallback_bpe, TokenizerFacts("BPE", False, True, True)),
        (wordpiece, TokenizerFacts("WordPiece", False, False, True)),
        (word_level, TokenizerFacts("WordLevel", False, False, True)),
    ],
)
def test_facts_say_how_a_tokenizer_works(make, facts):
    assert tokenizer_facts(make()) == facts


@pytest.mark.parametrize("make", ALL)
def test_pieces_agree_with_the_library_on_ids_and_offsets(make):
    text = "The cat sat on table 2024."
    tokenizer = make()
    reference = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    found = pieces(tokenizer, text)
    assert [p.id for p in found] == reference.ids
    assert [(p.start, p.end) for p in found] == reference.offsets
    assert [p.pretoken for p in found] == reference.word_ids


def test_a_typed_special_token_is_one_id_unless_it_is_split():
    text = "a<|endoftext|>b"
    real = pieces(byte_level_bpe(), text)
    assert [p.special for p in real] == [False, True, False]
    assert real[1].raw == b""
    typed = pieces(byte_level_bpe(), text, split_special=True)
    assert len(typed) > 3
    assert not any(p.special for p in typed)
    assert b"".join(p.raw for p in typed) == text.encode()


def test_a_word_in_a_sentence_has_one_space_before_it():
    """Tokenizers that add a space themselves must not get a second one."""
    for tokenizer in (byte_level_bpe(), byte_fallback_bpe()):
        sentence = tokenizer("the cat sat", add_special_tokens=False)["input_ids"]
        assert sentence[-len(word_ids(tokenizer, "sat")) :] == word_ids(tokenizer, "sat")
    assert doubles_space(byte_fallback_bpe())
    assert not doubles_space(byte_level_bpe())
    assert not doubles_space(wordpiece())


def test_a_row_beyond_the_tokenizer_has_no_bytes():
    assert token_bytes(byte_level_bpe(), 100_000) == b""
