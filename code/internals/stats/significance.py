"""Tests: sign flips and permutations over units, exact McNemar, false discovery control."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from internals.stats.intervals import NoValuesError, as_rows, as_units

_EXACT_FLIPS = 14
"""Up to this many units all sign patterns are listed instead of drawn."""
_EXACT_ORDERS = 7
"""Up to this many pairs all orders are listed."""
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


def permutation_difference(
    a: ArrayLike, b: ArrayLike, *, n_permutations: int = 9999, seed: int = 0
) -> Significance:
    """Do two independent groups have the same mean? Labels are shuffled (Pitman 1937)."""
    first, second = as_rows(a), as_rows(b)
    pooled = np.concatenate([first, second])
    n, total = len(first), float(pooled.sum())
    observed = float(first.mean() - second.mean())
    rng = np.random.default_rng(seed)
    orders = _shuffled(pooled, n_permutations, rng)
    sums = np.concatenate([order[:, :n].sum(axis=1) for order in orders])
    chance = sums / n - (total - sums) / len(second)
    p = _monte_carlo(chance, observed)
    label = f"permutation test of two groups, {n_permutations} permutations"
    return Significance(observed, p, len(pooled), label)


def permutation_correlation(
    x: ArrayLike,
    y: ArrayLike,
    kind: Literal["pearson", "spearman"] = "spearman",
    *,
    n_permutations: int = 9999,
    seed: int = 0,
) -> Significance:
    """Is there a correlation, if the ``y`` could as well belong to other ``x`` (Pitman 1937)?"""
    first, second = standardised(x, kind), standardised(y, kind)
    if len(first) != len(second):
        raise ValueError(f"pairs need equal lengths, not {len(first)} and {len(second)}")
    observed = float(first @ second)
    n = len(first)
    if n <= _EXACT_ORDERS:
        chance = np.array([first @ second[list(o)] for o in itertools.permutations(range(n))])
        p, how = _share_as_extreme(chance, observed), "exact"
    else:
        rng = np.random.default_rng(seed)
        chance = np.concatenate([o @ first for o in _shuffled(second, n_permutations, rng)])
        p, how = _monte_carlo(chance, observed), f"{n_permutations} permutations"
    return Significance(observed, p, n, f"permutation test of {kind} correlation, {how}")


def _shuffled(
    values: NDArray[np.float64], n: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """``n`` random orders of ``values``, many rows at a time."""
    for rows in _chunks(n, len(values)):
        yield rng.permuted(np.tile(values, (rows, 1)), axis=1)


def _chunks(n: int, width: int) -> Iterator[int]:
    """Numbers of rows that sum to ``n``, so that a table of ``width`` columns stays small."""
    step = max(1, _CHUNK // width)
    for start in range(0, n, step):
        yield min(step, n - start)


def mcnemar_exact(only_a: int, only_b: int) -> Significance:
    """Are two paired success rates equal? Exact binomial test of the discordant pairs.

    ``only_a`` pairs succeed under A alone, ``only_b`` under B alone (McNemar 1947).
    """
    if only_a < 0 or only_b < 0:
        raise ValueError(f"counts cannot be negative, but are {only_a} and {only_b}")
    n = only_a + only_b
    # With a chance of one half both tails are equal, so the test is twice the smaller one.
    p = min(1.0, 2 * float(bdtr(min(only_a, only_b), n, 0.5)))
    return Significance(float(only_a - only_b), p, n, "exact McNemar test")


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
