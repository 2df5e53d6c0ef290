"""What generated texts state about the world, and how much of it is true, by sampling method.

A statement is a sentence that follows a known pattern with a subject and an object that stand in
the tables of facts; so it is right or wrong, and no reader has to judge. The unit is the opening.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.generation.sampling import Sampler
from internals.measure import effort
from internals.measure.capability import start_ids
from internals.measure.generation import metrics
from internals.measure.generation.samples import NEW_TOKENS, SETTINGS, token_ids

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

FILES = ["data/facts/countries.csv", "data/facts/templates.yaml"]
RELATIONS = ("capital", "continent", "language")
FREE = ("greedy", "T 1", "T 1.3", "k 50", "p 0.9")
"""Settings under which texts are written freely."""


@dataclass(frozen=True)
class Statement:
    """A sentence about a subject and an object of the tables."""

    relation: str
    subject: str
    object: str
    right: bool


@cache
def truths() -> dict[str, dict[str, frozenset[str]]]:
    """Relation, country, right answers; a country with several languages has several."""
    from fable.dataset import countries
    from internals.paths import DATA

    table = pd.read_csv(DATA / "facts" / "countries.csv", keep_default_na=False)
    languages = dict(zip(table["country"], table["languages"], strict=True))
    found: dict[str, dict[str, frozenset[str]]] = {relation: {} for relation in RELATIONS}
    for row in countries():
        name = row["country"]
        for relation in ("capital", "continent"):
            if row[relation]:
                found[relation][name] = frozenset({row[relation]})
        if languages[name]:
            found["language"][name] = frozenset(languages[name].split(";"))
    return found


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """(relation, pattern with the groups s and o) of every sentence that states a fact."""
    from fable.designed import templates

    found = []
    for relation, own in truths().items():
        subjects = _any_of(own)
        objects = _any_of({answer for answers in own.values() for answer in answers})
        for text in [*templates()[relation]["trained"], *templates()[relation]["reverse"]]:
            # Without the full stop, which a text may not have reached.
            pattern = re.escape(text.rstrip('."')).replace(r"\{s\}", f"(?P<s>{subjects})")
            pattern = pattern.replace(r"\{o\}", f"(?P<o>{objects})")
            found.append((relation, re.compile(rf"(?<!\w){pattern}(?!\w)")))
    return tuple(found)


def _any_of(names: Any) -> str:
    """Alternatives, longer ones first, so that Guinea-Bissau is not read as Guinea."""
    return "|".join(map(re.escape, sorted(names, key=lambda name: (-len(name), name))))


def statements(text: str) -> list[Statement]:
    """Everything that a text states about the tables, in no special order, each place once."""
    found: dict[tuple[int, int], Statement] = {}
    for relation, pattern in _patterns():
        for match in pattern.finditer(text):
            subject, answer = match["s"], match["o"]
            right = answer in truths()[relation][subject]
            found[match.span("s")[0], match.span("o")[0]] = Statement(
                relation, subject, answer, right
            )
    return list(found.values())


def _countries(loaded: LoadedModel, n: int, least: int, seed: int) -> list[str]:
    names = sorted(truths()["capital"])
    order = np.random.default_rng([seed, 41]).permutation(len(names))
    return [names[int(i)] for i in order[: effort.units(loaded.facts, n, least=least)]]


@measurement(files=FILES)
def written(model: ModelHandle, seeds: int = 2, seed: int = 0) -> pd.DataFrame:
    """Statements about countries in freely written text, right and wrong

    Every text begins with the name of a country and goes on as the model likes. Columns:
    ``setting``, ``opening``, ``texts``, ``right``, ``wrong`` (statements), ``chance`` (those that
    would be right if the objects of the setting's statements were dealt out anew within their
    relation), ``example`` (a wrong statement, if there is one).
    """
    from internals.generation.generate import generate

    loaded = model.loaded()
    openings = _countries(loaded, 40, 16, seed)
    chosen = [s for s in SETTINGS if s.name in FREE]
    heads = {o: [*start_ids(loaded), *token_ids(loaded, o)] for o in openings}
    n_new = min(NEW_TOKENS, loaded.facts.context_length - max(map(len, heads.values())))
    frames = []
    for number, setting in enumerate(chosen):
        times = 1 if setting.greedy else seeds
        rows = [heads[o] for o in openings]
        made = generate(
            loaded.model, rows, n_new, sampler=setting, seed=seed + number, copies=times
        ).ids
        texts = [loaded.tokenizer.decode(list(ids)) for ids in made]
        found = [
            statements(opening + "".join(texts[i * times + k]))
            for i, opening in enumerate(openings)
            for k in range(times)
        ]
        frames.append(_counted(setting, openings, times, found, seed))
    return pd.concat(frames, ignore_index=True)


def _counted(
    setting: Sampler,
    openings: list[str],
    times: int,
    found: list[list[Statement]],
    seed: int,
) -> pd.DataFrame:
    """One row for each opening."""
    lucky = _dealt(found, np.random.default_rng([seed, 43]))
    rows = []
    for i, opening in enumerate(openings):
        own = [s for part in found[i * times : (i + 1) * times] for s in part]
        wrong = [f"{s.relation}: {s.subject}, {s.object}" for s in own if not s.right]
        rows.append(
            {
                "setting": setting.name,
                "opening": opening,
                "texts": times,
                "right": len(own) - len(wrong),
                "wrong": len(wrong),
                "chance": sum(lucky[i * times : (i + 1) * times]),
                "example": wrong[0] if wrong else "",
            }
        )
    return pd.DataFrame(rows)


def _dealt(found: list[list[Statement]], rng: np.random.Generator) -> list[float]:
    """For each text the statements that are right when objects are dealt out anew (mean of 20)."""
    hits = [0.0] * len(found)
    for relation in RELATIONS:
        own = [(i, s) for i, part in enumerate(found) for s in part if s.relation == relation]
        for _ in range(20):
            dealt = rng.permutation([s.object for _, s in own])
            for (i, s), answer in zip(own, dealt, strict=True):
                hits[i] += (answer in truths()[relation][s.subject]) / 20
    return hits


def rates(table: pd.DataFrame) -> pd.DataFrame:
    """Share of wrong statements by setting, pooled, with intervals over openings.

    Columns: ``setting``, ``statements``, ``openings`` (with a statement), ``wrong`` (share),
    ``low``, ``high``, ``chance`` (share that would be wrong with objects dealt out anew).
    """
    rows = []
    for setting, own in table.groupby("setting", sort=False):
        told = own[own["right"] + own["wrong"] > 0]
        if not len(told):
            continue
        counts = told[["wrong", "right"]].to_numpy(float)
        found = stats.bootstrap_ci(counts, _share, unit="openings", method="percentile")
        total = int(counts.sum())
        chance = 1 - float(told["chance"].sum()) / total
        rows.append((setting, total, found.n, found.value, found.low, found.high, chance))
    columns = ["setting", "statements", "openings", "wrong", "low", "high", "chance"]
    return pd.DataFrame(rows, columns=columns)


def _share(counts: np.ndarray) -> float:
    return float(counts[:, 0].sum() / counts.sum())


def rate_difference(table: pd.DataFrame, a: str, b: str) -> stats.Estimate | None:
    """Share of wrong statements under ``a`` less that under ``b``, openings resampled together;
    None if either states nothing on at least two openings."""
    columns = [f"{kind} {setting}" for setting in (a, b) for kind in ("wrong", "right")]
    wide = table.pivot(index="opening", columns="setting", values=["wrong", "right"])
    wide.columns = pd.Index([f"{kind} {setting}" for kind, setting in wide.columns])
    counts = wide[columns].to_numpy(float)
    if any((counts[:, k : k + 2].sum(axis=1) > 0).sum() < 5 for k in (0, 2)):
        return None

    def gap(rows: np.ndarray) -> float:
        sums = rows.sum(axis=0)
        if not (sums[0] + sums[1]) or not (sums[2] + sums[3]):
            return 0.0  # a resample without a statement shows no difference
        return float(sums[0] / (sums[0] + sums[1]) - sums[2] / (sums[2] + sums[3]))

    return stats.bootstrap_ci(counts, gap, unit="openings", method="percentile")


@measurement(files=FILES)
def asked(model: ModelHandle, times: int = 5, seed: int = 0) -> pd.DataFrame:
    """Right capitals in sampled answers, by setting

    Columns: ``setting``, ``country``, ``answers``, ``right``.
    """
    from internals.generation.generate import generate

    loaded = model.loaded()
    capitals = {
        country: next(iter(answers))
        for country, answers in truths()["capital"].items()
        # An answer that stands in the question (Luxembourg) would test copying.
        if next(iter(answers)) not in country
    }
    names = [c for c in _countries(loaded, 40, 20, seed + 1) if c in capitals]
    heads = {c: [*start_ids(loaded), *token_ids(loaded, f"The capital of {c} is")] for c in names}
    rows: list[dict[str, Any]] = []
    for number, setting in enumerate(SETTINGS):
        n = 1 if setting.greedy else effort.units(loaded.facts, times, least=5)
        batch = [heads[country] for country in names]
        made = generate(loaded.model, batch, 6, sampler=setting, seed=seed + number, copies=n).ids
        texts = iter(loaded.tokenizer.decode(list(ids)) for ids in made)
        for country in names:
            right = sum(metrics.says(next(texts), capitals[country]) for _ in range(n))
            rows.append({"setting": setting.name, "country": country, "answers": n, "right": right})
    return pd.DataFrame(rows)


def known_rates(table: pd.DataFrame) -> tuple[pd.DataFrame, int, int]:
    """Share of right answers by setting among countries that greedy decoding answers rightly.

    Returns the table (``setting``, ``value``, ``low``, ``high`` over countries), the number of
    these countries and of all; all countries are taken where greedy decoding knows fewer than two.
    Where no country or every country is answered, resampling countries shows no spread, so the
    interval is Wilson's; greedy decoding on the countries that it was chosen by has none.
    """
    greedy = table[table["setting"] == "greedy"].set_index("country")["right"] > 0
    known = list(greedy[greedy].index)
    kept = table[table["country"].isin(known)] if len(known) > 1 else table
    rows = []
    for setting, own in kept.groupby("setting", sort=False):
        found = _over_countries((own["right"] / own["answers"]).to_numpy())
        if setting == "greedy" and len(known) > 1:
            found = replace(found, low=found.value, high=found.value)
        rows.append((setting, found.value, found.low, found.high))
    shares = pd.DataFrame(rows, columns=["setting", "value", "low", "high"])
    return shares, len(known), len(greedy)


def _over_countries(shares: np.ndarray) -> stats.Estimate:
    if shares.min() == shares.max() and shares[0] in (0, 1):
        return stats.wilson(int(shares.sum()), len(shares), unit="countries")
    return stats.bootstrap_ci(shares, unit="countries")


def examples(table: pd.DataFrame, setting: str) -> Iterator[str]:
    """Wrong statements of a setting, for display."""
    yield from table.loc[(table["setting"] == setting) & (table["wrong"] > 0), "example"]
