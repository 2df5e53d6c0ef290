"""What the project recorded while it trained its own models: curves, data, sources.

Everything is read from the tables that ship with the models; nothing here runs a model.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from internals.paths import DATA, MODELS

LEVELS = (0, 1, 4, 16, 64, 256)
"""Planned statements of the facts with invented names."""


def names() -> list[str]:
    """Embedded models that have a training log."""
    return sorted(folder.parent.name for folder in MODELS.glob("*/training_log.csv"))


def logs() -> pd.DataFrame:
    """The logs of all embedded models, with a column ``model``; columns as in `training.probes`."""
    tables = [
        pd.read_csv(MODELS / name / "training_log.csv").assign(model=name) for name in names()
    ]
    return pd.concat(tables, ignore_index=True)


def losses() -> pd.DataFrame:
    """Held-out loss during training: ``model``, ``tokens``, ``kind``, ``bits_per_byte``."""
    suffix = "_bits_per_byte"
    table = logs()
    kinds = [c for c in table.columns if c.endswith(suffix)]
    long = table.melt(["model", "tokens"], kinds, "kind", "bits_per_byte")
    return long.assign(kind=long["kind"].str.removesuffix(suffix)).dropna()


def recall_curves(wording: str = "trained") -> pd.DataFrame:
    """Recall during training: ``model``, ``tokens``, ``statements``, ``recall`` (ranked first)."""
    prefix = f"recall_{wording}_"
    table = logs()
    columns = [c for c in table.columns if c.startswith(prefix)]
    long = table.melt(["model", "tokens"], columns, "statements", "recall")
    statements = long["statements"].str.removeprefix(prefix).astype(int)
    return long.assign(statements=statements).dropna()


def passes() -> int:
    """How often the embedded models read the training data."""
    return max(
        int(json.loads((MODELS / name / "training.json").read_text("utf-8"))["passes"])
        for name in names()
    )


def data_table() -> pd.DataFrame:
    """Training and held-out text by kind: ``kind``, ``train_tokens``, ``train_bytes``,
    ``heldout_tokens``."""
    meta = metadata()
    return pd.DataFrame(
        [
            (kind, part["tokens"], part["bytes"], meta["heldout"]["by_kind"][kind]["tokens"])
            for kind, part in meta["train"]["by_kind"].items()
        ],
        columns=["kind", "train_tokens", "train_bytes", "heldout_tokens"],
    )


def metadata() -> dict[str, Any]:
    """Sizes, seed and hashes of the training data (`data/training/meta.json`)."""
    return dict(json.loads((DATA / "training" / "meta.json").read_text("utf-8")))


def tokens_until_half(model: str, column: str) -> float:
    """Tokens at the first probe of a log at which half is done; infinite if none.

    Of a loss: half of the way from the first to the last probe. Of recall: half of the facts.
    """
    log = logs()
    own = log[log["model"] == model].sort_values("tokens")
    values = own[column].to_numpy(float)
    if column.endswith("_bits_per_byte"):
        values = (values[0] - values) / (values[0] - values[-1])
    return float(own.loc[values >= 0.5, "tokens"].min()) if (values >= 0.5).any() else math.inf
