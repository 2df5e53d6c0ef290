"""Tokenizers on the same text: length, coverage, cost for other languages, and bits per byte.

Fertility and compression are rates of a document, so documents are resampled for intervals; the
premium of a language is a ratio of sums over parallel sentences, so articles are resampled.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from internals.measure.tokenization.rivals import Rival


def document_counts(rivals: Sequence[Rival], documents: Sequence[str]) -> pd.DataFrame:
    """Raw counts of each tokenizer on each document, from which every rate is made.

    Columns: ``tokenizer``, ``document``, ``tokens``, ``unknown``, ``bytes``, ``words`` (runs
    between blanks), ``single`` (words that are one token when encoded with a space before them).
    """
    rows = []
    for rival in rivals:
        known: dict[str, bool] = {}
        for number, text in enumerate(documents):
            ids = rival.encode(text)
            words = re.findall(r"\S+", text)
            rows.append(
                {
                    "tokenizer": rival.name,
                    "document": number,
                    "tokens": len(ids),
                    "unknown": 0 if rival.unknown is None else ids.count(rival.unknown),
                    "bytes": len(text.encode()),
                    "words": len(words),
                    "single": sum(_is_single(rival, word, known) for word in words),
                }
            )
    return pd.DataFrame(rows)


def _is_single(rival: Rival, word: str, known: dict[str, bool]) -> bool:
    if word not in known:
        ids = rival.encode(" " + word)
        known[word] = len(ids) == 1 and ids[0] != rival.unknown
    return known[word]


def rates(counts: pd.DataFrame, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Rates of each tokenizer with percentile bootstrap intervals over documents.

    Columns: ``tokenizer``, ``rate`` (name), ``value``, ``low``, ``high``, ``n`` (documents).
    The same resamples serve every tokenizer, so that differences are paired.
    """
    pairs = {
        "bytes per token": ("bytes", "tokens"),
        "tokens per word": ("tokens", "words"),
        "unknown share": ("unknown", "tokens"),
        "single-token words": ("single", "words"),
    }
    rows = []
    for name, part in counts.groupby("tokenizer", sort=False):
        for rate, (top, bottom) in pairs.items():
            estimate = ratio_interval(
                part[top].to_numpy(), part[bottom].to_numpy(), n_resamples, seed
            )
            rows.append({"tokenizer": name, "rate": rate, **estimate})
    return pd.DataFrame(rows)


def ratio_interval(
    top: np.ndarray, bottom: np.ndarray, n_resamples: int, seed: int
) -> dict[str, float]:
    """Ratio of sums with a 95 % percentile bootstrap interval; units are resampled in pairs."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(top), (n_resamples, len(top)))
    ratios = top[draws].sum(1) / np.maximum(bottom[draws].sum(1), 1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return {
        "value": top.sum() / max(bottom.sum(), 1),
        "low": float(low),
        "high": float(high),
        "n": len(top),
    }


def premiums(
    rivals: Sequence[Rival], parallel: pd.DataFrame, n_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Tokens of a language over tokens of English for the same articles (Petrov et al. 2023).

    Args:
        rivals: tokenizers.
        parallel: columns ``article``, ``language``, ``script``, ``text``; English included.

    Returns:
        columns ``tokenizer``, ``language``, ``script``, ``value``, ``low``, ``high``, ``n``
        (articles), ``unknown`` (share of UNK tokens), ``bytes_ratio`` (bytes over English bytes:
        what a byte tokenizer would pay), ``attention_cost`` = value² (score entries for the same
        content).
    """
    rows = []
    for rival in rivals:
        ids = {key: rival.encode(text) for key, text in _articles(parallel)}
        english = {article: len(v) for (lang, article), v in ids.items() if lang == "English"}
        for (language, script), part in parallel.groupby(["language", "script"], sort=False):
            articles = [a for a in part["article"] if a in english]
            top = np.array([len(ids[language, a]) for a in articles])
            bottom = np.array([english[a] for a in articles])
            estimate = ratio_interval(top, bottom, n_resamples, seed)
            unknown = sum(token == rival.unknown for a in articles for token in ids[language, a])
            rows.append(
                {
                    "tokenizer": rival.name,
                    "language": language,
                    "script": script,
                    **estimate,
                    "unknown": unknown / max(top.sum(), 1) if rival.unknown is not None else 0.0,
                    "bytes_ratio": _bytes(parallel, language) / _bytes(parallel, "English"),
                    "attention_cost": estimate["value"] ** 2,
                }
            )
    return pd.DataFrame(rows)


def _articles(parallel: pd.DataFrame) -> list[tuple[tuple[str, int], str]]:
    columns = zip(parallel["language"], parallel["article"], parallel["text"], strict=True)
    return [((language, article), text) for language, article, text in columns]


def _bytes(parallel: pd.DataFrame, language: str) -> int:
    texts = parallel.loc[parallel["language"] == language, "text"]
    return sum(len(text.encode()) for text in texts)


def unigram_bits_per_byte(
    rivals: Sequence[Rival], train: Sequence[str], test: Sequence[str]
) -> pd.DataFrame:
    """Held-out bits per byte of a unigram model over each tokenizer's tokens.

    A shorter text is not a better one: fewer tokens each cost more bits. The unigram model puts
    both on one scale. Add-one smoothing over the vocabulary, so larger vocabularies pay for their
    unused entries; an unknown token is spelt out in 8 bits per byte of the *word* it hides.

    Tokenizers that drop blanks (WordPiece, words) are let off their bits, which flatters them.

    Columns: ``tokenizer``, ``document``, ``n_vocab``, ``used`` (entries that occur in ``train``),
    ``bits_per_byte``, ``bytes``, ``unknown``; one row for each test document.
    """
    rows = []
    for rival in rivals:
        counts: Counter[int] = Counter()
        for text in train:
            counts.update(rival.encode(text))
        total = sum(counts.values()) + rival.n_vocab
        for number, text in enumerate(test):
            ids = rival.encode(text)
            bits = -sum(math.log2((counts[i] + 1) / total) for i in ids)
            n_bytes = len(text.encode())
            unknown = 0 if rival.unknown is None else ids.count(rival.unknown)
            # What an UNK hides must be sent as well: the mean bytes of a word for each.
            hidden = 8 * unknown * n_bytes / max(len(text.split()), 1)
            rows.append(
                {
                    "tokenizer": rival.name,
                    "document": number,
                    "n_vocab": rival.n_vocab,
                    "used": len(counts),
                    "bits_per_byte": (bits + hidden) / n_bytes,
                    "bytes": n_bytes,
                    "unknown": unknown,
                }
            )
    return pd.DataFrame(rows)


def growth(
    train_kind: str, train: Sequence[str], test: Sequence[str], sizes: Sequence[int]
) -> pd.DataFrame:
    """Compression against vocabulary size: one tokenizer trained for each size.

    Columns: ``vocab_size``, ``n_vocab``, ``bytes_per_token`` on ``test``, ``gain`` (factor over
    the size before), ``unknown_share``, ``embedding_rows_per_byte`` (entries paid for each byte
    per token gained).
    """
    from internals.measure.tokenization.rivals import train as train_rival

    rows: list[dict[str, float]] = []
    for size in sizes:
        rival = train_rival(train_kind, train, size)
        ids = [rival.encode(text) for text in test]
        tokens = sum(map(len, ids))
        unknown = 0 if rival.unknown is None else sum(i.count(rival.unknown) for i in ids)
        value = sum(len(text.encode()) for text in test) / tokens
        rows.append(
            {
                "vocab_size": size,
                "n_vocab": rival.n_vocab,
                "bytes_per_token": value,
                "gain": value / rows[-1]["bytes_per_token"] if rows else math.nan,
                "unknown_share": unknown / tokens,
            }
        )
    return pd.DataFrame(rows)
