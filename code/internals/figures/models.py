"""Figures of chapter 8: tables in, figures out."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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

    ``profiles``: of `findings.models.profile`; bits of random weights are left out. ``nearest``: of
    `findings.models.side_by_side`.
    """
    figure, axes = style.figure(2, 3, height_in=4.3)
    models = list(dict.fromkeys(profiles["model"]))
    looks = {model: _look(number, model) for number, model in enumerate(models)}
    # Their bits are so many that the other models could not be told apart.
    floored = profiles["model"].map(_is_random) & profiles["quantity"].isin(PANELS["bits a byte"])
    rows = profiles[~floored].set_index(["quantity", "model"])
    for ax, (title, quantities) in zip(axes.flat, PANELS.items(), strict=False):
        for place, quantity in enumerate(quantities):
            for number, model in enumerate(models):
                if (quantity, model) not in rows.index:
                    continue
                value, low, high = rows.loc[(quantity, model), ["value", "low", "high"]]
                x = place + 0.16 * (number - (len(models) - 1) / 2)
                ax.plot([x, x], [low, high], color=looks[model]["color"], lw=1.2)
                ax.plot(x, value, lw=0, clip_on=False, zorder=3, **looks[model])
        ax.set_xticks(range(len(quantities)), list(quantities.values()))
        ax.set(title=title, xlim=(-0.5, len(quantities) - 0.5), ylim=(0, None))
    for model, part in nearest.groupby("model", sort=False):
        mean = part.groupby("depth")["cka"].mean()
        axes.flat[-1].plot(mean.index, mean, **looks[model])
    labels = {"xlabel": "share of its blocks", "ylabel": "CKA with the subject"}
    axes.flat[-1].set(title="likeness", ylim=(0, 1), **labels)
    handles = [Line2D([], [], lw=0, label=model, **look) for model, look in looks.items()]
    below: dict[str, Any] = {"loc": "outside lower left", "ncols": len(models), "frameon": False}
    figure.legend(handles=handles, **below)
    return figure


def _look(number: int, model: str) -> dict[str, Any]:
    colour = style.CONTROL if _is_random(model) else style.CYCLE[number]
    return {"color": colour, "marker": style.MARKERS[number], "ms": 4.5}


def _is_random(model: str) -> bool:
    return model == "random weights"


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
