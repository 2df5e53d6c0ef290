"""False discovery control."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
