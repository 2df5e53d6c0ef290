"""Figures of chapter 6: from weights and tables of heads to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from internals.figures import style

BLANK = 0.1  # smaller values are left blank


def patterns(heads: dict[str, Any], tokens: Sequence[str]) -> Figure:
    """Weights of some heads on one sentence; ``heads``: name and ``(query, key)`` weights."""
    places = range(len(tokens))
    index = pd.MultiIndex.from_product([heads, places, places], names=["head", "token", "looks at"])
    table = pd.DataFrame({"value": np.stack(list(heads.values())).ravel()}, index).reset_index()
    grid = _heat(table, "head", "token", "looks at")
    names = [style.plain(token.replace("\n", "↵")) for token in tokens]
    grid.set(xticks=np.array(places) + 0.5, yticks=np.array(places) + 0.5)
    grid.set_yticklabels(names, rotation=0, size=8)
    grid.set_xticklabels(names, rotation=90, size=8)
    return _with_bar(grid, "attention weight", height_in=2.3)


def head_maps(scores: pd.DataFrame) -> Figure:
    """Scores of all heads, a panel a kind; ``scores``: of `measure.attention.heads`."""
    keys = ["kind", "layer", "head"]
    means = scores.groupby(keys, sort=False)["score"].mean().rename("value").reset_index()
    means["kind"] = means["kind"].str.removesuffix(" token")
    return _with_bar(_heat(means, *keys), "score", height_in=2.5)


def _heat(table: pd.DataFrame, panel: str, down: str, across: str) -> Any:
    """A heat map of ``value`` for each panel; cells below `BLANK` are left out."""
    import matplotlib.pyplot as plt

    shades = [style.ink().panel, style.BLUE, style.ink().text]
    options = {"vmin": 0, "vmax": 1, "cbar": False, "cmap": sns.blend_palette(shades, as_cmap=True)}

    def draw(data: pd.DataFrame, **_: Any) -> None:
        cells = data.pivot(index=down, columns=across, values="value")
        sns.heatmap(cells, ax=plt.gca(), mask=cells < BLANK, **options).grid(visible=False)
        sns.despine(ax=plt.gca(), top=False, right=False)

    grid = sns.FacetGrid(table, col=panel).map_dataframe(draw).tick_params(left=False, bottom=False)
    return grid.set_axis_labels(across, down).set_titles("{col_name}", size=9, weight="normal")


def _with_bar(grid: Any, label: str, height_in: float) -> Figure:
    figure = style.finish(grid, height_in=height_in)
    bar = figure.colorbar(grid.axes.flat[0].collections[0], ax=grid.axes, shrink=0.7, pad=0.02)
    bar.set_label(label, size=9)
    return figure


def ablations(loss: pd.DataFrame) -> Figure:
    """Loss without some heads, a dot a text; ``loss``: of `measure.attention.ablation`."""
    data = loss[loss["which"] != "intact"].replace(
        {"which": {"top": "the strongest", "random": "random, same layers"}}
    )
    at = {"x": "count", "y": "bits", "hue": "which", "dodge": 0.4}
    grid = sns.catplot(data, col="kind", kind="strip", size=3, alpha=0.5, height=2.2, **at)
    look = {"markers": list(style.MARKERS[:2]), "linestyles": list(style.DASHES[:2])}
    grid.map_dataframe(sns.pointplot, **at, errorbar=None, palette=style.CYCLE[:2], **look)
    intact = loss.loc[loss["which"] == "intact", "bits"].mean()
    grid.refline(y=intact, color=style.CONTROL, ls=style.DASHES[2])
    grid.set_titles("{col_name} heads").set_axis_labels("heads ablated", "bits per token")
    grid.legend.set_title("")
    return style.below(grid, height_in=1.9)


def sinks(readings: pd.DataFrame) -> Figure:
    """First places by layer: weight and length; ``readings``: of `measure.attention.sinks`."""
    names = {
        ("as it is", "first"): "first token",
        ("behind a start token", "first"): "start token before it",
        ("behind a start token", "second"): "first token, now second",
    }
    long = readings.melt(["case", "layer"], ["first", "second"], value_name="weight")
    long["place"] = [names.get(key) for key in zip(long["case"], long["variable"], strict=True)]
    figure, (left, right) = style.figure(1, 2, height_in=2.2, width_ratios=[1.7, 1])
    order = [name for name in names.values() if name in set(long["place"])]
    series = {"hue": "place", "style": "place", "hue_order": order, "style_order": order}
    sns.lineplot(long, x="layer", y="weight", errorbar=None, ax=left, **series)
    left.axhline(readings["uniform"].mean(), color=style.CONTROL, ls=style.DASHES[2])
    sns.move_legend(left, "lower center", bbox_to_anchor=(0.5, 1), ncols=2, title="")
    plain = readings[readings["case"] == "as it is"]
    sns.lineplot(plain, x="layer", y="value", errorbar=None, ax=right)
    right.axhline(1, color=style.CONTROL, ls=style.DASHES[2])
    left.set(ylabel="attention weight", ylim=(0, None))
    right.set(ylabel="length of its value", ylim=(0, None))
    return figure


def reasons(effects: pd.DataFrame) -> Figure:
    """Bars for the tokens of a sentence, a panel for each column after ``token``."""
    shares = effects.drop(columns="token") / effects.drop(columns="token").sum()
    long = shares.rename_axis("place").melt(ignore_index=False, value_name="share").reset_index()
    bars = {"x": "share", "y": "place", "col": "variable", "kind": "bar", "orient": "h"}
    grid = sns.catplot(long, height=2, errorbar=None, **bars).set_titles("{col_name}")
    grid.set_yticklabels([style.plain(t) for t in effects["token"]], size=8).set_ylabels("")
    return style.finish(grid, height_in=0.13 * len(effects) + 0.5)


def emergence(logs: pd.DataFrame) -> Figure:
    """Loss and head scores during training; ``logs``: of `measure.training_record`."""
    names = {
        "stories_bits_per_byte": "loss (bits per byte)",
        "previous_token_max": "best previous-token head",
        "prefix_matching_max": "best induction head",
    }
    long = logs.rename(columns=names).melt(["model", "tokens"], [*names.values()], "what")
    series = {"hue": "model", "style": "model", "errorbar": None, "facet_kws": {"sharey": False}}
    grid = sns.relplot(long, x="tokens", y="value", col="what", kind="line", **series)
    grid.set(xscale="log", ylim=(0, 1)).set_axis_labels("training tokens", "")
    grid.axes.flat[0].set_ylim(0, 4)
    grid.set_titles("{col_name}", size=9, weight="normal").legend.set_title("")
    return style.below(grid, height_in=1.9)
