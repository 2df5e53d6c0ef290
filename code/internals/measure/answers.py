"""Scores of many possible answers to the same questions, cheap enough to ask while a model trains.

A question is run once for all its one-token answers, and logits are formed only where an answer
stands. Axes: ``batch``, ``seq``, ``d_model``, ``vocab``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from internals.measure.scoring import batches, logits_at, padded

_NUMBERS_HELD = 30_000_000
"""Logits of a batch, roughly: there are about as many asked positions as tokens."""


def answer_scores(model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> pd.DataFrame:
    """Score answers given their questions.

    Args:
        model: a causal language model of a known family.
        pairs: (ids of the question, ids of the answer), neither empty.

    Returns:
        One row a pair: ``log_prob`` (natural, of all pieces jointly), ``vocab_rank`` (tokens more
        likely than the first piece), ``greedy`` (every piece is the first choice).
    """
    table = piece_scores(model, pairs)
    log_prob, worst = np.zeros(len(pairs)), np.zeros(len(pairs), int)
    np.add.at(log_prob, table["pair"], table["log_prob"])
    np.maximum.at(worst, table["pair"], table["rank"])
    first = table.groupby("pair")["rank"].first().reindex(range(len(pairs)), fill_value=-1)
    return pd.DataFrame({"log_prob": log_prob, "vocab_rank": first, "greedy": worst == 0})


def piece_scores(model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> pd.DataFrame:
    """Score every piece of the answers given its question and the pieces before it.

    Arguments as in `answer_scores`. One row a piece, pieces of a pair in order: ``pair``,
    ``log_prob`` (natural), ``rank`` (tokens more likely than it).
    """
    places: dict[tuple[int, ...], list[tuple[int, int, int]]] = {}
    for i, (question, answer) in enumerate(pairs):
        context = (*question, *answer[:-1])
        queries = places.setdefault(context, [])
        queries += [(i, len(question) - 1 + j, token) for j, token in enumerate(answer)]
    contexts = list(places)
    budget = max(256, _NUMBERS_HELD // model.config.vocab_size)
    rows: list[tuple[int, float, int]] = []
    for group in batches([len(c) for c in contexts], budget):
        rows += _score(model, [contexts[k] for k in group], [places[contexts[k]] for k in group])
    table = pd.DataFrame(rows, columns=["pair", "log_prob", "rank"])
    return table.sort_values("pair", kind="stable", ignore_index=True)


def _score(
    model: Any, contexts: list[tuple[int, ...]], queries: list[list[tuple[int, int, int]]]
) -> list[tuple[int, float, int]]:
    """(pair, log-probability, rank) of every asked piece of one batch, in the order of pieces."""
    import torch

    asked = [(row, *query) for row, part in enumerate(queries) for query in part]
    rows, owners, positions, tokens = (list(column) for column in zip(*asked, strict=True))
    logits = logits_at(model, padded(contexts, model.device), rows, positions)
    with torch.inference_mode():
        taken = logits.gather(-1, torch.tensor(tokens, device=model.device)[:, None])
        lp = taken.squeeze(-1) - logits.logsumexp(-1)
        ranks = (logits > taken).sum(-1)
    return list(zip(owners, lp.tolist(), ranks.tolist(), strict=True))
