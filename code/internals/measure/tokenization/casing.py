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
    model: Any, tokenizer: Any, words: list[str], contexts: list[str], batch_size: int = 64
) -> pd.DataFrame:
    """How much the distribution after a word changes when only its case changes.

    Each word is put after each context in lower case and capitalised; the control replaces the
    word by the next one of the list. Kullback–Leibler divergence in bits, from the lower-case
    form to the other one, of the next-token distributions over the whole vocabulary.

    Returns:
        columns ``word``, ``kl_case_bits``, ``kl_other_word_bits``: means over ``contexts``.
    """
    others = [*words[1:], words[0]]
    variants = {
        "lower": [c + " " + w for w in words for c in contexts],
        "capital": [c + " " + w[:1].upper() + w[1:] for w in words for c in contexts],
        "other": [c + " " + w for w in others for c in contexts],
    }
    log_probs = {
        name: next_log_probs(model, tokenizer, texts, batch_size)
        for name, texts in variants.items()
    }
    base = log_probs["lower"]
    rows = {"word": np.repeat(words, len(contexts))}
    for name, column in (("capital", "kl_case_bits"), ("other", "kl_other_word_bits")):
        rows[column] = (np.exp(base) * (base - log_probs[name])).sum(1) / np.log(2)
    return pd.DataFrame(rows).groupby("word", sort=False, as_index=False).mean()


def next_log_probs(model: Any, tokenizer: Any, texts: list[str], batch_size: int) -> np.ndarray:
    """Natural log-probabilities ``(text, vocab)`` of the token after each text."""
    import torch

    from internals.generation.generate import pad_left

    parts = []
    for start in range(0, len(texts), batch_size):
        ids = [tokenizer(text)["input_ids"] for text in texts[start : start + batch_size]]
        batch = pad_left(ids, 0, model.device)
        with torch.inference_mode():
            logits = model(
                input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions
            ).logits[:, -1]
        parts.append(logits.double().log_softmax(-1).cpu().numpy())
    return np.concatenate(parts)
