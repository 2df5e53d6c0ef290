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

from internals import stats
from internals.measure.tokenization.rivals import Rival


def document_counts(rivals: Sequence[Rival], documents: Sequence[str]) -> pd.DataFrame:
    """Raw counts of each tokenizer on each document, from which every rate is made.

    Columns: ``tokenizer``, ``document``, ``tokens``, ``unknown``, ``bytes``, ``words`` (runs
    between blanks), ``single`` (words that are one token, with or without a space before them).
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
        # Some tokenizers put a space before every text, the others need it typed.
        found = [rival.encode(text) for text in (word, " " + word)]
        known[word] = any(len(ids) == 1 and ids[0] != rival.unknown for ids in found)
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
    rivals: Sequence[Rival], train: Sequence[str], test: Sequence[str], cells: int | None = None
) -> pd.DataFrame:
    """Held-out bits per byte of a unigram model over each tokenizer's tokens.

    A shorter text is not a better one: fewer tokens each cost more bits. The unigram model puts
    both on one scale. It has at most ``cells`` probabilities, with add-one smoothing: the commonest
    tokens have one each, the others share the last (None: one for every token). What a tokenizer
    leaves out is sent as well, so that every code could be told back: the bytes that an unknown
    token hides (8 bits each and an end mark), and the blanks between tokens where they are in none
    (a unigram model of the gaps). What a normaliser changes is not counted.

    Columns: ``tokenizer``, ``document``, ``n_vocab``, ``used`` (entries that occur in ``train``),
    ``bits_per_byte``, ``bytes``, ``unknown``; one row for each test document.
    """
    rows = []
    for rival in rivals:
        counts = Counter(i for text in train for i in rival.encode(text))
        model = _Unigram(counts, rival.n_vocab, cells)
        gaps: Counter[str] = Counter()
        if rival.drops_blanks:
            gaps.update(gap for text in train for gap in _gaps(rival, text))
        for number, text in enumerate(test):
            ids = rival.encode(text)
            bits = sum(map(model.bits, ids)) + _hidden_bits(rival, text, ids)
            if rival.drops_blanks:
                bits += _gap_bits(gaps, _gaps(rival, text))
            n_bytes = len(text.encode())
            rows.append(
                {
                    "tokenizer": rival.name,
                    "document": number,
                    "n_vocab": rival.n_vocab,
                    "used": len(counts),
                    "bits_per_byte": bits / n_bytes,
                    "bytes": n_bytes,
                    "unknown": 0 if rival.unknown is None else ids.count(rival.unknown),
                }
            )
    return pd.DataFrame(rows)


class _Unigram:
    """Add-one smoothed probabilities of single tokens, in at most ``cells`` cells."""

    def __init__(self, counts: Counter[int], n_vocab: int, cells: int | None) -> None:
        whole = cells is None or n_vocab <= cells
        own = n_vocab if whole else (cells or 1) - 1
        self.counts = dict(counts.most_common(own))
        self.total = sum(counts.values()) + (n_vocab if whole else own + 1)
        self.whole = whole
        left_out = sum(counts.values()) - sum(self.counts.values())
        self.rest = (left_out + 1) / max(n_vocab - own, 1)

    def bits(self, token: int) -> float:
        """Surprisal of a token."""
        if self.whole or token in self.counts:
            return -math.log2((self.counts.get(token, 0) + 1) / self.total)
        return -math.log2(self.rest / self.total)


def _hidden_bits(rival: Rival, text: str, ids: Sequence[int]) -> float:
    """Bits for what unknown tokens hide: 8 for each byte and for each end."""
    if rival.unknown is None or rival.spans is None or rival.unknown not in ids:
        return 0.0
    spans = [s for i, s in zip(ids, rival.spans(text), strict=True) if i == rival.unknown]
    return 8.0 * sum(len(text[a:b].encode()) + 1 for a, b in spans)


def _gaps(rival: Rival, text: str) -> list[str]:
    """Characters between neighbouring tokens, and before the first and after the last."""
    assert rival.spans is not None
    spans = rival.spans(text)
    edges = [0, *(b for _, b in spans)], [*(a for a, _ in spans), len(text)]
    return [text[a:b] for a, b in zip(*edges, strict=True)]


def _gap_bits(seen: Counter[str], gaps: Sequence[str]) -> float:
    """Unigram code of the gaps; one never seen is spelt after an escape."""
    total = sum(seen.values()) + len(seen) + 1
    bits = 0.0
    for gap in gaps:
        bits -= math.log2((seen[gap] + 1) / total)
        bits += 0.0 if seen[gap] else 8.0 * (len(gap.encode()) + 1)
    return bits


def not_told_apart(per: pd.DataFrame, name: str, digits: int = 2) -> list[str]:
    """Tokenizers that do as well as ``name``: they print alike, or the interval includes zero.

    ``per``: one row a document, one column a tokenizer, in bits per byte; the paired difference is
    resampled over documents. ``name`` comes first, the others by their distance from it.
    """
    mean = per.mean()
    order = (mean - mean[name]).abs().sort_values(kind="stable").index
    found = []
    for other in (t for t in order if t != name):
        gap = stats.paired_difference(per[other], per[name], unit="documents")
        if round(mean[other], digits) == round(mean[name], digits) or gap.low <= 0 <= gap.high:
            found.append(other)
    return [name, *found]


def same_ids(first: Rival, second: Rival, texts: Sequence[str]) -> bool:
    """Whether two tokenizers cut every text alike, id by id."""
    return all(first.encode(text) == second.encode(text) for text in texts)


def vocabulary_used(rivals: Sequence[Rival], documents: Sequence[str]) -> pd.DataFrame:
    """``tokenizer``, ``n_vocab``, ``used`` (entries that occur in the text), ``used_share``."""
    rows = []
    for rival in rivals:
        used = len({i for text in documents for i in rival.encode(text)})
        rows.append((rival.name, rival.n_vocab, used, used / rival.n_vocab))
    return pd.DataFrame(rows, columns=["tokenizer", "n_vocab", "used", "used_share"])


def growth(
    train_kind: str, train: Sequence[str], test: Sequence[str], sizes: Sequence[int]
) -> pd.DataFrame:
    """Compression against vocabulary size: one tokenizer trained for each size.

    Columns: ``vocab_size``, ``n_vocab``, ``bytes_per_token`` on ``test``, ``gain`` (factor over
    the size before), ``unknown_share``, each with ``_low`` and ``_high`` (bootstrap over
    documents), ``n`` (documents).
    """
    from internals.measure.tokenization.rivals import train as train_rival

    rows: list[dict[str, float]] = []
    n_bytes = np.array([len(text.encode()) for text in test])
    before: np.ndarray | None = None
    for size in sizes:
        rival = train_rival(train_kind, train, size)
        ids = [rival.encode(text) for text in test]
        tokens = np.array([len(i) for i in ids])
        unknown = np.array([0 if rival.unknown is None else i.count(rival.unknown) for i in ids])
        row: dict[str, float] = {"vocab_size": size, "n_vocab": rival.n_vocab, "n": len(test)}
        pairs = {
            "bytes_per_token": (n_bytes, tokens),
            "unknown_share": (unknown, tokens),
            "gain": (before, tokens),
        }
        for name, (top, bottom) in pairs.items():
            found = {"value": math.nan, "low": math.nan, "high": math.nan}
            if top is not None:
                found = ratio_interval(top, bottom, 2000, 0)
            row |= {
                name: found["value"],
                f"{name}_low": found["low"],
                f"{name}_high": found["high"],
            }
        rows.append(row)
        before = tokens
    return pd.DataFrame(rows)


def premium_by_training(
    parallel: pd.DataFrame, vocab_size: int, n_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Is a premium the language's or the training text's? One tokenizer trained on each.

    Byte-level BPE of one size is trained on every other article in English, and on the same
    articles in each language; both are asked for the premium over English on the other articles.

    Columns: ``language``, ``script``, ``trained_on`` (English, the language), ``value``, ``low``,
    ``high``, ``n`` (articles).
    """
    from internals.measure.tokenization.rivals import train as train_rival

    texts = {key: part.set_index("article")["text"] for key, part in parallel.groupby("language")}
    scripts = parallel.groupby("language")["script"].first()
    english = texts["English"]
    on_english = train_rival("byte-level BPE", list(english.iloc[0::2]), vocab_size)
    rows = []
    for language, own in texts.items():
        if language == "English":
            continue
        asked = [a for a in english.index[1::2] if a in own.index]
        on_own = train_rival("byte-level BPE", list(own.iloc[0::2]), vocab_size)
        for name, rival in (("English", on_english), ("the language", on_own)):
            top, bottom = (
                np.array([len(rival.encode(of[a])) for a in asked]) for of in (own, english)
            )
            estimate = ratio_interval(top, bottom, n_resamples, seed)
            rows.append(
                {"language": language, "script": scripts[language], "trained_on": name} | estimate
            )
    return pd.DataFrame(rows)
