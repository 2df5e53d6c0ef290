"""Figures of chapter 2: tables in, figures out."""

from __future__ import annotations

import unicodedata
from itertools import cycle

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from internals.figures import style

CHIPS_WIDE = 80.0
"""Characters of a line of chips."""
MONOSPACED = ["DejaVu Sans Mono", "DejaVu Sans"]


def chips(tokens: pd.DataFrame) -> Figure:
    """Every token of some samples as a chip, with its id (seaborn has no such plot).

    Chips of one colour without a gap belong to one pre-token, so that merges may join them; a frame
    marks bytes that are no whole character. ``tokens``: see `breakdown.sample_tokens`.
    """
    figure, ax = style.figure()
    y = 0.0
    for title, part in tokens.groupby("title", sort=False):
        ax.text(0, y - 0.65, title, fontsize=9, weight="bold", va="center")
        y, x, colours = y - 2.4, 0.0, cycle((style.CYCLE[0], style.CYCLE[2]))
        for token in part.itertuples():
            text = style.plain(token.shown)
            width = max(_columns(text), 0.85 * len(str(token.id))) + 0.9
            if token.starts_pretoken:
                colour, x = next(colours), x + 0.7 * (x > 0)
            if x + width > CHIPS_WIDE:
                x, y = 0.0, y - 1.4
            box = (x, y + 0.1), width, 1.2
            ax.add_patch(Rectangle(*box, fc=colour, alpha=0.16, lw=0))
            if not token.whole:
                ax.add_patch(Rectangle(*box, fc="none", ec=style.CYCLE[1], lw=1.2))
            options = {"ha": "center", "va": "center"}
            ax.text(x + width / 2, y + 0.92, text, size=7.5, family=MONOSPACED, **options)
            muted = {"size": 6.5, "color": style.ink().muted}
            ax.text(x + width / 2, y + 0.4, f"{token.id}", **muted, **options)
            x += width + 0.12
    ax.set(xlim=(0, CHIPS_WIDE), ylim=(y, 0))
    ax.set_axis_off()
    figure.set_size_inches(style.WIDTH_IN, 0.1 - y * 0.205)
    return figure


def _columns(text: str) -> float:
    """Width in monospaced characters; East Asian characters are two wide."""
    return sum(1.9 if unicodedata.east_asian_width(c) in "WF" else 1.0 for c in text)


def number_pieces(splits: pd.DataFrame) -> Figure:
    """Into how many pieces numbers of each length fall, a panel for each tokenizer."""
    data = splits.assign(pieces=splits["pieces"].clip(upper=4).astype(int))
    grid = sns.displot(
        data, x="digits", weights="numbers", hue="pieces", col="tokenizer", multiple="fill",
        discrete=True, shrink=0.8, palette="viridis", hue_order=[1, 2, 3, 4],
    )  # fmt: skip
    grid.set(xlabel="digits of the number", ylabel="share", xticks=[1, 2, 3, 4])
    return style.below(grid.set_titles("{col_name}", size=9), height_in=1.7)


def cosines(table: pd.DataFrame) -> Figure:
    """Cosines of the embeddings of a word and its capitalised form, beside both controls."""
    names = {"own": "same word", "neighbour": "word of like frequency", "random": "random word"}
    data = table.rename(columns=names).melt("word", list(names.values()), "with", "cosine")
    grid = sns.displot(
        data, x="cosine", hue="with", kind="hist", element="step", fill=False, bins=50,
        palette=style.CYCLE[:3],
    )  # fmt: skip
    grid.set(xlabel="cosine with the capitalised form", ylabel="words")
    grid.legend.set_title("")
    return style.below(grid, height_in=1.5, columns=3)


def context_layers(table: pd.DataFrame) -> Figure:
    """Similarity of one word's states in different sentences, and the gap between senses.

    ``table``: from `contexts.by_layer`.
    """
    panels = {"same": "cosine across sentences", "gap": "within minus between senses"}
    data = table.assign(panel=table["what"].map(panels))
    grid = sns.relplot(
        data, kind="line", x="layer", y="value", hue="kind", style="kind", col="panel",
        markers=True, errorbar=None, palette=style.CYCLE[:2],
        facet_kws={"sharey": False},
    )  # fmt: skip
    for (_, column, number), part in grid.facet_data():
        for colour, (_, kind) in zip(style.CYCLE, part.groupby("kind", sort=False), strict=False):
            ax = grid.axes.flat[max(column, number)]
            ax.fill_between(kind["layer"], kind["low"], kind["high"], color=colour, alpha=0.2, lw=0)
    grid.set(xlabel="layer (0: embedding)", ylabel="")
    grid.legend.set_title("")
    return style.below(grid.set_titles("{col_name}"), height_in=1.7)


def premium_dots(table: pd.DataFrame) -> Figure:
    """Tokens of each language over tokens of English, by tokenizer, beside the ratio of bytes."""
    own = table["tokenizer"].iloc[0]
    order = table[table["tokenizer"] == own].sort_values("value", ascending=False)
    n_bytes = order.assign(tokenizer="bytes", value=order["bytes_ratio"])
    data = pd.concat([table, n_bytes], ignore_index=True)
    data["language"] = pd.Categorical(data["language"], list(order["language"]))
    ax = style.figure()[1]
    sns.scatterplot(
        data.sort_values("language"), x="value", y="language", hue="tokenizer", style="tokenizer",
        palette=style.CYCLE[:4], ax=ax, s=34,
    )  # fmt: skip
    ax.hlines(order["language"], order["low"], order["high"], color=style.CYCLE[0], lw=1.2)
    ax.axvline(1, color=style.ink().muted, lw=1)
    ax.set(xscale="log", xlabel="ratio to English for the same articles (log scale)", ylabel="")
    style.plain_ticks(ax.xaxis)
    ax.legend(title="", loc="lower right", fontsize=8)
    return style.finish(ax, height_in=2.8)
