"""Figures of chapter 3: from tables of measurements to pictures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from internals.figures import style


def top_bars(top: pd.DataFrame) -> Figure:
    """Probabilities of the most likely tokens, and the mass they hold together."""
    figure, ax = style.figure(height_in=0.27 * len(top) + 0.9)
    names = [style.plain(token) for token in top["token"]]
    y = np.arange(len(top))[::-1]
    ax.barh(y, top["probability"], height=0.62, label="probability")
    ax.plot(
        top["cumulative"],
        y,
        "o",
        ms=4,
        ls=style.DASHES[2],
        color=style.CYCLE[1],
        label="cumulative",
    )
    ax.set_yticks(y, names)
    ax.set_xlim(0, 1.02)
    ax.set_xlabel("probability")
    ax.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def logit_histogram(histogram: pd.DataFrame) -> Figure:
    """How many tokens have a logit, and how much probability lies there."""
    figure, axes = style.figure(2, 1, sharex=True, height_in=3.6)
    width = histogram["right"] - histogram["left"]
    axes[0].bar(histogram["left"], histogram["tokens"], width, align="edge")
    axes[0].set_yscale("log")
    axes[0].set_ylabel("tokens (log scale)")
    axes[1].bar(histogram["left"], histogram["mass"], width, align="edge", color=style.CYCLE[1])
    axes[1].set_ylabel("probability")
    axes[1].set_xlabel("logit")
    return figure


def map_bars(summary: pd.DataFrame) -> Figure:
    """Share of true tokens that each normalisation gives exactly zero, and its confidence."""
    figure, axes = style.figure(1, 2, sharey=True, height_in=2.7)
    y = np.arange(len(summary))[::-1]
    axes[0].barh(y, summary["lost"], height=0.6, color=style.CYCLE[1])
    axes[0].set_xlabel("true tokens without probability")
    axes[1].barh(y, summary["top_mass"], height=0.6, label="mass on the first choice")
    accuracy = float((summary["top_mass"] - summary["gap"]).iloc[0])
    axes[1].axvline(accuracy, color=style.ink().text, ls=style.DASHES[1], lw=1, label="accuracy")
    axes[1].set_xlabel("mean probability")
    axes[0].set_yticks(y, summary["map"])
    for ax in axes:
        ax.set_xlim(0, 1)
        ax.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def head_twins(curves: pd.DataFrame) -> Figure:
    """Held-out loss of the paired runs during training, a panel for each learning rate."""
    rates = sorted(curves["learning_rate"].unique())
    figure, axes = style.figure(1, len(rates), sharey=True, squeeze=False, height_in=2.9)
    for ax, rate in zip(axes[0], rates, strict=True):
        part = curves[curves["learning_rate"] == rate]
        for i, (variant, own) in enumerate(part.groupby("variant", sort=False)):
            mean = own.groupby("tokens")["bits_per_token"].mean()
            ax.plot(
                mean.index,
                mean,
                label=variant,
                color=style.CYCLE[i],
                ls=style.DASHES[i % len(style.DASHES)],
            )
        ax.set_xscale("log")
        ax.set_title(f"learning rate {rate:g}")
        ax.set_xlabel("training tokens")
    axes[0][0].set_ylabel("held-out loss (bits per token)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def temperature_grid(top: pd.DataFrame) -> Figure:
    """Most likely tokens of some prompts (rows) at some temperatures (columns).

    ``top``: columns ``text``, ``temperature``, ``place``, ``token``, ``probability``.
    """
    data = top[top["place"] <= 5].copy()
    data["prompt"] = data["text"].str.replace("\n", " ").map(style.plain)
    data["token"] = data["token"].map(style.plain)
    grid = sns.FacetGrid(
        data, row="prompt", col="temperature", sharey="row", height=1.2, aspect=1.6
    )
    grid.map_dataframe(sns.barplot, x="probability", y="token", color=style.BLUE, width=0.7)
    grid.set(xlim=(0, 1.25), xticks=[], xlabel="", ylabel="")
    for ax in grid.axes.flat:
        ax.bar_label(ax.containers[0], fmt="{:.1%}", padding=2, fontsize=8)
        ax.grid(visible=False)
    grid.set_titles("")
    for ax, prompt in zip(grid.axes[:, 0], grid.row_names, strict=True):
        ax.set_title(f"“{prompt}”", loc="left")
    for ax, temperature in zip(grid.axes[-1], grid.col_names, strict=True):
        ax.set_xlabel(f"T = {temperature:g}")
    return style.finish(grid, height_in=1.25 * len(grid.row_names))


def entropy_curves(table: pd.DataFrame, vocab: int) -> Figure:
    """Entropy against temperature: median and quartiles over the prompts of each family."""
    figure, ax = style.figure()
    for i, (family, part) in enumerate(table.groupby("family", sort=False)):
        colour = style.CYCLE[i % len(style.CYCLE)]
        marker = style.MARKERS[i % len(style.MARKERS)]
        x = part["temperature"]
        ax.plot(x, part["middle"], marker=marker, ms=3.5, color=colour, label=family)
        ax.fill_between(x, part["low"], part["high"], color=colour, alpha=0.12, lw=0)
    ax.axhline(np.log2(vocab), color=style.ink().muted, ls=style.DASHES[1], lw=1)
    ax.set_xscale("log")
    ticks = [0.1, 0.2, 0.5, 1, 2, 5]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.set_xlabel("temperature (log scale)")
    ax.set_ylabel("entropy (bits)")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def reliability_diagrams(sets: dict[str, pd.DataFrame]) -> Figure:
    """Accuracy against confidence with intervals, and below it the number of predictions."""
    figure, axes = style.figure(
        2, len(sets), sharex=True, sharey="row", squeeze=False, height_in=3.5, height_ratios=[3, 1]
    )
    for (ax, counts), (name, table) in zip(axes.T, sets.items(), strict=True):
        ax.plot([0, 1], [0, 1], color=style.ink().muted, ls=style.DASHES[1], lw=1)
        error = np.clip(
            [table["accuracy"] - table["low"], table["high"] - table["accuracy"]], 0, None
        )
        ax.errorbar(table["confidence"], table["accuracy"], error, fmt="o", ms=4, lw=1.2)
        ax.set_xlim(0, 1)
        ax.set_ylim(-0.02, 1.02)
        ax.set_title(name.replace(", ", ",\n", 1), fontsize=8)
        counts.bar((table["bin"] + 0.5) / 10, table["n"] / table["n"].sum(), 0.085)
        counts.set_xticks([0, 0.5, 1])
        counts.set_xlabel(f"confidence (n = {table['n'].sum():,})", fontsize=8)
        counts.grid(axis="x", visible=False)
    axes[0][0].set_ylabel("accuracy")
    axes[1][0].set_ylabel("share of n")
    return figure


def exposure_curves(table: pd.DataFrame) -> Figure:
    """Confidence and accuracy by number of statements, a panel for each kind of wording."""
    wordings = [w for w in ("trained", "heldout") if w in set(table["wording"])] or ["trained"]
    figure, axes = style.figure(1, len(wordings), sharey=True, squeeze=False, height_in=2.9)
    titles = {"trained": "wordings of the training data", "heldout": "held-out wordings"}
    for ax, wording in zip(axes[0], wordings, strict=True):
        part = table[table["wording"] == wording].sort_values("level")
        part = part.astype({c: float for c in part.columns if c not in ("wording", "level")})
        x = np.arange(len(part))
        for i, column in enumerate(("confidence", "accuracy")):
            ax.plot(
                x,
                part[column],
                marker=style.MARKERS[i],
                color=style.CYCLE[i],
                ls=style.DASHES[i],
                label=column,
            )
            ax.fill_between(
                x,
                part[f"{column}_low"],
                part[f"{column}_high"],
                color=style.CYCLE[i],
                alpha=0.15,
                lw=0,
            )
        ax.set_xticks(x, [f"{n:,}" for n in part["level"]])
        ax.set_ylim(0, 1.02)
        ax.set_title(titles[wording], fontsize=8.5)
        ax.set_xlabel("statements in the training data")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


def rank_bars(table: pd.DataFrame) -> Figure:
    """Share of true tokens by their rank in the prediction."""
    figure, ax = style.figure(height_in=1.9)
    y = np.arange(len(table))[::-1]
    ax.barh(y, table["share"], height=0.62)
    for i, row in zip(y, table.itertuples(), strict=True):
        label = f"{row.mean_bits:.1f} bits" if row.n else "none"
        ax.annotate(
            label, (row.share, i), xytext=(4, 0), textcoords="offset points", va="center", size=7
        )
    ax.set_yticks(y, table["bucket"])
    ax.set_xlabel("share of held-out tokens")
    ax.set_xlim(0, float(table["share"].max()) * 1.18)
    ax.grid(axis="y", visible=False)
    return figure


SURPRISAL_LIMIT_BITS = 16.0
"""Above this the colour no longer changes."""


def surprisal_text(tokens: pd.DataFrame, per_line: int = 62) -> Figure:
    """A text whose tokens are coloured by surprisal; the scale is clamped."""
    import matplotlib as mpl
    from matplotlib.colors import Normalize

    lines = _wrapped(tokens, per_line)
    figure, ax = style.figure(height_in=0.27 * len(lines) + 0.75)
    colours = mpl.colormaps[style.SEQUENTIAL]
    scale = Normalize(0, SURPRISAL_LIMIT_BITS, clip=True)
    for row, line in enumerate(lines):
        for start, text, bits in line:
            known = np.isfinite(bits)
            face = colours(float(scale(bits))) if known else style.ink().panel
            dark = known and scale(bits) < 0.6
            ax.add_patch(
                mpl.patches.Rectangle(
                    (start, -row - 0.42), len(text), 0.84, color=face, lw=0, clip_on=False
                )
            )
            for i, character in enumerate(text):
                ax.text(
                    start + i + 0.5,
                    -row,
                    style.plain(character),
                    ha="center",
                    va="center",
                    family="monospace",
                    fontsize=7,
                    color="white" if dark else "black" if known else style.ink().text,
                )
    ax.set_xlim(0, per_line)
    ax.set_ylim(-len(lines) + 0.4, 0.6)
    ax.set_axis_off()
    bar = figure.colorbar(
        mpl.cm.ScalarMappable(scale, colours), ax=ax, location="bottom", aspect=45, pad=0.02
    )
    bar.set_label("surprisal of the token (bits; scale ends at its right edge)")
    bar.outline.set_visible(False)
    return figure


def _wrapped(tokens: pd.DataFrame, per_line: int) -> list[list[tuple[int, str, float]]]:
    """Lines of (column, text, bits); a token is never cut, a blank at a line's start is kept."""
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


def contrast_bars(table: pd.DataFrame) -> Figure:
    """Both attributions of one prompt, token by token: a small step to the blank and the whole."""
    figure, ax = style.figure(height_in=2.5)
    x = np.arange(len(table))
    for i, (column, label) in enumerate(
        (("gradient", "small step (gradient)"), ("occlusion", "whole step (occlusion)"))
    ):
        ax.bar(x + 0.2 * (2 * i - 1), table[column], 0.38, color=style.CYCLE[i], label=label)
    ax.axhline(0, color=style.ink().muted, lw=1)
    ax.set_xticks(x, [style.plain(token) for token in table["token"]])
    ax.set_ylabel("fall of the logit difference (nats)")
    ax.grid(axis="x", visible=False)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def known_truth(table: pd.DataFrame) -> Figure:
    """Distance of predictions and of drawn frequencies to the truth, by exposure."""
    figure, ax = style.figure(height_in=2.9)
    levels = sorted(table["exposures"].unique())
    place = {level: i for i, level in enumerate(levels)}
    rng = np.random.default_rng(0)
    for i, (kind, part) in enumerate(table.groupby("kind", sort=False)):
        x = np.array([place[e] for e in part["exposures"]]) + rng.uniform(-0.06, 0.06, len(part))
        ax.plot(x, part["distance"], style.MARKERS[i], color=style.CYCLE[i], label=f"model, {kind}")
    drawn = table.dropna(subset=["sample_distance"])
    drawn = drawn[drawn["exposures"] > 0].groupby("exposures")["sample_distance"].mean()
    ax.plot(
        [place[e] for e in drawn.index],
        drawn,
        color=style.CONTROL,
        ls=style.DASHES[1],
        label="frequencies in the training data",
    )
    ax.set_xticks(range(len(levels)), [f"{n:,}" for n in levels])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("times the context stood in the training data")
    ax.set_ylabel("distance to the true probabilities")
    figure.legend(loc="outside upper center", ncols=3)
    return figure
