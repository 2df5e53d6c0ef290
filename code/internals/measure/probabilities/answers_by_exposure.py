"""Facts that a model read often, once or never: what it says first, and how sure it is.

The facts have invented names, so their number of statements in the training data is known exactly;
they are asked of a model that this project trained, whatever the subject of the report is.
"""

from __future__ import annotations

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


@measurement(files=[EXPOSURE, "data/facts/templates.yaml"])
def answers(model: ModelHandle) -> pd.DataFrame:
    """First choices for facts stated often, once and never

    Every fact with an invented name, in trained and in held-out wordings. Columns: ``fact_id``,
    ``level`` (statements in the training data), ``wording`` (trained, heldout), ``confidence``,
    ``correct`` and ``whole`` as in `asked.ask`. Questions begin as the training texts did.
    """
    from fable.designed import prompt, templates
    from internals.tokens import start_ids, word_ids

    loaded = model.loaded()
    start, tokenizer = start_ids(loaded.tokenizer), loaded.tokenizer
    exposure = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    rows, questions = [], []
    for fact in exposure[exposure["kind"] == "invented"].itertuples():
        for wording in ("trained", "heldout"):
            for pattern in templates()[fact.relation][wording][:WORDINGS]:
                text = prompt(pattern, fact.subject)
                ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                questions.append(Asked((*start, *ids), (tuple(word_ids(tokenizer, fact.object)),)))
                rows.append((fact.fact_id, int(fact.level), wording))
    asked = pd.DataFrame(rows, columns=["fact_id", "level", "wording"])
    return pd.concat([asked, ask(loaded, questions).drop(columns="choice")], axis=1)


def by_level(table: pd.DataFrame, wording: str = "trained") -> pd.DataFrame:
    """Means over the facts of a level, with intervals: ``level``, ``measure`` (confidence,
    accuracy), ``value``, ``low``, ``high``, ``facts``."""
    rows = []
    for level, part in table[table["wording"] == wording].groupby("level", sort=True):
        for measure, column in (("confidence", "confidence"), ("accuracy", "correct")):
            found = over_facts(part, part[column])
            rows.append((level, measure, found.value, found.low, found.high, found.n))
    columns = ["level", "measure", "value", "low", "high", "facts"]
    return pd.DataFrame(rows, columns=columns)


def over_facts(part: pd.DataFrame, values: pd.Series) -> stats.Estimate:
    """Mean of one number a question with an interval over facts, whose wordings belong together."""
    facts = part["fact_id"].to_numpy()
    return stats.bootstrap_ci(values.astype(float), clusters=facts, unit="facts")
