"""Figures of the section on tokenization artefacts in chapter 5."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from internals.figures import style

FAMILIES = ("typing error", "blanks", "case", "Unicode", "same bytes", "control")
"""Families of edits in the order of colours; controls are grey as everywhere."""


def _look(family: str) -> dict[str, Any]:
    i = FAMILIES.index(family)
    colour = style.CONTROL if family == "control" else style.CYCLE[i]
    return {"color": colour, "marker": style.MARKERS[i % len(style.MARKERS)]}


def _bars(values: pd.Series, low: pd.Series, high: pd.Series) -> np.ndarray:
    """``(2, n)`` lengths of error bars; a bootstrap interval may miss its estimate by a little."""
    return np.clip([values - low, high - values], 0, None)


def _legend(figure: Figure, ax: Any, columns: int = 3) -> None:
    """A legend above the figure, if anything was drawn."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=columns, fontsize=8)


def edit_costs(table: pd.DataFrame) -> Figure:
    """Change of loss and of accuracy after each edit, side by side, by cost."""
    figure, axes = style.figure(1, 2, sharey=True, height_in=0.24 * len(table) + 1.1)
    y = pd.Series(np.arange(len(table))[::-1], index=table.index)
    for family in FAMILIES:
        part = table[table["family"] == family]
        if part.empty:
            continue
        options = {**_look(family), "ls": "none", "ms": 5, "label": family}
        error = _bars(part["change"], part["low"], part["high"])
        axes[0].errorbar(part["change"], y[part.index], xerr=error, **options)
        accuracy = 100 * part[["accuracy", "accuracy_low", "accuracy_high"]]
        error = _bars(*(accuracy[c] for c in accuracy))
        axes[1].errorbar(accuracy["accuracy"], y[part.index], xerr=error, **options)
    for ax in axes:
        ax.axvline(0, color=style.ink().muted, lw=1)
    axes[0].set_yticks(y, [f"{r.edit} ({r.pieces:+.1f})" for r in table.itertuples()], fontsize=8)
    axes[0].set_xlabel("loss (bits per byte)")
    axes[1].set_xlabel("accuracy (points)")
    _legend(figure, axes[0])
    return figure


def cost_by_pieces(table: pd.DataFrame) -> Figure:
    """Mean change of the loss against the mean number of extra tokens, a point an edit."""
    figure, ax = style.figure(height_in=3.0)
    for family in FAMILIES:
        part = table[table["family"] == family]
        if len(part):
            error = _bars(part["change"], part["low"], part["high"])
            options = {**_look(family), "ls": "none", "ms": 6, "label": family}
            ax.errorbar(part["pieces"], part["change"], yerr=error, **options)
    ax.set_xscale("symlog", linthresh=1)
    ax.axhline(0, color=style.ink().muted, lw=1)
    highest = max(2.0, float(table["pieces"].max()))
    ticks = [t for t in (0, 1, 2, 5, 10, 20, 50) if t <= 1.3 * highest]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set_xlabel("extra tokens in the word (mean)")
    ax.set_ylabel("change of the loss\n(bits per byte)")
    _legend(figure, ax)
    return figure


def sums_by_split(table: pd.DataFrame) -> Figure:
    """Share of right sums by split: ``group``, ``variant``, ``value``, ``low``, ``high``."""
    variants = list(dict.fromkeys(table["variant"]))
    groups = list(dict.fromkeys(table["group"]))
    figure, ax = style.figure(height_in=2.7)
    width = 0.8 / max(len(variants), 1)
    for i, variant in enumerate(variants):
        part = table[table["variant"] == variant].set_index("group").reindex(groups)
        x = np.arange(len(groups)) + width * (i - (len(variants) - 1) / 2)
        colour = style.CONTROL if "control" in variant else style.CYCLE[i]
        ax.bar(x, part["value"], 0.9 * width, color=colour, label=variant)
        error = _bars(part["value"], part["low"], part["high"])
        ax.errorbar(x, part["value"], error, fmt="none", color=style.ink().text, lw=1)
    ax.set_xticks(np.arange(len(groups)), groups)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("share of right sums")
    ax.grid(axis="x", visible=False)
    _legend(figure, ax, columns=2)
    return figure


def recognition(tokens: pd.DataFrame, indicator: str, least_bits: float) -> Figure:
    """What having been seen adds to a token, against its indicator, by group."""
    figure, ax = style.figure(height_in=3.0)
    looks = {
        "control": (style.CONTROL, "s", "control of the same length"),
        "cannot occur": (style.GREEN, "^", "cannot occur"),
        "suspect": (style.VERMILION, "o", "suspect"),
    }
    for group, (colour, marker, label) in looks.items():
        part = tokens[tokens["group"] == group]
        if len(part):
            ax.scatter(
                part["indicator"], part["gain_bits"], s=16, c=colour, marker=marker, label=label
            )
    low, high = tokens["indicator"].min(), tokens["indicator"].max()
    if 0 < 30 * low < high:
        ax.set_xscale("log")
    ax.axhline(least_bits, color=style.ink().muted, lw=1, ls=style.DASHES[1])
    ax.set_xlabel(indicator)
    ax.set_ylabel("gain by having been seen (bits)")
    _legend(figure, ax)
    return figure


def letters(table: pd.DataFrame) -> Figure:
    """Share of pairs answered rightly, a panel for each group of words, chance at a half."""
    groups = list(dict.fromkeys(table["group"]))
    forms = {
        "one token": (style.CYCLE[0], "o"),
        "single letters": (style.CYCLE[1], "^"),
        "random twin": (style.CONTROL, "s"),
    }
    questions = list(dict.fromkeys(table["question"]))
    figure, axes = style.figure(
        1, max(len(groups), 1), sharey=True, squeeze=False, height_in=0.42 * len(questions) + 1.2
    )
    for ax, group in zip(axes[0], groups, strict=False):
        own = table[table["group"] == group]
        for i, (form, (colour, marker)) in enumerate(forms.items()):
            part = own[own["form"] == form].set_index("question").reindex(questions)
            y = np.arange(len(questions))[::-1] + 0.2 * (1 - i)
            error = _bars(part["value"], part["low"], part["high"])
            ax.errorbar(part["value"], y, xerr=error, fmt=marker, ms=5, color=colour, label=form)
        ax.axvline(0.5, color=style.ink().muted, lw=1, ls=style.DASHES[1])
        ax.set_xlim(0, 1.02)
        ax.set_title(group, fontsize=9)
        ax.set_xlabel("share of right pairs")
    axes[0][0].set_yticks(np.arange(len(questions))[::-1], questions)
    _legend(figure, axes[0][0])
    return figure
