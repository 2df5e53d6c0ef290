"""Figures of chapter 4, first half: time and memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from internals.figures import style


def step_times(table: pd.DataFrame, predicted: pd.DataFrame) -> Figure:
    """Time of one step by text length, with and without a cache, beside what was expected."""
    figure, ax = style.figure()
    for i, (mode, part) in enumerate(table.groupby("mode", sort=False)):
        colour = style.CYCLE[i]
        x, y = part["length"], part["median"] * 1000
        error = [y - part["low"] * 1000, part["high"] * 1000 - y]
        ax.errorbar(x, y, error, marker=style.MARKERS[i], ms=4, color=colour, label=f"{mode}")
        own = predicted[predicted["mode"] == mode]
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
    ax.set_xlabel("tokens of the text (log scale)")
    ax.set_ylabel("milliseconds of a step (log scale)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def speed_ups(table: pd.DataFrame) -> Figure:
    """How many times faster the cache makes whole texts: counted and measured."""
    figure, ax = style.figure(height_in=2.9)
    x = np.arange(len(table))
    names = (
        ("passes", "fewer token passes"),
        ("operations", "fewer operations"),
        ("steps", "expected from single steps"),
        ("measured", "measured"),
    )
    for i, (column, label) in enumerate(names):
        ax.bar(x + 0.2 * (i - 1.5), table[column], 0.18, color=style.CYCLE[i], label=label)
    ax.axhline(1, color=style.ink().muted, lw=1)
    ax.set_yscale("log")
    ax.set_xticks(x, [f"{r.prompt} + {r.new} tokens" for r in table.itertuples()])
    ax.set_ylabel("without over with cache (log scale)")
    ax.grid(axis="x", visible=False)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def part_times(table: pd.DataFrame) -> Figure:
    """Time of attention and of the MLP by length, both axes logarithmic."""
    figure, ax = style.figure()
    for i, (part, own) in enumerate(table.groupby("part", sort=False)):
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
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def local_slopes(table: pd.DataFrame) -> Figure:
    """Local slopes with intervals; 1 is linear, 2 is quadratic."""
    figure, ax = style.figure(height_in=2.9)
    for i, (part, own) in enumerate(table.groupby("part", sort=False)):
        error = np.clip([own["slope"] - own["low"], own["high"] - own["slope"]], 0, None)
        ax.errorbar(
            own["length"] * (1 + 0.03 * (i - 1)),
            own["slope"],
            error,
            marker=style.MARKERS[i],
            color=style.CYCLE[i],
            ls=style.DASHES[i],
            label=part,
        )
    for level in (1, 2):
        ax.axhline(level, color=style.ink().muted, lw=1, ls=style.DASHES[2])
    ax.set_xscale("log")
    ax.set_xlabel("tokens (log scale)")
    ax.set_ylabel("local log-log slope")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def totals(table: pd.DataFrame) -> Figure:
    """Operations of whole texts with and without a cache, and their parts."""
    figure, ax = style.figure(height_in=2.9)
    for i, (mode, own) in enumerate(table.groupby("mode", sort=False)):
        colour = style.CYCLE[i]
        ax.plot(own["tokens"], own["operations"], color=colour, marker=style.MARKERS[i], label=mode)
        ax.plot(
            own["tokens"],
            own["attention"],
            color=colour,
            ls=style.DASHES[2],
            label=f"{mode}, scores and values alone",
        )
    _logarithmic_lengths(ax, table["tokens"])
    ax.set_yscale("log")
    ax.set_xlabel("tokens generated (log scale)")
    ax.set_ylabel("operations (log scale)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def frontier(table: pd.DataFrame) -> Figure:
    """Bytes kept for a token of text against the loss that they cost."""
    figure, ax = style.figure(height_in=2.9)
    error = np.clip(
        [table["extra_bits"] - table["low"], table["high"] - table["extra_bits"]], 0, None
    )
    ax.errorbar(table["bytes_per_token"], table["extra_bits"], error, fmt="o")
    for row in table.itertuples():
        ax.annotate(
            row.stored,
            (row.bytes_per_token, row.extra_bits),
            xytext=(4, 5),
            textcoords="offset points",
            fontsize=7,
        )
    ax.axhline(0, color=style.ink().muted, lw=1)
    ax.set_xscale("log")
    ax.margins(x=0.18, y=0.15)
    ax.set_xlabel("bytes kept for a token of text (log scale)")
    ax.set_ylabel("extra loss (bits per token)")
    return figure


def _logarithmic_lengths(ax, lengths: pd.Series) -> None:  # type: ignore[no-untyped-def]
    ax.set_xscale("log")
    ticks = [n for n in (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096) if n <= lengths.max()]
    ticks = [n for n in ticks if n >= lengths.min()]
    ax.set_xticks(ticks, [f"{n:,}" for n in ticks])
    ax.minorticks_off()
