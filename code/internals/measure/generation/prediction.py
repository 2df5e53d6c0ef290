"""What counted operations and bytes let expect of steps and whole texts; nothing runs a model.

A step is no faster than the slower of computing and of moving bytes allows (the roofline of
Williams et al. 2009), plus a fixed cost of every call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals.measure.generation.operations import Cost, Machine, cost_of

if TYPE_CHECKING:
    from internals.models.facts import ModelFacts


@dataclass(frozen=True)
class Prediction:
    """Expected against measured seconds of a step."""

    table: pd.DataFrame
    """``mode``, ``length``, ``batch``, ``operations``, ``bytes``, ``limit`` (seconds that the
    machine allows), ``bound`` (operations or bytes), ``expected`` (limit plus the fixed cost),
    ``median`` (measured), ``error`` (expected over measured, minus 1; NaN for the step that the
    fixed cost was taken from)."""
    fixed: float
    """Seconds of a call beyond its limit, from the cached step where they are fewest."""


def limit_of(
    facts: ModelFacts, peak: Machine, value_bytes: int, mode: str, length: int, batch: int = 1
) -> tuple[int, int, float, float]:
    """Operations and bytes of one step, and the seconds that each of them takes at best.

    Bytes are the weights of the blocks and the head, once for the whole batch, and the cache that
    is read or written; activations are left out.
    """
    cost = cost_of(facts)
    one = cost.step(length) if mode == "cache" else cost.full(length)
    cache = 2 * facts.n_layers * facts.n_kv_heads * facts.d_head * value_bytes * length
    weights = (cost.linear + cost.head) // 2 * value_bytes
    operations, moved = batch * one, weights + batch * cache
    return operations, moved, operations / peak.operations, moved / peak.bandwidth


def predict(facts: ModelFacts, table: pd.DataFrame, peak: Machine, value_bytes: int) -> Prediction:
    """Expected seconds of steps: columns ``mode``, ``length``, ``median`` and, if not 1, ``batch``.

    What a call costs whatever its size (Python, kernel launches) is taken from the cached step of
    one text that leaves least beyond its limit, so that step is no test of the prediction.
    """
    given = table if "batch" in table else table.assign(batch=1)
    rows = []
    for row in given.itertuples():
        operations, moved, computing, moving = limit_of(
            facts, peak, value_bytes, row.mode, int(row.length), int(row.batch)
        )
        bound = "operations" if computing >= moving else "bytes"
        limit = max(computing, moving)
        place = (row.mode, int(row.length), int(row.batch))
        rows.append((*place, operations, moved, limit, bound, row.median))
    columns = ["mode", "length", "batch", "operations", "bytes", "limit", "bound", "median"]
    found = pd.DataFrame(rows, columns=columns)
    own = found[(found["mode"] == "cache") & (found["batch"] == found["batch"].min())]
    beyond = own["median"] - own["limit"]
    least = beyond.idxmin()
    fixed = max(0.0, float(beyond[least]))
    found["expected"] = found["limit"] + fixed
    found["error"] = found["expected"] / found["median"] - 1
    found.loc[least, "error"] = np.nan
    return Prediction(found, fixed)


def text_seconds(
    table: pd.DataFrame, mode: str, prompt: int, new: int, column: str = "median"
) -> float:
    """Seconds of a whole text from the times of single steps, interpolated between lengths.

    ``table``: ``mode`` (no cache, cache and, if it was timed, prefill), ``length`` and ``column``.
    """
    at = np.arange(prompt, prompt + new)
    if mode == "no cache":
        return float(_at(table, "no cache", at, column).sum())
    first = "prefill" if (table["mode"] == "prefill").any() else "no cache"
    prefill = float(_at(table, first, at[:1], column).sum())
    return prefill + float(_at(table, "cache", at[1:], column).sum())


def _at(table: pd.DataFrame, mode: str, lengths: np.ndarray, column: str) -> np.ndarray:
    own = table[table["mode"] == mode].sort_values("length")
    return np.interp(lengths, own["length"], own[column])


def speed_up_curve(
    repeats: pd.DataFrame, prediction: Prediction, cost: Cost, prompt: int = 8
) -> pd.DataFrame:
    """Without over with a cache by the number of new tokens, counted, expected and measured.

    ``repeats``: single steps as `speed.steps` gives them. Columns: ``new``, ``passes`` (ratio of
    token passes), ``operations`` (ratio of counted operations), ``expected`` (from the prediction),
    ``measured`` (median over repeats of the ratio of summed steps), ``low``, ``high`` (quartiles),
    ``n``, ``error`` (expected over measured, minus 1).
    """
    longest = int(repeats["length"].max()) - prompt
    rows = []
    for new in [n for n in (16, 32, 64, 128, 256, 512) if n < longest] + [longest]:
        ratios = [
            text_seconds(own, "no cache", prompt, new, "seconds")
            / text_seconds(own, "cache", prompt, new, "seconds")
            for _, own in repeats.groupby("repeat")
        ]
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        expected = text_seconds(
            prediction.table, "no cache", prompt, new, "expected"
        ) / text_seconds(prediction.table, "cache", prompt, new, "expected")
        rows.append(
            {
                "new": new,
                "passes": passes(prompt, new),
                "operations": cost.without_cache(prompt, new) / cost.with_cache(prompt, new),
                "expected": expected,
                "measured": middle,
                "low": low,
                "high": high,
                "n": len(ratios),
                "error": expected / middle - 1,
            }
        )
    return pd.DataFrame(rows)


def passes(prompt: int, new: int) -> float:
    """Token passes without a cache over those with one."""
    return sum(prompt + i for i in range(new)) / (prompt + new - 1)
