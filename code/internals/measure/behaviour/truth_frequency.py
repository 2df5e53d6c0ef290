"""Truth against frequency: a true answer that was rarely stated and a wrong one that is common.

The counts of statements are those of the training text of the embedded models, so for them alone it
is known that the wrong answer was read more often. Every fact meets two wrong answers, a common and
a rare one; the unit is the fact.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure.capability import EXPOSURE, start_ids
from internals.measure.probabilities.answers_by_exposure import NEW_NAMES
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import ModelHandle

RELATIONS = ("capital", "language", "currency")
"""Relations whose answers differ much in how often they were stated."""
PER_BAND = 36
"""Facts of each band, at most."""
WORDINGS = 2
RARE = 16
"""Most statements of a rare wrong answer, with whatever subject."""
BANDS = ((0, 0, "0"), (1, 1, "1"), (2, 8, "2–8"), (9, 16, "9–16"), (17, 64, "17–64"))
"""Statements of a fact, grouped: lowest, highest, name. No answer is commoner than facts beyond."""
ONCE, FEW = (1, 1), (2, 8)
"""The bands of facts that were stated rarely: lowest and highest number of statements."""


def rivals(exposure: pd.DataFrame, per_band: int = PER_BAND, seed: int = 0) -> pd.DataFrame:
    """Facts with a common and a rare wrong answer of the same relation.

    Common is one of the ten answers stated most often, drawn, and stated more often in all than the
    true answer; rare was stated at most :data:`RARE` times, and no more often than the true answer.
    Left out are facts without such answers, and those whose answer shows in the subject (Tunis,
    Luxembourg): they can be guessed.

    Returns:
        ``fact_id``, ``relation``, ``subject``, ``object``, ``statements`` (of the fact),
        ``true_statements`` (of its answer, with whatever subject), ``common``,
        ``common_statements``, ``rare``, ``rare_statements``; at most ``per_band`` facts of each
        band.
    """
    real = exposure[(exposure["kind"] == "real") & exposure["relation"].isin(RELATIONS)]
    rng = np.random.default_rng([seed, 61])
    rows = []
    for relation, part in real.groupby("relation", sort=False):
        totals = part.groupby("object")["exposures"].sum()
        totals = totals.sort_values(ascending=False, kind="stable")
        top, few = totals.index[:10], totals.index[totals <= RARE]
        for fact in part.itertuples():
            common = [o for o in top if o != fact.object and totals[o] > totals[fact.object]]
            rare = [o for o in few if o != fact.object and totals[o] <= totals[fact.object]]
            if not common or not rare or _shows(fact.subject, fact.object):
                continue
            wrong = common[int(rng.integers(len(common)))]
            other = rare[int(rng.integers(len(rare)))]
            rows.append(
                {
                    "fact_id": fact.fact_id,
                    "relation": relation,
                    "subject": fact.subject,
                    "object": fact.object,
                    "statements": int(fact.exposures),
                    "true_statements": int(totals[fact.object]),
                    "common": wrong,
                    "common_statements": int(totals[wrong]),
                    "rare": other,
                    "rare_statements": int(totals[other]),
                }
            )
    table = pd.DataFrame(rows)
    parts = []
    for lowest, highest, _ in BANDS:
        own = table[table["statements"].between(lowest, highest)]
        parts.append(own.iloc[np.sort(rng.permutation(len(own))[:per_band])])
    return pd.concat(parts, ignore_index=True)


def _shows(subject: str, answer: str) -> bool:
    """Whether four letters at the beginning of a word of one stand in the other."""
    a, b = subject.lower(), answer.lower()
    return any(w[:4] in b for w in a.split() if len(w) > 3) or any(
        w[:4] in a for w in b.split() if len(w) > 3
    )


@measurement(files=[EXPOSURE, "data/facts/templates.yaml"])
def truth_frequency(model: ModelHandle, per_band: int = PER_BAND, seed: int = 0) -> pd.DataFrame:
    """True answers against common and rare wrong ones

    Columns: those of :func:`rivals`, and for both kinds of wrong answers (``common``, ``rare``)
    ``NAME_margin`` (log-odds of the truth in bits, mean over wordings) and ``NAME_corrected`` (the
    same minus the log-odds after subjects that nobody knows: what the subject itself adds).
    """
    from fable.designed import prompt, templates
    from internals.measure.answers import answer_scores

    loaded = model.loaded()
    exposure = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    table = rivals(exposure, per_band, seed)
    start = start_ids(loaded)

    def ids(text: str) -> list[int]:
        return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])

    keys = sorted(
        {
            (fact.relation, subject, answer)
            for fact in table.itertuples()
            for subject in (fact.subject, *NEW_NAMES)
            for answer in (fact.object, fact.common, fact.rare)
        }
    )
    pairs, owner = [], []
    for relation, subject, answer in keys:
        for pattern in templates()[relation]["trained"][:WORDINGS]:
            pairs.append(([*start, *ids(prompt(pattern, subject))], ids(f" {answer}")))
            owner.append((relation, subject, answer))
    scores = pd.DataFrame(owner, columns=["relation", "subject", "answer"])
    scores["bits"] = answer_scores(loaded.model, pairs)["log_prob"] / math.log(2)
    mean = scores.groupby(["relation", "subject", "answer"])["bits"].mean()
    return pd.concat([table, _margins(table, mean.to_dict())], axis=1)


def _margins(table: pd.DataFrame, bits: dict[tuple[str, str, str], float]) -> pd.DataFrame:
    rows = []
    for fact in table.itertuples():

        def odds(subject: str, wrong: str, fact: object = fact) -> float:
            relation, right = fact.relation, fact.object  # type: ignore[attr-defined]
            return bits[relation, subject, right] - bits[relation, subject, wrong]

        row = {}
        for name, wrong in (("common", fact.common), ("rare", fact.rare)):
            row[f"{name}_margin"] = odds(str(fact.subject), str(wrong))
            prior = float(np.mean([odds(subject, str(wrong)) for subject in NEW_NAMES]))
            row[f"{name}_corrected"] = row[f"{name}_margin"] - prior
        rows.append(row)
    return pd.DataFrame(rows)


SIDES = {
    "common_margin": "against a common wrong answer",
    "rare_margin": "against a rare wrong answer",
    "common_corrected": "against a common one, frequency taken out",
}


def by_statements(table: pd.DataFrame) -> pd.DataFrame:
    """Share of facts whose truth wins: ``band``, ``against``, ``value``, ``low``, ``high``,
    ``n``."""
    rows = []
    for lowest, highest, name in BANDS:
        part = table[table["statements"].between(lowest, highest)]
        for column, against in SIDES.items() if len(part) else ():
            found = stats.wilson(int((part[column] > 0).sum()), len(part), unit="facts")
            rows.append((name, against, found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=["band", "against", "value", "low", "high", "n"])


def share(table: pd.DataFrame, column: str) -> stats.Estimate:
    """Share of facts whose truth is preferred."""
    return stats.wilson(int((table[column] > 0).sum()), len(table), unit="facts")


def lift(table: pd.DataFrame, first: str, second: str) -> stats.Estimate:
    """Share of right preferences by one column minus that by another, paired by fact."""
    a, b = (table[c].gt(0).to_numpy(float) for c in (first, second))
    return stats.paired_difference(a, b, unit="facts")


def against_never(
    table: pd.DataFrame, column: str, band: tuple[int, int] = (ONCE[0], FEW[1])
) -> stats.Estimate:
    """Share of right preferences among rarely stated facts minus that among facts never stated."""
    few, never = (
        part[column].gt(0).to_numpy(float)
        for part in (rarely_stated(table, band), table[table["statements"] == 0])
    )
    return stats.difference(few, never, unit="facts")


def rarely_stated(table: pd.DataFrame, band: tuple[int, int] = (ONCE[0], FEW[1])) -> pd.DataFrame:
    """Facts that were stated a few times, but at least once: the truth could be known."""
    return table[table["statements"].between(*band)]
