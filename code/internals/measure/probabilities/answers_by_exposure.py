"""Facts that a model read often, once or never: what it says first, and how sure it is.

The facts have invented names, so their number of statements in the training data is known exactly;
they are asked of a model that this project trained, whatever the subject of the report is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure.capability import EXPOSURE
from internals.measure.probabilities.asked import Asked, ask
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import ModelHandle

WORDINGS = 3
"""Trained wordings in which a fact is asked, at most; held-out wordings come on top."""


def fable() -> ModelHandle:
    """The model whose training data is known fact by fact."""
    from internals.models import open_model

    return open_model("fable-gpt2")


@dataclass(frozen=True)
class Question:
    """One fact in one wording."""

    fact_id: str
    relation: str
    subject: str
    level: int
    """How often the training data state the fact."""
    wording: str
    """``trained`` or ``heldout``."""
    prompt: str
    answer: str


def designed_questions() -> Iterator[Question]:
    """Every fact with an invented name, in trained and in held-out wordings."""
    from fable.designed import prompt, templates

    exposure = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    for fact in exposure[exposure["kind"] == "invented"].itertuples():
        for wording in ("trained", "heldout"):
            for pattern in templates()[fact.relation][wording][:WORDINGS]:
                yield Question(
                    fact.fact_id,
                    fact.relation,
                    fact.subject,
                    int(fact.level),
                    wording,
                    prompt(pattern, fact.subject),
                    fact.object,
                )


@measurement(files=[EXPOSURE, "data/facts/templates.yaml"])
def answers(model: ModelHandle) -> pd.DataFrame:
    """First choices for facts stated often, once and never

    Columns: ``fact_id``, ``relation``, ``level`` (statements in the training data), ``wording``,
    ``prompt``, ``answer``, ``token`` (the first choice), ``confidence``, ``correct``, ``whole`` and
    ``right_prob`` as in `asked.ask`. Questions begin as the training texts did.
    """
    from internals.tokens import display, start_ids, word_ids

    loaded = model.loaded()
    asked = list(designed_questions())
    start, tokenizer = start_ids(loaded.tokenizer), loaded.tokenizer

    def head(text: str) -> tuple[int, ...]:
        return (*start, *tokenizer(text, add_special_tokens=False)["input_ids"])

    table = ask(
        loaded, [Asked(head(q.prompt), (tuple(word_ids(tokenizer, q.answer)),)) for q in asked]
    )
    table.insert(0, "token", [display(tokenizer, i) for i in table.pop("choice")])
    return pd.concat([pd.DataFrame(asked).drop(columns="subject"), table], axis=1)


def by_level(table: pd.DataFrame, wording: str = "trained") -> pd.DataFrame:
    """Means over the facts of a level, with intervals: ``level``, ``measure`` (confidence,
    accuracy), ``value``, ``low``, ``high``, ``facts``."""
    rows = []
    for level, part in table[table["wording"] == wording].groupby("level", sort=True):
        for measure, column in (("confidence", "confidence"), ("accuracy", "correct")):
            found = over_facts(part, column)
            rows.append((level, measure, found.value, found.low, found.high, found.n))
    columns = ["level", "measure", "value", "low", "high", "facts"]
    return pd.DataFrame(rows, columns=columns)


def over_facts(part: pd.DataFrame, column: str) -> stats.Estimate:
    """Mean of a column with an interval over facts, whose wordings belong together."""
    values, facts = part[column].to_numpy(float), part["fact_id"].to_numpy()
    return stats.bootstrap_ci(values, clusters=facts, unit="facts")
