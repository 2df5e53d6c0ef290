"""Surprisal where readers slow down: garden-path sentences against their controls, by region.

Four beginnings with the same next words: a verb that leaves two readings open or only one, each
with and without the word or comma that excludes the wrong reading (the design of Futrell et al.
2019). What the mark is worth after the open verb, beyond what it is worth after the other, is the
garden path. The unit is the item.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import inputs, stats
from internals.cache import measurement
from internals.measure.capability import start_ids
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import ModelHandle

ITEMS = DATA / "questions" / "garden_paths.yaml"
BEGINNINGS = ("garden", "marked", "clear", "clear_marked")
REGIONS = ("shared", "critical", "spill")


@dataclass(frozen=True)
class Item:
    """One sentence with four beginnings."""

    id: str
    construction: str
    garden: str
    marked: str
    clear: str
    clear_marked: str
    shared: str
    critical: str
    spill: str


def items(path: Path = ITEMS) -> list[Item]:
    """The sentences of chapter 5.

    Raises:
        InputError: as `inputs.fields`.
    """
    names = ("id", "construction", *BEGINNINGS, *REGIONS)
    return [Item(**entry) for entry in inputs.fields(path, "items", names)]


@measurement
def surprisals(model: ModelHandle, path: Path = ITEMS) -> pd.DataFrame:
    """Surprisal of garden-path sentences by region

    Columns: ``id``, ``construction``, ``beginning``, ``region``, ``bits`` (joint surprisal of all
    tokens of the region, given everything before it).
    """
    from internals.measure.scoring import score_tokens

    loaded = model.loaded()
    start = start_ids(loaded)

    def ids(text: str) -> list[int]:
        return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])

    chosen = items(path)
    sequences, spans = [], []
    for item in chosen:
        for beginning in BEGINNINGS:
            row = [*start, *ids(getattr(item, beginning))]
            for region in REGIONS:
                part = ids(f" {getattr(item, region)}")
                # A token's score stands one place before it: the first token has none.
                spans.append((item, beginning, region, len(row) - 1, len(row) - 1 + len(part)))
                row += part
            sequences.append(row)
    scores = score_tokens(loaded.model, sequences)
    rows = []
    for number, (item, beginning, region, first, end) in enumerate(spans):
        lp = scores[number // len(REGIONS)].log_prob[first:end]
        bits = float(-lp.sum() / math.log(2))
        rows.append((item.id, item.construction, beginning, region, bits))
    return pd.DataFrame(rows, columns=["id", "construction", "beginning", "region", "bits"])


def effects(table: pd.DataFrame) -> pd.DataFrame:
    """What the mark saves, item by item: ``id``, ``construction``, ``region``, ``open`` (garden
    minus marked, bits), ``control`` (clear minus clear_marked), ``excess`` (open minus control)."""
    wide = table.pivot_table(
        index=["construction", "id", "region"], columns="beginning", values="bits", sort=False
    ).reset_index()
    wide["open"] = wide["garden"] - wide["marked"]
    wide["control"] = wide["clear"] - wide["clear_marked"]
    wide["excess"] = wide["open"] - wide["control"]
    wide.columns.name = None
    return wide[["id", "construction", "region", "open", "control", "excess"]]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over items with intervals, for each construction and for all.

    Args:
        table: from :func:`effects`.

    Returns:
        ``construction``, ``region``, ``items``, for each of open, control and excess the mean and
        ``_low``, ``_high``; ``p`` (sign flips of the excess) and ``adjusted`` (Benjamini–Hochberg
        over all rows).
    """
    everything = table.assign(construction="all")
    rows = []
    for name, own in pd.concat([table, everything]).groupby("construction", sort=False):
        for region in REGIONS:
            part = own[own["region"] == region]
            row: dict[str, object] = {"construction": name, "region": region, "items": len(part)}
            for column in ("open", "control", "excess"):
                found = stats.bootstrap_ci(part[column].to_numpy(), unit="items")
                row |= {column: found.value}
                row |= {f"{column}_low": found.low, f"{column}_high": found.high}
            row["p"] = stats.sign_flip_test(part["excess"].to_numpy()).p_value
            rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.assign(adjusted=stats.benjamini_hochberg(frame["p"]))


def at(table: pd.DataFrame, region: str, column: str = "excess") -> stats.Estimate:
    """Mean of one column of :func:`effects` in a region, over items."""
    part = table.loc[table["region"] == region, column].to_numpy()
    return stats.bootstrap_ci(np.asarray(part, float), unit="items")
