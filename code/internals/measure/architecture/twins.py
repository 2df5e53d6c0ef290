"""The paired training runs of norms that ship with the project, and what they ended with.

The curves come from `fable.twins`; they do not depend on the model of the run.
"""

from __future__ import annotations

import pandas as pd

from internals.paths import DATA


def norm_pairs() -> pd.DataFrame:
    """Held-out loss at the end of every run, a row for each pair of learning rate and seed.

    Columns: ``learning_rate``, ``seed``, ``layer_norm``, ``rms_norm``, ``batch_norm_of_batch``,
    ``batch_norm_running`` (with running averages), in bits per token. Only batch normalisation has
    two modes.
    """
    curves = pd.read_csv(DATA / "twins" / "norms.csv")
    last = curves[curves["step"] == curves["step"].max()]
    keys = ["learning_rate", "seed"]
    wide = last.pivot(index=keys, columns=["variant", "mode"], values="bits_per_token")
    columns = {
        "layer_norm": wide["LayerNorm", "evaluation"],
        "rms_norm": wide["RMSNorm", "evaluation"],
        "batch_norm_of_batch": wide["batch normalisation", "training"],
        "batch_norm_running": wide["batch normalisation", "evaluation"],
    }
    return pd.DataFrame(columns).reset_index()
