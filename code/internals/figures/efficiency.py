"""Figures of chapter 4 about time: from tables of measurements to pictures."""

from __future__ import annotations

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from internals.figures import style
from internals.measure.generation.stores import FULL, NOTHING


def step_times(steps: pd.DataFrame, costs: pd.DataFrame) -> Figure:
    """Time of each step of whole texts (median, quartiles as a band), and of longer single steps.

    ``steps`` as `speed.step_seconds`, ``costs`` as `steps.costs`.
    """
    names = {"no cache": "without a cache", "cache": "with a cache"}
    lines = steps.assign(mode=steps["mode"].map(names))
    lines[["median", "low", "high"]] *= 1000
    modes = costs["stored"].map({NOTHING: names["no cache"], FULL: names["cache"]})
    points = costs.assign(mode=modes, ms=1000 * costs["seconds"]).dropna(subset="mode")
    ax = style.figure(height_in=2.3)[1]
    order = list(names.values())
    options: dict[str, Any] = {"hue": "mode", "hue_order": order, "style": "mode", "ax": ax}
    sns.lineplot(lines, x="length", y="median", errorbar=None, style_order=order, **options)
    for mode, own in lines.groupby("mode"):
        colour = style.CYCLE[order.index(str(mode))]
        ax.fill_between(own["length"], own["low"], own["high"], color=colour, alpha=0.2, lw=0)
    middle = points.groupby(["mode", "tokens"], as_index=False)["ms"].median()
    sns.scatterplot(middle, x="tokens", y="ms", style_order=order, legend=False, s=40, **options)
    ax.set(
        xscale="log", yscale="log", xlabel="tokens of the text so far", ylabel="ms for one token"
    )
    style.plain_ticks(ax.xaxis)
    style.plain_ticks(ax.yaxis)
    sns.move_legend(ax, "upper left", title="")
    return style.finish(ax, height_in=2.3)


def part_times(times: pd.DataFrame, powers: pd.DataFrame) -> Figure:
    """Time of attention and of kernels with a known power, on logarithmic axes.

    ``times`` and ``powers`` as in `scaling`.
    """
    rows = powers.itertuples()
    names = {r.part: f"{r.part}: {r.power:.2f} [{r.low:.2f}, {r.high:.2f}]" for r in rows}
    times = times.assign(part=times["part"].map(names))
    data = times.groupby(["part", "length"], as_index=False, sort=False)["seconds"].median()
    data["ms"] = 1000 * data["seconds"]
    ax = style.figure(height_in=2.4)[1]
    sns.lineplot(
        data, x="length", y="ms", hue="part", style="part", markers=True, errorbar=None, ax=ax
    )
    ax.set(xscale="log", yscale="log", xlabel="tokens", ylabel="ms (log scale)")
    lengths = sorted(data["length"].unique())
    ax.set_xticks(lengths, [f"{n:,}" for n in lengths])
    ax.minorticks_off()
    style.plain_ticks(ax.yaxis)
    sns.move_legend(ax, "lower center", bbox_to_anchor=(0.45, 1.0), ncol=2, title="")
    return style.finish(ax, height_in=2.4)
