"""The shipped tokenizers of real models give the ids that tiktoken gives."""

from __future__ import annotations

import functools
import hashlib
import lzma
import unicodedata

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from internals.inputs import samples
from internals.measure.tokenization import coverage, shipped

PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "cl100k_base": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
}
"""As tiktoken 0.14 writes them, in the syntax of its own engine."""
NAMES = sorted(shipped.SHIPPED)


@functools.cache
def ranks(name: str) -> dict[bytes, int]:
    return shipped.ranks(name)


@functools.cache
def entries(name: str) -> list[bytes]:
    return list(ranks(name))


@functools.cache
def peer(name: str) -> tiktoken.Encoding:
    return tiktoken.Encoding(
        name,
        pat_str=PATTERNS[name],
        mergeable_ranks=ranks(name),
        special_tokens=dict(shipped.SHIPPED[name].special),
    )


def same(name: str, text: str) -> None:
    ids = shipped.load(name).encode(text).ids
    assert ids == peer(name).encode_ordinary(text)
    assert shipped.load(name).decode(ids) == text


_known = st.characters(exclude_categories=["Cs", "Cn"])
_blanks = st.sampled_from(" \t\n\r\x0b\x0c\x1c\x85\u00a0\u2003\u2028\u3000\u200b")
_digits = st.text(st.sampled_from("0123456789٣५Ⅷ½²"), min_size=1, max_size=9)
_short = st.sampled_from(["'s", "'S", "'ll", "'RE", "'ve", "'ſ", "’s", "'", "can't", "it's"])
_emoji = st.sampled_from(["👩‍🚀", "🇫🇷", "👍🏽", "❤️", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "\u200d", "\ufe0f"])
_special = st.sampled_from(["<|endoftext|>", "<|endofprompt|>", "<|im_end|>", "<|"])
_words = st.sampled_from(
    ["The", " the", "naïve", "straße", "नमस्ते", "北京", "مرحبا", "Привет", "สวัสดี", "def f(x):"]
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=400)
@given(
    text=st.lists(
        st.one_of(
            st.text(_known, max_size=8),
            st.text(_blanks, min_size=1, max_size=6),
            st.one_of(_digits, _short, _emoji, _special, _words),
        ),
        max_size=8,
    ).map("".join)
)
def test_ids_are_those_of_tiktoken(name, text):
    same(name, text)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=200)
@given(data=st.data())
def test_entries_side_by_side_are_joined_as_by_tiktoken(name, data):
    """Texts made of entries reach merges that ordinary words never need."""
    number = st.integers(0, len(entries(name)) - 1)
    chosen = data.draw(st.lists(number, min_size=1, max_size=5))
    same(name, b"".join(entries(name)[i] for i in chosen).decode("utf-8", "replace"))


@pytest.mark.parametrize("name", NAMES)
def test_fuzz_strings_and_samples_have_the_ids_of_tiktoken(name):
    kinds = set(coverage.RANGES) - {"any code point"}
    texts = [text for kind in kinds for text in coverage.random_strings(kind, 50, seed=1)]
    # Code points without a character yet may be of another class in the newer of two libraries.
    texts = [text for text in texts if all(unicodedata.category(c) != "Cn" for c in text)]
    assert len(texts) > 200
    for text in [*texts, *(sample.text for sample in samples())]:
        same(name, text)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_file_is_the_one_that_tiktoken_downloads(name):
    packed = (shipped.TOKENIZERS / f"{name}.tiktoken.xz").read_bytes()
    assert len(packed) < 1_000_000
    assert hashlib.sha256(lzma.decompress(packed)).hexdigest() == shipped.SHIPPED[name].sha256


@pytest.mark.parametrize("name", NAMES)
def test_every_merge_joins_two_older_entries(name):
    ranked = ranks(name)
    assert list(ranked.values()) == list(range(len(ranked)))
    for entry in entries(name)[256::10]:
        first, second = shipped.parts(entry, ranked)
        assert max(ranked[first], ranked[second]) < ranked[entry]


@pytest.mark.parametrize(("name", "size"), [("gpt2", 50_257), ("cl100k_base", 100_261)])
def test_special_tokens_have_their_ids_and_are_text_when_typed(name, size):
    tokenizer = shipped.load(name)
    assert tokenizer.get_vocab_size() == size
    assert tokenizer.id_to_token(shipped.SHIPPED[name].special["<|endoftext|>"]) == "<|endoftext|>"
    assert len(tokenizer.encode("<|endoftext|>").ids) > 1


def test_the_last_merge_of_an_entry_by_hand():
    ranked = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"ab": 4, b"abc": 5}
    assert shipped.parts(b"abc", ranked) == (b"a", b"bc")
    assert shipped.parts(b"bc", ranked) == (b"b", b"c")
