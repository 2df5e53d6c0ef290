"""An interval for a mean over few groups: means of all subsets of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import ArrayLike

from internals.stats.intervals import Estimate, as_rows, as_units

_MOST_LISTED = 14
"""Groups up to which all subsets are listed; beyond, they are drawn."""
_FEWEST = 6


def over_groups(values: ArrayLike, groups: ArrayLike, *, unit: str) -> Estimate:
    """Mean over groups of their means; only groups vary, since values within one are alike.

    The interval holds 95 % of the means of all subsets of groups, which is exact for independent
    groups that scatter evenly about their centre (Hartigan 1969), also for as few as six; with
    fewer there is none.
    """
    rows = as_rows(values)
    means = np.array([rows[index].mean() for index in as_units(len(rows), groups)])
    n, low, high = len(means), math.nan, math.nan
    if n >= _FEWEST:
        rng = np.random.default_rng(0)
        listed = itertools.product((0, 1), repeat=n)
        every = np.array(list(listed)) if n <= _MOST_LISTED else rng.integers(0, 2, (4095, n))
        chosen = every[every.any(1)]
        subsets = np.sort(chosen @ means / chosen.sum(1))
        cut = math.floor(0.025 * (len(subsets) + 1))
        low, high = float(subsets[cut - 1]), float(subsets[-cut])
    return Estimate(float(means.mean()), low, high, n, unit, f"means of subsets of {unit}")
