"""What a model says first to a question, how sure it is, and whether the whole answer would follow.

The first choice is taken over the whole vocabulary: nobody hands the model a list of answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from internals.measure.probabilities.temperature import check_length
from internals.measure.scoring import batches, logits_at, padded

if TYPE_CHECKING:
    from internals.models import LoadedModel

_BUDGET = 1024  # tokens of questions that are run together


@dataclass(frozen=True)
class Asked:
    """The ids of a question, and of each way to write its answer."""

    head: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]


def ask(loaded: LoadedModel, questions: Sequence[Asked]) -> pd.DataFrame:
    """One row a question: ``confidence`` (probability of the first choice), ``choice`` (its id),
    ``correct`` (an answer begins with it), ``whole`` (every piece of an answer is the first choice,
    so greedy decoding writes it), ``right_prob`` (probability of the answer's first piece)."""
    spelled = [(q, answer) for q, asked in enumerate(questions) for answer in asked.answers]
    contexts = [(*questions[q].head, *answer[:-1]) for q, answer in spelled]
    check_length(loaded, max(map(len, contexts)))
    rows = []
    for group in batches([len(c) for c in contexts], _BUDGET):
        places = [
            (row, len(questions[spelled[k][0]].head) - 1 + j, k, token)
            for row, k in enumerate(group)
            for j, token in enumerate(spelled[k][1])
        ]
        ids = padded([contexts[k] for k in group], loaded.model.device)
        logits = logits_at(loaded.model, ids, [p[0] for p in places], [p[1] for p in places])
        for (_, _, k, token), p in zip(places, logits.softmax(-1).cpu(), strict=True):
            best = int(p.argmax())
            rows.append((k, spelled[k][0], p[best].item(), best, best == token, p[token].item()))
    columns = ["spelling", "question", "confidence", "choice", "hit", "right_prob"]
    pieces = pd.DataFrame(rows, columns=columns).sort_values("spelling", kind="stable")
    spellings = pieces.groupby("spelling").agg(
        question=("question", "first"),
        confidence=("confidence", "first"),
        choice=("choice", "first"),
        correct=("hit", "first"),
        whole=("hit", "all"),
        right_prob=("right_prob", "first"),
    )
    kept = {"confidence": "first", "choice": "first", "correct": "any", "whole": "any"}
    return spellings.groupby("question").agg({**kept, "right_prob": "max"}).reset_index(drop=True)
