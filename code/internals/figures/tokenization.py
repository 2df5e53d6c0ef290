"""Figures of chapter 2: tables in, figures out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from internals.figures import style


def rarity_curve(table: pd.DataFrame) -> Figure:
    """Mean pieces of a word by the power of ten of its count, with the middle half of the words."""
    figure, ax = style.figure()
    groups = table.groupby("band")["pieces"]
    means, low, high = groups.mean(), groups.quantile(0.25), groups.quantile(0.75)
    x = means.index.to_numpy()
    ax.fill_between(x, low, high, alpha=0.2, label="middle half of the words")
    ax.plot(x, means, marker="o", label="mean")
    ax.set_xticks(x, [f"{10**b:,}–{10 ** (b + 1) - 1:,}" for b in x], rotation=20, ha="right")
    ax.set_xlabel("occurrences in the story corpus")
    ax.set_ylabel("pieces")
    ax.set_ylim(bottom=0.8)
    ax.legend()
    return figure


def number_map(table: pd.DataFrame) -> Figure:
    """Pieces of 0 to 9,999 with a space before them: hundreds down, the last two digits across."""
    figure, ax = style.figure(ratio=0.75)
    spaced = table[table["space"]].sort_values("number")["pieces"].to_numpy()
    grid = spaced.reshape(100, 100)
    top = int(grid.max())
    image = ax.imshow(grid, cmap=style.SEQUENTIAL, vmin=1, vmax=max(top, 2), aspect="auto")
    ax.set_xlabel("last two digits")
    ax.set_ylabel("number without its last two digits")
    ax.grid(False)
    bar = figure.colorbar(image, ticks=range(1, top + 1), label="pieces")
    bar.outline.set_visible(False)
    return figure


def pair_cosines(table: pd.DataFrame) -> Figure:
    """Cosines of two forms of a word beside both controls."""
    kinds = list(dict.fromkeys(table["pair"]))
    figure, axes = style.figure(1, len(kinds), sharey=True, squeeze=False)
    titles = {"case": "case differs", "space": "space differs", "both": "both differ"}
    bins = np.linspace(-0.4, 1, 43)
    for ax, kind in zip(axes[0], kinds, strict=True):
        part = table[table["pair"] == kind]
        for column, label in (
            ("own", "same word"),
            ("neighbour", "word of like frequency"),
            ("random", "random word"),
        ):
            ax.hist(part[column], bins=bins, histtype="step", density=True, label=label, lw=1.6)
        ax.set_title(titles[kind])
        ax.set_xlabel("cosine")
    axes[0][0].set_ylabel("density")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def context_layers(table: pd.DataFrame) -> Figure:
    """How far the two groups of sentences lie apart, layer by layer, by kind of word."""
    figure, ax = style.figure()
    for kind, part in table.groupby("kind", sort=False):
        mean = part.groupby("layer")["gap"].mean()
        error = part.groupby("layer")["gap"].sem()
        ax.plot(mean.index, mean, marker="o", label=f"words of {kind}")
        ax.fill_between(mean.index, mean - 1.96 * error, mean + 1.96 * error, alpha=0.2)
    ax.axhline(0, color=style.ink().muted, lw=1)
    ax.set_xlabel("layer (0 is the embedding)")
    ax.set_ylabel("within-group minus between-group cosine")
    ax.legend()
    return figure


def rate_bars(table: pd.DataFrame, rate: str) -> Figure:
    """One rate of every tokenizer with its interval."""
    part = table[table["rate"] == rate].sort_values("value")
    figure, ax = style.figure(height_in=0.4 * len(part) + 0.9)
    error = np.clip([part["value"] - part["low"], part["high"] - part["value"]], 0, None)
    ax.barh(part["tokenizer"], part["value"], xerr=error, height=0.6, ecolor=style.ink().text)
    ax.set_xlabel(rate)
    ax.grid(axis="y", visible=False)
    return figure


def premium_dots(table: pd.DataFrame) -> Figure:
    """Tokens of each language over English, with intervals, beside the ratio of bytes."""
    names = list(dict.fromkeys(table["tokenizer"]))
    own = table[table["tokenizer"] == names[0]].sort_values("value")
    figure, ax = style.figure(height_in=0.28 * len(own) + 1.0)
    y = np.arange(len(own))
    error = np.clip([own["value"] - own["low"], own["high"] - own["value"]], 0, None)
    ax.errorbar(own["value"], y, xerr=error, fmt="o", label=f"tokens of {names[0]}")
    ax.plot(own["bytes_ratio"], y, "x", color=style.CYCLE[1], label="bytes")
    ax.axvline(1, color=style.ink().muted, lw=1)
    ax.set_yticks(y, [f"{r.language} ({r.script})" for r in own.itertuples()])
    ax.set_xscale("log")
    ax.set_xlabel("ratio to English for the same articles (log scale)")
    ax.legend(loc="lower right")
    return figure


def growth_curve(table: pd.DataFrame) -> Figure:
    """Bytes per token against the size of the vocabulary."""
    figure, ax = style.figure()
    ax.plot(table["n_vocab"], table["bytes_per_token"], marker="o")
    ax.set_xscale("log")
    ax.set_xticks(table["n_vocab"], [f"{n:,}" for n in table["n_vocab"]])
    ax.minorticks_off()
    ax.set_xlabel("vocabulary entries (log scale)")
    ax.set_ylabel("bytes per token on held-out text")
    return figure


def split_effect(table: pd.DataFrame) -> Figure:
    """Change of the loss by the number of forced splits; one dot a sentence, mean with interval."""
    figure, ax = style.figure()
    wide = table.pivot(index="sentence", columns="splits", values="bits_per_byte")
    change = wide.drop(columns=0).sub(wide[0], axis=0)
    rng = np.random.default_rng(0)
    for n in change.columns:
        x = n + rng.uniform(-0.15, 0.15, len(change))
        ax.plot(x, change[n], ".", ms=2.5, alpha=0.25, color=style.CYCLE[0])
        mean, error = change[n].mean(), 1.96 * change[n].sem()
        ax.errorbar(n, mean, yerr=error, fmt="D", color=style.CYCLE[1], zorder=3)
    ax.axhline(0, color=style.ink().muted, lw=1)
    ax.set_xticks(list(change.columns))
    ax.set_xlabel("tokens cut in two (same bytes)")
    ax.set_ylabel("change of the loss (bits per byte)")
    return figure
