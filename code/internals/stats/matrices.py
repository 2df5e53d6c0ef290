"""How one table of similarities goes with another: representational similarity analysis.

The unit is the object (a word): all pairs of an object are resampled and shuffled together
(Mantel 1967; Kriegeskorte, Mur, Bandettini 2008). Axes: ``object``, ``pair`` (upper triangle),
``resample``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from internals.stats.intervals import Estimate, NoValuesError
from internals.stats.significance import ranks

Matrix = NDArray[np.floating[Any]]
_CHUNK = 100_000
"""Numbers of one array of resampled pairs that are held at once: few enough for a fast cache."""
_NOTHING = 1e-12
_FLAT = 1e-3
"""Ranks that differ at all have a larger norm than this."""


@dataclass(frozen=True)
class MatrixCorrelations:
    """Spearman correlations of several tables with one target."""

    table: pd.DataFrame
    """``name``, ``spearman``, ``low``, ``high``, ``null_high`` (97.5 % of shuffled targets), ``p``
    (one-sided), ``partial`` (given the controls), ``partial_low``, ``partial_high``."""
    n: int
    """Objects."""
    null: Matrix
    """``(permutation, name)`` correlations with shuffled targets."""
    draws: Matrix
    """``(name, resample)`` correlations in the same bootstrap samples."""

    def mean_difference(self, names: Sequence[str], other: str, unit: str = "objects") -> Estimate:
        """Mean correlation of some tables minus that of another, compared sample by sample."""
        chosen = self.table["name"].isin(names).to_numpy()
        one = (self.table["name"] == other).to_numpy()
        values = self.table["spearman"].to_numpy()
        value = float(values[chosen].mean() - values[one].mean())
        gaps = self.draws[chosen].mean(0) - self.draws[one].mean(0)
        low, high = np.quantile(gaps, [0.025, 0.975])
        return Estimate(
            value,
            min(float(low), value),
            max(float(high), value),
            self.n,
            unit,
            f"percentile bootstrap over {unit}, {gaps.size} resamples",
        )

    def largest(self, names: Sequence[str]) -> tuple[float, float]:
        """Chance level and p-value of the largest of some correlations.

        Each shuffle gives a largest value as well, so choosing the best of many costs nothing
        (Westfall and Young 1993). Returns (97.5 % of the shuffled largest, p).
        """
        chosen = self.table["name"].isin(names).to_numpy()
        tops = self.null[:, chosen].max(1)
        observed = float(self.table.loc[chosen, "spearman"].max())
        p = (1 + int((tops >= observed - _NOTHING).sum())) / (1 + len(tops))
        return float(np.quantile(tops, 0.975)), p


def matrix_correlations(
    candidates: Mapping[str, Matrix],
    target: Matrix,
    controls: Mapping[str, Matrix] | None = None,
    *,
    n_resamples: int = 2000,
    n_permutations: int = 999,
    seed: int = 0,
) -> MatrixCorrelations:
    """Spearman correlation of each candidate, and each control, with ``target`` over all pairs.

    Args:
        candidates: ``(object, object)`` symmetric tables by name.
        target: likewise; what they are compared with.
        controls: likewise; held constant in ``partial`` (ranks, linear), which controls lack.
        n_resamples: bootstrap over objects; pairs of an object with itself do not count.
        n_permutations: shuffles of the target's objects.

    A table whose values are all equal correlates with nothing (0). Raises ValueError for shapes
    that differ or fewer than three objects.
    """
    n, controls = len(target), controls or {}
    for table in (*candidates.values(), target, *controls.values()):
        if table.shape != (n, n) or n < 3:
            raise NoValuesError(f"tables need one shape (n, n) with n > 2, not {table.shape}")
    pairs = np.triu_indices(n, 1)
    xs = [_Sorted.of(table[pairs]) for table in candidates.values()]
    rest = [_Sorted.of(table[pairs]) for table in (target, *controls.values())]
    point = _weighted(xs, rest, np.ones((1, len(pairs[0]))))[:, 0]
    boot = _resampled(xs, rest, n, pairs, n_resamples, seed)
    compared = [table[pairs] for table in (*candidates.values(), *controls.values())]
    null = _shuffled(np.array(compared), target, pairs, n_permutations, seed)
    found = pd.DataFrame({"name": [*candidates, *controls]})
    for prefix, value, draws in (
        ("", point[..., 0], boot[..., 0]),
        ("partial_", point[..., 1], boot[..., 1]),
    ):
        low, high = np.quantile(draws, [0.025, 0.975], axis=1)
        # The estimate belongs to its interval also where the bootstrap is shifted.
        found[prefix.rstrip("_") or "spearman"] = value
        found[f"{prefix}low"] = np.minimum(low, value)
        found[f"{prefix}high"] = np.maximum(high, value)
    found["null_high"] = np.quantile(null, 0.975, axis=0)
    exceed = (null >= point[:, 0] - _NOTHING).sum(0)
    found["p"] = (1 + exceed) / (1 + n_permutations)
    return MatrixCorrelations(found, n, null, boot[..., 0])


def _shuffled(
    xs: Matrix, target: Matrix, pairs: tuple[NDArray[np.intp], ...], times: int, seed: int
) -> Matrix:
    """``(permutation, candidate)``; a shuffle only moves the target's ranks about."""
    n = len(target)
    ranked = np.zeros((n, n))
    ranked[pairs] = _unit(ranks(target[pairs].astype(float)))
    ranked = ranked + ranked.T
    fixed = np.array([_unit(ranks(x.astype(float))) for x in xs])
    rng = np.random.default_rng([seed, 1])
    orders = (rng.permutation(n) for _ in range(times))
    return np.array([fixed @ ranked[np.ix_(order, order)][pairs] for order in orders])


def _unit(values: Matrix) -> Matrix:
    centred = values - values.mean()
    norm = float(np.linalg.norm(centred))
    return centred / norm if norm > _NOTHING else np.zeros_like(centred)


@dataclass(frozen=True)
class _Sorted:
    """Values of all pairs, sorted once: resampling changes their weights, never their order."""

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    """Where each group of equal values begins in the sorted row."""
    codes: NDArray[np.intp]
    """Group of each pair."""

    @classmethod
    def of(cls, values: Matrix) -> _Sorted:
        _, codes = np.unique(values, return_inverse=True)
        order = np.argsort(codes, kind="stable")
        return cls(order, np.flatnonzero(np.diff(codes[order], prepend=-1)), codes)


def _resampled(
    xs: list[_Sorted],
    rest: list[_Sorted],
    n: int,
    pairs: tuple[NDArray[np.intp], ...],
    times: int,
    seed: int,
) -> Matrix:
    """``(table, resample, 2)``: correlations and partial correlations."""
    rng = np.random.default_rng([seed, 2])
    found = []
    step = max(1, _CHUNK // len(pairs[0]))
    for first in range(0, times, step):
        size = min(step, times - first)
        # Whole numbers up to some thousands: single precision holds them and their sums exactly.
        counts = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float32)
        # An object drawn twice brings its pairs with each other object twice.
        found.append(_weighted(xs, rest, counts[:, pairs[0]] * counts[:, pairs[1]]))
    return np.concatenate(found, axis=1)


def _weighted(xs: list[_Sorted], rest: list[_Sorted], weights: Matrix) -> Matrix:
    """Weighted rank correlations with the first of ``rest``: ``(table, resample, 2)``.

    Tables are ``xs`` and the controls (the others of ``rest``); the last axis is plain and given
    the controls (NaN for a control).
    """
    root = np.sqrt(weights)
    fixed = np.stack([_scores(v, weights, root) for v in rest], axis=1)
    among = (fixed @ fixed.transpose(0, 2, 1)).astype(float)
    found = []
    for x in xs:
        across = (fixed @ _scores(x, weights, root)[:, :, None])[:, :, 0].astype(float)
        found.append(np.stack([across[:, 0], _partial(across, among)], axis=1))
    nothing = np.full(len(weights), np.nan)
    found += [np.stack([among[:, 0, k], nothing], axis=1) for k in range(1, len(rest))]
    return np.array(found)


def _scores(values: _Sorted, weights: Matrix, root: Matrix) -> Matrix:
    """``(resample, pair)`` weighted mid-ranks, so scaled that a dot product is a correlation."""
    sums = np.take(weights, values.order, axis=1)
    if len(values.starts) < len(values.order):
        sums = np.add.reduceat(sums, values.starts, axis=1)
    ranked = np.take(np.cumsum(sums, axis=1) - sums / 2, values.codes, axis=1)
    total = np.maximum(weights.sum(1), 1)
    ranked -= (np.einsum("bp,bp->b", weights, ranked) / total)[:, None]
    ranked *= root
    norms = np.sqrt(np.einsum("bp,bp->b", ranked, ranked))
    ranked /= np.where(norms > _FLAT, norms, np.inf)[:, None]
    return ranked


def _partial(across: Matrix, among: Matrix) -> Matrix:
    """``(resample,)`` correlation with the first of the fixed tables given the others.

    From the inverse of the matrix of correlations; a constant table takes no part.
    """
    size = among.shape[1] + 1
    whole = np.zeros((len(across), size, size))
    whole[:, 0, 1:] = whole[:, 1:, 0] = across
    whole[:, 1:, 1:] = among
    whole[:, np.arange(size), np.arange(size)] = 1.0
    inverse = np.linalg.pinv(whole, hermitian=True)
    scale = np.sqrt(np.maximum(inverse[:, 0, 0] * inverse[:, 1, 1], _NOTHING))
    return np.clip(-inverse[:, 0, 1] / scale, -1.0, 1.0)
