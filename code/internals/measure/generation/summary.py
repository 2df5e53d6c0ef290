"""Tables that the chapter shows, made from stored measurements; nothing here runs a model."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from internals import stats
from internals.measure.generation.operations import Cost
from internals.measure.generation.prediction import passes, text_seconds


def speed_ups(texts: pd.DataFrame, steps: pd.DataFrame, cost: Cost) -> pd.DataFrame:
    """Without over with a cache, for every timed text.

    Columns: ``prompt``, ``new``, ``passes`` (ratio of token passes), ``operations`` (ratio of
    counted operations), ``steps`` (ratio of the summed times of single steps), ``measured``, ``n``,
    ``measured_s`` and ``library_s`` (medians with cache; NaN where the library was not timed),
    ``plain_s`` (median without).
    """
    rows = []
    wide = texts.pivot(index=["prompt", "new"], columns="mode", values="median")
    counts = texts.groupby(["prompt", "new"])["n"].min()
    for (prompt, new), row in wide.iterrows():
        summed = [text_seconds(steps, mode, prompt, new) for mode in ("no cache", "cache")]
        rows.append(
            {
                "prompt": prompt,
                "new": new,
                "passes": passes(prompt, new),
                "operations": cost.without_cache(prompt, new) / cost.with_cache(prompt, new),
                "steps": summed[0] / summed[1],
                "measured": row["no cache"] / row["cache"],
                "measured_s": row["cache"],
                "plain_s": row["no cache"],
                "library_s": row.get("library", math.nan),
                "n": counts[prompt, new],
            }
        )
    return pd.DataFrame(rows)


def cross_check(texts: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """Time to the first token and time of a further token, each in two ways.

    By subtraction, from whole cached texts alone: prefill and fixed costs cancel in the difference
    of two texts with one prompt, which leaves the further tokens; another text less as many tokens
    leaves its first one, with whatever a whole text costs beyond its steps. In a context too short
    for two texts the further tokens are those of single steps.
    Columns: ``quantity``, ``prompt``, ``by_subtraction``, ``by_steps`` (seconds), ``error``.
    """
    own = texts[texts["mode"] == "cache"].sort_values(["prompt", "new"])
    pairs = own[own.duplicated("prompt", keep=False)]
    rows: list[tuple[str, int, float, float]] = []
    last = own.iloc[-1]
    prompt, new = int(last["prompt"]), int(last["new"])
    first = text_seconds(steps, "cache", prompt, 1)
    rest = text_seconds(steps, "cache", prompt, new) - first
    if len(pairs) >= 2:
        short, long = pairs.iloc[0], pairs.iloc[-1]
        of_pair, extra = int(short["prompt"]), int(long["new"] - short["new"])
        summed = [text_seconds(steps, "cache", of_pair, int(r["new"])) for r in (long, short)]
        further = (long["median"] - short["median"]) / extra
        rows.append(("a further token", of_pair, further, (summed[0] - summed[1]) / extra))
        rest = (new - 1) * further
    rows.append(("the first token", prompt, last["median"] - rest, first))
    table = pd.DataFrame(rows, columns=["quantity", "prompt", "by_subtraction", "by_steps"])
    return table.assign(error=table["by_subtraction"] / table["by_steps"] - 1)


def local_slope(repeats: pd.DataFrame) -> stats.Estimate:
    """Log-log slope of the seconds between the last length and the one at or below its half.

    ``repeats``: ``length``, ``repeat``, ``seconds``; the interval is over repeats.
    """
    wide = repeats.pivot(index="repeat", columns="length", values="seconds").dropna()
    last = wide.columns.max()
    half = wide.columns[wide.columns <= last / 2].max()
    slopes = np.log(wide[last] / wide[half]) / math.log(last / half)
    return stats.bootstrap_ci(slopes.to_numpy(), np.median, unit="repeats")


def expected_slope(cost: Cost, last: int, half: int) -> float:
    """The same slope of the counted operations of a forward pass."""
    return math.log(cost.full(last) / cost.full(half)) / math.log(last / half)


MODES = {"no cache": "no cache", "cache": "cache"}
WHOLE, SCORES = "whole model", "scores and values of a layer"


def totals(steps: pd.DataFrame, parts: pd.DataFrame) -> pd.DataFrame:
    """Seconds of whole texts by their length, added up from timed steps.

    ``steps`` as `speed.steps`, ``parts`` as `scaling.scaling`. Columns: ``what`` (whole model,
    scores and values of a layer), ``mode``, ``tokens``, ``repeat``, ``seconds`` (sum of all steps
    up to this length, from the shortest timed one; times between timed lengths are interpolated on
    logarithmic axes).
    """
    named = parts["part"].map({"scores and values, plain": "no cache", "one new token": "cache"})
    sources = (
        (WHOLE, steps[steps["mode"].isin(MODES)]),
        (SCORES, parts.assign(mode=named).dropna(subset=["mode"])),
    )
    rows = []
    for what, table in sources:
        for (mode, repeat), own in table.groupby(["mode", "repeat"], sort=False):
            own = own.sort_values("length")
            at = np.arange(own["length"].min(), own["length"].max() + 1)
            log_seconds = np.interp(
                np.log(at), np.log(own["length"]), np.log(own["seconds"].clip(lower=1e-9))
            )
            summed = np.exp(log_seconds).cumsum()
            rows += [(what, mode, n, repeat, summed[n - at[0]]) for n in _doublings(at[0], at[-1])]
    return pd.DataFrame(rows, columns=["what", "mode", "tokens", "repeat", "seconds"])


def _doublings(first: int, last: int) -> list[int]:
    """The last length, its half, its quarter …, while twice the first one or longer."""
    found, n = [int(last)], int(last) // 2
    while n >= 2 * first:
        found.append(n)
        n //= 2
    return found[::-1]


def exponents(table: pd.DataFrame, cost: Cost) -> pd.DataFrame:
    """Exponent of the totals over the last doubling, counted and measured.

    Columns: ``what``, ``mode``, ``to`` (tokens), ``counted`` (the same sums of operations),
    ``measured``, ``low``, ``high`` (over repeats), ``n``.
    """
    scores = Cost(linear=0, attention=1, head=0)
    rows = []
    for (what, mode), own in table.groupby(["what", "mode"], sort=False):
        wide = own.pivot(index="repeat", columns="tokens", values="seconds")
        if len(wide.columns) < 2:
            continue
        half, last = wide.columns[-2:]
        slopes = np.log(wide[last] / wide[half]) / math.log(last / half)
        found = stats.bootstrap_ci(slopes.to_numpy(), np.median, unit="repeats")
        parts = cost if what == WHOLE else scores
        one: Callable[[int], int] = parts.full if mode == "no cache" else parts.step
        start = int(table.loc[table["what"] == what, "tokens"].min()) // 2
        sums = [sum(one(t) for t in range(start, n + 1)) for n in (half, last)]
        counted = math.log(sums[1] / sums[0]) / math.log(last / half)
        row = (what, mode, int(last), counted, found.value, found.low, found.high, found.n)
        rows.append(row)
    columns = ["what", "mode", "to", "counted", "measured", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)
