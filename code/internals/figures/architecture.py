"""Figures of chapter 1: tables in, figures out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from internals.figures import style

CONTROLS = ("random twin", "random matrix")


def _look(source: str, number: int) -> dict[str, object]:
    """Colour and dash of a series; controls are grey in every figure."""
    control = source in CONTROLS
    return {
        "color": style.CONTROL if control else style.CYCLE[number % len(style.CYCLE)],
        "ls": style.DASHES[(CONTROLS.index(source) + 1) if control else 0],
        "label": source,
    }


def ledger_bars(table: pd.DataFrame) -> Figure:
    """Parameters by kind of module, largest at the top."""
    part = table.sort_values("parameters")
    figure, ax = style.figure(height_in=0.36 * len(part) + 0.8)
    ax.barh(part["part"], part["parameters"] / 1e6, height=0.6)
    ax.set_xlabel("million parameters")
    ax.grid(axis="y", visible=False)
    return figure


def logit_spectrum(table: pd.DataFrame, bound: int) -> Figure:
    """Singular values of the logits, relative to the largest, and the place of the bound."""
    figure, ax = style.figure()
    for number, (source, part) in enumerate(table.groupby("source", sort=False)):
        ax.plot(part["index"], part["singular_value"], **_look(str(source), number))
    ax.axvline(bound, color=style.VERMILION, lw=1, label="bound")
    ax.set_yscale("log")
    ax.set_xlabel("number of the singular value")
    ax.set_ylabel("relative to the largest (log scale)")
    ax.legend()
    return figure


def matrix_spectra(table: pd.DataFrame, edges: tuple[float, float]) -> Figure:
    """Singular values of the matrices against random ones; grey band: where random ones lie."""
    names = list(dict.fromkeys(table["matrix"]))
    figure, axes = style.figure(1, len(names), sharey=True, squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        ax.axhspan(*edges, color=style.CONTROL, alpha=0.2, lw=0)
        part = table[table["matrix"] == name]
        for number, (source, values) in enumerate(part.groupby("source", sort=False)):
            ax.plot(values["index"], values["singular_value"], **_look(str(source), number))
        ax.set_yscale("log")
        ax.set_title(name)
        ax.set_xlabel("number of the singular value")
    axes[0][0].set_ylabel("scaled singular value (log)")
    axes[0][0].legend()
    return figure


def truncation_curves(table: pd.DataFrame) -> Figure:
    """Probability mass that moves and loss, when the head sees only the k leading directions."""
    figure, axes = style.figure(1, 2, ratio=0.5)
    for ax, column, label in (
        (axes[0], "moved_share", "probability mass that moves"),
        (axes[1], "extra_bits", "extra loss (bits per token)"),
    ):
        groups = table.groupby("share")[column]
        mean, error = groups.mean(), 1.96 * groups.sem()
        ax.plot(mean.index, mean, marker="o")
        ax.fill_between(mean.index, mean - error, mean + error, alpha=0.25)
        ax.set_xlabel("directions kept, share of the width")
        ax.set_ylabel(label)
        ax.set_ylim(bottom=min(0.0, float((mean - error).min())))
    return figure


def swap_losses(table: pd.DataFrame, names: dict[str, str]) -> Figure:
    """Loss of each document under each kind of norm, lines join one document."""
    wide = table.pivot(index="document", columns="kind", values="bits_per_byte")[list(names)]
    figure, ax = style.figure(ratio=0.5)
    x = np.arange(len(names))
    for row in wide.to_numpy():
        ax.plot(x, row, color=style.CONTROL, lw=0.7, alpha=0.5)
    mean, error = wide.mean(), 1.96 * wide.sem()
    ax.errorbar(x, mean, yerr=error, fmt="D", color=style.VERMILION, zorder=3)
    ax.set_xticks(x, list(names.values()))
    ax.set_xlim(-0.3, len(names) - 0.7)
    ax.set_ylabel("loss (bits per byte)")
    return figure


def batch_size_curve(table: pd.DataFrame) -> Figure:
    """Change of a sequence's predictions when its batch mates change, by size of the batch."""
    figure, ax = style.figure(ratio=0.5)
    groups = table.groupby("batch")["kl_bits"]
    mean, error = groups.mean(), 1.96 * groups.sem()
    ax.errorbar(mean.index, mean, yerr=error, marker="o")
    ax.set_xscale("log", base=2)
    ax.set_xticks(mean.index, [str(n) for n in mean.index])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("sequences in the batch")
    ax.set_ylabel("change of predictions (KL, bits)")
    return figure


def twin_curves(table: pd.DataFrame) -> Figure:
    """Held-out loss of the norm twins; a panel for each learning rate, modes told by dash."""
    rates = sorted(table["learning_rate"].unique())
    figure, axes = style.figure(1, len(rates), sharey=True, squeeze=False, ratio=0.6)
    variants = list(dict.fromkeys(table["variant"]))
    for ax, rate in zip(axes[0], rates, strict=True):
        for number, variant in enumerate(variants):
            for mode, dash in (("training", style.DASHES[0]), ("evaluation", style.DASHES[1])):
                part = table[
                    (table["learning_rate"] == rate)
                    & (table["variant"] == variant)
                    & (table["mode"] == mode)
                ]
                groups = part.groupby("tokens")["bits_per_token"]
                mean = groups.mean()
                colour = style.CYCLE[number]
                ax.plot(mean.index, mean, color=colour, ls=dash, label=f"{variant}, {mode}")
                ax.fill_between(
                    mean.index, groups.min(), groups.max(), color=colour, alpha=0.15, lw=0
                )
        ax.set_xscale("log")
        ax.set_title(f"learning rate {rate:g}")
        ax.set_xlabel("training tokens (log scale)")
    axes[0][0].set_ylabel("held-out loss (bits per token)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


def feature_sizes(table: pd.DataFrame) -> Figure:
    """Root mean square of every feature after every norm; a dot is a feature."""
    networks = list(dict.fromkeys(table["network"]))
    figure, axes = style.figure(1, len(networks), sharey=True, squeeze=False, ratio=0.6)
    for ax, network in zip(axes[0], networks, strict=True):
        part = table[table["network"] == network]
        rng = np.random.default_rng(0)
        x = part["order"] + rng.uniform(-0.25, 0.25, len(part))
        control = network in CONTROLS
        colour = style.CONTROL if control else style.BLUE
        ax.plot(x, part["rms"], ".", ms=2, alpha=0.5, color=colour, rasterized=True)
        middle = part.groupby("order")["rms"].median()
        ax.plot(middle.index, middle, "_", ms=14, mew=2, color=style.VERMILION, label="median")
        ax.set_yscale("log")
        ax.set_title(network)
        ax.set_xlabel("norm, in the order of the data")
    axes[0][0].set_ylabel("root mean square of a feature (log)")
    axes[0][0].legend()
    return figure
