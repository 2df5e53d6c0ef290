"""Case and preceding space: does "The" differ from "the", for the tokenizer and for the model?

Ids are a matter of merge statistics; embeddings and next-token distributions of what the model has
learned. The unit is the word.
"""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.scoring import batches, logits_at, padded
from internals.models import LoadedModel, ModelHandle
from internals.paths import DATA
from internals.tokens import doubles_space, pieces, prompt_ids

WORDS = "data/words/counts.csv"
FORMS: dict[str, str] = {
    "lower": "{word}",
    "capital": "{Word}",
    "space lower": " {word}",
    "space capital": " {Word}",
}
"""The 2 × 2 of case and preceding space."""
CONTEXTS = ("He said that", "Then came", "She wrote", "They saw")
"""Beginnings after which a word is put to compare next-token distributions."""


def words(n: int) -> list[str]:
    """The ``n`` commonest plain words of at least two letters."""
    table = pd.read_csv(DATA / "words" / "counts.csv", keep_default_na=False)
    return [w for w in table["word"] if re.fullmatch(r"[a-z]{2,}", w)][:n]


@measurement(files=[WORDS])
def forms(model: ModelHandle, n_words: int = 400) -> pd.DataFrame:
    """Ids of four forms of each word

    Columns: ``word``, ``form``, ``ids`` (tuple), ``pieces``.

    Raises:
        NotApplicable: the tokenizer puts a blank before every text, so that two forms are one.
    """
    tokenizer = model.loaded().tokenizer
    if doubles_space(tokenizer):
        raise NotApplicable("its tokenizer puts a blank before every text, typed or not")
    rows = []
    for word, (form, spelling) in product(words(n_words), FORMS.items()):
        text = spelling.format(word=word, Word=word.capitalize())
        ids = tuple(p.id for p in pieces(tokenizer, text, split_special=True))
        rows.append((word, form, ids, len(ids)))
    return pd.DataFrame(rows, columns=["word", "form", "ids", "pieces"])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """``form``, ``single`` (share of words that are one token), ``pieces`` (mean)."""
    grouped = table.assign(single=table["pieces"] == 1).groupby("form", sort=False)
    return grouped[["single", "pieces"]].mean().reset_index()


@measurement(files=[WORDS])
def embeddings(model: ModelHandle, n_words: int = 1500, seed: int = 0) -> pd.DataFrame:
    """Embeddings of a word and of its capitalised form, and controls

    Columns: ``word``, ``own`` (cosine of both forms, a blank before each), ``random`` (with the
    capitalised form of a word drawn at random), ``neighbour`` (with that of the word next in
    frequency, so that rarity cannot explain the difference). Only words whose two forms are single,
    different tokens.

    Raises:
        NotApplicable: fewer than three such words.
    """
    loaded = model.loaded()
    table = forms(model, n_words)
    ids = table.pivot(index="word", columns="form", values="ids").loc[table["word"].unique()]
    pair = ids[["space lower", "space capital"]]
    pair = pair[(pair.map(len) == 1).all(axis=1) & (pair.iloc[:, 0] != pair.iloc[:, 1])]
    if len(pair) < 3:
        raise NotApplicable("too few words are a single token in both forms")
    weight = loaded.model.get_input_embeddings().weight.detach().float().cpu().numpy()
    unit = weight / np.linalg.norm(weight, axis=1, keepdims=True).clip(1e-12)
    left, right = (unit[[ids[0] for ids in pair[form]]] for form in pair.columns)
    n = len(pair)
    other = (np.arange(n) + np.random.default_rng(seed).integers(1, n, n)) % n
    beside = np.append(np.arange(1, n), n - 2)
    return pd.DataFrame(
        {
            "word": pair.index,
            "own": (left * right).sum(1),
            "random": (left * right[other]).sum(1),
            "neighbour": (left * right[beside]).sum(1),
        }
    )


@measurement(files=[WORDS])
def divergence(model: ModelHandle, n_words: int = 100) -> pd.DataFrame:
    """Next-token distributions after two forms of a word

    Columns: ``word``, ``case_bits`` (Kullback–Leibler divergence from the distribution after the
    lower-case form to that after the capitalised one), ``other_word_bits`` (to that after the next
    word of the list); means over :data:`CONTEXTS`.
    """
    loaded = model.loaded()
    chosen = words(effort.units(loaded.facts, n_words, least=60))
    texts = [f"{c} {form}" for w in chosen for form in (w, w.capitalize()) for c in CONTEXTS]
    after = log_probs_after(loaded, texts)
    rows = []
    for word, other in zip(chosen, [*chosen[1:], chosen[0]], strict=True):
        bits = [
            np.mean([kl_bits(after[f"{c} {word}"], after[f"{c} {form}"]) for c in CONTEXTS])
            for form in (word.capitalize(), other)
        ]
        rows.append((word, *bits))
    return pd.DataFrame(rows, columns=["word", "case_bits", "other_word_bits"])


def kl_bits(first: np.ndarray, second: np.ndarray) -> float:
    """Kullback–Leibler divergence in bits of two ``(vocab,)`` natural log-probabilities."""
    return float((np.exp(first) * (first - second)).sum() / np.log(2))


def log_probs_after(loaded: LoadedModel, texts: list[str]) -> dict[str, np.ndarray]:
    """``(vocab,)`` natural log-probabilities of the token after each text.

    Of a text that is longer than the context its end is read.
    """
    room = loaded.facts.context_length
    rows = [prompt_ids(loaded.tokenizer, text)[-room:] for text in texts]
    found: dict[str, np.ndarray] = {}
    for group in batches(list(map(len, rows)), budget=512):
        ids = padded([rows[i] for i in group], loaded.model.device)
        ends = [len(rows[i]) - 1 for i in group]
        values = logits_at(loaded.model, ids, list(range(len(group))), ends).log_softmax(-1)
        found |= zip((texts[i] for i in group), values.cpu().numpy(), strict=True)
    return found
