"""Figures of chapter 5 on tricks, uncertainty and ambiguity."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from internals.figures import style


def margins(families: pd.DataFrame, pairs: pd.DataFrame) -> Figure:
    """Margins after control and trick by family: means with intervals, and a point a pair."""
    sources = list(dict.fromkeys(families["source"]))
    sizes = [int((families["source"] == s).sum()) for s in sources]
    figure, axes = style.figure(
        len(sources),
        1,
        squeeze=False,
        sharex=True,
        height_in=0.34 * sum(sizes) + 1.0,
        height_ratios=[size + 0.6 for size in sizes],
    )
    for ax, source in zip(axes[:, 0], sources, strict=True):
        own = families[families["source"] == source].reset_index(drop=True)
        _margin_rows(ax, own, pairs[pairs["source"] == source])
        ax.set_title(f"questions: {source}", loc="left")
    axes[-1][0].set_xlabel("log-odds of the right continuation (bits)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


def _margin_rows(ax: Axes, families: pd.DataFrame, pairs: pd.DataFrame) -> None:
    y = np.arange(len(families))[::-1].astype(float)
    for i, side in enumerate(("control", "trick")):
        at = y + (0.17 if i == 0 else -0.17)
        mean = families[side]
        error = np.clip([mean - families[f"{side}_low"], families[f"{side}_high"] - mean], 0, None)
        colour = style.CYCLE[i]
        ax.errorbar(mean, at, xerr=error, fmt=style.MARKERS[i], ms=5, color=colour, label=side)
        for place, family in zip(at, families["family"], strict=True):
            values = pairs.loc[pairs["family"] == family, f"{side}_margin"]
            ax.plot(values, np.full(len(values), place), "|", ms=6, color=colour, alpha=0.55)
    ax.axvline(0, color=style.ink().muted, lw=1)
    ax.set_yticks(y, families["family"])
    ax.set_ylim(-0.6, len(families) - 0.4)
    ax.grid(axis="y", visible=False)


def areas(separation: pd.DataFrame) -> Figure:
    """Areas under the ROC curve by kind of question without an answer; baselines in grey."""
    groups = [g for g in dict.fromkeys(separation["against"]) if g != "all"]
    part = separation[separation["against"].isin(groups)]
    scores = list(dict.fromkeys(part["score"]))
    figure, axes = style.figure(
        1, len(groups), sharey=True, squeeze=False, height_in=0.27 * len(scores) + 1.1
    )
    y = np.arange(len(scores))[::-1]
    for ax, group in zip(axes[0], groups, strict=True):
        rows = part[part["against"] == group].set_index("score").loc[scores]
        for place, row in zip(y, rows.itertuples(), strict=True):
            colour = style.CONTROL if row.baseline else style.CYCLE[0]
            error = np.clip([[row.value - row.low], [row.high - row.value]], 0, None)
            marker = "s" if row.baseline else "o"
            ax.errorbar(row.value, place, xerr=error, fmt=marker, color=colour)
        ax.axvline(0.5, color=style.ink().muted, lw=1)
        ax.set_xlim(0.3, 1.02)
        ax.set_title(group)
        ax.grid(axis="y", visible=False)
    axes[0][0].set_yticks(y, scores)
    figure.supxlabel("area under the ROC curve", fontsize=9)
    return figure


def risk_coverage(curve: pd.DataFrame, risk_all: float) -> Figure:
    """Share of wrong answers by the share of questions answered, with band and references."""
    figure, ax = style.figure(height_in=2.7)
    ax.fill_between(curve["coverage"], curve["low"], curve["high"], alpha=0.2, lw=0)
    ax.plot(curve["coverage"], curve["risk"], label="surest questions first")
    ax.axhline(risk_all, color=style.CONTROL, ls=style.DASHES[1], label="random order")
    best = style.ink().muted
    ax.plot(curve["coverage"], curve["best"], color=best, ls=style.DASHES[2], label="perfect order")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("share of questions answered")
    ax.set_ylabel("share of wrong answers")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def readings(example: pd.DataFrame, means: pd.DataFrame) -> Figure:
    """One ambiguous word in both contexts, and the mean pull of contexts word by word.

    ``example``: rows of one word in its own contexts, with the continuations as ``reading_first``
    and ``reading_second``.
    """
    figure, axes = style.figure(3, 1, height_in=5.6, height_ratios=[1, 1, 1.25])
    for ax, (leads_to, part) in zip(axes[:2], example.groupby("leads_to", sort=False), strict=True):
        first, second = part["first"], 1 - part["first"]
        for i, (values, name) in enumerate(
            ((first, part["reading_first"].iloc[0]), (second, part["reading_second"].iloc[0]))
        ):
            ax.plot(
                part["words"],
                values,
                marker=style.MARKERS[i],
                ms=4,
                color=style.CYCLE[i],
                label=f"“… {style.plain(name)}”",
            )
        words = ["(no context)", *(style.plain(w) for w in part["word"].iloc[1:])]
        ax.set_xticks(part["words"], words)
        ax.set_ylim(-0.03, 1.03)
        ax.set_ylabel("share")
        meant = part["reading_first" if leads_to == "first" else "reading_second"].iloc[0]
        ax.set_title(f"context written for “… {style.plain(meant)}”", loc="left")
    _pull(axes[2], means)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


def _pull(ax: Axes, means: pd.DataFrame) -> None:
    for i, (contexts, part) in enumerate(means.groupby("contexts", sort=False)):
        colour = style.CYCLE[2] if i == 0 else style.CONTROL
        ax.plot(
            part["words"],
            part["value"],
            marker=style.MARKERS[2 + i],
            ms=4,
            ls=style.DASHES[i],
            color=colour,
            label=str(contexts),
        )
        ax.fill_between(part["words"], part["low"], part["high"], color=colour, alpha=0.18, lw=0)
    ax.axhline(0, color=style.ink().muted, lw=1)
    ax.set_xlabel("words of context")
    ax.set_ylabel("pull (bits)")
    ax.set_title("all ambiguous words", loc="left")
    ax.legend(loc="upper left")
