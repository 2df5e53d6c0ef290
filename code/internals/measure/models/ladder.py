"""The ladder of sizes that ships with the project, and the lines that can be drawn through it.

Loss against parameters at equal tokens, from the logs of `fable.ladder`. A rung is a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from internals import stats
from internals.measure.windows import PROSE
from internals.paths import DATA

FOLDER = DATA / "ladder"
FLOORS = (0.0, 0.5, 1.0)
"""Bits per byte that no size takes away, as assumed."""
HOFFMANN = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
"""Loss in nats a token, ``E + A / N^alpha + B / D^beta`` of N parameters and D tokens (Hoffmann et
al. 2022, approach 3)."""
ADVISED = 20
"""Tokens for each parameter that Hoffmann et al. advise, roughly."""


def documents() -> pd.DataFrame:
    """The held-out prose at the end of every run.

    Columns: ``width``, ``parameters``, ``block_parameters``, ``tokens`` (read in training),
    ``document``, ``kind``, ``bytes``, ``bits``.
    """
    table = pd.read_csv(FOLDER / "documents.csv")
    last = moments().groupby("width").last(numeric_only=True)
    sizes = last[["parameters", "block_parameters", "tokens"]]
    return table[table["kind"].isin(PROSE)].join(sizes, on="width")


def moments() -> pd.DataFrame:
    """The runs on their way: see `fable.ladder`; ``cpu_seconds`` so far."""
    return pd.read_csv(FOLDER / "moments.csv").sort_values(["width", "step"])


def by_document(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Parameters ``(rung,)``, and ``(document, rung + 1)``: bits under each rung, and bytes."""
    wide = table.pivot(index=["document", "bytes"], columns="parameters", values="bits")
    n_bytes = wide.index.get_level_values("bytes").to_numpy(float)
    return wide.columns.to_numpy(float), np.column_stack([wide.to_numpy(), n_bytes])


def losses(rows: np.ndarray) -> np.ndarray:
    """``(rung,)`` bits per byte, from rows as of `by_document`."""
    return np.asarray(rows[:, :-1].sum(0) / rows[:, -1].sum())


def exponent(sizes: np.ndarray, loss: np.ndarray, floor: float = 0.0) -> tuple[float, float]:
    """``b`` and ``log a`` of ``floor + a · N^-b``, by least squares of the logarithms."""
    slope, start = np.polyfit(np.log(sizes), np.log(loss - floor), 1)
    return -float(slope), float(start)


def predicted(
    sizes: np.ndarray, loss: np.ndarray, at: np.ndarray, floor: float = 0.0
) -> np.ndarray:
    """The line of `exponent`, at other sizes."""
    b, start = exponent(sizes, loss, floor)
    return np.asarray(floor + np.exp(start) * at**-b)


def points(table: pd.DataFrame) -> pd.DataFrame:
    """A row a rung: ``parameters``, ``value``, ``low``, ``high`` (bits a byte; documents)."""
    sizes, rows = by_document(table)
    found = [
        stats.bootstrap_ci(rows[:, [i, -1]], lambda x: x[:, 0].sum() / x[:, 1].sum())
        for i in range(len(sizes))
    ]
    return pd.DataFrame(
        {"parameters": sizes}
        | {k: [getattr(e, k) for e in found] for k in ("value", "low", "high")}
    )


def lines(
    table: pd.DataFrame, up_to: float = 1e9, floors: Sequence[float] = FLOORS
) -> pd.DataFrame:
    """Fitted lines, from the smallest rung on: ``floor``, ``parameters``, ``loss``, ``exponent``,
    ``error`` (root mean square at the rungs)."""
    sizes, rows = by_document(table)
    loss, at = losses(rows), np.geomspace(sizes[0], up_to, 60)
    frames = []
    for floor in floors:
        off = predicted(sizes, loss, sizes, floor) - loss
        values = {"floor": floor, "parameters": at, "loss": predicted(sizes, loss, at, floor)}
        fit = {
            "exponent": exponent(sizes, loss, floor)[0],
            "error": float(np.sqrt((off**2).mean())),
        }
        frames.append(pd.DataFrame(values | fit))
    return pd.concat(frames, ignore_index=True)


def paper_exponent(parameters: float, tokens: float) -> float:
    """``-d log L / d log N`` of the law of :data:`HOFFMANN`: the slope to compare ours with."""
    c = HOFFMANN
    part = c["A"] / parameters ** c["alpha"]
    return float(c["alpha"] * part / (c["E"] + part + c["B"] / tokens ** c["beta"]))
