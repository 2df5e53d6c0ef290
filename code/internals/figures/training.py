"""Figures of the appendix on training: tables in, figures out."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from internals.figures import style


def curves(table: pd.DataFrame, value: str, by: str, label: str) -> Figure:
    """``value`` against tokens read, a line for each of ``by``, a panel for each model.

    ``table``: ``model``, ``tokens`` and these two; ``label``: of the values.
    """
    lines = table.assign(**{by: table[by].astype(str)})  # numbers would be shades
    grid = sns.relplot(
        lines, kind="line", col="model", x="tokens", y=value, hue=by, style=by, markers=True,
        palette=style.CYCLE[: lines[by].nunique()],
    )  # fmt: skip
    grid.set(xscale="log", ylim=(0, None), xlabel="tokens read", ylabel=label)
    return style.below(grid.set_titles("{col_name}"), height_in=2.9)


def known_truth(table: pd.DataFrame) -> Figure:
    """Probability given to each outcome against the true one; equal ones lie on the line.

    ``table``: as `measure.further.known_truth`.
    """
    fig, ax = style.figure(height_in=2.9)
    long = table.rename(columns={"data": "frequency in the data"}).melt("true", var_name="by")
    long["place"] = long["true"] + 0.012 * (pd.factorize(long["by"])[0] - 1)  # side by side
    ax.axline((0, 0), slope=1, color=style.ink().muted, lw=1, ls=style.DASHES[1])
    colours = [style.CONTROL, *style.CYCLE[:2]]
    sns.scatterplot(long, x="place", y="value", hue="by", style="by", palette=colours, ax=ax)
    ax.set(xlabel="true probability", ylabel="probability given", xlim=(0, 0.85), ylim=(0, 0.85))
    ax.legend(title=None)
    return fig
