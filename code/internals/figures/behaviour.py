"""Figures of chapter 5: tables in, figures out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from internals.figures import style


def knowing(table: pd.DataFrame) -> Figure:
    """Entropy of the next token after well-known, little-known and invented names, by form."""
    figure, ax = style.figure(height_in=2.5)
    options = {"x": "form", "y": "entropy_bits", "hue": "group", "dodge": 0.5, "ax": ax}
    sns.stripplot(table, **{**options, "dodge": True}, size=3, alpha=0.6, legend=False)
    sns.pointplot(
        table,
        **options,
        estimator="median",
        errorbar=None,
        linestyle="none",
        markers=list(style.MARKERS[:3]),
        markersize=7,
        markeredgecolor=style.ink().text,
    )
    ax.set(xlabel="", ylabel="entropy (bits)")
    _legend_above(figure, ax, columns=3)
    return style.finish(figure, height_in=2.3)


def edit_costs(table: pd.DataFrame) -> Figure:
    """What each edit costs the text after it; columns of `findings…artefacts.edit_costs`."""
    _, ax = style.figure(height_in=2.3)
    data = table.assign(kind=_kinds(table["edit"]))
    palette = {"other text": style.BLUE, "same text": style.VERMILION, "control": style.CONTROL}
    markers = dict(zip(palette, style.MARKERS, strict=False))
    sns.scatterplot(
        data, x="cost", y="edit", hue="kind", style="kind", palette=palette, markers=markers,
        s=45, ax=ax, zorder=3,
    )  # fmt: skip
    ax.hlines(
        data["edit"], data["low"], data["high"], colors=data["kind"].map(palette), lw=1.6, zorder=2
    )
    ax.axvline(0, color=style.ink().muted, lw=1)
    ax.set(xlabel="cost for each of the next tokens (bits)", ylabel="")
    ax.legend(title="", loc="upper right")
    return style.finish(ax, height_in=2.0)


def _kinds(edits: pd.Series) -> pd.Series:
    same = edits.str.contains("same text").map({True: "same text", False: "other text"})
    return same.mask(edits.str.contains("control"), "control")


def memory(curve: pd.DataFrame, shares: pd.DataFrame) -> Figure:
    """Recall by number of statements, and by direction; intervals are drawn as they come.

    ``curve``: of `memory.recall_by_statements`; ``shares``: of `findings…reversal_shares`.
    """
    figure, (left, right) = style.figure(1, 2, height_in=2.5, sharey=True, width_ratios=[1.35, 1])
    data = curve.assign(
        place=curve["statements"].rank(method="dense").astype(int) - 1,
        wording=curve["wording"].map({"trained": "trained wording", "new": "new wording"}),
    ).sort_values(["wording", "place"], ascending=[False, True])
    sns.lineplot(
        data, x="place", y="value", hue="wording", style="wording", markers=["o", "s"],
        errorbar=None, ax=left,
    )  # fmt: skip
    for colour, (_, part) in zip(style.CYCLE, data.groupby("wording", sort=False), strict=False):
        left.fill_between(part["place"], part["low"], part["high"], color=colour, alpha=0.15, lw=0)
    names = data.drop_duplicates("place").sort_values("place")
    left.set_xticks(names["place"], [f"{n:,}" for n in names["statements"]])
    left.set(xlabel="times the fact was read", ylabel="facts recalled", ylim=(0, 1.03))
    left.legend(title="", loc="upper left")
    sns.pointplot(
        shares,
        x="asked",
        y="value",
        hue="stated",
        linestyle="none",
        dodge=0.3,
        markers=["o", "s"],
        markersize=6,
        errorbar=None,
        ax=right,
    )
    _bars(right, shares, "stated", "value")
    right.set(xlabel="direction of the question", ylabel="")
    right.legend(title="read", loc="center left", fontsize=8)
    for ax in (left, right):
        ax.axhline(0.1, color=style.ink().muted, ls=style.DASHES[1], lw=1)
    return style.finish(figure, height_in=2.3)


def _bars(ax: Any, table: pd.DataFrame, hue: str, value: str) -> None:
    """Our intervals at the points that seaborn has placed, one line of points for each hue."""
    points = [line for line in ax.lines if len(line.get_xdata()) and line.get_marker() != "None"]
    for line, (_, part) in zip(points, table.groupby(hue, sort=False), strict=False):
        y = part[value].to_numpy()
        sides = np.clip([y - part["low"], part["high"] - y], 0, None)
        ax.errorbar(line.get_xdata(), y, sides, fmt="none", color=line.get_color(), lw=1.4)


def agreement(table: pd.DataFrame) -> Figure:
    """What is read from a state, and what moving a state does, layer by layer."""
    figure, ax = style.figure(height_in=2.5)
    names = list(table["what"].unique())
    palette = dict(zip(names, (*style.CYCLE[:3], style.CONTROL), strict=False))
    sns.lineplot(
        table, x="layer", y="value", hue="what", style="what", markers=True, palette=palette,
        errorbar=None, ax=ax,
    )  # fmt: skip
    ax.axhline(0.5, color=style.ink().muted, ls=style.DASHES[1], lw=1)
    ax.set(xlabel="blocks passed", ylabel="share", ylim=(-0.03, 1.03))
    _legend_above(figure, ax)
    return style.finish(figure, height_in=2.3)


def _legend_above(figure: Figure, ax: Any, columns: int = 2) -> None:
    """The legend of some axes above the whole figure."""
    handles, labels = ax.get_legend_handles_labels()
    if ax.get_legend():
        ax.get_legend().remove()
    figure.legend(handles, labels, loc="outside upper left", ncols=columns)


def by_layer(table: pd.DataFrame) -> Figure:
    """Agreement with human judgements by layer: a panel for each task; columns as in
    `representations.by_layer`."""
    titles = {"related words": "human ratings", "categories": "categories"}
    titles["senses"] = "senses"
    data = table[table["task"].isin(titles)].assign(task=lambda t: t["task"].map(titles))
    lines = data.dropna(subset=["layer"])
    grid = sns.relplot(
        lines, x="layer", y="value", hue="source", style="source", col="task", kind="line",
        palette={"model": style.BLUE, "random weights": style.CONTROL}, markers=["o", "s"],
        errorbar=None, height=2.2, aspect=0.9, facet_kws={"sharey": False},
    )  # fmt: skip
    static = data[data["source"] == "embeddings alone"].set_index("task")["value"]
    for task, ax in grid.axes_dict.items():
        own = lines[(lines["task"] == task) & (lines["source"] == "model")]
        ax.fill_between(own["layer"], own["low"], own["high"], color=style.BLUE, alpha=0.15, lw=0)
        name = {"color": style.VERMILION, "label": "embeddings alone"}
        ax.axhline(static[task], ls=style.DASHES[1], lw=1.3, **name)
        ax.set_ylim(-0.05, 1.05)
    grid.set_titles("{col_name}")
    grid.set_axis_labels("blocks passed", "")
    grid.legend.remove()
    _legend_above(grid.figure, grid.axes.flat[0], columns=3)
    return style.finish(grid, height_in=2.3)
