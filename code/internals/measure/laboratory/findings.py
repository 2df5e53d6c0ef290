"""The whole laboratory on one model: one row a wrong sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from internals.cache import measurement
from internals.measure.capability import EXPOSURE
from internals.measure.laboratory import (
    architecture,
    generation,
    layers,
    probabilities,
    sampling,
    statistics,
    tokens,
)
from internals.measure.laboratory.lab import Lab
from internals.measure.laboratory.record import REGISTER, Finding
from internals.measure.windows import HELD_OUT

if TYPE_CHECKING:
    from internals.models import ModelHandle

THEMES = (tokens, probabilities, architecture, layers, generation, sampling, statistics)
"""Modules of refutations in the order of the book."""
INPUTS = (
    HELD_OUT,
    EXPOSURE,
    "data/facts/countries.csv",
    "data/facts/templates.yaml",
    "data/parallel/udhr.tsv",
    "data/prompts/next_token.yaml",
    "data/prompts/openings.yaml",
    "data/words/counts.csv",
)
"""What the laboratory and the measurements that it reuses read."""


@measurement(files=INPUTS)
def findings(model: ModelHandle) -> pd.DataFrame:
    """Common mistakes, each put to the model

    Columns: ``id``, ``value`` (NaN where the sentence does not apply), ``predicted_low``,
    ``predicted_high`` (what the wrong sentence expects), ``low``, ``high`` (interval, NaN if
    exact), ``n``, ``n_unit``, ``unit``, ``outcome``, ``verdict``.
    """
    loaded = model.loaded()
    lab = Lab(loaded.model, loaded.tokenizer, loaded.facts, model)
    rows = [as_row(entry.id, entry.test(lab)) for entry in REGISTER.values()]
    return pd.DataFrame(rows).astype({"value": float, "low": float, "high": float})


def as_row(id: str, found: Finding) -> dict[str, Any]:
    """One row of :func:`findings`."""
    low, high = found.interval or (None, None)
    return {
        "id": id,
        "value": found.value,
        "predicted_low": found.predicted[0],
        "predicted_high": found.predicted[1],
        "low": low,
        "high": high,
        "n": found.n or 0,
        "n_unit": found.n_unit,
        "unit": found.unit,
        "outcome": found.outcome,
        "verdict": found.verdict,
    }
