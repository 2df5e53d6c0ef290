"""Figures of chapter 5."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from internals.figures import style


def reversal_bars(table: pd.DataFrame) -> Figure:
    """Share of right answers forward and backward, by how the facts were stated."""
    figure, ax = style.figure(height_in=2.7)
    names = {"forward_only": "stated in one direction", "both": "stated in both"}
    groups = [d for d in names if d in set(table["direction"])]
    for i, asked in enumerate(("forward", "backward")):
        part = table[table["asked"] == asked].set_index("direction").reindex(groups)
        x = np.arange(len(groups)) + 0.2 * (2 * i - 1)
        error = np.clip([part["value"] - part["low"], part["high"] - part["value"]], 0, None)
        ax.bar(x, part["value"], 0.36, color=style.CYCLE[i], label=f"asked {asked}")
        ax.errorbar(x, part["value"], error, fmt="none", color=style.ink().text, lw=1)
    ax.set_xticks(np.arange(len(groups)), [names[g] for g in groups])
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("share of right answers")
    ax.grid(axis="x", visible=False)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def ability_curves(table: pd.DataFrame) -> Figure:
    """Abilities during training, each from its start to its end: ``tokens``, ``ability``,
    ``done`` (0 to 1)."""
    figure, ax = style.figure(height_in=2.9)
    for i, (ability, part) in enumerate(table.groupby("ability", sort=False)):
        ax.plot(
            part["tokens"],
            part["done"],
            marker=style.MARKERS[i % len(style.MARKERS)],
            ms=3.5,
            color=style.CYCLE[i % len(style.CYCLE)],
            label=ability,
        )
    ax.set_xscale("log")
    ax.set_xlabel("training tokens (log scale)")
    ax.set_ylabel("share of the way")
    figure.legend(loc="outside upper center", ncols=2)
    return figure
