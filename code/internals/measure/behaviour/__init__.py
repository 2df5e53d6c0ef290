"""Measurements of chapter 5, behaviour."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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


def shares(table: pd.DataFrame, by: list[str], flag: str) -> pd.DataFrame:
    """Share of rows with a flag in each group, with Wilson's interval: the columns ``by``,
    ``value``, ``low``, ``high``, ``n``."""
    rows = []
    for keys, part in table.groupby(by, sort=False):
        found = stats.share(part[flag], unit="rows")
        rows.append((*keys, found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=[*by, "value", "low", "high", "n"])
