"""Figures of chapter 5 on hidden states and on the objective."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from internals.figures import style


def similarity_by_layer(table: pd.DataFrame) -> Figure:
    """Correlation of hidden-state similarity with human structure, a panel for each structure.

    ``table`` has the columns of `categories.Similarities.table`.
    """
    structures = list(dict.fromkeys(table["structure"]))
    figure, axes = style.figure(1, len(structures), sharey=True, squeeze=False, height_in=3.1)
    for ax, structure in zip(axes[0], structures, strict=True):
        part = table[table["structure"] == structure]
        for source, colour, marker in (
            ("model", style.CYCLE[0], "o"),
            ("random twin", style.CONTROL, "s"),
        ):
            own = part[part["source"] == source]
            ax.plot(own["layer"], own["spearman"], marker=marker, color=colour, label=source)
            ax.fill_between(own["layer"], own["low"], own["high"], color=colour, alpha=0.18, lw=0)
        own = part[part["source"] == "model"]
        ax.plot(
            *(own["layer"], own["partial"]),
            color=style.CYCLE[4],
            ls=style.DASHES[2],
            label="model, surface held constant",
        )
        ax.plot(
            *(own["layer"], own["null_high"]),
            color=style.ink().muted,
            ls=style.DASHES[1],
            lw=1,
            label="shuffled labels, upper end",
        )
        static = float(part.loc[part["source"] == "static embedding", "spearman"].iloc[0])
        ax.axhline(static, color=style.CYCLE[1], ls=style.DASHES[3], lw=1, label="static embedding")
        ax.set_title(structure)
        ax.set_xlabel("layer (0 is the embedding)")
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0][0].set_ylabel("rank correlation")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def senses_by_layer(table: pd.DataFrame, chance: float) -> Figure:
    """Share of sentences whose nearest one is of the same group; columns of `senses.by_layer`."""
    figure, ax = style.figure(height_in=2.8)
    for source, side, label, colour, marker in (
        ("model", "two", "words of two senses", style.CYCLE[0], "o"),
        ("model", "one", "words of one sense (control)", style.CYCLE[1], "^"),
        ("random twin", "two", "two senses, random twin", style.CONTROL, "s"),
    ):
        own = table[table["source"] == source]
        ax.plot(own["layer"], own[side], marker=marker, color=colour, label=label)
        if source == "model":
            ends = own[f"{side}_low"], own[f"{side}_high"]
            ax.fill_between(own["layer"], *ends, color=colour, alpha=0.15, lw=0)
    ax.axhline(chance, color=style.ink().muted, ls=style.DASHES[1], lw=1, label="chance")
    ax.set_ylim(0, 1.02)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("layer (0 is the embedding)")
    ax.set_ylabel("nearest sentence in the same group")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def garden_paths(table: pd.DataFrame) -> Figure:
    """What the disambiguating mark saves by region; columns of `garden_paths.summary`."""
    names = list(dict.fromkeys(table["construction"]))
    figure, axes = style.figure(1, len(names), sharey=True, squeeze=False, height_in=3.0)
    for ax, name in zip(axes[0], names, strict=True):
        part = table[table["construction"] == name]
        x = np.arange(len(part))
        for side, label, colour, marker, shift in (
            ("open", "verb with two readings", style.CYCLE[1], "o", -0.08),
            ("control", "verb with one reading (control)", style.CONTROL, "s", 0.08),
        ):
            _points(ax, x + shift, part, side, fmt=marker, color=colour, label=label)
        ax.axhline(0, color=style.ink().muted, lw=1)
        ax.set_xticks(x, ["before", "at", "after"])
        ax.set_xlim(-0.4, len(part) - 0.6)
        ax.set_title(name.replace(" or ", "\nor "), fontsize=8)
    axes[0][0].set_ylabel("bits saved by the mark")
    figure.supxlabel("region, seen from the disambiguating word", fontsize=9)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def drift(table: pd.DataFrame) -> Figure:
    """Loss under the second model along a continuation; columns of `drift.by_segment`."""
    figure, ax = style.figure(height_in=2.7)
    for i, (source, part) in enumerate(table.groupby("source", sort=False)):
        colour = style.CONTROL if i == 0 else style.CYCLE[i - 1]
        shift = 0.05 * (i - 1)
        _points(
            ax,
            part["segment"].to_numpy() + shift,
            part,
            "value",
            fmt=style.MARKERS[i],
            ls="-",
            color=colour,
            label=source,
        )
    ax.set_xticks(sorted(set(table["segment"])))
    ax.set_xlabel("segment of the continuation")
    ax.set_ylabel("bits per byte, second model")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def truth_by_statements(table: pd.DataFrame) -> Figure:
    """Share of facts whose truth wins; columns of `truth_frequency.by_statements`."""
    figure, ax = style.figure(height_in=2.9)
    bands = list(dict.fromkeys(table["band"]))
    for i, (against, part) in enumerate(table.groupby("against", sort=False)):
        part = part.set_index("band").reindex(bands)
        x = np.arange(len(bands)) + 0.07 * (i - 1)
        _points(
            ax,
            x,
            part,
            "value",
            fmt=style.MARKERS[i],
            ls=style.DASHES[i],
            color=style.CYCLE[i],
            label=against,
        )
    ax.axhline(0.5, color=style.ink().muted, lw=1, ls=style.DASHES[2])
    ax.set_xticks(range(len(bands)), bands)
    ax.set_ylim(-0.02, 1.04)
    ax.set_xlabel("times the fact was stated in training")
    ax.set_ylabel("truth preferred")
    figure.legend(loc="outside upper center", ncols=1)
    return figure


def _points(ax: Any, x: Any, table: pd.DataFrame, column: str, **options: Any) -> None:
    """Means with intervals; the ends are named ``COLUMN_low`` or, for ``value``, ``low``."""
    prefix = "" if column == "value" else f"{column}_"
    value = table[column].to_numpy()
    ends = [value - table[f"{prefix}low"].to_numpy(), table[f"{prefix}high"].to_numpy() - value]
    ax.errorbar(x, value, np.clip(ends, 0, None), ms=4, capsize=2, **options)
