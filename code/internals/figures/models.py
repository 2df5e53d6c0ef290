"""Figures of chapter 8: tables in, figures out."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from internals.figures import style

PANELS = {
    "bits a byte": {"stories": "stories", "expository": "expository"},
    "calibration error": {"calibration_error": "error"},
    "right answers": {"capitals": "capitals", "tricks": "trick pairs"},
    "strong heads": {"previous token heads": "previous", "induction heads": "induction"},
    "half of the way": {"settles": "share of blocks"},
}
"""A panel for each question, with the quantities of `profile` that answer it."""


def panels(profiles: pd.DataFrame, nearest: pd.DataFrame) -> Figure:
    """What each model answers, and how alike its states are with others'.

    ``profiles``: of `findings.models.profile`; ``nearest``: of `findings.models.side_by_side`.
    """
    figure, axes = style.figure(2, 3, height_in=4.3)
    models = list(dict.fromkeys(profiles["model"]))
    for ax, (title, quantities) in zip(axes.flat, PANELS.items(), strict=False):
        for number, model in enumerate(models):
            own = profiles[profiles["model"] == model].set_index("quantity")
            for place, quantity in enumerate(q for q in quantities if q in own.index):
                _mark(
                    ax, own.loc[quantity], place + 0.16 * (number - (len(models) - 1) / 2), number
                )
        ax.set_xticks(range(len(quantities)), list(quantities.values()))
        ax.set_xlim(-0.5, len(quantities) - 0.5)
        ax.set_ylim(0, None)
        ax.set_title(title)
    figure.legend(*_legend(models), loc="outside lower center", ncols=len(models), frameon=False)
    _alike(axes.flat[-1], nearest, models)
    return figure


def _mark(ax: Any, row: pd.Series, x: float, number: int) -> None:
    """A value with its interval, where it has one."""
    if row["high"] > row["low"]:
        ax.plot([x, x], [row["low"], row["high"]], color=_colour(number), lw=1.2)
    ax.plot([x], [row["value"]], style.MARKERS[number], color=_colour(number), ms=4.5)


def _alike(ax: Any, nearest: pd.DataFrame, models: list[str]) -> None:
    for model, part in nearest.groupby("model", sort=False):
        number = models.index(str(model))
        mean = part.groupby("depth")["cka"].mean()
        ax.plot(mean.index, mean, style.MARKERS[number] + "-", color=_colour(number), ms=3.5)
    ax.set(title="alike with the model", xlabel="share of its blocks", ylabel="CKA", ylim=(0, 1))


def _legend(models: list[str]) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    handles: list[Any] = [
        Line2D([], [], marker=style.MARKERS[i], color=_colour(i), lw=0, ms=5)
        for i in range(len(models))
    ]
    return handles, models


def _colour(number: int) -> str:
    return style.CONTROL if number == 3 else style.CYCLE[number]


def scaling(points: pd.DataFrame, lines: pd.DataFrame) -> Figure:
    """Loss of the rungs, and lines with several floors that all pass through them.

    ``points``, ``lines``: of `measure.models.ladder`.
    """
    figure, ax = style.figure(height_in=2.6)
    for number, (floor, line) in enumerate(lines.groupby("floor")):
        label = f"floor {floor:g}, exponent {line['exponent'].iloc[0]:.3f}"
        dashes = style.DASHES[number % len(style.DASHES)]
        ax.plot(line["parameters"], line["loss"], color=style.CYCLE[number], ls=dashes, label=label)
    spread = [points["value"] - points["low"], points["high"] - points["value"]]
    ink = style.ink().text
    ax.errorbar(points["parameters"], points["value"], spread, fmt="o", color=ink, ms=5, lw=1)
    ax.set(xscale="log", xlabel="parameters", ylabel="bits a byte")
    ax.set_ylim(0, None)
    ax.legend(frameon=False, loc="lower left")
    return figure
