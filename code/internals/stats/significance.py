"""Tests: sign flips and permutations over units, exact McNemar, false discovery control."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from internals.stats.intervals import NoValuesError, as_rows, as_units

_EXACT_FLIPS = 14
"""Up to this many units all sign patterns are listed instead of drawn."""
_CHUNK = 1_000_000
"""Most numbers drawn at a time."""
_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Significance:
    """A test statistic and how often chance alone is as extreme (two-sided)."""

    statistic: float
    p_value: float
    n: int
    """Number of units."""
    method: str


def sign_flip_test(
    differences: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    n_permutations: int = 9999,
    seed: int = 0,
) -> Significance:
    """Is the mean of paired differences zero, if each unit's sign could as well be the other?

    Signs of whole units are flipped (Fisher 1935; Winkler et al. 2014). All patterns are listed
    for few units; else p = (b + 1) / (m + 1), which is never zero (Phipson and Smyth 2010).
    """
    values = as_rows(differences)
    units = as_units(len(values), clusters)
    sums = np.array([values[unit].sum() for unit in units]) / len(values)
    observed = float(sums.sum())
    if len(sums) <= _EXACT_FLIPS:
        signs = np.array(list(itertools.product([1.0, -1.0], repeat=len(sums))))
        p = _share_as_extreme(signs @ sums, observed)
        return Significance(observed, p, len(sums), "exact sign-flip test")
    rng = np.random.default_rng(seed)
    chance = [
        (1.0 - 2.0 * rng.integers(0, 2, size=(rows, len(sums)))) @ sums
        for rows in _chunks(n_permutations, len(sums))
    ]
    p = _monte_carlo(np.concatenate(chance), observed)
    return Significance(observed, p, len(sums), f"sign-flip test, {n_permutations} flips")


def _chunks(n: int, width: int) -> Iterator[int]:
    """Numbers of rows that sum to ``n``, so that a table of ``width`` columns stays small."""
    step = max(1, _CHUNK // width)
    for start in range(0, n, step):
        yield min(step, n - start)


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values that control the false discovery rate (Benjamini and Hochberg 1995).

    Shape of the input is kept; NaN (a head that could not be tested) stays NaN and does not count.
    """
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    tested = ~np.isnan(p)
    found = p[tested]
    order = np.argsort(found)[::-1]
    steps = found[order] * len(found) / np.arange(len(found), 0, -1)
    # No adjusted value is larger than that of a larger p-value.
    rising = np.empty(len(found))
    rising[order] = np.minimum(np.minimum.accumulate(steps), 1.0)
    adjusted[tested] = rising
    return adjusted


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; tied values share the mean of their ranks."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[codes]


def standardised(values: ArrayLike, kind: str) -> NDArray[np.float64]:
    """Centred values (or mid-ranks) of length one, so that a dot product is a correlation."""
    rows = as_rows(values)
    centred = _KINDS[kind](rows)
    centred = centred - centred.mean()
    norm = float(np.linalg.norm(centred))
    if norm <= _TOLERANCE * max(1.0, float(np.abs(rows).max())):
        raise NoValuesError("a correlation needs values that differ, but all are equal")
    return centred / norm


_KINDS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "pearson": lambda rows: rows,
    "spearman": lambda rows: ranks(rows),
}


def _share_as_extreme(chance: NDArray[np.float64], observed: float) -> float:
    return float(np.mean(_as_extreme(chance, observed)))


def _monte_carlo(chance: NDArray[np.float64], observed: float) -> float:
    return float((np.sum(_as_extreme(chance, observed)) + 1) / (len(chance) + 1))


def _as_extreme(chance: NDArray[np.float64], observed: float) -> NDArray[np.bool_]:
    """Equal values must count as equal although sums are rounded in another order."""
    scale = max(float(np.abs(chance).max(initial=0.0)), abs(observed))
    return np.abs(chance) >= abs(observed) - _TOLERANCE * scale
