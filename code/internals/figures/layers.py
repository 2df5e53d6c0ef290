"""Figures of chapter 7: tables in, figures out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from internals.figures import style
from internals.stats import bootstrap_ci


def lenses(table: pd.DataFrame) -> Figure:
    """Divergence, entropy and rank of both lenses by depth. ``table``: `lens.by_depth`."""
    names = {"kl_bits": "divergence (bits)", "entropy_bits": "entropy (bits)", "rank": "rank"}
    long = table.melt(["lens", "depth"], list(names), "what")
    data = _curves(long.assign(what=long["what"].map(names)), ["what", "lens", "depth"])
    grid = _lines(data, x="depth", y="value", hue="lens", col="what")
    left, _, right = grid.axes.flat
    inside = data[(data["what"] == names["kl_bits"]) & (data["depth"] > 0)]
    left.set_ylim(0, 1.1 * inside["high"].max())  # the raw lens starts far outside
    right.set(yscale="log")
    return style.below(grid.set(xlabel="blocks passed", ylabel=""), height_in=1.95)


def sizes(table: pd.DataFrame) -> Figure:
    """Sizes of the stream and of what is added to it, first token apart; of `geometry`."""
    data = table.groupby(["where", "part", "depth"], sort=False)["size"].median().reset_index()
    grid = _lines(data, x="depth", y="size", hue="part", col="where")
    grid.set(yscale="log", xlabel="blocks passed")
    grid.axes.flat[0].set_ylabel("Euclidean norm")
    return style.below(grid, height_in=1.9)


def directions(cosines: pd.DataFrame, likeness: pd.DataFrame) -> Figure:
    """Mean cosines by depth, and the alignment of every depth with every other."""
    figure, (left, right) = style.figure(1, 2, height_in=2.3)
    mean = cosines.groupby(["what", "depth"], sort=False)["cosine"].mean().reset_index()
    sns.lineplot(mean, x="depth", y="cosine", hue="what", style="what", ax=left, errorbar=None)
    left.set(xlabel="blocks passed", ylabel="mean cosine", ylim=(-0.05, 1.05), yticks=[0, 0.5, 1])
    sns.move_legend(left, "lower left", bbox_to_anchor=(-0.1, 1), ncols=2, title=None, fontsize=8)
    wide = likeness.groupby(["depth", "other"])["cka"].mean().unstack()
    look: dict[str, Any] = {"vmin": 0, "vmax": 1, "cmap": style.SEQUENTIAL, "square": True}
    sns.heatmap(wide, ax=right, xticklabels=3, yticklabels=3, cbar_kws={"label": "CKA"}, **look)
    right.set(xlabel="blocks passed", ylabel="blocks passed")
    right.invert_yaxis()
    return figure


def contributions(table: pd.DataFrame) -> Figure:
    """What attention and MLP of each block add to the lead. ``table``: `facts.contributions`."""
    parts = table[table["part"].isin(["attention", "MLP"])]
    by_pair = parts.groupby(["part", "depth", "pair"])["logit"].mean().rename("value").reset_index()
    grid = _lines(_curves(by_pair, ["part", "depth"]), x="depth", y="value", hue="part", aspect=2)
    grid.ax.axhline(0, color=style.ink().muted, lw=0.8)
    grid.ax.legend(title=None, loc="upper left")
    grid.legend.remove()
    grid.set(xlabel="block", ylabel="logits added")
    return style.finish(grid, height_in=1.8)


def patches(table: pd.DataFrame) -> Figure:
    """Mean effect of each patch, depth by place. ``table``: `patching.effects`."""
    wide = table.groupby(["place", "depth"])["effect"].mean().unstack().round(2)
    wide.index = [style.plain(t) for t in table.drop_duplicates("place")["token"]]
    ax = style.figure(height_in=1.7)[1]
    look: dict[str, Any] = {"vmin": 0, "vmax": 1, "cmap": style.SEQUENTIAL, "linewidths": 0.5}
    sns.heatmap(wide + 0.0, ax=ax, annot=True, fmt=".2f", annot_kws={"size": 7}, **look)
    ax.set(xlabel="blocks passed", ylabel="")
    ax.tick_params(axis="y", rotation=0)
    return style.finish(ax, height_in=1.7)


def probed(table: pd.DataFrame) -> Figure:
    """What probes get right by depth; thin: always the largest class. ``table``:
    `probes.continents`."""
    data = _curves(table.rename(columns={"right": "value"}), ["place", "what", "depth"])
    grid = _lines(data, x="depth", y="value", hue="what", col="place")
    for ax in grid.axes.flat:
        ax.axhline(table["largest"].iloc[0], color=style.ink().muted, ls=":", lw=1)
    grid.set(xlabel="blocks passed", ylabel="", ylim=(0, 1.05))
    grid.axes.flat[0].set_ylabel("share right")
    return style.below(grid, height_in=1.9)


def _lines(data: pd.DataFrame, *, hue: str, **options: Any) -> sns.FacetGrid:
    """Lines with their intervals, where there are any, a panel for each value of ``col``."""
    palette = list(style.CYCLE[: data[hue].nunique()])
    grid = sns.relplot(data, kind="line", hue=hue, style=hue, palette=palette, errorbar=None,
                       facet_kws={"sharey": False}, **options)  # fmt: skip
    if "low" in data:
        for (_, column, _), part in grid.facet_data():
            for colour, (_, one) in zip(palette, part.groupby(hue, sort=False), strict=True):
                band = {"color": colour, "alpha": 0.2, "lw": 0}
                grid.axes.flat[column].fill_between(one["depth"], one["low"], one["high"], **band)
    grid.legend.set_title("")
    return grid.set_titles("{col_name}")


def _curves(data: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Mean and interval over units of the values of each group."""
    rows = []
    for key, part in data.groupby(list(keys), sort=False):
        found = bootstrap_ci(part["value"])
        rows.append((*key, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=[*keys, "value", "low", "high"])
