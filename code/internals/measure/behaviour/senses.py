"""Where in the network are the senses of a word told apart? Layer by layer, with two controls.

Ambiguous words stand in two kinds of sentences, words of one sense in two arbitrary groups
(`internals.measure.tokenization.contexts`). The unit is the word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure.tokenization import contexts
from internals.measure.tokenization.measured import last_token_states

if TYPE_CHECKING:
    from internals.models import ModelHandle

CHANCE = 1 / 3
"""The nearest of three other sentences is the one of the same group, if sentences lie at random."""


@measurement
def senses(model: ModelHandle, seed: int = 0) -> pd.DataFrame:
    """Separation of word senses by layer

    Columns: ``source`` (model, random twin), ``word``, ``kind`` (two senses, one sense), ``layer``,
    ``gap`` (mean cosine within minus between groups of sentences), ``nearest`` (share of sentences
    whose nearest other sentence with the same word is of the same group).
    """
    loaded = model.loaded()
    sentences = contexts.sense_sentences()
    tables = []
    for source, network in (("model", loaded.model), ("random twin", loaded.random_twin(seed))):
        states = last_token_states(network, loaded.tokenizer, sentences["text"].tolist())
        states = np.nan_to_num(states)
        gaps = contexts.context_similarity(states, sentences)
        both = gaps.merge(nearest(states, sentences), on=["word", "layer"])
        tables.append(both[["word", "kind", "layer", "gap", "nearest"]].assign(source=source))
    return pd.concat(tables, ignore_index=True)


def nearest(states: np.ndarray, sentences: pd.DataFrame) -> pd.DataFrame:
    """``word``, ``layer``, ``nearest``: share of sentences whose nearest is of their own group.

    ``states`` ``(sentence, layer, d_model)`` are centred over all sentences at each layer. Equal
    similarities share the place.
    """
    centred = states - states.mean(0, keepdims=True)
    unit = centred / np.linalg.norm(centred, axis=-1, keepdims=True).clip(1e-12)
    rows = []
    for word, own in sentences.groupby("word", sort=False):
        index = own.index.to_numpy()
        group = own["group"].to_numpy()
        for layer in range(states.shape[1]):
            cosines = (unit[index, layer] @ unit[index, layer].T).round(6)
            np.fill_diagonal(cosines, -np.inf)
            best = cosines == cosines.max(1, keepdims=True)
            hits = (best & (group[:, None] == group)).sum(1) / best.sum(1)
            rows.append((word, layer, float(hits.mean())))
    return pd.DataFrame(rows, columns=["word", "layer", "nearest"])


def by_layer(table: pd.DataFrame, value: str = "gap") -> pd.DataFrame:
    """Two senses against one by layer: ``source``, ``layer``, ``two``, ``two_low``, ``two_high``,
    ``one``, ``one_low``, ``one_high``, ``difference``, ``low``, ``high``, ``p`` (permutation),
    ``adjusted`` (Benjamini–Hochberg over layers)."""
    rows = []
    for (source, layer), part in table.groupby(["source", "layer"], sort=False):
        two, one = (
            part.loc[part["kind"] == kind, value].to_numpy() for kind in ("two senses", "one sense")
        )
        first, second = (stats.bootstrap_ci(x, unit="words") for x in (two, one))
        gap = stats.difference(two, one, unit="words")
        rows.append(
            {
                "source": source,
                "layer": layer,
                **{"two": first.value, "two_low": first.low, "two_high": first.high},
                **{"one": second.value, "one_low": second.low, "one_high": second.high},
                **{"difference": gap.value, "low": gap.low, "high": gap.high, "n": gap.n},
                "p": stats.permutation_difference(two, one, n_permutations=1999).p_value,
            }
        )
    found = pd.DataFrame(rows)
    adjusted = found.groupby("source")["p"].transform(stats.benjamini_hochberg)
    return found.assign(adjusted=adjusted)
