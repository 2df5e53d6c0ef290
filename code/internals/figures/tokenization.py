"""Figures of chapter 2: tables in, figures out."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from internals.figures import style

CHIPS_WIDE = 92.0
"""Characters of a line of chips."""


def chips(tokens: pd.DataFrame, titles: dict[str, str]) -> Figure:
    """Every token of some samples as a chip: text, id and bytes.

    Chips of one colour without a gap belong to one pre-token; an orange frame marks bytes that are
    no whole character.
    """
    lines = [line for s in titles for line in _chip_lines(tokens[tokens["sample"] == s], titles[s])]
    figure, ax = style.figure(height_in=sum(line.height for line in lines) * 0.25 + 0.1)
    y = 0.0
    for line in lines:
        y -= line.height
        if line.title:
            ax.text(0, y + 0.35, line.title, fontsize=8, weight="bold", va="center")
        for chip in line.chips:
            _draw_chip(ax, chip, y)
    ax.set_xlim(0, CHIPS_WIDE)
    ax.set_ylim(y, 0)
    ax.set_axis_off()
    return figure


@dataclass(frozen=True)
class _Chip:
    x: float
    width: float
    text: str
    id: str
    raw: str
    odd: bool
    """Of an odd pre-token: neighbours differ in colour."""
    whole: bool


@dataclass(frozen=True)
class _Line:
    title: str
    chips: tuple[_Chip, ...] = ()

    @property
    def height(self) -> float:
        return 1.0 if self.title else 1.75


def _chip_lines(part: pd.DataFrame, title: str) -> list[_Line]:
    """A title line, then lines of chips; a line is broken between tokens."""
    lines, x, pretoken = [_Line(title)], 0.0, 0
    row: list[_Chip] = []
    for token in part.itertuples():
        text = style.plain(_code_points(token.shown))
        shown = token.bytes.split()
        raw = " ".join(shown[:3]) + (" …" if len(shown) > 3 else "")
        width = max(_columns(text), 0.72 * len(str(token.id)), 0.66 * len(raw)) + 0.9
        pretoken += bool(token.starts_pretoken)
        x += 0.8 if token.starts_pretoken and row else 0.0
        if x + width > CHIPS_WIDE and row:
            lines.append(_Line("", tuple(row)))
            row, x = [], 0.0
        chip = _Chip(x, width, text, str(token.id), raw, bool(pretoken % 2), bool(token.whole))
        row.append(chip)
        x += width + 0.12
    return [*lines, _Line("", tuple(row))]


def _code_points(text: str) -> str:
    """The sign for a control character, which the font lacks, as that character's code point."""
    signs = {0x2400 + code: f"⟨U+{code:04X}⟩" for code in range(0x20)}
    return text.translate(signs)


def _columns(text: str) -> float:
    """Width in monospaced characters; East Asian characters are two wide."""
    return sum(1.9 if unicodedata.east_asian_width(c) in "WF" else 1.0 for c in text)


def _draw_chip(ax: Any, chip: _Chip, y: float) -> None:
    from matplotlib.patches import Rectangle

    face = style.CYCLE[0] if chip.odd else style.CYCLE[2]
    edge, width = ("none", 0.0) if chip.whole else (style.CYCLE[1], 1.2)
    ax.add_patch(Rectangle((chip.x, y + 0.15), chip.width, 1.45, fc=face, alpha=0.16, lw=0))
    ax.add_patch(Rectangle((chip.x, y + 0.15), chip.width, 1.45, fc="none", ec=edge, lw=width))
    middle = chip.x + chip.width / 2
    options = {"ha": "center", "va": "center"}
    ax.text(middle, y + 1.22, chip.text, fontsize=7, family=MONOSPACED, **options)
    ax.text(middle, y + 0.76, chip.id, fontsize=4.8, color=style.ink().muted, **options)
    ax.text(
        middle,
        y + 0.38,
        chip.raw,
        fontsize=4.4,
        family=MONOSPACED,
        color=style.ink().muted,
        **options,
    )


MONOSPACED = ["DejaVu Sans Mono", "DejaVu Sans"]


def word_oov_curve(table: pd.DataFrame) -> Figure:
    """Unknown words of word-level tokenizers against the size of their vocabulary."""
    return _by_size(table, "unknown_share", "unknown share of new text", bottom=0)


def _by_size(table: pd.DataFrame, column: str, label: str, bottom: float | None = None) -> Figure:
    """A rate with its interval against the vocabulary on a logarithmic axis."""
    figure, ax = style.figure(height_in=2.7)
    error = _error(table[column], table[f"{column}_low"], table[f"{column}_high"])
    ax.errorbar(table["n_vocab"], table[column], error, marker="o", capsize=2)
    ax.set_xscale("log")
    ax.set_xticks(table["n_vocab"], [f"{n:,}" for n in table["n_vocab"]])
    ax.minorticks_off()
    ax.set_ylim(bottom=bottom)
    ax.set_xlabel("vocabulary entries (log scale)")
    ax.set_ylabel(label)
    return figure


def _error(value: pd.Series, low: pd.Series, high: pd.Series) -> Any:
    """Lengths of error bars; never negative."""
    return np.clip([value - low, high - value], 0, None)


def split_accuracy(changes: pd.DataFrame) -> Figure:
    """Accuracy at tokens behind a cut, before and after the cut, by number of cuts."""
    figure, ax = style.figure(height_in=2.7)
    for i, (what, label) in enumerate(
        (("usual", "usual split"), ("cut", "tokens before them cut"))
    ):
        part = changes[changes["what"] == what]
        ax.errorbar(
            part["splits"] + 0.06 * (2 * i - 1),
            part["value"],
            _error(part["value"], part["low"], part["high"]),
            marker=style.MARKERS[i],
            color=style.CYCLE[i],
            ls=style.DASHES[i],
            label=label,
        )
    ax.set_xticks(sorted(changes["splits"].unique()))
    ax.set_ylim(bottom=0)
    ax.set_xlabel("extra pieces: tokens cut in two (same bytes)")
    ax.set_ylabel("accuracy behind a cut")
    if len(changes):
        ax.legend(loc="lower left")
    return figure


def rarity_curve(table: pd.DataFrame) -> Figure:
    """Mean pieces of a word by the power of ten of its count, with the middle half of the words."""
    figure, ax = style.figure()
    groups = table.groupby("band")["pieces"]
    means, low, high = groups.mean(), groups.quantile(0.25), groups.quantile(0.75)
    x = means.index.to_numpy()
    ax.fill_between(x, low, high, alpha=0.2, label="middle half of the words")
    ax.plot(x, means, marker="o", label="mean")
    ax.set_xticks(x, [f"{10**b:,}–{10 ** (b + 1) - 1:,}" for b in x], rotation=20, ha="right")
    ax.set_xlabel("occurrences in the story corpus")
    ax.set_ylabel("pieces")
    ax.set_ylim(bottom=0.8)
    ax.legend()
    return figure


def number_map(table: pd.DataFrame) -> Figure:
    """Pieces of 0 to 9,999 with a space before them: hundreds down, the last two digits across."""
    figure, ax = style.figure(ratio=0.75)
    spaced = table[table["space"]].sort_values("number")["pieces"].to_numpy()
    grid = spaced.reshape(100, 100)
    top = int(grid.max())
    image = ax.imshow(grid, cmap=style.SEQUENTIAL, vmin=1, vmax=max(top, 2), aspect="auto")
    ax.set_xlabel("last two digits")
    ax.set_ylabel("number without its last two digits")
    ax.grid(False)
    bar = figure.colorbar(image, ticks=range(1, max(top, 2) + 1), label="pieces")
    bar.outline.set_visible(False)
    return figure


def pair_cosines(table: pd.DataFrame) -> Figure:
    """Cosines of two forms of a word beside both controls."""
    kinds = list(dict.fromkeys(table["pair"]))
    if not kinds:  # too few words are single tokens
        return style.figure(height_in=1.0)[0]
    figure, axes = style.figure(1, len(kinds), sharey=True, squeeze=False)
    titles = {"case": "case differs", "space": "space differs", "both": "both differ"}
    bins = np.linspace(-0.4, 1, 43)
    for ax, kind in zip(axes[0], kinds, strict=True):
        part = table[table["pair"] == kind]
        for column, label in (
            ("own", "same word"),
            ("neighbour", "word of like frequency"),
            ("random", "random word"),
        ):
            ax.hist(part[column], bins=bins, histtype="step", density=True, label=label, lw=1.6)
        ax.set_title(titles[kind])
        ax.set_xlabel("cosine")
    axes[0][0].set_ylabel("density")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def context_layers(table: pd.DataFrame) -> Figure:
    """Similarity of one word's states in different sentences, and the gap between its groups."""
    figure, axes = style.figure(1, 2, height_in=2.9)
    panels = (
        (axes[0], ("same word", "other words"), "cosine of states"),
        (axes[1], ("gap",), "within minus between groups"),
    )
    for ax, whats, label in panels:
        for i, kind in enumerate(dict.fromkeys(table["kind"])):
            for j, what in enumerate(whats):
                part = table[(table["kind"] == kind) & (table["what"] == what)]
                ax.plot(
                    part["layer"],
                    part["value"],
                    marker=style.MARKERS[i],
                    ms=4,
                    color=style.CYCLE[i] if what != "other words" else style.CONTROL,
                    ls=style.DASHES[j],
                    label=f"words of {kind}" if what != "other words" else "other words",
                )
                if what != "other words":
                    ax.fill_between(
                        part["layer"], part["low"], part["high"], alpha=0.2, color=style.CYCLE[i]
                    )
        ax.axhline(0, color=style.ink().muted, lw=1)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_xlabel("layer (0: embedding)")
        ax.set_ylabel(label)
    handles, labels = axes[0].get_legend_handles_labels()
    kept = dict(zip(labels, handles, strict=True))
    figure.legend(kept.values(), kept.keys(), loc="outside upper center", ncols=3)
    return figure


def rate_bars(table: pd.DataFrame, rate: str) -> Figure:
    """One rate of every tokenizer with its interval."""
    part = table[table["rate"] == rate].sort_values("value")
    figure, ax = style.figure(height_in=0.4 * len(part) + 0.9)
    error = _error(part["value"], part["low"], part["high"])
    ax.barh(part["tokenizer"], part["value"], xerr=error, height=0.6, ecolor=style.ink().text)
    ax.set_xlabel(rate)
    ax.grid(axis="y", visible=False)
    return figure


def premium_dots(table: pd.DataFrame) -> Figure:
    """Tokens of each language over English, with intervals, beside the ratio of bytes."""
    names = list(dict.fromkeys(table["tokenizer"]))
    own = table[table["tokenizer"] == names[0]].sort_values("value")
    figure, ax = style.figure(height_in=0.28 * len(own) + 1.0)
    y = np.arange(len(own))
    error = _error(own["value"], own["low"], own["high"])
    ax.errorbar(own["value"], y, xerr=error, fmt="o", label=f"tokens of {names[0]}")
    ax.plot(own["bytes_ratio"], y, "x", color=style.CYCLE[1], label="bytes")
    ax.axvline(1, color=style.ink().muted, lw=1)
    ax.set_yticks(y, [f"{r.language} ({r.script})" for r in own.itertuples()])
    _ratio_axis(ax)
    ax.legend(loc="lower right")
    return figure


def growth_curve(table: pd.DataFrame) -> Figure:
    """Bytes per token against the size of the vocabulary."""
    return _by_size(table, "bytes_per_token", "bytes per token on held-out text")


def split_effect(table: pd.DataFrame, changes: pd.DataFrame) -> Figure:
    """Change of the loss by the number of forced splits; one dot a sentence, mean with interval."""
    figure, ax = style.figure()
    if table.empty:  # a vocabulary without another way to write its words
        return figure
    wide = table.pivot(index="sentence", columns="splits", values="bits_per_byte")
    change = wide.drop(columns=0).sub(wide[0], axis=0)
    rng = np.random.default_rng(0)
    for n in change.columns:
        x = n + rng.uniform(-0.15, 0.15, len(change))
        ax.plot(x, change[n], ".", ms=2.5, alpha=0.25, color=style.CYCLE[0])
    loss = changes[changes["what"] == "loss"]
    error = _error(loss["value"], loss["low"], loss["high"])
    ax.errorbar(loss["splits"], loss["value"], error, fmt="D", color=style.CYCLE[1], zorder=3)
    ax.axhline(0, color=style.ink().muted, lw=1)
    ax.set_xticks(list(change.columns))
    ax.set_xlabel("extra pieces: tokens cut in two (same bytes)")
    ax.set_ylabel("change of the loss (bits per byte)")
    return figure


def premium_by_training(table: pd.DataFrame) -> Figure:
    """Premiums under a tokenizer trained on English and under one trained on the language."""
    order = table[table["trained_on"] == "English"].sort_values("value")["language"]
    figure, ax = style.figure(height_in=0.24 * len(order) + 1.0)
    for i, (name, part) in enumerate(table.groupby("trained_on", sort=False)):
        part = part.set_index("language").loc[order]
        ax.errorbar(
            part["value"],
            np.arange(len(part)),
            xerr=_error(part["value"], part["low"], part["high"]),
            fmt=style.MARKERS[i],
            color=style.CYCLE[i],
            label=f"trained on {name}",
        )
    ax.axvline(1, color=style.ink().muted, lw=1)
    ax.set_yticks(np.arange(len(order)), [f"{x}" for x in order])
    _ratio_axis(ax)
    ax.legend(loc="lower right")
    return figure


def _ratio_axis(ax: Any) -> None:
    """A logarithmic axis of ratios with plain numbers."""
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ticks = [t for t in (0.25, 0.5, 1, 2, 4, 8, 16, 32) if low <= t <= high]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.set_xlabel("ratio to English for the same articles (log scale)")
