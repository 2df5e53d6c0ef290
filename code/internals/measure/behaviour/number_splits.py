"""Sums by the pattern in which their numbers are cut, as they come and forced.

As they come, the pattern of a number goes with its size, so patterns are compared within a length.
Forced, the same sum is asked with its numbers cut into digits; the control cuts as many words of
the question instead. Unit: the sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour.resplit import as_letters, continuation, headed
from internals.measure.capability import start_ids
from internals.measure.tokenization.numbers import split_number
from internals.measure.tokenization.segmentation import bytes_to_id, forced_split
from internals.paths import DATA
from internals.tokens import Piece, pieces

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

SUMS = "data/training/sums.csv"
FORM = "What is {a} + {b}? It is"
TRAINED, HELD_OUT, TWO, THREE = "trained", "held out", "two digits", "three digits"
USUAL, SECOND, BOTH = "usual", "second number in digits", "both numbers in digits"
WORDS = "words cut instead (control)"


def pool(trained_known: bool, n: int, seed: int) -> pd.DataFrame:
    """Sums to ask, in random order: ``a``, ``b``, ``group``.

    Numbers of two digits from the project's table, trained and held out; groups are told apart
    only for models that were trained on it. Sums of three digits are in no table.
    """
    rng = np.random.default_rng([seed, 55])
    table = pd.read_csv(DATA / "training" / "sums.csv")
    table = table[(table["a"] >= 10) & (table["b"] >= 10)]
    table = table[table["held_out"] | (table["sums"] > 0)]
    table = table.iloc[rng.permutation(len(table))]
    names = (TRAINED, HELD_OUT) if trained_known else (TWO, TWO)
    table = table.assign(group=np.where(table["held_out"], names[1], names[0]))
    large = rng.integers(100, 500, (n, 2))
    three = pd.DataFrame({"a": large[:, 0], "b": large[:, 1], "group": THREE})
    return pd.concat([table[["a", "b", "group"]], three.drop_duplicates()], ignore_index=True)


def cuts(groups: tuple[str, ...]) -> frozenset[int]:
    """Places of the cuts, counted from the right: ("1", "2") is cut before the tens."""
    lengths = [len(g) for g in groups]
    return frozenset(sum(lengths[i:]) for i in range(1, len(lengths)))


@measurement(files=[SUMS])
def by_pattern(model: ModelHandle, n_cell: int = 150, seed: int = 0) -> pd.DataFrame:
    """Sums by the pattern of their tokens

    At most ``n_cell`` sums of a cell. Columns: ``a``, ``b``, ``group``, ``pattern`` (of both
    numbers, e.g. "2, 1+2"), ``pieces`` (tokens of both), ``aligned`` (both are cut at the same
    places), ``correct`` (every token of the right answer is the first choice), ``bits`` (its
    surprisal).
    """
    loaded = model.loaded()
    asked = pool(loaded.facts.carries_exposure, 1500, seed)
    numbers = {x for column in ("a", "b") for x in asked[column]}
    split = {x: split_number(loaded.tokenizer, str(x), space=True) for x in numbers}
    first, second = (asked[column].map(split) for column in ("a", "b"))
    asked["pattern"] = [
        ", ".join("+".join(str(len(g)) for g in part) for part in pair)
        for pair in zip(first, second, strict=True)
    ]
    asked["pieces"] = first.map(len) + second.map(len)
    asked["aligned"] = [cuts(x) == cuts(y) for x, y in zip(first, second, strict=True)]
    wanted = effort.units(loaded.facts, n_cell, least=60)
    kept = asked.groupby(["group", "pieces", "aligned"]).head(wanted).reset_index(drop=True)
    heads = [headed(loaded, FORM.format(a=r.a, b=r.b)) for r in kept.itertuples()]
    return kept.join(_asked(loaded, heads, kept["a"] + kept["b"]))


def _asked(loaded: LoadedModel, heads: list[list[int]], results: pd.Series) -> pd.DataFrame:
    """``correct`` and ``bits`` of the right answers."""
    from internals.measure.answers import answer_scores

    ids = {x: continuation(loaded.tokenizer, f" {x}") or [] for x in set(results)}
    scores = answer_scores(loaded.model, [(h, ids[x]) for h, x in zip(heads, results, strict=True)])
    bits = -scores["log_prob"] / math.log(2)
    return pd.DataFrame({"correct": scores["greedy"].to_numpy(), "bits": bits.to_numpy()})


LEAST_SUMS = 20


def cells(table: pd.DataFrame, least: int = LEAST_SUMS) -> pd.DataFrame:
    """One row a cell: ``group``, ``pieces``, ``aligned``, ``n``, ``value``, ``low``, ``high``
    (share of right answers, Wilson; NaN below ``least`` sums). All combinations that some group
    has are listed, also the empty ones.
    """
    keys = ["group", "pieces", "aligned"]
    groups = list(dict.fromkeys(table["group"]))
    shapes = table[["pieces", "aligned"]].drop_duplicates().sort_values(["pieces", "aligned"])
    rows = []
    for group in groups:
        for pieces_, aligned in shapes.itertuples(index=False):
            own = table[(table[keys] == [group, pieces_, aligned]).all(axis=1)]
            found = stats.wilson(int(own["correct"].sum()), max(len(own), 1), unit="sums")
            enough = len(own) >= least
            ends = (found.value, found.low, found.high) if enough else (math.nan,) * 3
            rows.append((group, pieces_, aligned, len(own), *ends))
    return pd.DataFrame(rows, columns=[*keys, "n", "value", "low", "high"])


def pattern_gap(table: pd.DataFrame) -> tuple[str, stats.Estimate] | None:
    """Share of right sums with the fewest tokens minus that with the most, in one group.

    Of the groups with enough sums of both it is the one with most right answers; None without any.
    """
    found: list[tuple[float, str, stats.Estimate]] = []
    for group, part in table.groupby("group", sort=False):
        sizes = part["pieces"].value_counts()
        sizes = sizes[sizes >= LEAST_SUMS]
        if len(sizes) < 2:
            continue
        few, many = (
            part.loc[part["pieces"] == n, "correct"].astype(float)
            for n in (sizes.index.min(), sizes.index.max())
        )
        gap = stats.difference(few, many, unit="sums")
        found.append((float(part["correct"].mean()), str(group), gap))
    return max(found, key=lambda row: row[0])[1:] if found else None


@measurement(files=[SUMS])
def forced_digits(model: ModelHandle, n: int = 120, seed: int = 0) -> pd.DataFrame:
    """The same sums with their numbers cut into digits

    Columns: ``sum`` (number of the sum), ``group``, ``variant``, ``extra_pieces``, ``correct``,
    ``bits``. Sums whose numbers are digits anyway are left out, so the table may be empty.
    """
    loaded = model.loaded()
    rng = np.random.default_rng([seed, 56])
    asked = pool(loaded.facts.carries_exposure, 0, seed)
    wanted = effort.units(loaded.facts, n, least=60)
    vocabulary = bytes_to_id(loaded.tokenizer)
    rows: list[dict[str, Any]] = []
    taken = dict.fromkeys(asked["group"], 0)
    for number, r in enumerate(asked.itertuples()):
        if taken[r.group] == wanted:
            continue
        heads = dict(_variants(loaded, vocabulary, r.a, r.b, rng))
        if len(heads) < 4:
            continue
        taken[r.group] += 1
        common = {"sum": number, "group": r.group, "total": r.a + r.b}
        rows += [{**common, "variant": v, "head": h} for v, h in heads.items()]
    columns = ["sum", "group", "variant", "extra_pieces", "correct", "bits"]
    if not rows:
        return pd.DataFrame(columns=columns)
    table = pd.DataFrame(rows)
    length = table["head"].map(len)
    usual = table.assign(length=length)[table["variant"] == USUAL].set_index("sum")["length"]
    table["extra_pieces"] = length - table["sum"].map(usual)
    return table.join(_asked(loaded, table["head"].tolist(), table["total"]))[columns]


def _variants(
    loaded: LoadedModel, vocabulary: dict[bytes, int], a: int, b: int, rng: np.random.Generator
) -> Iterator[tuple[str, list[int]]]:
    """Ids of one question under each split, all of the same bytes."""
    found = pieces(loaded.tokenizer, FORM.format(a=a, b=b), split_special=True)
    start = start_ids(loaded)
    digits = [
        as_letters(vocabulary, p.raw.decode())
        if len(p.raw.strip()) > 1 and p.raw.strip().isdigit()
        else None
        for p in found
    ]
    numbers = [i for i, d in enumerate(digits) if d is not None]
    if len(numbers) != 2:
        return
    yield USUAL, [*start, *(p.id for p in found)]
    for variant, chosen in ((SECOND, numbers[1:]), (BOTH, numbers)):
        yield variant, [*start, *_replaced(found, {i: digits[i] or [] for i in chosen})]
    words = [p for p in found if p.raw.strip().isalpha()]
    extra = sum(len(digits[i] or []) - 1 for i in numbers)
    if (cut := forced_split(words, vocabulary, min(extra, len(words)), rng)) is None:
        return
    kept = [(own.index, cut.ids[to]) for own, to in _origin(words, cut.kept)]
    pairs = iter([i for k, i in enumerate(cut.ids) if k not in {to for _, to in cut.kept}])
    whole = {index for index, _ in kept}
    new = {p.index: [next(pairs), next(pairs)] for p in words if p.index not in whole}
    yield WORDS, [*start, *_replaced(found, new)]


def _origin(words: list[Piece], kept: tuple[tuple[int, int], ...]) -> Iterator[tuple[Piece, int]]:
    """Pieces that were not cut, with their place among the new ids."""
    by_index = {p.index: p for p in words}
    yield from ((by_index[index], to) for index, to in kept)


def _replaced(found: list[Piece], new: dict[int, list[int]]) -> list[int]:
    """Ids of ``found`` with some pieces (by index) replaced."""
    return [i for p in found for i in new.get(p.index, [p.id])]


def by_split(table: pd.DataFrame) -> pd.DataFrame:
    """One row a group and split: ``group``, ``variant``, ``extra_pieces`` (mean), ``n``, ``value``,
    ``low``, ``high`` (share of right sums, Wilson), ``bits`` (mean surprisal of the answer)."""
    rows = []
    for (group, variant), part in table.groupby(["group", "variant"], sort=False):
        found = stats.wilson(int(part["correct"].sum()), len(part), unit="sums")
        ends = (found.n, found.value, found.low, found.high)
        extra = float(part["extra_pieces"].mean())
        rows.append((group, variant, extra, *ends, float(part["bits"].mean())))
    columns = ["group", "variant", "extra_pieces", "n", "value", "low", "high", "bits"]
    return pd.DataFrame(rows, columns=columns)


def against(table: pd.DataFrame, column: str, variant: str, base: str) -> stats.Estimate | None:
    """Paired difference of a column between two splits; None for too few sums."""
    if table["sum"].nunique() < LEAST_SUMS:
        return None
    wide = table.pivot(index="sum", columns="variant", values=column).astype(float)
    return stats.paired_difference(wide[variant], wide[base], unit="sums")
