"""Measurements of chapter 5, behaviour."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from internals import stats
from internals.errors import NotApplicable


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``values``, if all of them are numbers.

    Raises:
        NotApplicable: some are not, since the model's numbers overflow.
    """
    if not np.isfinite(values).all():
        raise NotApplicable("the numbers of this model overflow")
    return values


def share(flags: ArrayLike, unit: str) -> stats.Estimate:
    """Share of flags that are true, with Wilson's interval."""
    held = np.asarray(flags, bool)
    return stats.wilson(int(held.sum()), len(held), unit=unit)
