"""The paired training runs of norms that ship with the project, and what they ended with.

The curves come from `fable.twins`; they do not depend on the model of the run.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from internals.paths import DATA

NORM_PAIRS: dict[str, Any] = {
    "names": {
        "layer": "Layer norm",
        "rms": "RMSNorm",
        "batch_training": "Batch norm, of the batch",
        "batch_evaluation": "Batch norm, running",
    },
    "formats": {"learning_rate": 3},
}
"""How `norm_pairs` is printed."""


def norm_pairs() -> pd.DataFrame:
    """Held-out loss at the end of every run, a row for each pair of learning rate and seed.

    Columns: ``learning_rate``, ``seed``, ``layer``, ``rms``, ``batch_training`` (statistics of the
    batch), ``batch_evaluation`` (running averages), in bits per token. Only batch normalisation has
    two modes.
    """
    curves = pd.read_csv(DATA / "twins" / "norms.csv")
    last = curves[curves["step"] == curves["step"].max()]
    keys = ["learning_rate", "seed"]
    wide = last.pivot(index=keys, columns=["variant", "mode"], values="bits_per_token")
    columns = {
        "layer": wide["LayerNorm", "evaluation"],
        "rms": wide["RMSNorm", "evaluation"],
        "batch_training": wide["batch normalisation", "training"],
        "batch_evaluation": wide["batch normalisation", "evaluation"],
    }
    return pd.DataFrame(columns).reset_index()
