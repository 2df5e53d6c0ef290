"""Tables that the chapter shows, made from stored measurements; nothing here runs a model."""

from __future__ import annotations

import pandas as pd

from internals.measure.efficiency.operations import Cost
from internals.measure.efficiency.speed import predicted_text


def speed_ups(texts: pd.DataFrame, steps: pd.DataFrame, cost: Cost) -> pd.DataFrame:
    """Without over with a cache, for every timed text, in four ways.

    Columns: ``prompt``, ``new``, ``passes`` (ratio of token passes), ``operations`` (ratio of
    counted operations), ``steps`` (ratio expected from the times of single steps), ``measured``,
    ``measured_s`` and ``library_s`` (medians with cache), ``plain_s`` (median without).
    """
    rows = []
    wide = texts.pivot(index=["prompt", "new"], columns="mode", values="median")
    for (prompt, new), row in wide.iterrows():
        without = sum(prompt + i for i in range(new))
        expected = predicted_text(steps, "no cache", prompt, new) / predicted_text(
            steps, "cache", prompt, new
        )
        rows.append(
            {
                "prompt": prompt,
                "new": new,
                "passes": without / (prompt + new - 1),
                "operations": cost.without_cache(prompt, new) / cost.with_cache(prompt, new),
                "steps": expected,
                "measured": row["no cache"] / row["cache"],
                "measured_s": row["cache"],
                "plain_s": row["no cache"],
                "library_s": row["library"],
            }
        )
    return pd.DataFrame(rows)


def decode_check(texts: pd.DataFrame, steps: pd.DataFrame) -> dict[str, float]:
    """Seconds of a token by subtraction of two text lengths, and from single steps.

    Prefill and fixed costs cancel in ``(time(long) - time(short)) / (tokens - tokens)``.
    """
    own = texts[texts["mode"] == "cache"].sort_values("new")
    first, last = own.iloc[0], own.iloc[-1]
    by_difference = (last["median"] - first["median"]) / (last["new"] - first["new"])
    prompt = int(first["prompt"])
    whole = predicted_text(steps, "cache", prompt, int(last["new"]))
    part = predicted_text(steps, "cache", prompt, int(first["new"]))
    single = (whole - part) / (last["new"] - first["new"])
    return {"by_difference": float(by_difference), "single": float(single)}


def totals(cost: Cost, context: int, prompt: int = 1) -> pd.DataFrame:
    """Operations of whole texts by length: ``mode``, ``tokens``, ``operations``, ``attention``
    (scores and values alone)."""
    rows = []
    for n in [n for n in (16, 32, 64, 128, 256, 512, 1024) if n < context] + [context - prompt]:
        lengths = range(prompt, prompt + n)
        rows.append(
            (
                "no cache",
                n,
                cost.without_cache(prompt, n),
                cost.attention * sum(t * t for t in lengths),
            )
        )
        rows.append(("cache", n, cost.with_cache(prompt, n), cost.attention * sum(lengths)))
    table = pd.DataFrame(rows, columns=["mode", "tokens", "operations", "attention"])
    return table.drop_duplicates(["mode", "tokens"])


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Log-log slope over the last doubling: ``mode``, ``operations``, ``attention``."""
    import math

    rows = []
    for mode, part in table.groupby("mode", sort=False):
        own = part.sort_values("tokens")
        last = own.iloc[-1]
        half = own[own["tokens"] <= last["tokens"] / 2].iloc[-1]
        step = math.log(last["tokens"] / half["tokens"])
        rows.append(
            (
                mode,
                math.log(last["operations"] / half["operations"]) / step,
                math.log(last["attention"] / half["attention"]) / step,
            )
        )
    return pd.DataFrame(rows, columns=["mode", "operations", "attention"])
