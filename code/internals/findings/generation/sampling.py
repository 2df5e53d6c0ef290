"""What top-k and top-p leave of a distribution."""

from __future__ import annotations

import pandas as pd

from internals.findings import Estimate, above, exact, finding
from internals.measure.generation import choices
from internals.models import ModelHandle


@finding(expect=above(5))
def nucleus(model: ModelHandle) -> Estimate:
    """Between openings the size of the nucleus of nine tenths differs by a factor of {value}."""
    sizes = _left(model, choices.TOP_P)["kept"]
    return exact(round(sizes.max() / sizes.min()), len(sizes), "openings")


@finding(unit="points", expect=above(0.1))
def mass(model: ModelHandle) -> Estimate:
    """Between openings the probability of the ten likeliest tokens differs by {value}."""
    masses = _left(model, choices.TOP_K)["mass"]
    return exact(masses.max() - masses.min(), len(masses), "openings")


def _left(model: ModelHandle, rule: str) -> pd.DataFrame:
    """What a rule leaves after each opening: ``kept`` (tokens), ``mass``."""
    table = choices.survivors(model)
    return table[table["rule"] == rule].groupby("prompt")[["kept", "mass"]].first()
