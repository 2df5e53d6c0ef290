"""Confidence and correctness on facts: closed sets of answers, scored by joint log-probability.

For models whose training data is known the facts are the designed ones, from never stated to stated
hundreds of times; for other models they are public facts about countries. The unit is the fact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.capability import EXPOSURE, start_ids
from internals.paths import DATA
from internals.tokens import word_ids

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

WORDINGS = 3
"""Trained wordings in which a fact is asked, at most; held-out wordings come on top."""
PUBLIC_RELATIONS = ("capital", "continent", "language")
CANDIDATES = 10
"""Answers to choose from, the right one among them; fewer where the relation has fewer."""


@dataclass(frozen=True)
class Question:
    """One fact in one wording with the answers that compete."""

    fact_id: str
    relation: str
    subject: str
    level: int
    """How often the training data state the fact; -1 if unknown."""
    wording: str
    """``trained`` or ``heldout``; ``asked`` for models that were trained elsewhere."""
    template: int
    prompt: str
    answers: tuple[str, ...]
    """The right one first."""


@measurement(files=[EXPOSURE, "data/facts/templates.yaml", "data/facts/countries.csv"])
def answers(model: ModelHandle, seed: int = 0) -> pd.DataFrame:
    """Confidence and correctness on facts

    Columns: ``fact_id``, ``relation``, ``level`` (statements in training; -1 unknown), ``wording``,
    ``template``, ``confidence`` (share of the best candidate among the candidates' joint
    probabilities), ``correct`` (the best candidate is right), ``right_share`` (share of the right
    one), ``prob`` (joint probability of the right answer), ``mass`` (joint probability of all
    candidates), ``first_rank`` (rank of the right answer's first piece in the whole vocabulary, 0
    is the first), ``candidates``, ``chosen`` (the best candidate), ``chose_shortest`` (it has no
    more pieces than any other), ``shortest`` (share of the wrong candidates with so few).
    """
    from internals.measure.answers import answer_scores

    loaded = model.loaded()
    asked = list(_questions(loaded, seed))
    start = start_ids(loaded)
    pairs, owner = [], []
    for number, question in enumerate(asked):
        head = [*start, *_ids(loaded, question.prompt)]
        for answer in question.answers:
            pairs.append((head, word_ids(loaded.tokenizer, answer)))
            owner.append(number)
    scores = answer_scores(loaded.model, pairs)
    scores["question"], scores["pieces"] = owner, [len(answer) for _, answer in pairs]
    rows = []
    for number, part in scores.groupby("question", sort=True):
        lp = part["log_prob"].to_numpy()
        share = np.exp(lp - lp.max())
        share /= share.sum()
        fewest = (part["pieces"] == part["pieces"].min()).to_numpy()
        question = asked[int(number)]
        rows.append(
            {
                "fact_id": question.fact_id,
                "relation": question.relation,
                "level": question.level,
                "wording": question.wording,
                "template": question.template,
                "confidence": float(share.max()),
                "correct": bool(share.argmax() == 0),
                "right_share": float(share[0]),
                "prob": float(np.exp(lp[0])),
                "mass": float(np.exp(lp).sum()),
                "first_rank": int(part["vocab_rank"].iloc[0]),
                "candidates": len(lp),
                "chosen": question.answers[int(share.argmax())],
                "chose_shortest": bool(fewest[share.argmax()]),
                "shortest": float(fewest[1:].mean()),
            }
        )
    return pd.DataFrame(rows)


def by_length(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `answers` that were answered wrong and where a wrong choice could go by length."""
    return table[~table["correct"] & (table["shortest"] > 0) & (table["shortest"] < 1)]


def shortest_excess(table: pd.DataFrame) -> stats.Estimate | None:
    """How much more often a wrong choice has the fewest pieces than a blind wrong choice would.

    Right choices are left out: they may be short because the truth is. Only questions whose wrong
    candidates differ in this respect count; None with fewer than two facts. Intervals over facts.
    """
    part = by_length(table)
    if part["fact_id"].nunique() < 2:
        return None
    return stats.paired_difference(
        part["chose_shortest"].to_numpy(float),
        part["shortest"].to_numpy(),
        clusters=part["fact_id"].to_numpy(),
        unit="facts",
    )


def _ids(loaded: LoadedModel, text: str) -> list[int]:
    """Ids without added special tokens: pieces are put together here."""
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


def _questions(loaded: LoadedModel, seed: int) -> Iterator[Question]:
    if loaded.facts.carries_exposure:
        yield from designed_questions()
    else:
        yield from public_questions(effort.units(loaded.facts, 360, least=120), seed)


def designed_questions() -> Iterator[Question]:
    """Every invented fact in trained and in held-out wordings; candidates are the closed set."""
    from fable.designed import prompt, templates
    from fable.probes import candidate_answers

    exposure = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    sets = candidate_answers(exposure)
    for fact in exposure[exposure["kind"] == "invented"].itertuples():
        group = f"ruler-{fact.level}" if fact.relation == "ruler" else fact.relation
        others = [a for a in sets[group] if a != fact.object]
        for wording in ("trained", "heldout"):
            for i, pattern in enumerate(templates()[fact.relation][wording][:WORDINGS]):
                yield Question(
                    fact.fact_id,
                    fact.relation,
                    fact.subject,
                    int(fact.level),
                    wording,
                    i,
                    prompt(pattern, fact.subject),
                    (fact.object, *others),
                )


def public_questions(n_facts: int, seed: int) -> Iterator[Question]:
    """Facts about countries in three wordings; wrong candidates come from the same relation."""
    from fable.dataset import countries
    from fable.designed import prompt, templates

    rng = np.random.default_rng([seed, 30])
    rows = [
        (relation, row["country"], row[relation])
        for row in countries()
        for relation in PUBLIC_RELATIONS
        # An answer that stands in the question (Luxembourg, Tunis) would test copying.
        if row[relation] and row[relation] not in row["country"]
    ]
    pools = {r: sorted({row[2] for row in rows if row[0] == r}) for r in PUBLIC_RELATIONS}
    for k in rng.permutation(len(rows))[:n_facts]:
        relation, subject, right = rows[int(k)]
        wrong = [a for a in pools[relation] if a != right]
        size = min(CANDIDATES - 1, len(wrong))
        others = [wrong[int(i)] for i in rng.choice(len(wrong), size, replace=False)]
        for i, pattern in enumerate(templates()[relation]["trained"][:WORDINGS]):
            text = prompt(pattern, subject)
            yield Question(
                f"{relation}-{subject}", relation, subject, -1, "asked", i, text, (right, *others)
            )


@measurement(files=["data/training/true_distributions.csv", "data/facts/world.yaml"])
def known_truth(model: ModelHandle) -> pd.DataFrame:
    """Predicted against true probabilities where the truth is known by design

    One row a context: ``context``, ``kind`` (coin, weather), ``exposures`` (0: a name that is in
    no training text), ``outcomes``, ``predicted`` (shares of the outcomes, as text), ``outside``
    (probability of anything but an outcome), ``distance`` (total variation distance of the shares
    to the truth), ``sample_distance`` (the same for the frequencies that training drew; NaN without
    any), ``top_excess`` (predicted less true share of the likeliest outcome).
    """
    from internals.measure.answers import answer_scores

    loaded = model.loaded()
    table = pd.read_csv(DATA / "training" / "true_distributions.csv")
    start = start_ids(loaded)
    rows = []
    for kind, context, part in _contexts(table):
        head = [*start, *_ids(loaded, context)]
        pairs = [(head, word_ids(loaded.tokenizer, w)) for w in part["continuation"]]
        p = np.exp(answer_scores(loaded.model, pairs)["log_prob"].to_numpy())
        shares, truth = p / p.sum(), part["probability"].to_numpy()
        n = int(part["exposures"].iloc[0])
        drawn = part["count"].to_numpy() / n if n else np.full(len(truth), np.nan)
        rows.append(
            {
                "context": context,
                "kind": kind,
                "exposures": n,
                "outcomes": ", ".join(part["continuation"]),
                "predicted": ", ".join(f"{s:.2f}" for s in shares),
                "true": ", ".join(f"{s:.2f}" for s in truth),
                "outside": float(1 - p.sum()),
                "distance": float(0.5 * np.abs(shares - truth).sum()),
                "sample_distance": float(0.5 * np.abs(drawn - truth).sum()),
                "top_excess": float((shares - truth)[truth.argmax()]),
            }
        )
    return pd.DataFrame(rows)


NEW_NAMES = ("Brenk", "Tolvar", "Ushmi")
"""Names that occur in no training text, for contexts without any exposure."""


def _contexts(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Kind, context and rows of every designed context, then of contexts with new names."""
    for context, part in table.groupby("context", sort=False):
        kind = "coin" if "coin" in str(context) else "weather"
        yield kind, str(context), part
    for kind, frame in (
        ("coin", "The {} coin was tossed and it came up"),
        ("weather", "In the valley of {} the day was"),
    ):
        first = table[table["context"].str.contains("coin") == (kind == "coin")]
        first = first[first["context"] == first["context"].iloc[0]].assign(exposures=0, count=0)
        for name in NEW_NAMES:
            yield kind, frame.format(name), first
