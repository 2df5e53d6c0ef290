"""Figures of chapter 4 about the choice of the next token."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from internals.figures import style

COLOURS = dict(zip("Tkpgb", style.CYCLE, strict=False))
"""Of settings, by their first letter; human text has the colour of text."""


def survivors(table: pd.DataFrame) -> Figure:
    """Likeliest tokens of some openings (rows), and what each rule leaves of them (columns).

    ``table`` as `choices.survivors`. A token that a rule removes is an empty bar.
    """
    data = table.copy()
    data["drawn"] = data["probability"].where(data["probability"] > 0)
    data["removed"] = data["before"].where(data["probability"] == 0)
    grid = sns.FacetGrid(data, row="prompt", col="rule", sharey="row", sharex="row")
    bars = {"y": "place", "orient": "h", "width": 0.7, "errorbar": None}
    grid.map_dataframe(sns.barplot, x="drawn", color=style.BLUE, **bars)
    grid.map_dataframe(
        sns.barplot, x="removed", fill=False, color=style.VERMILION, linewidth=1, **bars
    )
    grid.set_titles("")
    for (prompt, rule), own in data.groupby(["prompt", "rule"], sort=False):
        ax = grid.axes_dict[prompt, rule]
        ax.set(xlabel=f"{int(own['kept'].iloc[0]):,} tokens left", ylabel="")
        ax.set_yticks(range(len(own)), own["token"].map(style.plain), size=8)
        ax.grid(visible=False)
        ax.set_title(rule if ax in grid.axes[0] else " ", pad=20)
        if ax in grid.axes[:, 0]:
            text = "“" + style.plain(own["text"].iloc[0].replace("\n", " ")) + " …”"
            place = {"xycoords": "axes fraction", "textcoords": "offset points"}
            ax.annotate(text, (0, 1), (0, 4), annotation_clip=False, **place).set_in_layout(False)
    return style.finish(grid, height_in=1.8 * len(grid.row_names))


def frontier(compared: pd.DataFrame) -> Figure:
    """Diversity of the settings against their loss under the judge, beside human text.

    ``compared`` as `quality.compared`.
    """
    ax = style.figure(height_in=2.6)[1]
    thin = {"color": style.GREY, "lw": 0.8, "zorder": 1}
    for row in compared.itertuples():
        ax.hlines(row.judge_bits, row.distinct_1_low, row.distinct_1_high, **thin)
        ax.vlines(row.distinct_1, row.judge_bits_low, row.judge_bits_high, **thin)
    people = compared[compared["setting"] == "human"].iloc[0]
    ax.axhspan(people["judge_bits_low"], people["judge_bits_high"], color=style.GREY, alpha=0.15)
    sns.scatterplot(
        compared,
        x="distinct_1",
        y="judge_bits",
        hue="setting",
        style="setting",
        palette={s: COLOURS.get(s[0], style.ink().text) for s in compared["setting"]},
        s=70,
        legend=False,
        ax=ax,
    )
    for row in compared.itertuples():
        # Of two that lie close to each other the one on the right is labelled on its right.
        right = (compared["distinct_1"] - row.distinct_1).between(1e-9, 0.05)
        near = right & ((compared["judge_bits"] - row.judge_bits).abs() < 0.2)
        side = {"xytext": (-6, 4), "ha": "right"} if near.any() else {"xytext": (5, 4)}
        at = (row.distinct_1, row.judge_bits)
        ax.annotate(row.setting, at, textcoords="offset points", **side)
    ax.set(xlabel="different tokens in a text (share)", ylabel="bits per byte under the judge")
    return style.finish(ax, height_in=2.6)
