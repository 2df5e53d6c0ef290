"""Figures of chapter 1: tables in, figures out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from internals.figures import style
from internals.stats import bootstrap_ci


def embedding_shares(table: pd.DataFrame) -> Figure:
    """Share of embedding and head against the size of the model, both on logarithmic axes.

    ``table``: as `components.embedding_shares` gives it.
    """
    figure, ax = style.figure()
    data = table.assign(million=table["parameters"] / 1e6, percent=table["share"] * 100)
    heads = ["tied to the embedding", "a matrix of its own"]
    look = {"hue_order": heads, "style_order": heads, "markers": list(style.MARKERS[:2]), "s": 45}
    columns = {"x": "million", "y": "percent", "hue": "head", "style": "head"}
    sns.scatterplot(data, ax=ax, palette=list(style.CYCLE[:2]), **columns, **look)
    ax.set(xscale="log", yscale="log", xlabel="parameters (millions)")
    ax.set_ylabel("embedding and head (%)")
    ax.margins(x=0.16, y=0.1)
    for axis in (ax.xaxis, ax.yaxis):
        style.plain_ticks(axis)
        axis.set_major_formatter("{x:,g}")
    place = np.log10(data[["million", "percent"]].to_numpy())
    for row, (x, y) in zip(data.itertuples(), place, strict=True):
        # Of two that lie close to each other the one on the right is labelled on its right.
        near = (np.abs(place - (x, y)) < (0.5, 0.09)).all(1) & (place[:, 0] > x)
        side, shift = ("right", -6) if near.any() else ("left", 6)
        text = {"xytext": (shift, 0), "textcoords": "offset points", "va": "center", "ha": side}
        bold = "bold" if row.this else "normal"
        ax.annotate(style.plain(row.name), (row.million, row.percent), size=8, weight=bold, **text)
    sns.move_legend(ax, "lower left", title="head")
    return style.finish(figure, height_in=2.3)


def head_cut(table: pd.DataFrame) -> Figure:
    """Loss when the head keeps its k leading directions, with intervals over documents.

    ``table``: as `bottleneck.truncation` gives it.
    """
    rows = []
    for k, part in table.groupby("k"):
        found = bootstrap_ci(part["bits"], unit="documents")
        rows.append((k, found.value, found.low, found.high))
    curve = pd.DataFrame(rows, columns=["k", "bits", "low", "high"])
    figure, ax = style.figure()
    sns.lineplot(curve, x="k", y="bits", marker="o", errorbar=None, ax=ax)
    ax.fill_between(curve["k"], curve["low"], curve["high"], alpha=0.2, lw=0)
    ax.set(xlabel="directions that the head sees", ylabel="loss (bits per token)")
    ax.set_xticks(curve["k"], [f"{k}" for k in curve["k"]])
    return style.finish(figure, height_in=1.6)


def shared_means(positions: int = 4, features: int = 5) -> Figure:
    """Which numbers share a mean, under a norm of one token and under batch statistics.

    Two sequences of a batch, a row for each norm; ``x`` is the number that is normalised.
    """
    at = (1, 2)  # position and feature of x
    norms, sequences = ("layer norm", "batch norm"), ("first sequence", "second sequence")
    place = [(n, s, p, f) for n in norms for s in sequences for p in range(positions)
             for f in range(features)]  # fmt: skip
    table = pd.DataFrame(place, columns=["norm", "sequence", "position", "feature"])
    table["role"] = [_role(*row, at) for row in place]
    grid = sns.FacetGrid(table, row="norm", col="sequence")
    colours = ListedColormap([style.ink().panel, style.SKY, style.ORANGE, style.PURPLE])
    look = {"vmin": 0, "vmax": 3, "cmap": colours, "cbar": False, "linewidths": 1.5}
    words = np.array(["", "shared", "later", "other"])
    for (norm, sequence), ax in grid.axes_dict.items():
        part = table[(table["norm"] == norm) & (table["sequence"] == sequence)]
        roles = part.pivot(index="position", columns="feature", values="role")
        text = words[roles.to_numpy()]
        if sequence == sequences[0]:
            text[at] = "x"
        notes = {"annot": text, "fmt": "", "annot_kws": {"size": 8, "color": "black"}}
        sns.heatmap(roles, ax=ax, linecolor=style.ink().paper, **look, **notes)
    grid.set_titles("{row_name}, {col_name}")
    grid.set(xticks=[], yticks=[], xlabel="", ylabel="")
    grid.set_axis_labels("features →", "tokens ↓")
    return style.finish(grid, height_in=1.8)


def _role(norm: str, sequence: str, position: int, feature: int, at: tuple[int, int]) -> int:
    """0 untouched, 1 shares the mean, 2 so does a later token, 3 another sequence."""
    own = sequence == "first sequence"
    if norm == "layer norm":
        return int(own and position == at[0])
    if feature != at[1]:
        return 0
    return 3 if not own else 2 if position > at[0] else 1


def value_sizes(table: pd.DataFrame) -> Figure:
    """Hidden values block by block under the own norm and under frozen statistics.

    ``table``: as `normalisation.sizes` gives it; medians over documents, an axis for each norm.
    """
    names = {"own": "its own norm", "frozen": "frozen statistics"}
    data = table[table["kind"].isin(names)].assign(norm=table["kind"].map(names))
    middle = data.groupby(["norm", "series", "block"])["size"].median().reset_index()
    middle["size"] = middle["size"].replace(np.inf, np.nan)  # a line ends where numbers do
    series = sorted(middle["series"].unique())
    order = {"hue_order": series, "style_order": series, "col_order": list(names.values())}
    grid = sns.relplot(
        middle, kind="line", x="block", y="size", hue="series", style="series", col="norm",
        palette=list(style.CYCLE[: len(series)]), facet_kws={"sharey": False}, errorbar=None, **order,
    )  # fmt: skip
    grid.set(yscale="log", xlabel="blocks passed")
    grid.axes[0, 0].set_ylabel("absolute value")
    grid.set_titles("{col_name}")
    grid.legend.set_title("")
    return style.below(grid, height_in=2.1)
