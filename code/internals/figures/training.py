"""Figures of the appendix on training: tables in, figures out."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from internals.figures import style


def loss_curves(losses: pd.DataFrame) -> Figure:
    """Held-out loss against tokens read, a panel for each model.

    ``losses``: ``model``, ``tokens``, ``kind``, ``bits_per_byte``.
    """
    grid = sns.relplot(
        losses, kind="line", col="model", x="tokens", y="bits_per_byte", hue="kind", style="kind",
        markers=True, palette=style.CYCLE[: losses["kind"].nunique()],
    )  # fmt: skip
    grid.set(xscale="log", ylim=(0, None), xlabel="tokens read", ylabel="loss (bits per byte)")
    return style.below(grid.set_titles("{col_name}"), height_in=2.9)


def recall_curves(recall: pd.DataFrame) -> Figure:
    """Share of invented facts ranked first against tokens read, a line for each number of
    statements, a panel for each model.

    ``recall``: ``model``, ``tokens``, ``level``, ``recall``.
    """
    levels = recall.assign(statements=recall["level"].astype(str))
    grid = sns.relplot(
        levels, kind="line", col="model", x="tokens", y="recall", hue="statements",
        style="statements", markers=True, palette=style.CYCLE[: levels["statements"].nunique()],
    )  # fmt: skip
    grid.set(xscale="log", ylim=(0, 1.03), xlabel="tokens read", ylabel="facts ranked first")
    return style.below(grid.set_titles("{col_name}"), height_in=2.9)
