"""Measurements of chapter 5, behaviour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from internals.errors import NotApplicable


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``values``, if all of them are numbers.

    Raises:
        NotApplicable: some are not, since the model's numbers overflow.
    """
    if not np.isfinite(values).all():
        raise NotApplicable("the numbers of this model overflow")
    return values
