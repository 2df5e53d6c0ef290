"""What a model with known training data can do: loss on held-out text, facts by exposure.

The unit of every interval is the document or the fact. The floor that the shipped
model must reach is stated here once; a test and the appendix on training read it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fable.designed import CANDIDATES, prompt, templates
from internals.cache import measurement
from internals.measure import effort
from internals.measure.answers import answer_scores
from internals.measure.scoring import token_log_probs
from internals.measure.windows import HELD_OUT, documents
from internals.paths import DATA
from internals.tokens import start_ids

if TYPE_CHECKING:
    from internals.models import ModelHandle

EXPOSURE = "data/training/exposure.csv"
STORIES_FLOOR = 1.7
"""Most bits per byte on held-out stories."""
_LONGEST = 384


@measurement(files=[HELD_OUT])
def held_out_loss(model: ModelHandle) -> pd.DataFrame:
    """Loss on shipped held-out stories

    One row a document: ``bits``, ``bytes``. Documents begin after an end token where the model has
    one, and are cut to its context.
    """
    loaded = model.loaded()
    start = start_ids(loaded.tokenizer)
    limit = min(_LONGEST, loaded.facts.context_length) - len(start)
    texts = documents(("stories",))
    texts = texts[:: max(1, len(texts) // effort.units(loaded.facts, len(texts)))]
    plain = {"add_special_tokens": False, "verbose": False}
    ids = [loaded.tokenizer(text, **plain)["input_ids"][:limit] for text in texts]
    scores = token_log_probs(loaded.model, [[*start, *row] for row in ids])
    rows = []
    for row, log_prob in zip(ids, scores, strict=True):
        size = len(loaded.tokenizer.decode(row if start else row[1:]).encode())
        rows.append((float(-log_prob.sum() / math.log(2)), size))
    return pd.DataFrame(rows, columns=["bits", "bytes"])


@measurement(files=[EXPOSURE])
def recall(model: ModelHandle) -> pd.DataFrame:
    """Recall of designed facts by exposure

    Columns: as in :func:`recall_table`; the candidates are the answers of a closed set, so that
    chance is known. Only facts with invented names are asked, which occur nowhere else.
    """
    loaded = model.loaded()
    exposure = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    return recall_table(loaded.model, loaded.tokenizer, exposure)


def candidate_answers(exposure: pd.DataFrame) -> dict[str, list[str]]:
    """The closed set of answers of each invented relation; rulers are those of their level."""
    found = {name: list(values) for name, values in CANDIDATES.items()}
    for level, part in exposure[exposure["relation"] == "ruler"].groupby("level"):
        found[f"ruler-{level}"] = part["object"].tolist()
    return found


def recall_table(model: Any, tokenizer: Any, exposure: pd.DataFrame) -> pd.DataFrame:
    """Every invented fact asked in a trained and in a held-out wording.

    Columns: ``fact_id``, ``level``, ``wording``, ``correct`` (no candidate is likelier).
    """
    answers = candidate_answers(exposure)
    asked, pairs = [], []
    invented = exposure[exposure["kind"] == "invented"]
    for fact in invented.itertuples():
        group = f"ruler-{fact.level}" if fact.relation == "ruler" else fact.relation
        for wording in ("trained", "heldout"):
            pattern = templates()[fact.relation][wording][0]
            head = tokenizer(prompt(pattern, fact.subject))["input_ids"]
            for answer in answers[group]:
                pairs.append(
                    ([tokenizer.eos_token_id, *head], tokenizer(f" {answer}")["input_ids"])
                )
                asked.append((fact.fact_id, fact.level, wording, answer == fact.object))
    keys = ["fact_id", "level", "wording"]
    table = pd.DataFrame(asked, columns=[*keys, "is_answer"])
    table["log_prob"] = answer_scores(model, pairs)
    ranks = table.groupby(keys)["log_prob"].rank(ascending=False, method="max")
    return table.assign(correct=ranks == 1)[table["is_answer"]][[*keys, "correct"]]


def ratio_of_sums(rows: np.ndarray) -> float:
    """For the bootstrap over documents: column 0 over column 1."""
    return float(rows[:, 0].sum() / rows[:, 1].sum())
