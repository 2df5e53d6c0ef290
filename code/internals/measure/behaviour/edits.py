"""One word of a sentence, written in unusual ways, and what that costs the text after it.

The text after the word is the same in every version, byte for byte and token for token, so that
only the context differs. Every edit has a control that changes as many characters and is an
ordinary word; forced splits change no character at all. Unit: the sentence, one of a document.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour.resplit import (
    as_letters,
    continuation,
    headed,
    one_sentence_each,
)
from internals.measure.behaviour.writings import CONTROLS, EDITS, Lexicon, Place, Rng, find_place
from internals.measure.tokenization.segmentation import bytes_to_id, forced_split
from internals.measure.windows import HELD_OUT, utf8_bytes
from internals.tokens import pieces

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

FOLLOWING = 10
"""Tokens after the word that are scored, at most."""
LEAST_FOLLOWING = 5
SAME_BYTES = ("split in two", "split into letters")


def versions(loaded: LoadedModel, place: Place, lexicon: Lexicon, rng: Rng) -> dict[str, list[int]]:
    """Ids up to the end of the word, by edit; ``original`` is the sentence as it is."""
    found = {"original": headed(loaded, f"{place.before} {place.word}")}
    for letters, name in CONTROLS.items():
        other = str(rng.choice(lexicon.others(place.word, letters)))
        found[name] = headed(loaded, f"{place.before} {other}")
    for name, edit in EDITS.items():
        found[name] = headed(loaded, place.before + edit.write(place.word, rng))
    return found


def same_bytes(
    loaded: LoadedModel, place: Place, vocabulary: dict[bytes, int], rng: Rng
) -> dict[str, list[int]]:
    """Ids of the unchanged text with the word cut in two, or into its letters, where possible."""
    text = f"{place.before} {place.word}"
    found = pieces(loaded.tokenizer, text, split_special=True)
    own = [p for p in found if p.end > len(place.before)]
    start = headed(loaded, text)[: -len(own)]
    by_name: dict[str, list[int]] = {}
    if (two := forced_split(own, vocabulary, 1, rng)) is not None:
        by_name["split in two"] = [*start, *two.ids]
    whole = b"".join(p.raw for p in own) == f" {place.word}".encode()
    letters = as_letters(vocabulary, f" {place.word}") if whole else None
    if letters is not None:
        by_name["split into letters"] = [*start, *letters]
    return by_name


@measurement(files=[HELD_OUT, "data/words/counts.csv"])
def edits(model: ModelHandle, n: int = 64, seed: int = 0) -> pd.DataFrame:
    """One word written in unusual ways, and the text after it

    Columns: ``sentence`` (number of its document), ``word``, ``edit`` (controls among them),
    ``family``, ``control`` (name of the control edit; empty for controls and forced splits),
    ``extra_pieces`` (tokens beyond those of the original), ``change`` (bits per byte of the
    following tokens, minus the original's), ``accuracy_change`` (share of them that are the first
    choice, likewise), ``accuracy_original`` (that share in the original).
    """
    from internals.measure.answers import piece_scores

    loaded = model.loaded()
    rng = np.random.default_rng([seed, 50])
    lexicon, vocabulary = Lexicon(loaded.tokenizer), bytes_to_id(loaded.tokenizer)
    wanted = effort.units(loaded.facts, n, least=50)
    jobs: list[dict[str, Any]] = []
    for number, texts in one_sentence_each():
        for place in filter(None, (find_place(text, lexicon) for text in texts)):
            tail = (continuation(loaded.tokenizer, place.after) or [])[:FOLLOWING]
            heads = versions(loaded, place, lexicon, rng)
            heads |= same_bytes(loaded, place, vocabulary, rng)
            longest = max(map(len, heads.values())) + len(tail)
            if len(tail) < LEAST_FOLLOWING or longest > loaded.facts.context_length:
                continue
            common = {"sentence": number, "word": place.word, "tail": tail}
            common["b"] = utf8_bytes(loaded, tail)
            jobs += [{**common, "edit": edit, "head": head} for edit, head in heads.items()]
            break
        if len({job["sentence"] for job in jobs}) == wanted:
            break
    columns = ["sentence", "word", "edit", "head", "tail", "b"]
    table = pd.DataFrame(jobs, columns=columns)
    if len(table):
        scores = piece_scores(loaded.model, list(zip(table["head"], table["tail"], strict=True)))
        by_job = scores.assign(hit=scores["rank"] == 0).groupby("pair")
        table["bits"] = -by_job["log_prob"].sum() / math.log(2) / table["b"]
        table["accuracy"] = by_job["hit"].mean()
    return _against_original(table)


def _against_original(table: pd.DataFrame) -> pd.DataFrame:
    """Changes against the unedited sentence."""
    table = table.reindex(columns=[*table.columns[:6], "bits", "accuracy"])
    table["pieces"] = table["head"].map(len)
    base = table[table["edit"] == "original"].set_index("sentence")
    table = table[table["edit"] != "original"].copy()
    for new, old in (
        ("extra_pieces", "pieces"),
        ("change", "bits"),
        ("accuracy_change", "accuracy"),
    ):
        table[new] = table[old] - table["sentence"].map(base[old])
    table["accuracy_original"] = table["sentence"].map(base["accuracy"])
    family = {name: edit.family for name, edit in EDITS.items()}
    family |= dict.fromkeys(CONTROLS.values(), "control") | dict.fromkeys(SAME_BYTES, "same bytes")
    table["family"] = table["edit"].map(family)
    control = {name: CONTROLS[edit.control] for name, edit in EDITS.items()}
    table["control"] = table["edit"].map(control).fillna("")
    kept = ["sentence", "word", "edit", "family", "control"]
    kept += ["extra_pieces", "change", "accuracy_change", "accuracy_original"]
    return table[kept].reset_index(drop=True)


def costs(table: pd.DataFrame) -> pd.DataFrame:
    """One row an edit, by cost, intervals over sentences.

    Columns: ``edit``, ``family``, ``n``, ``pieces`` (mean of the extra ones), ``change``, ``low``,
    ``high`` (bits per byte), ``accuracy``, ``accuracy_low``, ``accuracy_high``, and against the
    control of as many characters, for edits that have one: ``excess``, ``excess_low``,
    ``excess_high`` (bits per byte), ``p`` (sign flips), ``adjusted`` (Benjamini–Hochberg).
    """
    wide = table.pivot(index="sentence", columns="edit", values="change")
    rows = []
    for (edit, family, control), part in table.groupby(["edit", "family", "control"], sort=False):
        bits = stats.bootstrap_ci(part["change"], unit="sentences")
        hits = stats.bootstrap_ci(part["accuracy_change"], unit="sentences")
        row = {"edit": edit, "family": family, "n": bits.n}
        row["pieces"] = float(part["extra_pieces"].mean())
        row |= {"change": bits.value, "low": bits.low, "high": bits.high}
        row |= {"accuracy": hits.value, "accuracy_low": hits.low, "accuracy_high": hits.high}
        if control:
            both = wide[[edit, control]].dropna()
            more = stats.paired_difference(both[edit], both[control], unit="sentences")
            p = stats.sign_flip_test(both[edit] - both[control], n_permutations=1999).p_value
            row |= {"excess": more.value, "excess_low": more.low, "excess_high": more.high, "p": p}
        rows.append(row)
    columns = ["edit", "family", "n", "pieces", "change", "low", "high"]
    columns += ["accuracy", "accuracy_low", "accuracy_high"]
    columns += ["excess", "excess_low", "excess_high", "p"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["adjusted"] = stats.benjamini_hochberg(frame["p"].astype(float))
    return frame.sort_values("change", ascending=False, ignore_index=True)


@dataclass(frozen=True)
class Summary:
    """What the edits cost, ready for the chapter."""

    costs: pd.DataFrame
    """As `costs`; empty if too few sentences can be edited."""
    by_pieces: stats.Estimate | None
    """Rank correlation of the change of the loss with the number of extra tokens, over edits
    (controls left out), resampling sentences."""
    beyond_by_pieces: stats.Estimate | None
    """The same for the change `beyond_control`."""
    more_cuts: stats.Estimate | None
    """Cost of a word cut into letters minus that of the same word cut in two, bits per byte."""
    accuracy: float
    """Share of the scored tokens that are the first choice after the original word."""
    n: int
    """Sentences."""


LEAST_SENTENCES = 10


@measurement
def summary(model: ModelHandle, seed: int = 0) -> Summary:
    """Costs of the edits with intervals"""
    table = edits(model, seed=seed)
    n = int(table["sentence"].nunique())
    if n < LEAST_SENTENCES:
        return Summary(costs(table.head(0)), None, None, None, math.nan, n)
    own = table[table["family"] != "control"]
    related, beyond = (
        stats.correlation(
            own["extra_pieces"], change, clusters=own["sentence"].to_numpy(), unit="sentences"
        )
        for change in (own["change"], beyond_control(table))
    )
    wide = table.pivot(index="sentence", columns="edit", values="change")
    wide = wide.reindex(columns=list(SAME_BYTES)).dropna()
    more = None
    if len(wide) >= LEAST_SENTENCES:
        more = stats.paired_difference(wide[SAME_BYTES[1]], wide[SAME_BYTES[0]], unit="sentences")
    hits = float(table.groupby("sentence")["accuracy_original"].first().mean())
    return Summary(costs(table), related, beyond, more, hits, n)


def beyond_control(table: pd.DataFrame) -> pd.Series:
    """Change of the loss by each edit of `edits` minus that by its control in the same sentence.

    Edits that add most tokens also change most letters, and the control changes as many. Forced
    splits change no letter, so nothing is taken off.
    """
    change = table.set_index(["sentence", "edit"])["change"]
    own = table[table["family"] != "control"]
    control = change.reindex(pd.MultiIndex.from_frame(own[["sentence", "control"]]))
    return own["change"] - control.fillna(0.0).to_numpy()


NO_MORE_TOKENS = 0.5
"""Most tokens on average that an edit may add beyond another and still count as adding no more."""


def dearer_than_letters(table: pd.DataFrame) -> pd.Series:
    """Do edits cost clearly more than the same word cut into letters, although they add no more
    tokens? By name of the edit, for those that add no more.

    If so, a part of their cost has another cause than the number of tokens. ``table``: of `edits`;
    compared over the sentences that have both, by interval and corrected p-value.
    """
    letters = SAME_BYTES[1]
    tested = table[(table["control"] != "") | (table["edit"] == letters)]
    cost, tokens = (
        tested.pivot(index="sentence", columns="edit", values=values)
        for values in ("change", "extra_pieces")
    )
    more, p = {}, {}
    for edit in cost.columns.drop(letters) if letters in cost else ():
        both = cost[[edit, letters]].dropna()
        added = tokens.loc[both.index].mean()
        if len(both) < LEAST_SENTENCES or added[edit] > added[letters] + NO_MORE_TOKENS:
            continue
        more[edit] = stats.paired_difference(both[edit], both[letters], unit="sentences").low > 0
        p[edit] = stats.sign_flip_test(both[edit] - both[letters], n_permutations=1999).p_value
    adjusted = stats.benjamini_hochberg(pd.Series(p, dtype=float))
    return pd.Series(more, dtype=bool) & (adjusted < CLEAR)


def estimate(table: pd.DataFrame, edit: str, what: str = "change") -> stats.Estimate | None:
    """One cell of `costs` (``change``, ``accuracy`` or ``excess``); None if it is not there."""
    row = table[table["edit"] == edit]
    if row.empty or not math.isfinite(row[what].iloc[0]):
        return None
    r = row.iloc[0]
    low, high = ("low", "high") if what == "change" else (f"{what}_low", f"{what}_high")
    return stats.Estimate(r[what], r[low], r[high], int(r["n"]), "sentences", "BCa bootstrap")


CLEAR = 0.05
"""Corrected p-value below which an edit differs clearly from its control."""


def dearer(table: pd.DataFrame) -> pd.Series:
    """Which edits of `costs` cost clearly more than their control, by name: the interval lies above
    zero and the p-value holds after correction for the number of edits."""
    tested = table.dropna(subset=["excess"]).set_index("edit")
    return (tested["adjusted"] < CLEAR) & (tested["excess_low"] > 0)


def compared(table: pd.DataFrame, edit: str) -> str:
    """``more``, ``less`` or ``same``: the cost of an edit against its control, by the same rule."""
    row = table[(table["edit"] == edit) & (table["adjusted"] < CLEAR)]
    if row["excess_low"].gt(0).any():
        return "more"
    return "less" if row["excess_high"].lt(0).any() else "same"
