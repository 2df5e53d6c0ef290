"""Chapter 2's measurements of the model of the run: cached, from its handle to tables.

The work is done by the other modules of this folder, which take plain tokenizers and models.
"""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.measure import effort
from internals.measure.tokenization import (
    breakdown,
    casing,
    compare,
    contexts,
    coverage,
    merges,
    numbers,
    rivals,
    segmentation,
)
from internals.measure.windows import documents
from internals.models import ModelHandle
from internals.models.resolve import tokenizer_file
from internals.paths import DATA
from internals.tokens import tokenizer_facts, word_ids

SAMPLES = inputs.PROMPTS / "samples.yaml"
WORDS = "data/words/counts.csv"
PARALLEL = "data/parallel/udhr.tsv"
HELD_OUT = "data/heldout/documents.jsonl"
CONTEXTS = ("He said that", "Then came", "She wrote", "They saw", "It was", "But")
"""Beginnings after which a word is put to compare next-token distributions."""


def words(n: int, *, longest_first: bool = False) -> list[str]:
    """The ``n`` commonest plain words of at least two letters."""
    table = pd.read_csv(DATA / "words" / "counts.csv", keep_default_na=False)
    plain = table[table["word"].str.fullmatch(r"[a-z]{2,}")]
    chosen = plain["word"].head(n).tolist()
    return sorted(chosen, key=len, reverse=True) if longest_first else chosen


def held_out(kind: str | None = None) -> pd.DataFrame:
    """Shipped held-out documents: ``kind``, ``source``, ``licence``, ``text``."""
    with (DATA / "heldout" / "documents.jsonl").open(encoding="utf-8") as lines:
        table = pd.DataFrame([json.loads(line) for line in lines])
    return table if kind is None else table[table["kind"] == kind].reset_index(drop=True)


def sentences(n: int) -> tuple[list[str], list[int]]:
    """Up to ``n`` sentences of 40 to 160 characters, at most eight from one document, and the
    number of the document of each; documents are stories and expository prose in turn."""
    found: list[tuple[str, int]] = []
    for number, text in enumerate(documents()):
        parts = re.split(r"(?<=[.!?])\s+", text.replace("\n", " "))
        found += [(p, number) for p in parts if 40 <= len(p) <= 160][:8]
    return [text for text, _ in found[:n]], [number for _, number in found[:n]]


@measurement
def facts(model: ModelHandle) -> dict[str, Any]:
    """How the tokenizer works"""
    from dataclasses import asdict

    found = tokenizer_facts(model.loaded().tokenizer)
    return {**asdict(found), "lossless": found.lossless}


@measurement
def sample_tokens(
    model: ModelHandle, samples: Path = inputs.PROMPTS / "samples.yaml"
) -> pd.DataFrame:
    """Tokens of the samples"""
    return breakdown.breakdown(model.loaded().tokenizer, inputs.samples(samples))


@measurement
def sample_summary(model: ModelHandle, samples: Path = SAMPLES) -> pd.DataFrame:
    """Lengths of the samples"""
    return breakdown.sample_summary(model.loaded().tokenizer, inputs.samples(samples))


@measurement
def sample_listing(model: ModelHandle, samples: Path = SAMPLES) -> pd.DataFrame:
    """Input, ids, pieces and decoded text of the samples"""
    return breakdown.listing(model.loaded().tokenizer, inputs.samples(samples))


@measurement
def special_tokens(model: ModelHandle) -> pd.DataFrame:
    """Special tokens, typed and real"""
    return breakdown.typed_special_tokens(model.loaded().tokenizer)


@measurement
def fuzz(model: ModelHandle, n_per_kind: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Round trips of random Unicode strings"""
    return coverage.fuzz(model.loaded().tokenizer, n_per_kind, seed)


@measurement
def byte_tokens(model: ModelHandle) -> int:
    """Bytes that are a token of their own"""
    return coverage.byte_tokens(model.loaded().tokenizer)


@measurement
def odd_forms(model: ModelHandle) -> pd.DataFrame:
    """Look-alikes and invisible characters"""
    return coverage.odd_forms(model.loaded().tokenizer)


@measurement(files=[WORDS])
def rarity(model: ModelHandle) -> pd.DataFrame:
    """Pieces of words by how rare they are"""
    table = pd.read_csv(DATA / "words" / "counts.csv", keep_default_na=False)
    return merges.pieces_by_rarity(model.loaded().tokenizer, table)


MERGED = (" kingdom", " unhappiness", " quixotic")
"""Words whose merges are shown: common, derived, rare."""


@measurement
def merge_paths(model: ModelHandle, words: tuple[str, ...] = MERGED) -> pd.DataFrame:
    """Merges of some words, step by step

    Columns: ``word``, ``step``, ``rank``, ``symbols``, ``agrees`` (the path ends at the library's
    tokens); empty for a tokenizer without merges.
    """
    tokenizer = model.loaded().tokenizer
    found = {word: merges.word_path(tokenizer, word) for word in words}
    parts = [t.assign(word=word.strip()) for word, t in found.items() if t is not None]
    columns = ["word", "step", "rank", "symbols", "agrees"]
    return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)


@measurement
def number_splits(model: ModelHandle) -> pd.DataFrame:
    """How the numbers from 0 to 9,999 are cut"""
    return numbers.number_table(model.loaded().tokenizer)


@measurement
def written_numbers(model: ModelHandle) -> pd.DataFrame:
    """How dates, decimals and other numbers are cut"""
    return numbers.written_numbers(model.loaded().tokenizer)


@measurement(files=[WORDS])
def case_forms(model: ModelHandle, n_words: int = 400) -> pd.DataFrame:
    """Ids of four forms of each word"""
    return casing.case_table(model.loaded().tokenizer, words(n_words))


@measurement(files=[WORDS])
def case_embeddings(model: ModelHandle, n_words: int = 1500, seed: int = 0) -> pd.DataFrame:
    """Embeddings of two forms of a word, and controls"""
    loaded = model.loaded()
    table = casing.case_table(loaded.tokenizer, words(n_words))
    embedding = loaded.model.get_input_embeddings().weight.detach().float().cpu().numpy()
    return casing.embedding_pairs(embedding, table, seed)


@measurement(files=[WORDS])
def case_divergence(model: ModelHandle, n_words: int = 200) -> pd.DataFrame:
    """Next-token distributions after two forms of a word

    Columns: ``word``, ``kl_case_bits``, ``kl_other_word_bits``, ``shared`` (both forms have an id
    in common, so that their states are alike before anything is learned).
    """
    loaded = model.loaded()
    chosen = words(effort.units(loaded.facts, n_words, least=60))
    table = casing.next_token_divergence(loaded.model, loaded.tokenizer, chosen, list(CONTEXTS))
    forms = [[set(word_ids(loaded.tokenizer, w)) for w in (x, x.capitalize())] for x in chosen]
    return table.assign(shared=[bool(a & b) for a, b in forms])


PAIR = ("the", "The", "a")
"""The word of the question, its other form, and a different word as control."""


@measurement(files=[HELD_OUT])
def pair_in_text(model: ModelHandle, n: int = 120) -> pd.DataFrame:
    """Next-token distributions after "the", "The" and another word in held-out text

    Columns: ``document``, ``kl_form_bits``, ``kl_other_bits``.
    """
    loaded = model.loaded()
    found: list[tuple[int, str]] = []
    for number, text in enumerate(documents()):
        plain = " ".join(text.split())
        places = [m.start() for m in re.finditer(r"(?<=[a-z]) the (?=[a-z])", plain)]
        # Far enough into the document for a context.
        found += [(number, plain[max(0, p - 160) : p]) for p in places if p > 80][:2]
    found = found[: effort.units(loaded.facts, n, least=40)]
    table = casing.pair_in_text(loaded.model, loaded.tokenizer, [t for _, t in found], PAIR)
    return table.assign(document=[number for number, _ in found])


@measurement(files=[WORDS])
def context_ids(model: ModelHandle, n_words: int = 40) -> pd.DataFrame:
    """Ids of words in many contexts"""
    chosen = [w for w in words(600) if len(w) >= 4][:n_words]
    return contexts.context_ids(model.loaded().tokenizer, chosen)


@measurement
def context_layers(model: ModelHandle) -> pd.DataFrame:
    """Hidden states of a word in different sentences, layer by layer"""
    loaded = model.loaded()
    table = contexts.sense_sentences()
    states = last_token_states(loaded.model, loaded.tokenizer, table["text"].tolist())
    return contexts.context_similarity(states, table)


@measurement
def sense_pieces(model: ModelHandle) -> pd.DataFrame:
    """Pieces of the words whose states are followed

    Columns: ``word``, ``pieces`` (as the word stands within a sentence).
    """
    tokenizer = model.loaded().tokenizer
    chosen = contexts.sense_sentences()["word"].drop_duplicates().tolist()
    return pd.DataFrame({"word": chosen, "pieces": [len(word_ids(tokenizer, w)) for w in chosen]})


def last_token_states(model: Any, tokenizer: Any, texts: list[str]) -> np.ndarray:
    """``(text, layer + 1, d_model)`` hidden states at the last token; layer 0 is the embedding.

    A last state that is projected to another width before the head (some OPT models) is left out.
    """
    import torch

    rows = [tokenizer(text)["input_ids"] for text in texts]
    found: list[np.ndarray] = [np.empty(0)] * len(rows)
    # Texts of one length need no padding, so that each is computed as if it were alone.
    for length in sorted(set(map(len, rows))):
        group = [i for i, row in enumerate(rows) if len(row) == length]
        ids = torch.tensor([rows[i] for i in group], device=model.device)
        with torch.inference_mode():
            states = model(ids, output_hidden_states=True).hidden_states
        states = [s for s in states if s.shape[-1] == states[0].shape[-1]]
        last = torch.stack([s[:, -1].float() for s in states], dim=1).cpu().numpy()
        for i, state in zip(group, last, strict=True):
            found[i] = state
    return np.stack(found)


def own_rival(model: ModelHandle) -> rivals.Rival:
    """The model's own tokenizer among its rivals."""
    return rivals.from_transformers(model.name, model.loaded().tokenizer)


def ready_made(model: ModelHandle) -> tuple[Path, ...]:
    """Tokenizers of other models to compare with: files of the embedded one and of those asked for.

    The environment variable REPORT_TOKENIZERS lists Hub ids or folders, separated by commas; what
    encodes the held-out documents exactly like the model's own tokenizer is left out.
    """
    specs = [s.strip() for s in os.environ.get(TOKENIZERS, "").split(",") if s.strip()]
    if not model.facts.carries_exposure:
        specs.insert(0, DEFAULT_MODEL)
    files = dict.fromkeys(tokenizer_file(spec) for spec in specs)
    return tuple(file for file in files if not encodes_alike(model, file))


@measurement(files=[HELD_OUT])
def encodes_alike(model: ModelHandle, other: Path) -> bool:
    """Whether another tokenizer gives the same ids"""
    texts = held_out()["text"].tolist()
    return compare.same_ids(own_rival(model), rivals.from_file(other), texts)


TOKENIZERS = "REPORT_TOKENIZERS"
DEFAULT_MODEL = "fable-gpt2"


def halves(kind: str = "stories") -> tuple[list[str], list[str]]:
    """Held-out documents in two halves: one to train rival tokenizers on, one to compare on."""
    texts = held_out(kind)["text"].tolist()
    return texts[0::2], texts[1::2]


def all_rivals(model: ModelHandle, vocab_size: int, others: tuple[Path, ...]) -> list[rivals.Rival]:
    """The model's own tokenizer, ready-made ones, and rivals trained on one half of the text."""
    return [
        own_rival(model),
        *(rivals.from_file(file) for file in others),
        *_trained(vocab_size),
    ]


@functools.cache
def _trained(vocab_size: int) -> tuple[rivals.Rival, ...]:
    """Rivals of every kind, trained once in a process."""
    train, _ = halves()
    return tuple(rivals.train(kind, train, vocab_size) for kind in rivals.KINDS)


RIVAL_SIZE = 4096
"""Entries of the rivals: what the shipped text can fill."""


@measurement(files=[HELD_OUT])
def rival_rates(
    model: ModelHandle, others: tuple[Path, ...] = (), vocab_size: int = RIVAL_SIZE
) -> pd.DataFrame:
    """Length and coverage of each tokenizer on the same text"""
    _, test = halves()
    return compare.rates(compare.document_counts(all_rivals(model, vocab_size, others), test))


@measurement(files=[HELD_OUT])
def rival_bits(
    model: ModelHandle, others: tuple[Path, ...] = (), vocab_size: int = RIVAL_SIZE
) -> pd.DataFrame:
    """Bits per byte of unigram models under each tokenizer"""
    train, test = halves()
    found = all_rivals(model, vocab_size, others)
    return compare.unigram_bits_per_byte(found, train, test, cells=vocab_size)


@measurement(files=[HELD_OUT])
def rival_vocabularies(
    model: ModelHandle, others: tuple[Path, ...] = (), vocab_size: int = RIVAL_SIZE
) -> pd.DataFrame:
    """Entries of each tokenizer that occur in the text"""
    _, test = halves()
    return compare.vocabulary_used(all_rivals(model, vocab_size, others), test)


@measurement(files=[HELD_OUT, PARALLEL])
def premiums(model: ModelHandle, others: tuple[Path, ...] = ()) -> pd.DataFrame:
    """Tokens of other languages for the same text"""
    table = pd.read_csv(DATA / "parallel" / "udhr.tsv", sep="\t", keep_default_na=False)
    byte = rivals.train("byte", [], 256)
    return compare.premiums([own_rival(model), *map(rivals.from_file, others), byte], table)


@measurement(files=[PARALLEL])
def premium_by_training(vocab_size: int = 1024) -> pd.DataFrame:
    """Premiums under tokenizers trained on English and on the language itself"""
    table = pd.read_csv(DATA / "parallel" / "udhr.tsv", sep="\t", keep_default_na=False)
    return compare.premium_by_training(table, vocab_size)


@measurement(files=[HELD_OUT])
def oov_by_size(sizes: tuple[int, ...] = (256, 512, 1024, 2048, 4096)) -> pd.DataFrame:
    """Unknown words of word-level tokenizers by vocabulary size"""
    train, test = halves()
    return compare.growth("word", train, test, sizes)


@measurement(files=[HELD_OUT])
def growth(sizes: tuple[int, ...] = (256, 512, 1024, 2048, 4096)) -> pd.DataFrame:
    """Compression of byte-level BPE by vocabulary size"""
    train, test = halves()
    return compare.growth("byte-level BPE", train, test, sizes)


@measurement(files=[HELD_OUT])
def forced_splits(model: ModelHandle, n_sentences: int = 540, seed: int = 0) -> pd.DataFrame:
    """Loss of the same bytes under forced splits"""
    loaded = model.loaded()
    table = _split(loaded, n_sentences, seed, loaded.facts.context_length - 1)
    start = loaded.tokenizer.bos_token_id
    scored = segmentation.split_scores(loaded.model, table, start)
    return scored.assign(bits_per_byte=scored["bits"] / scored["bytes"])


def _split(loaded: Any, n_sentences: int, seed: int, longest: int | None) -> pd.DataFrame:
    """Sentences of the held-out text in every split (see :func:`segmentation.split_sentences`)."""
    texts, documents = sentences(effort.units(loaded.facts, n_sentences, least=150))
    return segmentation.split_sentences(
        loaded.tokenizer, texts, documents=documents, seed=seed, longest=longest
    )


@measurement(files=[HELD_OUT])
def too_long_to_split(model: ModelHandle, n_sentences: int = 540, seed: int = 0) -> int:
    """Sentences that do not fit into the context when they are split"""
    loaded = model.loaded()
    lengths = (loaded.facts.context_length - 1, None)
    fitting, every = (_split(loaded, n_sentences, seed, n)["sentence"].nunique() for n in lengths)
    return int(every - fitting)
