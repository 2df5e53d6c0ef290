"""Case and preceding space: does "The" differ from "the", for the tokenizer and for the model?

Part one is about ids (a matter of merge statistics), part two about embeddings and next-token
distributions (a matter of what the model learned). The unit is the word.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from internals.tokens import pieces

FORMS: dict[str, str] = {
    "lower": "{word}",
    "capital": "{Word}",
    "space lower": " {word}",
    "space capital": " {Word}",
}
"""The 2 × 2 of case and preceding space."""


def spell(form: str, word: str) -> str:
    """``spell("space capital", "the")`` is ``" The"``."""
    return FORMS[form].format(word=word, Word=word[:1].upper() + word[1:])


def case_table(tokenizer: Any, words: list[str]) -> pd.DataFrame:
    """The four forms of each word.

    Columns: ``word``, ``form``, ``text``, ``ids`` (tuple), ``pieces``, ``single`` (one piece),
    ``distinct`` (how many of the word's four forms have different ids).
    """
    rows = []
    for word in words:
        for form in FORMS:
            text = spell(form, word)
            ids = tuple(p.id for p in pieces(tokenizer, text, split_special=True))
            rows.append({"word": word, "form": form, "text": text, "ids": ids, "pieces": len(ids)})
    table = pd.DataFrame(rows)
    table["single"] = table["pieces"] == 1
    table["distinct"] = table.groupby("word")["ids"].transform("nunique")
    return table


PAIRS: dict[str, tuple[str, str]] = {
    "case": ("space lower", "space capital"),
    "space": ("lower", "space lower"),
    "both": ("lower", "space capital"),
}
"""Which two forms are compared: they differ in case, in the preceding space, or in both."""


def embedding_pairs(embedding: np.ndarray, table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Cosine of the embeddings of two forms of a word, beside two controls.

    Only words count whose two forms are single, different tokens. Controls for each pair: the
    first form with the second form of *another* word drawn at random, and with that of the word
    next in frequency (``table`` lists words by frequency), so that rarity cannot explain the
    difference (rare tokens have similar embeddings).

    Args:
        embedding: ``(vocab, d_model)`` input embeddings.
        table: from :func:`case_table`.

    Returns:
        columns ``pair``, ``word``, ``own``, ``random``, ``neighbour`` (cosines); one row a word.
    """
    rng = np.random.default_rng(seed)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True).clip(1e-12)
    frames = []
    for pair, (first, second) in PAIRS.items():
        left, right, words = _single_ids(table, first, second)
        n = len(words)
        if n < 3:
            continue
        shift = rng.integers(1, n, n)  # never the word itself
        other = right[(np.arange(n) + shift) % n]
        beside = np.append(right[1:], right[-2])
        frames.append(
            pd.DataFrame(
                {
                    "pair": pair,
                    "word": words,
                    "own": (unit[left] * unit[right]).sum(1),
                    "random": (unit[left] * unit[other]).sum(1),
                    "neighbour": (unit[left] * unit[beside]).sum(1),
                }
            )
        )
    columns = ["pair", "word", "own", "random", "neighbour"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _single_ids(
    table: pd.DataFrame, first: str, second: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Ids of two forms, for the words where both are single, different tokens."""
    wide = table[table["single"]].pivot(index="word", columns="form", values="ids")
    order = [w for w in table["word"].drop_duplicates() if w in wide.index]
    if not {first, second} <= set(wide.columns):
        return np.array([], int), np.array([], int), []
    wide = wide.loc[order, [first, second]].dropna()
    wide = wide[wide[first] != wide[second]]
    left = np.array([ids[0] for ids in wide[first]], int)
    right = np.array([ids[0] for ids in wide[second]], int)
    return left, right, list(wide.index)


def next_token_divergence(
    model: Any, tokenizer: Any, words: list[str], contexts: list[str]
) -> pd.DataFrame:
    """How much the distribution after a word changes when only its case changes.

    Each word is put after each context in lower case and capitalised; the control replaces the
    word by the next one of the list. Kullback–Leibler divergence in bits, from the lower-case
    form to the other one, of the next-token distributions over the whole vocabulary. Only the
    distributions of two words are held at a time.

    Returns:
        columns ``word``, ``kl_case_bits``, ``kl_other_word_bits``: means over ``contexts``.
    """
    rows = []
    base = _after(model, tokenizer, words[0], contexts)
    for word, other in zip(words, [*words[1:], words[0]], strict=True):
        capital = _after(model, tokenizer, word[:1].upper() + word[1:], contexts)
        following = _after(model, tokenizer, other, contexts)
        rows.append((word, _kl_bits(base, capital), _kl_bits(base, following)))
        base = following
    return pd.DataFrame(rows, columns=["word", "kl_case_bits", "kl_other_word_bits"])


def pair_in_text(
    model: Any, tokenizer: Any, beginnings: list[str], words: tuple[str, str, str]
) -> pd.DataFrame:
    """Next-token distributions after one word in real text, and after two others in its place.

    Args:
        beginnings: texts that end where the first of ``words`` stood.
        words: the word itself, its other form, and a different word as control.

    Returns:
        ``kl_form_bits`` and ``kl_other_bits``: Kullback-Leibler divergence from the distribution
        after the word to those after its form and after the control; one row a beginning.
    """
    rows = []
    for start in range(0, len(beginnings), _BATCH):
        part = beginnings[start : start + _BATCH]
        own, form, other = (
            next_log_probs(model, tokenizer, [f"{b} {word}" for b in part]) for word in words
        )
        rows += [
            (_kl_bits(o[None], f[None]), _kl_bits(o[None], x[None]))
            for o, f, x in zip(own, form, other, strict=True)
        ]
    return pd.DataFrame(rows, columns=["kl_form_bits", "kl_other_bits"])


_BATCH = 16
"""Texts whose distributions are held at once."""


def _kl_bits(first: np.ndarray, second: np.ndarray) -> float:
    """Mean KL divergence in bits of rows of natural log-probabilities ``(context, vocab)``."""
    return float((np.exp(first) * (first - second)).sum(1).mean() / np.log(2))


def _after(model: Any, tokenizer: Any, word: str, contexts: list[str]) -> np.ndarray:
    """Log-probabilities ``(context, vocab)`` after a word in each context."""
    return next_log_probs(model, tokenizer, [f"{c} {word}" for c in contexts])


def next_log_probs(model: Any, tokenizer: Any, texts: list[str]) -> np.ndarray:
    """Natural log-probabilities ``(text, vocab)`` of the token after each text; one batch.

    Of a text that is longer than the model's context the end is read.
    """
    from internals.generation.generate import context_length, next_logits, pad_left

    room = context_length(model) or 0
    rows = [tokenizer(text)["input_ids"][-room:] for text in texts]
    batch = pad_left(rows, 0, model.device)
    logits = next_logits(model, batch.ids, batch.mask, batch.positions, None)
    return np.asarray(logits.double().log_softmax(-1).cpu().numpy())
