"""Do hidden states group words as people do? Representational similarity, layer by layer.

Human structure: everyday words by category, and countries by continent. Controls: shuffled labels,
a random-initialised twin, the static embedding, and what can be read off the surface of a word
(frequency, length, spelling, number of tokens).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import inputs, stats
from internals.cache import measurement
from internals.inputs import InputError
from internals.measure.tokenization.measured import last_token_states
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import ModelHandle

CATEGORIES = DATA / "words" / "categories.yaml"
COUNTS = "data/words/counts.csv"
COUNTRIES = "data/facts/countries.csv"
FRAMES = ("They talked about the", "In the story there was the word", "Everybody knows the")
"""Neutral beginnings; a word's state is its mean over them, at its last token."""
COUNTRY_FRAMES = ("They talked about", "In the story there was the word", "Everybody knows")
EVERYDAY, LANDS = "everyday words", "countries"
SURFACE = ("frequency", "length", "spelling", "tokens")
BELOW = 0.975
"""Share of the shuffles whose best layer stays below ``null_high``."""


def words(path: Path = CATEGORIES) -> pd.DataFrame:
    """Everyday words with their categories: ``word``, ``category``.

    Raises:
        InputError: for a category of fewer than two words, or a word that comes twice.
    """
    rows = []
    for entry in inputs.fields(path, "categories", ("id", "words")):
        part = entry["words"].split()
        if len(part) < 2:
            raise InputError(f"Category {entry['id']!r} of {path.name} needs two words or more.")
        rows += [(word, entry["id"]) for word in part]
    table = pd.DataFrame(rows, columns=["word", "category"])
    twice = table["word"][table["word"].duplicated()]
    if len(twice):
        raise InputError(f"{path.name} has the word {twice.iloc[0]!r} twice; keep one of them.")
    return table


def lands() -> pd.DataFrame:
    """Well-known countries with their continents: ``word``, ``category``."""
    from fable.dataset import countries
    from fable.designed import WELL_KNOWN

    rows = [(c["country"], c["continent"]) for c in countries() if c["country"] in WELL_KNOWN]
    return pd.DataFrame(rows, columns=["word", "category"])


@dataclass(frozen=True)
class Similarities:
    """How similarity of states goes with human structure."""

    table: pd.DataFrame
    """``structure``, ``source`` (model, random twin, static embedding, frequency, length,
    spelling, tokens), ``layer`` (NaN where there is none), and the columns of
    `stats.MatrixCorrelations.table`; ``partial`` is given frequency, length, spelling, tokens."""
    best: pd.DataFrame
    """The best layer of each structure: ``structure``, ``layer``, ``words``, ``categories``,
    ``null_high`` and ``p`` (of the largest over layers, shuffled), ``gain``, ``gain_low``,
    ``gain_high`` (mean over the layers above the embedding minus the static embedding)."""


@measurement(files=[COUNTS, COUNTRIES])
def similarity(
    model: ModelHandle, path: Path = CATEGORIES, seed: int = 0, n_resamples: int = 2000
) -> Similarities:
    """Similarity of hidden states with human categories by layer"""
    loaded = model.loaded()
    networks = {"model": loaded.model, "random twin": loaded.random_twin(seed)}
    tables, best = [], []
    for structure, members, frames in (
        (EVERYDAY, words(path), FRAMES),
        (LANDS, lands(), COUNTRY_FRAMES),
    ):
        named = members["word"].tolist()
        found = {("static embedding", np.nan): cosine_table(static_states(loaded, named))}
        for source, network in networks.items():
            states = word_states(network, loaded.tokenizer, named, frames)
            for layer in range(states.shape[1]):
                found[source, float(layer)] = cosine_table(states[:, layer])
        controls = surface(named, loaded.tokenizer)
        table, tops = compare(found, members, controls, seed, n_resamples)
        tables.append(table.assign(structure=structure))
        best.append({"structure": structure, **tops})
    return Similarities(pd.concat(tables, ignore_index=True), pd.DataFrame(best))


def compare(
    found: dict[tuple[str, float], np.ndarray],
    members: pd.DataFrame,
    controls: dict[str, np.ndarray],
    seed: int = 0,
    n_resamples: int = 2000,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Correlations of all tables ``(word, word)`` with “same category”, and the best layer.

    Args:
        found: by source and layer.
        members: ``word``, ``category``.
        controls: tables of the surface by name; they are compared as well.
    """
    category = members["category"].to_numpy()
    same = (category[:, None] == category).astype(float)
    keys = {f"{source}@{layer}": (source, layer) for source, layer in found}
    candidates = dict(zip(keys, found.values(), strict=True))
    result = stats.matrix_correlations(
        candidates, same, controls, seed=seed, n_resamples=n_resamples
    )
    table = result.table
    table["source"] = [keys.get(name, (name, np.nan))[0] for name in table["name"]]
    table["layer"] = [keys.get(name, (name, np.nan))[1] for name in table["name"]]
    own = table[table["source"] == "model"]
    null_high, p = result.largest(own["name"].tolist())
    top = own.loc[own["spearman"].idxmax()]
    above = own.loc[own["layer"] > 0, "name"].tolist()
    gain = result.mean_difference(above, "static embedding@nan", "words")
    tops = {
        "layer": int(top["layer"]),
        "words": len(members),
        "categories": int(members["category"].nunique()),
        "null_high": null_high,
        "p": p,
        **{"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high},
    }
    return table.drop(columns="name"), tops


def word_states(
    network: Any, tokenizer: Any, named: list[str], frames: tuple[str, ...]
) -> np.ndarray:
    """``(word, layer + 1, d_model)`` states at the last token of each word, mean over frames."""
    texts = [f"{frame} {word}" for frame in frames for word in named]
    states = last_token_states(network, tokenizer, texts)
    return states.reshape(len(frames), len(named), *states.shape[1:]).mean(0)


def static_states(loaded: Any, named: list[str]) -> np.ndarray:
    """``(word, width)`` rows of the input embedding, mean over the tokens of a word; no context."""
    weight = loaded.model.get_input_embeddings().weight.detach().float().cpu().numpy()
    ids = [loaded.tokenizer(f" {w}", add_special_tokens=False)["input_ids"] for w in named]
    return np.stack([weight[row].mean(0) for row in ids])


def cosine_table(states: np.ndarray) -> np.ndarray:
    """Cosines of centred states, ``(word, word)``; values that are no numbers count as zero."""
    states = np.nan_to_num(states.astype(float))
    centred = states - states.mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return np.asarray(unit @ unit.T)


def surface(named: list[str], tokenizer: Any) -> dict[str, np.ndarray]:
    """Similarity of words by what can be seen without meaning, each ``(word, word)``.

    ``frequency``, ``length`` and ``tokens``: minus the absolute difference (of log counts, letters,
    tokens); ``spelling``: Dice coefficient of letter pairs, ends marked (Kondrak 2005).
    """
    table = pd.read_csv(DATA / "words" / "counts.csv", keep_default_na=False)
    counts = dict(zip(table["word"], table["count"], strict=True))
    frequency = np.array(
        [np.mean([np.log1p(counts.get(part.lower(), 0)) for part in w.split()]) for w in named]
    )
    length = np.array([len(w) for w in named], float)
    tokens = np.array(
        [len(tokenizer(f" {w}", add_special_tokens=False)["input_ids"]) for w in named], float
    )
    found = {
        name: -np.abs(values[:, None] - values)
        for name, values in (("frequency", frequency), ("length", length), ("tokens", tokens))
    }
    found["spelling"] = np.array([[spelling(a, b) for b in named] for a in named])
    return {name: found[name] for name in SURFACE}


def spelling(a: str, b: str) -> float:
    """Dice coefficient of the sets of letter pairs of two words, 0 to 1."""
    first, second = (
        {marked[i : i + 2] for i in range(len(marked) - 1)}
        for marked in (f"^{a.lower()}$", f"^{b.lower()}$")
    )
    return 2 * len(first & second) / (len(first) + len(second))


def estimate(row: pd.Series, n: int, kind: str = "spearman", unit: str = "words") -> stats.Estimate:
    """A row of the table as an estimate over words; ``kind`` is spearman or partial, ``unit``
    names the words."""
    prefix = "" if kind == "spearman" else "partial_"
    low, high = float(row[f"{prefix}low"]), float(row[f"{prefix}high"])
    return stats.Estimate(float(row[kind]), low, high, n, unit, f"bootstrap over {unit}")
