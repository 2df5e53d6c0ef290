"""Figures of the appendix on training: tables in, figures out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from internals.figures import style


def loss_curves(table: pd.DataFrame) -> Figure:
    """Held-out loss of each kind of text against tokens; models told by dash and marker."""
    figure, ax = style.figure()
    models = list(dict.fromkeys(table["model"]))
    for number, (kind, part) in enumerate(table.groupby("kind", sort=False)):
        for i, model in enumerate(models):
            own = part[part["model"] == model]
            ax.plot(
                own["tokens"],
                own["bits_per_byte"],
                color=style.CYCLE[number],
                ls=style.DASHES[i],
                marker=style.MARKERS[i],
                ms=3,
                label=f"{kind}, {model}",
            )
    ax.set_xscale("log")
    ax.set_xlabel("training tokens (log scale)")
    ax.set_ylabel("held-out loss (bits per byte)")
    ax.set_ylim(bottom=0)
    ax.legend()
    return figure


def recall_curves(table: pd.DataFrame) -> Figure:
    """Share of facts ranked first against tokens, by number of statements; a panel a model."""
    models = list(dict.fromkeys(table["model"]))
    figure, axes = style.figure(1, len(models), sharey=True, squeeze=False)
    levels = sorted(table["level"].unique())
    for ax, model in zip(axes[0], models, strict=True):
        for number, level in enumerate(levels):
            part = table[(table["model"] == model) & (table["level"] == level)]
            ax.plot(
                part["tokens"],
                part["recall"],
                color=style.CYCLE[number % len(style.CYCLE)],
                marker=style.MARKERS[number % len(style.MARKERS)],
                ms=3.5,
                label=str(level),
            )
        ax.set_xscale("log")
        ax.set_title(model)
        ax.set_xlabel("training tokens (log scale)")
    axes[0][0].set_ylabel("share of facts recalled")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(levels), title="statements of a fact"
    )
    return figure


def recall_by_exposure(table: pd.DataFrame, chance: float) -> Figure:
    """Recall with intervals by number of statements, trained and held-out wordings, and chance.

    ``table``: ``wording``, ``level``, ``value``, ``low``, ``high``.
    """
    figure, ax = style.figure(ratio=0.5)
    levels = sorted(table["level"].unique())
    for number, (wording, part) in enumerate(table.groupby("wording", sort=False)):
        x = np.array([levels.index(n) for n in part["level"]]) + 0.08 * (2 * number - 1)
        error = np.clip([part["value"] - part["low"], part["high"] - part["value"]], 0, None)
        ax.errorbar(
            x,
            part["value"],
            yerr=error,
            fmt=style.MARKERS[number],
            color=style.CYCLE[number],
            label=f"{wording} wording",
        )
    ax.axhline(chance, color=style.CONTROL, lw=1, ls=style.DASHES[1], label="chance")
    ax.set_xticks(range(len(levels)), [str(n) for n in levels])
    ax.set_ylim(0, 1.03)
    ax.set_xlabel("statements of the fact in the training text")
    ax.set_ylabel("share of facts recalled")
    ax.legend()
    return figure
