"""Scores of many possible answers to the same questions, cheap enough to ask while a model trains.

A question is run once for all its one-token answers, and logits are formed only where an answer
stands. Axes: ``batch``, ``seq``, ``d_model``, ``vocab``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from internals.measure.scoring import batches, logits_at, padded

_NUMBERS_HELD = 30_000_000
"""Logits of a batch, roughly: there are about as many asked positions as tokens."""


def answer_scores(
    model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> NDArray[np.float64]:
    """``(pair,)``: natural log-probability of each answer given its question, of all its pieces.

    Args:
        model: a causal language model of a known family.
        pairs: (ids of the question, ids of the answer), neither empty.
    """
    import torch

    asked: dict[tuple[int, ...], list[tuple[int, int, int]]] = {}
    for i, (question, answer) in enumerate(pairs):
        places = asked.setdefault((*question, *answer[:-1]), [])
        places += [(i, len(question) - 1 + j, token) for j, token in enumerate(answer)]
    contexts = list(asked)
    found = np.zeros(len(pairs))
    budget = max(256, _NUMBERS_HELD // model.config.vocab_size)
    for group in batches([len(c) for c in contexts], budget):
        queries = [(row, *query) for row, k in enumerate(group) for query in asked[contexts[k]]]
        rows, owners, positions, tokens = (list(column) for column in zip(*queries, strict=True))
        ids = padded([contexts[k] for k in group], model.device)
        logits = logits_at(model, ids, rows, positions)
        with torch.inference_mode():
            taken = logits.gather(-1, torch.tensor(tokens, device=model.device)[:, None])
            np.add.at(found, owners, (taken.squeeze(-1) - logits.logsumexp(-1)).cpu().numpy())
    return found
