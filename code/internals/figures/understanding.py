"""Figures of chapter 5's question about understanding."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from internals.figures import style


def _error(table: pd.DataFrame, value: str = "value", prefix: str = "") -> np.ndarray:
    """``(2, n)`` lengths of error bars; never negative."""
    low, high = table[f"{prefix}low"], table[f"{prefix}high"]
    return np.clip([table[value] - low, high - table[value]], 0, None)


def memorisation(table: pd.DataFrame, chance: float) -> Figure:
    """Share of right answers by number of statements, in trained and in held-out wordings."""
    figure, ax = style.figure(height_in=2.8)
    names = {"trained": "wording of the training text", "heldout": "held-out wording"}
    levels = sorted(table["level"].unique())
    for i, (wording, name) in enumerate(names.items()):
        part = table[table["wording"] == wording].set_index("level").reindex(levels)
        x = np.arange(len(levels))
        ax.plot(x, part["accuracy"], marker=style.MARKERS[i], color=style.CYCLE[i], label=name)
        ax.fill_between(
            x, part["accuracy_low"], part["accuracy_high"], color=style.CYCLE[i], alpha=0.15, lw=0
        )
    ax.axhline(chance, color=style.CONTROL, ls=style.DASHES[1], lw=1, label="chance")
    ax.set_xticks(np.arange(len(levels)), [f"{n:,}" for n in levels])
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("statements in the training text")
    ax.set_ylabel("share of right answers")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def gains(table: pd.DataFrame) -> Figure:
    """Bits per token by which the model is better than the 5-gram, by group of tokens."""
    parts = [part for _, part in table.groupby("by", sort=False)]
    figure, axes = style.figure(
        len(parts),
        1,
        sharex=True,
        squeeze=False,
        height_in=0.26 * len(table) + 0.32 * len(parts) + 0.5,
        gridspec_kw={"height_ratios": [len(part) + 0.6 for part in parts]},
    )
    for ax, part in zip(axes[:, 0], parts, strict=True):
        y = np.arange(len(part))[::-1]
        ax.errorbar(part["value"], y, xerr=_error(part), fmt="o", ms=4)
        ax.axvline(0, color=style.ink().muted, lw=1)
        ax.set_yticks(y, [f"{r.group} ({r.share:.0%})" for r in part.itertuples()])
        ax.set_ylim(-0.6, len(part) - 0.4)
        ax.set_title(part["by"].iloc[0], fontsize=8.5, loc="left")
    axes[-1, 0].set_xlabel("gain (bits per token)")
    return figure


def pair_shares(table: pd.DataFrame) -> Figure:
    """Share of minimal pairs decided rightly by the model and its controls, by family."""
    figure, ax = style.figure(height_in=0.3 * len(table) + 0.9)
    y = np.arange(len(table))[::-1].astype(float)
    colours = {"model": style.CYCLE[0], "five-gram": style.CYCLE[1], "random twin": style.CONTROL}
    for i, (source, colour) in enumerate(colours.items()):
        place = y + 0.2 * (1 - i)
        ax.plot(table[source], place, style.MARKERS[i], ms=5, color=colour, label=source)
    ax.axvline(0.5, color=style.ink().muted, lw=1)
    ax.set_yticks(y, [f"{r.family} ({r.items})" for r in table.itertuples()])
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("share of pairs with the right sentence above")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def shares(table: pd.DataFrame) -> Figure:
    """Shares with intervals beside their chance level: ``label``, ``value``, ``low``, ``high``,
    ``chance``, ``control`` (drawn in grey)."""
    figure, ax = style.figure(height_in=0.3 * len(table) + 0.7)
    y = np.arange(len(table))[::-1]
    for control, colour, marker in ((False, style.CYCLE[0], "o"), (True, style.CONTROL, "s")):
        mask = (table["control"] == control).to_numpy()
        part = table[mask]
        ax.errorbar(part["value"], y[mask], xerr=_error(part), fmt=marker, ms=5, color=colour)
    ax.plot(table["chance"], y, "|", ms=13, color=style.CYCLE[1], label="chance")
    ax.set_yticks(y, table["label"].tolist())
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("share right")
    figure.legend(loc="outside upper center")
    return figure


def probe_and_patch(layers: pd.DataFrame, effects: pd.DataFrame) -> Figure:
    """Probe by layer for the model and its twin; effect of moving the state, if there is any."""
    figure, axes = style.figure(1, 2 if len(effects) else 1, squeeze=False, height_in=3.0)
    ax = axes[0][0]
    for i, (source, part) in enumerate(layers.groupby("source", sort=False)):
        colour = style.CYCLE[0] if source == "model" else style.CONTROL
        ax.plot(
            part["layer"], part["accuracy"], marker=style.MARKERS[i], color=colour, label=source
        )
        ax.fill_between(part["layer"], part["low"], part["high"], color=colour, alpha=0.18, lw=0)
    own = layers[layers["source"] == "model"]
    ax.plot(
        own["layer"],
        own["selectivity"],
        marker="^",
        ls=style.DASHES[1],
        color=style.CYCLE[2],
        label="selectivity",
    )
    ax.axhline(own["majority"].iloc[0], color=style.ink().muted, ls=style.DASHES[2], lw=1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(min(0.0, float(own["selectivity"].min()) - 0.03), 1)
    ax.set_xlabel("layer (0 is the embedding)")
    ax.set_ylabel("share right")
    ax.legend(fontsize=7.5)
    if len(effects):
        _effects(axes[0][1], effects)
    return figure


def _effects(ax: Axes, effects: pd.DataFrame) -> None:
    for i, (direction, part) in enumerate(effects.groupby("direction", sort=False)):
        colour = style.CYCLE[0] if direction == "class means" else (style.GREY, style.ORANGE)[i % 2]
        ax.errorbar(
            part["layer"] + 0.08 * (i - 1),
            part["value"],
            yerr=_error(part),
            marker=style.MARKERS[i],
            ms=4,
            color=colour,
            label=str(direction),
        )
    ax.axhline(0, color=style.ink().muted, lw=1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("layer that is changed")
    ax.set_ylabel("rise of the log-odds (bits)")
    ax.legend(fontsize=7.5)
