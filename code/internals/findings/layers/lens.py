"""What the head would say after each block."""

from __future__ import annotations

import numpy as np
import pandas as pd

from internals import stats
from internals.findings import Estimate, above, finding
from internals.measure.layers import lens
from internals.models import ModelHandle


@finding(unit="bits", expect=above(0))
def raw_sure(model: ModelHandle) -> Estimate:
    """Halfway, the raw lens is surer than the model is in the end: its entropy is {value} lower."""
    final, halfway = (_at(model, lens.RAW, share)["entropy_bits"] for share in (1, 0.5))
    return stats.paired_difference(final, halfway, unit="documents")


@finding(unit="bits", expect=above(0))
def tuned_unsure(model: ModelHandle) -> Estimate:
    """Halfway, the tuned lens is less sure than the model is in the end: its entropy is {value}
    higher."""
    halfway, final = (_at(model, lens.TUNED, share)["entropy_bits"] for share in (0.5, 1))
    return stats.paired_difference(halfway, final, unit="documents")


@finding(unit="bits")
def tuned_middle(model: ModelHandle) -> Estimate:
    """Halfway, the tuned lens is {value} away from the final distribution."""
    return stats.bootstrap_ci(_at(model, lens.TUNED)["kl_bits"], unit="documents")


@finding(unit="bits", expect=above(0))
def closer(model: ModelHandle) -> Estimate:
    """Halfway, the tuned lens is closer to the final distribution than the raw lens, by {value}."""
    raw, tuned = (_at(model, name)["kl_bits"] for name in (lens.RAW, lens.TUNED))
    return stats.paired_difference(raw, tuned, unit="documents")


@finding(unit="share", expect=above(0.3))
def halved(model: ModelHandle) -> Estimate:
    """The tuned lens has come half the way, in bits, after {value} of the blocks."""
    table = lens.by_depth(model)
    tuned = table[table["lens"] == lens.TUNED]
    curves = tuned.pivot(index="document", columns="depth", values="kl_bits")
    shares = curves.columns.to_numpy() / curves.columns.max()
    return stats.bootstrap_ci(curves, lambda rows: half_way(shares, rows), unit="documents")


def half_way(shares: np.ndarray, rows: np.ndarray) -> float:
    """Where the mean of curves ``(document, depth)`` first falls to half of its beginning."""
    curve = np.minimum.accumulate(rows.mean(0))
    return float(np.interp(-curve[0] / 2, -curve, shares))


def _at(model: ModelHandle, name: str, share: float = 0.5) -> pd.DataFrame:
    """Rows of a lens by document, at the depth nearest to a share of the blocks."""
    table = lens.by_depth(model)
    goal = share * table["depth"].max()
    depth = min(table["depth"].unique(), key=lambda d: abs(d - goal))
    return table[(table["lens"] == name) & (table["depth"] == depth)].set_index("document")
