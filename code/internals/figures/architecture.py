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

    ``table``: as `components.embedding_shares` gives it. A line joins models of one family.
    """
    figure, ax = style.figure()
    data = table.assign(million=table["parameters"] / 1e6, percent=table["share"] * 100)
    heads = ["tied to the embedding", "a matrix of its own"]
    look = {"hue_order": heads, "style_order": heads, "markers": list(style.MARKERS[:2]), "s": 45}
    columns = {"x": "million", "y": "percent", "hue": "head", "style": "head"}
    data["family"] = data["name"].str.rsplit(" ", n=1).str[0].str.lower()
    thin = {"units": "family", "estimator": None, "color": style.GREY, "lw": 0.8, "zorder": 1}
    sns.lineplot(data, x="million", y="percent", ax=ax, **thin)
    sns.scatterplot(data, ax=ax, palette=list(style.CYCLE[:2]), **columns, **look)
    ax.set(xscale="log", yscale="log", xlabel="parameters (millions)")
    ax.set_ylabel("share (%)")
    ax.margins(x=0.16, y=0.1)
    for axis in (ax.xaxis, ax.yaxis):
        style.plain_ticks(axis)
        axis.set_major_formatter("{x:,g}")
    place = np.log10(data[["million", "percent"]].to_numpy())
    for row, (x, y) in zip(data.itertuples(), place, strict=True):
        # Of two that lie close to each other the one on the right is labelled on its right.
        near = (np.abs(place - (x, y)) < (0.5, 0.09)).all(1) & (place[:, 0] > x)
        side, shift = ("right", (-6, -3)) if near.any() else ("left", (6, 0))
        text = {"xytext": shift, "textcoords": "offset points", "va": "center", "ha": side}
        bold = "bold" if row.this else "normal"
        large = f" ({row.vocab / 1000:.0f}k)" if row.vocab > 1e5 and side == "left" else ""
        ax.annotate(
            style.plain(row.name) + large, (row.million, row.percent), size=8, weight=bold, **text
        )
    sns.move_legend(ax, "lower left", title="head")
    return style.finish(figure, height_in=2.2)


def head_cut(table: pd.DataFrame) -> Figure:
    """Loss when the head keeps its k leading directions, with intervals over documents.

    ``table``: as `bottleneck.truncation` gives it.
    """
    found = {k: bootstrap_ci(part["bits"]) for k, part in table.groupby("k")}
    rows = [(k, one.value, one.low, one.high) for k, one in found.items()]
    curve = pd.DataFrame(rows, columns=["k", "bits", "low", "high"])
    figure, ax = style.figure()
    sns.lineplot(curve, x="k", y="bits", marker="o", errorbar=None, ax=ax)
    ax.fill_between(curve["k"], curve["low"], curve["high"], alpha=0.2, lw=0)
    ax.set(xlabel="directions that the head sees", ylabel="bits per token")
    ax.set_xticks(curve["k"], [f"{k}" for k in curve["k"]])
    return style.finish(figure, height_in=1.5)


def shared_means(positions: int = 4, features: int = 5) -> Figure:
    """Which numbers share a mean, under a norm of one token and under batch statistics.

    Two sequences of a batch, a row for each norm; ``x`` is the number that is normalised.
    """
    words = np.array(["", "shared", "later", "other"])
    roles = np.zeros((2, 2, positions, features), dtype=int)  # norm, sequence, token, feature
    roles[0, 0, 1] = roles[1, 0, :, 2] = 1
    roles[1, 0, 2:, 2] = 2  # a later token shares the mean
    roles[1, 1, :, 2] = 3  # and so does another sequence
    figure, axes = style.figure(2, 2, height_in=1.7)
    colours = ListedColormap([style.ink().panel, style.SKY, style.ORANGE, style.PURPLE])
    look = {"vmin": 0, "vmax": 3, "cmap": colours, "cbar": False, "linewidths": 1.5, "fmt": ""}
    look |= {"linecolor": style.ink().paper, "annot_kws": {"size": 8, "color": "black"}}
    for (norm, sequence), ax in np.ndenumerate(axes):
        text = words[roles[norm, sequence]]
        if sequence == 0:
            text[1, 2] = "x"
        sns.heatmap(roles[norm, sequence], ax=ax, annot=text, **look)
        name = f"{('layer', 'batch')[norm]} norm, {('first', 'second')[sequence]} sequence"
        ax.set(title=name, xticks=[], yticks=[])
    figure.supxlabel("features →", size=9)
    figure.supylabel("tokens ↓", size=9)
    return figure


def value_sizes(table: pd.DataFrame) -> Figure:
    """Hidden values block by block under the own norm and under frozen statistics.

    ``table``: as `normalisation.sizes` gives it; medians over documents, an axis for each norm.
    """
    names = {"own": "its own norm", "frozen": "frozen statistics"}
    data = table.assign(norm=table["kind"].map(names))
    middle = data.groupby(["norm", "series", "block"])["size"].median().reset_index()
    middle["size"] = middle["size"].replace(np.inf, np.nan)  # a line ends where numbers do
    series = sorted(middle["series"].unique())
    order = {"hue_order": series, "style_order": series, "col_order": list(names.values())}
    grid = sns.relplot(
        middle, kind="line", x="block", y="size", hue="series", style="series", col="norm",
        palette=list(style.CYCLE[: len(series)]), facet_kws={"sharey": False},
        errorbar=None, **order,
    )  # fmt: skip
    grid.set(yscale="log", xlabel="blocks passed")
    grid.axes[0, 0].set_ylabel("absolute value")
    grid.set_titles("{col_name}")
    grid.legend.set_title("")
    return style.below(grid, height_in=1.9)
