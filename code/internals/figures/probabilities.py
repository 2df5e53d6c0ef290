"""Figures of chapter 3: from tables of measurements to pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from internals.figures import style


def rank_curve(p: np.ndarray, top: pd.DataFrame) -> Figure:
    """Probability against rank for a whole vocabulary, both on logarithmic axes.

    ``p``: probabilities, ``(vocab,)``. ``top``: ``token`` of the first ranks.
    """
    ranked = pd.DataFrame({"rank": range(1, len(p) + 1), "probability": np.sort(p)[::-1]})
    figure, ax = style.figure(height_in=1.8)
    places = np.unique(np.geomspace(1, len(ranked), 400).astype(int)) - 1
    sns.lineplot(ranked.iloc[places], x="rank", y="probability", ax=ax, errorbar=None)
    first = ranked.head(len(top))
    sns.scatterplot(first, x="rank", y="probability", s=34, color=style.CYCLE[1], ax=ax)
    for i in {0, len(first) - 1}:
        at = (first["rank"].iloc[i], first["probability"].iloc[i])
        token = style.plain(str(top["token"].iloc[i]))
        ax.annotate(token, at, (7, 3), textcoords="offset points", size=9)
    ax.axhline(1 / len(ranked), color=style.ink().muted, ls=style.DASHES[1], lw=1)
    note = {"ha": "right", "va": "bottom", "size": 9, "color": style.ink().muted}
    ax.text(len(ranked), 1.3 / len(ranked), "if all were equally likely", **note)
    ax.set(xscale="log", yscale="log", xlabel="rank of the token", ylabel="probability")
    return figure


def pushes(push: pd.DataFrame) -> Figure:
    """Push of each loss (a column) on the logit of the right token, by its ``lead``."""
    figure, ax = style.figure(height_in=1.7)
    slopes = push.melt("lead", var_name="loss", value_name="push")
    sns.lineplot(slopes, x="lead", y="push", hue="loss", style="loss", ax=ax, errorbar=None)
    ax.axvline(0, color=style.ink().muted, lw=1)
    ax.set(xlabel="lead of the right token’s logit over the other", ylabel="push upwards")
    ax.legend(title=None, loc="upper right")
    edges = {"size": 9, "color": style.ink().muted, "va": "bottom"}
    ax.text(-9.9, 1.02, "sure and wrong", ha="left", **edges)
    ax.text(0.3, 1.02, "right", ha="left", **edges)
    ax.set_ylim(-0.03, 1.15)
    return figure


def entropy_curves(sweep: pd.DataFrame) -> Figure:
    """Entropy against temperature: a thin line a prompt, the family's median thick.

    ``sweep``: columns of `measure.probabilities.temperature.sweep`.
    """
    grid = sns.relplot(
        sweep,
        x="temperature",
        y="entropy_bits",
        col="family",
        col_wrap=3,
        kind="line",
        units="prompt",
        estimator=None,
        color=style.CONTROL,
        lw=0.8,
        height=1.7,
        aspect=1.15,
    )
    grid.map_dataframe(
        sns.lineplot, "temperature", "entropy_bits", estimator="median", errorbar=None, lw=2.4
    )
    for ax in grid.axes.flat:
        for t in (0.1, 1, 2):
            ax.axvline(t, color=style.ink().muted, lw=0.8, ls=style.DASHES[2])
    grid.set(xscale="log", xticks=[0.1, 1, 2, 5], xticklabels=["0.1", "1", "2", "5"])
    for ax in grid.axes.flat:
        ax.minorticks_off()
    grid.set_titles("{col_name}")
    grid.set_axis_labels("temperature", "")
    grid.figure.supylabel("entropy (bits)", fontsize=10, color=style.ink().muted)
    return style.finish(grid, height_in=2.2)


def temperature_grid(top: pd.DataFrame) -> Figure:
    """Most likely tokens of some prompts (rows) at some temperatures (columns).

    ``top``: columns ``text``, ``temperature``, ``token``, ``probability``.
    """
    data = top.copy()
    data["prompt"] = data["text"].str.replace("\n", " ").map(style.plain)
    data["token"] = data["token"].map(style.plain)
    grid = sns.FacetGrid(
        data, row="prompt", col="temperature", sharey="row", height=1.2, aspect=1.6
    )
    grid.map_dataframe(sns.barplot, x="probability", y="token", color=style.BLUE, width=0.7)
    grid.set(xlim=(0, 1.55), xticks=[], xlabel="", ylabel="")
    for ax in grid.axes.flat:
        for label in ax.bar_label(ax.containers[0], fmt="{:.1%}", padding=2, fontsize=8):
            label.set_in_layout(False)
        ax.grid(visible=False)
    grid.set_titles("")
    for ax, prompt in zip(grid.axes[:, 0], grid.row_names, strict=True):
        ax.set_title(f"“{prompt}”", loc="left").set_in_layout(False)
    for ax, temperature in zip(grid.axes[-1], grid.col_names, strict=True):
        ax.set_xlabel(f"T = {temperature:g}")
    return style.finish(grid, height_in=0.76 * len(grid.row_names) + 0.2)


def reliability(bins: pd.DataFrame, predictions: int) -> Figure:
    """Accuracy against confidence with the band of perfect calibration, and where the mass lies.

    ``bins``: as in `measure.probabilities.calibration.Calibration`.
    """
    figure, (ax, counts) = style.figure(1, 2, height_in=2.3, width_ratios=[1.7, 1])
    middle = bins["bin"] / 10 + 0.05
    height = bins["null_high"] - bins["null_low"]
    band = {"color": style.CONTROL, "alpha": 0.35, "label": "if perfectly calibrated"}
    ax.bar(middle, height, 0.098, bottom=bins["null_low"], lw=0, **band)
    ax.plot([0, 1], [0, 1], color=style.ink().muted, lw=1, ls=style.DASHES[1])
    error = _lengths(bins, "accuracy")
    options = {"fmt": "o", "color": style.CYCLE[0], "label": "this model (95 %)"}
    ax.errorbar(bins["confidence"], bins["accuracy"], yerr=error, **options)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="share that is right")
    ax.legend(loc="lower right", borderaxespad=0)
    shares = {"x": "middle", "weights": "share", "bins": 10, "binrange": (0, 1)}
    sns.histplot(bins.assign(middle=middle), ax=counts, color=style.CYCLE[0], **shares)
    counts.set(xlim=(0, 1), xlabel=f"confidence (n = {predictions:,})", ylabel="share of n")
    return figure


def exposure(levels: pd.DataFrame) -> Figure:
    """Confidence and accuracy by number of statements, with intervals.

    ``levels``: as in `measure.probabilities.answers_by_exposure.by_level`.
    """
    data = levels.assign(statements=levels["level"].map("{:,}".format))
    figure, ax = style.figure(height_in=1.65)
    series = {"hue": "measure", "style": "measure", "markers": list(style.MARKERS[:2])}
    sns.lineplot(data, x="statements", y="value", errorbar=None, ax=ax, **series)
    for i, (_, part) in enumerate(data.groupby("measure", sort=False)):
        error = _lengths(part, "value")
        at = part["statements"]
        ax.errorbar(at, part["value"], yerr=error, fmt="none", color=style.CYCLE[i], lw=1.2)
    ax.set(ylim=(0, 1.03), xlabel="statements of the fact in the training data", ylabel="")
    ax.legend(title=None, loc="upper left")
    return figure


def _lengths(table: pd.DataFrame, value: str) -> Any:
    """Lengths of the error bars to both sides, ``(2, n)``."""
    sides = [table[value] - table["low"], table["high"] - table[value]]
    return np.clip(sides, 0, None)


CLASSES = ((1.0, "up to 1 bit"), (4.0, "up to 4"), (8.0, "up to 8"), (np.inf, "more"))
"""Classes of surprisal: upper end and name."""
_HIGHEST_BITS = 16.0
"""Where the bar above a token ends."""


def surprisal_text(tokens: pd.DataFrame, per_line: int = 46) -> Figure:
    """A text whose tokens carry their surprisal twice: as colour, and as a bar above them.

    ``tokens``: ``text``, ``bits`` (NaN where nothing was predicted).
    """
    import matplotlib as mpl

    lines = _wrapped(tokens, per_line)
    figure, ax = style.figure(height_in=0.34 * len(lines) + 0.36)
    shades = [mpl.colormaps["Oranges"](x) for x in (0.06, 0.3, 0.55, 0.85)]
    ends = [end for end, _ in CLASSES]
    for row, line in enumerate(lines):
        for start, text, bits in line:
            known = np.isfinite(bits)
            kind = int(np.searchsorted(ends, bits)) if known else -1
            face = shades[kind] if known else style.ink().panel
            box = mpl.patches.Rectangle((start + 0.05, -row - 0.3), len(text) - 0.1, 0.5, fc=face)
            ax.add_patch(box)
            bar = 0.32 * min(bits, _HIGHEST_BITS) / _HIGHEST_BITS if known else 0.0
            ink = style.ink().text
            ax.add_patch(mpl.patches.Rectangle((start + 0.3, -row + 0.22), 0.45, bar, fc=ink, lw=0))
            letters = {"ha": "center", "va": "center", "family": "monospace", "fontsize": 12}
            for i, character in enumerate(text):
                colour = ("#1F2328" if kind < 3 else "white") if known else ink
                at = (start + i + 0.5, -row - 0.06)
                ax.text(*at, style.plain(character), color=colour, **letters)
    handles = [mpl.patches.Patch(fc=c, label=n) for c, (_, n) in zip(shades, CLASSES, strict=True)]
    figure.legend(handles=handles, loc="outside lower left", ncols=4)
    ax.set(xlim=(0, per_line), ylim=(-len(lines) + 0.6, 0.6))
    ax.set_axis_off()
    return figure


def _wrapped(tokens: pd.DataFrame, per_line: int) -> list[list[tuple[int, str, float]]]:
    """Lines of (column, text, bits); a token is never cut unless it is longer than a line."""
    lines: list[list[tuple[int, str, float]]] = [[]]
    column = 0
    for text, bits in zip(tokens["text"], tokens["bits"], strict=True):
        shown = text.replace("\n", " ")[:per_line]
        if column + len(shown) > per_line:
            lines.append([])
            column = 0
        lines[-1].append((column, shown, float(bits)))
        column += len(shown)
    return lines
