"""Figures of chapter 6: from weights and tables of heads to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from internals.figures import style

BLANK = 0.1  # smaller values are left blank


def patterns(weights: Any, ranked: pd.DataFrame, tokens: Sequence[str]) -> Figure:
    """The best head of three kinds on one sentence.

    ``weights``: ``(layer, text, head, query, key)``; ``ranked``: of `measure.attention.heads`.
    """
    best = ranked.groupby("kind").first().loc[["previous token", "induction", "first token"]]
    names = [style.plain(token.replace("\n", "↵")) for token in tokens]
    panels = {
        f"{h.Index}: {h.layer}.{h.head}": pd.DataFrame(
            weights[h.layer, 0, h.head].tolist(), names, pd.Index(names, name="looks at")
        )
        for h in best.itertuples()
    }
    return _heat(panels, "attention weight", height_in=2.3, xticklabels=True, yticklabels=True)


def head_maps(scores: pd.DataFrame) -> Figure:
    """Scores of all heads, a panel a kind; ``scores``: of `measure.attention.heads`."""
    means = scores.groupby(["kind", "layer", "head"], sort=False)["score"].mean().unstack()
    kinds = {kind.removesuffix(" token"): means.loc[kind] for kind in means.index.unique("kind")}
    return _heat(kinds, "score", height_in=2.5)


def _heat(panels: dict[str, pd.DataFrame], label: str, height_in: float, **options: Any) -> Figure:
    """A heat map for each panel on one scale; cells below `BLANK` are left out."""
    shades = [style.ink().panel, style.BLUE, style.ink().text]
    options |= {"vmin": 0, "vmax": 1, "cmap": sns.blend_palette(shades, as_cmap=True)}
    figure, axes = style.figure(1, len(panels), height_in=height_in, sharey=True)
    for ax, (title, cells) in zip(axes, panels.items(), strict=True):
        sns.heatmap(cells, ax=ax, mask=cells < BLANK, cbar=False, **options).grid(visible=False)
        sns.despine(ax=ax, top=False, right=False)
        ax.set_title(title, size=9, weight="normal")
        ax.tick_params(left=False, bottom=False, labelsize=8)
        ax.tick_params("y", labelrotation=0)
        ax.label_outer()
    bar = figure.colorbar(axes[0].collections[0], ax=axes, shrink=0.7, pad=0.02)
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


def reasons(tokens: Sequence[str], looks: Any, change: Any) -> Figure:
    """What each token but first and last gets and changes, ``(token,)``, as shares."""
    table = pd.DataFrame({"attention": looks.tolist(), "effect of hiding": change.tolist()})[1:-1]
    long = (table / table.sum()).rename_axis("place").melt(ignore_index=False, value_name="share")
    bars = {"x": "share", "y": "place", "col": "variable", "kind": "bar", "orient": "h"}
    grid = sns.catplot(long.reset_index(), height=2, errorbar=None, **bars)
    grid.set_titles("{col_name}").set_ylabels("")
    grid.set_yticklabels([style.plain(token) for token in tokens[1:-1]], size=8)
    return style.finish(grid, height_in=0.13 * len(table) + 0.5)


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
