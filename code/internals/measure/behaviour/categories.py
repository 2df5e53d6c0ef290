"""Do hidden states group words as people do? Representational similarity, layer by layer.

Human structure is the category of a word (colours, foods, …), as in the project's tables. Controls:
shuffled categories, a random-initialised twin, and the static embedding (layer 0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure.tokenization.measured import last_token_states

if TYPE_CHECKING:
    from internals.models import ModelHandle

FRAMES = ("They talked about the", "In the story there was the word", "Everybody knows the")
"""Neutral beginnings; a word's state is its mean over them, at its last token."""
CATEGORIES: dict[str, tuple[str, ...]] = {
    "colour": ("red", "blue", "green", "yellow", "black", "white", "brown", "purple"),
    "food": ("bread", "cheese", "butter", "soup", "milk", "meat", "honey", "rice"),
    "animal": ("dog", "cat", "horse", "cow", "fox", "bird", "sheep", "lion"),
    "person": ("king", "farmer", "teacher", "soldier", "priest", "doctor", "sailor", "servant"),
    "body": ("hand", "foot", "head", "arm", "eye", "nose", "finger", "mouth"),
    "time": ("morning", "evening", "night", "winter", "summer", "spring", "hour", "week"),
}
SHUFFLES = 999


def words() -> pd.DataFrame:
    """The words with their categories: ``word``, ``category``."""
    rows = [(word, name) for name, part in CATEGORIES.items() for word in part]
    return pd.DataFrame(rows, columns=["word", "category"])


@measurement
def similarity(model: ModelHandle, seed: int = 0) -> pd.DataFrame:
    """Similarity of hidden states with human categories by layer

    Columns: ``source`` (model, random twin), ``layer``, ``spearman`` (of cosine similarity with
    “same category”, over pairs of words), ``low``, ``high`` (bootstrap over words), ``null_high``
    (97.5 % of shuffled categories), ``p``.
    """
    loaded = model.loaded()
    table = words()
    same = (table["category"].to_numpy()[:, None] == table["category"].to_numpy()).astype(float)
    rows = []
    for source, network in (("model", loaded.model), ("random twin", loaded.random_twin(seed))):
        states = np.mean(
            [
                last_token_states(network, loaded.tokenizer, [f"{f} {w}" for w in table["word"]])
                for f in FRAMES
            ],
            axis=0,
        )
        for layer in range(states.shape[1]):
            found = compare(states[:, layer], same, seed)
            rows.append({"source": source, "layer": layer, **found})
    return pd.DataFrame(rows)


def compare(states: np.ndarray, same: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Rank correlation of cosines ``(word, width)`` with ``same`` ``(word, word)`` over pairs.

    States are centred first. The interval resamples words, leaving out pairs of a word with itself;
    the null shuffles the labels of words (Mantel 1967; Kriegeskorte et al. 2008).
    """
    cosines = cosine_table(states)
    n = len(states)
    upper = np.triu_indices(n, 1)
    rng = np.random.default_rng([seed, 52])
    value = _rank(cosines[upper], same[upper])
    null = []
    for _ in range(SHUFFLES):
        order = rng.permutation(n)
        null.append(_rank(cosines[upper], same[np.ix_(order, order)][upper]))
    boot = []
    for _ in range(300):
        chosen = rng.integers(0, n, n)
        a, b = np.triu_indices(n, 1)
        keep = chosen[a] != chosen[b]
        pairs = chosen[a][keep], chosen[b][keep]
        boot.append(_rank(cosines[pairs], same[pairs]))
    low, high = np.quantile(boot, [0.025, 0.975])
    p = (1 + sum(x >= value for x in null)) / (1 + SHUFFLES)
    return {
        "spearman": value,
        "low": min(float(low), value),
        "high": max(float(high), value),
        "null_high": float(np.quantile(null, 0.975)),
        "p": p,
    }


def cosine_table(states: np.ndarray) -> np.ndarray:
    """Cosines of centred states, ``(word, word)``."""
    centred = states - states.mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return np.asarray(unit @ unit.T)


def _rank(x: np.ndarray, y: np.ndarray) -> float:
    from internals.stats.significance import standardised

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(standardised(x, "spearman") @ standardised(y, "spearman"))


def best_layer(table: pd.DataFrame) -> stats.Estimate:
    """The layer of the model with the highest correlation, as an estimate over words."""
    own = table[table["source"] == "model"]
    row = own.loc[own["spearman"].idxmax()]
    n = len(words())
    return stats.Estimate(row["spearman"], row["low"], row["high"], n, "words", "bootstrap")
