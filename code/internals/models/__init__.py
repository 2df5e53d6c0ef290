"""Models: find, check and load them, and know what each family calls its parts."""

from __future__ import annotations

import pandas as pd

from internals.errors import ModelError
from internals.models.facts import ModelFacts
from internals.models.load import (
    LoadedModel,
    ModelHandle,
    eager_attention,
    load,
    open_model,
    release,
)

__all__ = [
    "LoadedModel",
    "ModelError",
    "ModelFacts",
    "ModelHandle",
    "eager_attention",
    "inspect_table",
    "load",
    "open_model",
    "release",
]


def inspect_table(handle: ModelHandle) -> pd.DataFrame:
    """The facts about a model as a table with the columns ``fact`` and ``value``."""
    from dataclasses import asdict

    facts = asdict(handle.facts)
    rows = [
        (name.replace("_", " "), f"{value:,}" if type(value) is int else value)
        for name, value in facts.items()
        if value is not None
    ]
    return pd.DataFrame(rows, columns=["fact", "value"])
