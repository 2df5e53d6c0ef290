"""Figures of chapter 4, second half: sampling methods."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from internals.figures import style
from internals.measure.generation.samples import HUMAN, family

_BESIDE = ((5, -9), (-5, 5), (6, 3), (-5, -10), (8, -20), (-8, 16), (0, 14), (0, -22))
"""Places of a label around its point, in points of the page; the first free one is taken."""


def frontier(table: pd.DataFrame) -> Figure:
    """Diversity against the loss under the second model, with intervals over prompts."""
    figure, ax = style.figure(height_in=3.9)
    part = table.dropna(subset=["distinct_2"])
    families = list(dict.fromkeys(family(s) for s in part["setting"]))
    for row in part.itertuples():
        kind = family(row.setting)
        i = families.index(kind)
        human = row.setting == HUMAN
        ax.errorbar(
            row.distinct_2,
            row.judge_bits,
            yerr=[[row.judge_bits - row.judge_bits_low], [row.judge_bits_high - row.judge_bits]],
            xerr=[[row.distinct_2 - row.distinct_2_low], [row.distinct_2_high - row.distinct_2]],
            marker="*" if human else style.MARKERS[i],
            ms=11 if human else 5,
            color=style.ink().text if human else style.CYCLE[i],
            lw=1,
            ls="none",
            label=kind,
        )
    singles = table[table["distinct_2"].isna()].dropna(subset=["judge_bits"])
    singles = singles.sort_values("judge_bits", ascending=False)
    for side, row in zip((3, -8), singles.itertuples(), strict=False):
        ax.axhline(row.judge_bits, color=style.CONTROL, ls=style.DASHES[1], lw=1)
        ax.annotate(
            f"{row.setting} (one text for an opening)",
            (0.02, row.judge_bits),
            xycoords=("axes fraction", "data"),
            xytext=(0, side),
            textcoords="offset points",
            fontsize=7,
        )
    ax.set_xlabel("different pairs of tokens over all (distinct-2)")
    ax.set_ylabel("loss under the second model\n(bits per byte)")
    _families_above(figure, ax)
    _label_where_free(figure, ax, part)
    return figure


def _families_above(figure: Figure, ax: Axes) -> None:
    """A legend with one entry for each family, however many settings it has."""
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4)


def _label_where_free(figure: Figure, ax: Axes, part: pd.DataFrame) -> None:
    """Write each setting beside its point where nothing stands; where all is full, not at all."""
    figure.canvas.draw()
    points = ax.transData.transform(part[["distinct_2", "judge_bits"]].to_numpy(float))
    scale = figure.dpi / 72
    taken = [
        Bbox.from_bounds(x - 3 * scale, y - 3 * scale, 6 * scale, 6 * scale) for x, y in points
    ]
    taken += [text.get_window_extent() for text in ax.texts]
    for row in part.itertuples():
        for x, y in _BESIDE:
            label = ax.annotate(
                row.setting,
                (row.distinct_2, row.judge_bits),
                xytext=(x, y),
                ha="left" if x > 0 else "right" if x < 0 else "center",
                textcoords="offset points",
                fontsize=7,
                arrowprops={"arrowstyle": "-", "lw": 0.5, "color": style.ink().muted},
            )
            label.get_window_extent()  # moves the words to their place
            box = Text.get_window_extent(label)  # the words without their line
            inside = ax.bbox.contains(box.x0, box.y0) and ax.bbox.contains(box.x1, box.y1)
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()


def growth(table: pd.DataFrame, settings: tuple[str, ...]) -> Figure:
    """Different tokens against tokens generated, both logarithmic."""
    figure, ax = style.figure(height_in=2.9)
    shown = [s for s in settings if (table["setting"] == s).any()]
    for i, setting in enumerate(shown):
        own = table[table["setting"] == setting]
        human = setting == HUMAN
        ax.plot(
            own["tokens"],
            own["different"],
            marker="*" if human else style.MARKERS[i % len(style.MARKERS)],
            ms=8 if human else 4,
            color=style.ink().text if human else style.CYCLE[i % len(style.CYCLE)],
            ls=style.DASHES[i % len(style.DASHES)],
            label=setting,
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        style.plain_ticks(axis)
    ax.set_xlabel("tokens of all texts so far (log scale)")
    ax.set_ylabel("different tokens among them\n(log scale)")
    figure.legend(loc="outside upper center", ncols=4)
    return figure


def kept_sets(table: pd.DataFrame) -> Figure:
    """What each setting keeps at a step: number of tokens, and entropy of the draw.

    Thick: quartiles over steps; thin: from the fifth to the ninety-fifth percentile.
    """
    settings = list(dict.fromkeys(table["setting"]))
    figure, axes = style.figure(1, 2, height_in=0.26 * len(settings) + 1.0, sharey=True)
    y = np.arange(len(settings))[::-1]
    for ax, column in zip(axes, ("kept", "kept_bits"), strict=True):
        quantiles = (
            table.groupby("setting", sort=False)[column]
            .quantile([0.05, 0.25, 0.5, 0.75, 0.95])
            .unstack()
            .loc[settings]
        )
        ax.hlines(y, quantiles[0.05], quantiles[0.95], color=style.CYCLE[0], lw=1)
        ax.hlines(y, quantiles[0.25], quantiles[0.75], color=style.CYCLE[0], lw=4)
        ax.plot(quantiles[0.5], y, "o", color=style.CYCLE[1], ms=5)
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(y, settings)
    axes[0].set_xscale("log")
    axes[0].set_xlabel("tokens kept at a step (log scale)")
    axes[1].set_xlabel("entropy of what is drawn from (bits)")
    return figure


def repeated_pieces(table: pd.DataFrame) -> Figure:
    """Surprisal of a piece of text by how often it stood there before, beside its control."""
    figure, ax = style.figure(height_in=2.7)
    for i, (kind, own) in enumerate(table.groupby("text", sort=False)):
        grouped = own.groupby("round")["bits"]
        mean, error = grouped.mean(), 1.96 * grouped.sem()
        ax.errorbar(
            mean.index,
            mean,
            error,
            marker=style.MARKERS[i],
            color=style.CYCLE[i],
            ls=style.DASHES[i],
            label={"repeated": "same piece before", "control": "other pieces before"}[str(kind)],
        )
    ax.set_ylim(bottom=0)
    ax.set_xticks(sorted(table["round"].unique()))
    ax.set_xlabel("place of the piece in the row")
    ax.set_ylabel("surprisal of the piece\n(bits per token)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def wrong_statements(table: pd.DataFrame) -> Figure:
    """Share of wrong statements in free text by setting, with intervals and chance."""
    figure, ax = style.figure(height_in=0.28 * len(table) + 1.1)
    y = np.arange(len(table))[::-1]
    error = np.clip([table["wrong"] - table["low"], table["high"] - table["wrong"]], 0, None)
    ax.errorbar(table["wrong"], y, xerr=error, fmt="o", label="written")
    ax.plot(table["chance"], y, "x", color=style.CONTROL, label="objects dealt out anew (chance)")
    ax.set_yticks(y, table["setting"])
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("share of statements about countries that are wrong")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def nucleus_sizes(table: pd.DataFrame, hidden_k: int) -> Figure:
    """Size of the nucleus by entropy; above the line a hidden top-k would cut it."""
    figure, ax = style.figure(height_in=2.9)
    for i, (kind, part) in enumerate(table.groupby("family", sort=False)):
        ax.plot(
            part["entropy_bits"],
            part["size"],
            style.MARKERS[i % len(style.MARKERS)],
            ms=4.5,
            color=style.CYCLE[i % len(style.CYCLE)],
            label=kind,
        )
    ax.axhline(hidden_k, color=style.ink().muted, ls=style.DASHES[1], lw=1)
    ax.set_yscale("log")
    ax.set_xlabel("entropy of the distribution (bits)")
    ax.set_ylabel("tokens in the nucleus (log scale)")
    figure.legend(loc="outside upper center", ncols=6)
    return figure


def feeding(table: pd.DataFrame, human: pd.DataFrame) -> Figure:
    """By position, mean probability of the greedy token and, in human text, of the likeliest one;
    beside them the share of repeated 4-grams in greedy text."""
    figure, axes = style.figure(1, 2, height_in=2.9)
    lines = (
        (axes[0], table, "probability", "greedy text: chosen token"),
        (axes[0], human, "probability", "human text: likeliest token"),
        (axes[1], table, "repeated", "greedy text: repeated four-grams"),
    )
    # Short texts get narrower bins, or a curve would have one point.
    width = int(np.clip(table["position"].max() // 5, 1, 16))
    highest = 0.0
    for i, (ax, source, column, label) in enumerate(lines):
        binned = source.assign(bin=(source["position"] - 1) // width * width + (width + 1) / 2)
        # One value for a text in each bin, so that the band is over texts.
        per_text = binned.groupby(["bin", "prompt"])[column].mean().groupby("bin")
        mean, error = per_text.mean(), 1.96 * per_text.sem()
        ax.plot(
            mean.index,
            mean,
            marker=style.MARKERS[i],
            ms=3.5,
            color=style.CYCLE[i],
            ls=style.DASHES[i],
            label=label,
        )
        ax.fill_between(mean.index, mean - error, mean + error, color=style.CYCLE[i], alpha=0.15)
        if column == "probability":
            highest = max(highest, float((mean + error.fillna(0)).max()))
    # Probabilities of a model that is sure of nothing would be flat lines on a full axis.
    axes[0].set_ylim(0, 1.3 * highest if 0 < highest < 0.1 else 1.02)
    axes[1].set_ylim(0, 1.02)
    axes[0].set_ylabel("mean probability over texts")
    axes[1].set_ylabel("mean share over texts")
    for ax in axes:
        ax.set_xlabel("position in the text")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def fact_bars(table: pd.DataFrame) -> Figure:
    """Share of right capitals by setting, with intervals."""
    figure, ax = style.figure(height_in=0.24 * len(table) + 0.8)
    y = np.arange(len(table))[::-1]
    error = np.clip([table["value"] - table["low"], table["high"] - table["value"]], 0, None)
    ax.errorbar(table["value"], y, xerr=error, fmt="o")
    ax.set_yticks(y, table["setting"])
    ax.set_xlim(0, 1.02)
    ax.set_xlabel("share of answers that name the right capital")
    return figure
