"""Figures of chapter 4, second half: sampling methods."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from internals.figures import style
from internals.measure.decoding.samples import HUMAN, family

_LABEL_AT = {"top-p": (-5, 5), HUMAN: (-8, 9)}
"""Offsets of labels in points, so that neighbouring settings do not cover each other."""


def frontier(table: pd.DataFrame) -> Figure:
    """Diversity against the loss under the second model, with intervals over prompts."""
    figure, ax = style.figure(height_in=3.9)
    part = table.dropna(subset=["distinct_2"])
    families = list(dict.fromkeys(family(s) for s in part["setting"]))
    for row in part.itertuples():
        kind = family(row.setting)
        i = families.index(kind)
        human = row.setting == HUMAN
        ax.errorbar(
            row.distinct_2,
            row.judge_bits,
            yerr=[[row.judge_bits - row.judge_bits_low], [row.judge_bits_high - row.judge_bits]],
            xerr=[[row.distinct_2 - row.distinct_2_low], [row.distinct_2_high - row.distinct_2]],
            marker="*" if human else style.MARKERS[i],
            ms=11 if human else 5,
            color=style.ink().text if human else style.CYCLE[i],
            lw=1,
            ls="none",
        )
        ax.annotate(
            row.setting,
            (row.distinct_2, row.judge_bits),
            xytext=_LABEL_AT.get(kind, (5, -9)),
            ha="right" if kind in ("top-p", HUMAN) else "left",
            textcoords="offset points",
            fontsize=7,
        )
    greedy = table[table["setting"] == "greedy"]
    if len(greedy):
        level = float(greedy["judge_bits"].iloc[0])
        ax.axhline(level, color=style.CONTROL, ls=style.DASHES[1], lw=1)
        ax.annotate(
            "greedy (one text for a prompt)",
            (0.02, level),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=7,
        )
    ax.set_xlabel("different word pairs over all (distinct-2)")
    ax.set_ylabel("loss under the second model\n(bits per byte)")
    return figure


def loop_bars(table: pd.DataFrame) -> Figure:
    """Share of texts that repeat an eight-gram, by setting."""
    figure, ax = style.figure(height_in=0.24 * len(table) + 0.8)
    y = np.arange(len(table))[::-1]
    ax.barh(y, table["loop_rate"], height=0.62)
    ax.set_yticks(y, table["setting"])
    ax.set_xlim(left=0)
    ax.set_xlabel("share of texts that repeat an eight-gram")
    ax.grid(axis="y", visible=False)
    return figure


def nucleus_sizes(table: pd.DataFrame, hidden_k: int) -> Figure:
    """Size of the nucleus by entropy; above the line a hidden top-k would cut it."""
    figure, ax = style.figure(height_in=2.9)
    for i, (kind, part) in enumerate(table.groupby("family", sort=False)):
        ax.plot(
            part["entropy_bits"],
            part["size"],
            style.MARKERS[i % len(style.MARKERS)],
            ms=4.5,
            color=style.CYCLE[i % len(style.CYCLE)],
            label=kind,
        )
    ax.axhline(hidden_k, color=style.ink().muted, ls=style.DASHES[1], lw=1)
    ax.set_yscale("log")
    ax.set_xlabel("entropy of the distribution (bits)")
    ax.set_ylabel("tokens in the nucleus (log scale)")
    figure.legend(loc="outside upper center", ncols=6)
    return figure


def feeding(table: pd.DataFrame) -> Figure:
    """Mean probability of the greedy token by position, and the share of repeated 4-grams."""
    figure, ax = style.figure(height_in=2.9)
    smooth = table.assign(bin=(table["position"] - 1) // 10 * 10 + 5)
    grouped = smooth.groupby("bin")
    for i, (column, label) in enumerate(
        (("probability", "probability of the chosen token"), ("repeated", "repeated four-grams"))
    ):
        mean, error = grouped[column].mean(), 1.96 * grouped[column].sem()
        ax.plot(
            mean.index,
            mean,
            marker=style.MARKERS[i],
            ms=3.5,
            color=style.CYCLE[i],
            ls=style.DASHES[i],
            label=label,
        )
        ax.fill_between(mean.index, mean - error, mean + error, color=style.CYCLE[i], alpha=0.15)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("position in the greedy text")
    ax.set_ylabel("mean over prompts")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def fact_bars(table: pd.DataFrame) -> Figure:
    """Share of right capitals by setting, with intervals."""
    figure, ax = style.figure(height_in=0.24 * len(table) + 0.8)
    y = np.arange(len(table))[::-1]
    error = np.clip([table["value"] - table["low"], table["high"] - table["value"]], 0, None)
    ax.errorbar(table["value"], y, xerr=error, fmt="o")
    ax.set_yticks(y, table["setting"])
    ax.set_xlim(0, 1.02)
    ax.set_xlabel("share of answers that name the right capital")
    return figure
