"""What other rules make of the logits of a model that was trained with softmax, and of its twins.

The twins are tiny models that the project trained once with other heads; their curves ship with it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from internals import stats
from internals.findings import Estimate, above, exact, finding
from internals.measure.probabilities import maps
from internals.measure.probabilities.positions import lost, over_documents, positions
from internals.models import ModelHandle
from internals.paths import DATA


@finding(unit="share", expect=above(0))
def sparsemax(model: ModelHandle) -> Estimate:
    """Sparsemax gives exactly zero to {value} of the true next tokens."""
    return lost(positions(model), "sparsemax")


@finding(unit="share", expect=above(0))
def entmax(model: ModelHandle) -> Estimate:
    """Entmax gives exactly zero to {value} of the true next tokens."""
    return lost(positions(model), "1.5-entmax")


@finding(unit="bits", expect=above(0))
def sigmoid(model: ModelHandle) -> Estimate:
    """With normalised sigmoids a true token costs {value} more than with softmax."""
    table = positions(model)
    table = table[table["true:softmax"].notna()]
    return over_documents(table, np.log2(table["true:softmax"] / table["true:sigmoid"]))


@finding(unit="share", expect=above(0))
def squares(model: ModelHandle) -> Estimate:
    """Squares change the order of the tokens after {value} of the prompts."""
    return stats.share(maps.reordered(model)["changed"], unit="prompts")


@finding(unit="share")
def twins_softmax(model: ModelHandle) -> Estimate:
    """Tiny models trained with softmax end with {value} of the held-out tokens right."""
    return _ends("softmax", "accuracy")


@finding(unit="share")
def twins_sparsemax(model: ModelHandle) -> Estimate:
    """Tiny models trained with sparsemax end with {value} of the held-out tokens right."""
    return _ends("sparsemax", "accuracy")


@finding(unit="share", expect=above(0.1))
def zeros(model: ModelHandle) -> Estimate:
    """Tiny models trained with sparsemax give exactly zero to {value} of the true tokens."""
    return _ends("sparsemax", "zero_share")


def _ends(variant: str, column: str) -> Estimate:
    """Mean at the end of training, over runs (learning rates and seeds)."""
    table = pd.read_csv(DATA / "twins" / "heads.csv")
    last = table[(table["step"] == table["step"].max()) & (table["variant"] == variant)]
    return exact(last[column].mean(), len(last), "runs")
