"""Figures of chapter 4, first half: time and memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from internals.figures import style

SLOPES = (-0.5, 3.5)
"""Slopes in the frame of `local_slopes`; those of calls of microseconds may lie outside."""


def step_times(table: pd.DataFrame, predicted: pd.DataFrame) -> Figure:
    """Time of one step by text length, with and without a cache, beside what was expected."""
    figure, ax = style.figure()
    for i, (mode, part) in enumerate(table.groupby("mode", sort=True)):
        colour = style.CYCLE[i]
        ax.errorbar(
            part["length"],
            part["median"] * 1000,
            _bars(part, 1000),
            marker=style.MARKERS[i],
            ms=6 if mode == "prefill" else 4,
            mfc="none" if mode == "prefill" else colour,
            ls="none" if mode == "prefill" else "-",
            color=colour,
            label="prefill (fills the cache)" if mode == "prefill" else f"{mode}",
        )
        own = predicted[predicted["mode"] == mode]
        if mode != "prefill":
            ax.plot(
                own["length"],
                own["expected"] * 1000,
                color=colour,
                ls=style.DASHES[1],
                lw=1,
                label=f"{mode}, expected",
            )
    _logarithmic_lengths(ax, table["length"])
    ax.set_yscale("log")
    style.plain_ticks(ax.yaxis)
    ax.set_xlabel("tokens of the text (log scale)")
    ax.set_ylabel("milliseconds of a step (log scale)")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def speed_ups(curve: pd.DataFrame, texts: pd.DataFrame, prompt: int) -> Figure:
    """How many times faster a cache makes a text of so many new tokens: counted, expected and
    measured; ``texts`` are whole texts, of which those after this prompt are marked."""
    figure, ax = style.figure()
    lines = (
        ("passes", "fewer token passes"),
        ("operations", "fewer operations"),
        ("expected", "expected time"),
    )
    for i, (column, label) in enumerate(lines):
        ax.plot(curve["new"], curve[column], color=style.CYCLE[i], ls=style.DASHES[i], label=label)
    ax.errorbar(
        curve["new"],
        curve["measured"],
        _bars(curve, 1, "measured"),
        marker=style.MARKERS[3],
        ms=4,
        color=style.CYCLE[3],
        label="measured, steps added up",
    )
    own = texts[texts["prompt"] == prompt]
    ax.plot(
        own["new"],
        own["measured"],
        "*",
        ms=11,
        color=style.ink().text,
        label="measured, whole texts",
    )
    ax.axhline(1, color=style.ink().muted, lw=1)
    _logarithmic_lengths(ax, curve["new"])
    ax.set_yscale("log")
    style.plain_ticks(ax.yaxis)
    ax.set_xlabel("new tokens (log scale)")
    ax.set_ylabel("time without over with cache\n(log scale)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def part_times(table: pd.DataFrame) -> Figure:
    """Time of attention, of the MLP and of a block by length, both axes logarithmic."""
    figure, ax = style.figure()
    shown = table[table["part"] != "one new token"]
    for i, (part, own) in enumerate(shown.groupby("part", sort=False)):
        grouped = own.groupby("length")["seconds"]
        middle = grouped.median() * 1000
        ax.plot(
            middle.index,
            middle,
            marker=style.MARKERS[i],
            color=style.CYCLE[i],
            ls=style.DASHES[i],
            label=part,
        )
    _logarithmic_lengths(ax, table["length"])
    ax.set_yscale("log")
    ax.set_xlabel("tokens (log scale)")
    ax.set_ylabel("milliseconds (log scale)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def local_slopes(table: pd.DataFrame) -> Figure:
    """Local slopes with intervals; 1 is linear, 2 is quadratic."""
    figure, ax = style.figure(height_in=2.9)
    shown = table[table["part"] != "one new token"]
    for i, (part, own) in enumerate(shown.groupby("part", sort=False)):
        ax.errorbar(
            own["length"] * (1 + 0.03 * (i - 1.5)),
            own["slope"],
            _bars(own, 1, "slope"),
            marker=style.MARKERS[i],
            ms=4,
            color=style.CYCLE[i],
            ls=style.DASHES[i],
            label=part,
        )
    for level in (1, 2):
        ax.axhline(level, color=style.ink().muted, lw=1, ls=style.DASHES[2])
    _logarithmic_lengths(ax, table["length"])
    ax.set_ylim(*SLOPES)
    ax.set_xlabel("tokens (log scale)")
    ax.set_ylabel("local log-log slope")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def totals(table: pd.DataFrame) -> Figure:
    """Seconds of whole texts by length, with and without a cache: the model, and attention."""
    figure, axes = style.figure(1, 2, height_in=2.9)
    for ax, (what, part) in zip(axes, table.groupby("what", sort=False), strict=False):
        for i, (mode, own) in enumerate(part.groupby("mode", sort=True)):
            summary = own.groupby("tokens")["seconds"].quantile([0.25, 0.5, 0.75]).unstack()
            ax.plot(
                summary.index,
                summary[0.5],
                color=style.CYCLE[i],
                ls=style.DASHES[i],
                marker=style.MARKERS[i],
                ms=4,
                label=mode if ax is axes[0] else None,
            )
            ax.fill_between(
                summary.index, summary[0.25], summary[0.75], color=style.CYCLE[i], alpha=0.15
            )
        _logarithmic_lengths(ax, part["tokens"])
        ax.set_yscale("log")
        ax.set_title(what, fontsize=8)
        ax.set_xlabel("tokens of the text (log scale)")
    axes[0].set_ylabel("seconds of the whole text\n(log scale)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def frontier(table: pd.DataFrame) -> Figure:
    """What is stored: the time of a token and the change of the loss, against the memory."""
    figure, axes = style.figure(1, 2, height_in=3.1)
    panels = (
        ("median", "low", "high", 1000, "milliseconds of a token (log scale)"),
        ("extra_bits", "extra_low", "extra_high", 1, "change of the loss (bits per byte)"),
    )
    for ax, (column, low, high, factor, label) in zip(axes, panels, strict=True):
        for i, row in enumerate(table.itertuples()):
            value = getattr(row, column)
            error = [[max(0, value - getattr(row, low))], [max(0, getattr(row, high) - value)]]
            ax.errorbar(
                row.mib,
                value * factor,
                np.array(error) * factor,
                marker=style.MARKERS[i],
                ls="none",
                color=style.CYCLE[i],
                label=row.stored if ax is axes[0] else None,
            )
        ax.set_xlabel("MiB held for one text")
        ax.set_ylabel(label)
        ax.margins(x=0.08, y=0.12)
    axes[0].set_yscale("log")
    style.plain_ticks(axes[0].yaxis)
    axes[1].axhline(0, color=style.ink().muted, lw=1)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def _bars(table: pd.DataFrame, factor: float = 1, column: str = "median") -> np.ndarray:
    """Lengths of error bars below and above ``column``, never negative; none without an interval"""
    low, high = table[column] - table["low"], table["high"] - table[column]
    return np.nan_to_num(np.clip([low, high], 0, None)) * factor


def _logarithmic_lengths(ax, lengths: pd.Series) -> None:  # type: ignore[no-untyped-def]
    ax.set_xscale("log")
    ticks = [n for n in (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096) if n <= lengths.max()]
    ticks = [n for n in ticks if n >= lengths.min()]
    ax.set_xticks(ticks, [f"{n:,}" for n in ticks])
    ax.minorticks_off()
