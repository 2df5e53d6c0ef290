"""A linear probe of hidden states with a control task: is the continent of a country written there?

Two questions, kept apart. Does the probe work for countries that it was not fitted on? And how much
better is it than the same probe on random labels of the same countries (selectivity, Hewitt and
Liang 2019), which only memory of single countries could serve? Unit: the country.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour.minimal_pairs import beginning, token_ids

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FRAMES = ("She read a letter from {s}", "They travelled to {s}", "He had never heard of {s}")
"""Beginnings that end with the country and do not speak of continents."""
PENALTIES = np.logspace(-3, 3, 13)
FOLDS = 5
CONTROLS = 3
"""Random labelings."""
LEAST = 8
"""Countries that a continent needs."""


def countries(n: int, seed: int = 0) -> pd.DataFrame:
    """Countries with their continents, drawn at random: ``country``, ``continent``, ``label``."""
    from fable.dataset import countries as known

    table = pd.DataFrame(known())[["country", "continent"]]
    table = table.iloc[np.random.default_rng([seed, 57]).permutation(len(table))[:n]]
    enough = table["continent"].map(table["continent"].value_counts()) >= LEAST
    table = table[enough].reset_index(drop=True)
    return table.assign(label=pd.factorize(table["continent"], sort=True)[0])


@measurement(files=["data/facts/countries.csv"])
def continents(model: ModelHandle, n: int = 240, seed: int = 0) -> pd.DataFrame:
    """A linear probe for the continent of a country, layer by layer

    Columns: ``source`` (model, random twin), ``layer`` (0 is the embedding), ``accuracy`` with
    ``low`` and ``high`` (countries that the probe was not fitted on), ``majority`` (always the most
    frequent continent), ``seen`` and ``control`` (fitted countries in another sentence: true and
    random labels), ``selectivity`` (their difference) with ``selectivity_low`` and
    ``selectivity_high``, ``countries``.
    """
    loaded = model.loaded()
    table = countries(effort.units(loaded.facts, n, least=120), seed)
    rows = []
    for source, network in (("model", loaded.model), ("random twin", loaded.random_twin(seed))):
        states = np.stack(
            [
                frame_states(loaded, network, [f.format(s=c) for c in table["country"]])
                for f in FRAMES
            ]
        )  # frame, country, layer, width
        for layer in range(states.shape[2]):
            found = probe(states[:, :, layer], table["label"].to_numpy(), seed)
            rows.append({"source": source, "layer": layer, **found})
    return pd.DataFrame(rows)


def frame_states(loaded: LoadedModel, network: Any, texts: list[str]) -> Floats:
    """``(text, layer + 1, width)`` states at the last token of each text; layer 0 is the embedding.

    The last state is the one that the head reads; one of another width is left out.
    """
    import torch

    from internals.measure.scoring import batches, padded

    rows = [[*beginning(loaded), *token_ids(loaded, text)] for text in texts]
    found: list[Any] = [None] * len(rows)
    for group in batches([len(r) for r in rows], 2048):
        with torch.inference_mode():
            out = network(
                input_ids=padded([rows[i] for i in group], network.device),
                output_hidden_states=True,
                use_cache=False,
            ).hidden_states
        layers = [h.float().cpu().numpy() for h in out if h.shape[-1] == out[0].shape[-1]]
        for row, i in enumerate(group):
            found[i] = [h[row, len(rows[i]) - 1] for h in layers]
    return np.asarray(found, float)


def probe(states: Floats, labels: Ints, seed: int = 0) -> dict[str, Any]:
    """Accuracy on new items, and selectivity on fitted ones, of states ``(frame, item, width)``."""
    rng = np.random.default_rng([seed, 58])
    new = new_items(states.mean(0), labels, rng)
    chance = [rng.choice(labels, len(labels)) for _ in range(CONTROLS)]
    seen, *others = fitted_items(states, [labels, *chance])
    control = np.mean(others, axis=0)
    accuracy = stats.bootstrap_ci(new, unit="countries", method="percentile")
    chosen = stats.paired_difference(seen, control, unit="countries", method="percentile")
    return {
        "accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "majority": float(np.bincount(labels).max() / len(labels)),
        "seen": float(seen.mean()),
        "control": float(control.mean()),
        "selectivity": chosen.value,
        "selectivity_low": chosen.low,
        "selectivity_high": chosen.high,
        "countries": len(labels),
    }


def new_items(states: Floats, labels: Ints, rng: np.random.Generator) -> Floats:
    """``(item,)`` 1 where a probe of states ``(item, width)``, fitted on other items, is right."""
    fold = rng.permutation(len(labels)) % FOLDS
    right = np.zeros(len(labels))
    for k in range(FOLDS):
        out = fold == k
        right[out] = Ridge(states[~out]).fit(labels[~out])(states[out]) == labels[out]
    return right


def fitted_items(states: Floats, labelings: Sequence[Ints]) -> list[Floats]:
    """For each labeling ``(item,)`` 1 where a probe is right that was fitted on the same items in
    the other frames; ``states`` ``(frame, item, width)``, the last frame is tested."""
    ridge = Ridge(np.concatenate(states[:-1]))
    return [
        (ridge.fit(np.tile(labels, len(states) - 1))(states[-1]) == labels).astype(float)
        for labels in labelings
    ]


class Ridge:
    """Least squares with a ridge penalty to one-hot labels; the penalty by leave-one-out error.

    The error has a closed form (Golub, Heath and Wahba 1979), and the decomposition of the states
    serves any number of labelings.
    """

    def __init__(self, states: Floats) -> None:
        self._centre, self._scale = states.mean(0), states.std(0) + 1e-8
        self._parts = _svd(self._standard(states))

    def _standard(self, states: Floats) -> Floats:
        return np.asarray((states - self._centre) / self._scale)

    def fit(self, labels: Ints) -> Callable[[Floats], Ints]:
        """A function from states ``(n, width)`` to labels."""
        u, s, vt = self._parts
        classes, index = np.unique(labels, return_inverse=True)
        target = np.eye(len(classes))[index]
        mean = target.mean(0)
        projected = u.T @ (target - mean)
        best, weights = np.inf, np.zeros((vt.shape[1], len(classes)))
        for penalty in PENALTIES * len(labels):
            shrink = s**2 / (s**2 + penalty)
            # 1/n is the leverage of the mean itself.
            leverage = (u**2 * shrink).sum(1) + 1 / len(labels)
            left = (target - mean - u @ (shrink[:, None] * projected)) / (1 - leverage)[:, None]
            if (error := float((left**2).sum())) < best:
                best = error
                weights = vt.T @ ((s / (s**2 + penalty))[:, None] * projected)
        return lambda new: np.asarray(classes[(self._standard(new) @ weights + mean).argmax(1)])


def _svd(x: Floats) -> tuple[Floats, Floats, Floats]:
    """``u, s, vt`` of ``x`` without its null space, from the smaller Gram matrix.

    Several times faster than a direct decomposition; small singular values lose digits, which the
    penalty drowns.
    """
    wide = x.shape[0] < x.shape[1]
    values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = values > max(values.max(), 0.0) * 1e-10
    s, vectors = np.sqrt(values[kept]), vectors[:, kept]
    if wide:
        return vectors, s, (vectors.T @ x) / s[:, None]
    return (x @ vectors) / s, s, vectors.T


def best_layer(table: pd.DataFrame, source: str = "model") -> pd.Series:
    """The row of the layer with the highest accuracy on new countries."""
    own = table[table["source"] == source]
    return own.loc[own["accuracy"].idxmax()]
