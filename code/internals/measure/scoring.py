"""Scores of texts under a model: the surprisal of every token, and joint log-probabilities of
continuations, many at a time.

Sequences are padded on the right, where a causal model cannot look; nothing here samples.
Axes: ``batch``, ``seq``, ``vocab``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TokenScores:
    """What the model made of the tokens of one sequence; arrays run over predicted tokens."""

    log_prob: np.ndarray
    """``(seq - 1,)`` natural log-probability of each token given those before it."""
    rank: np.ndarray
    """``(seq - 1,)`` number of tokens that were more likely (0 is the model's first choice)."""
    entropy: np.ndarray
    """``(seq - 1,)`` entropy of the distribution in nats."""
    top_prob: np.ndarray
    """``(seq - 1,)`` probability of the model's first choice."""


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in groups of similar length, each of at most ``budget`` padded tokens."""
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if group and lengths[i] * (len(group) + 1) > budget:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def padded(sequences: Sequence[Sequence[int]], device: Any) -> Tensor:
    """``(batch, seq)`` token ids with zeros on the right."""
    import torch

    width = max(map(len, sequences))
    rows = [list(ids) + [0] * (width - len(ids)) for ids in sequences]
    return torch.tensor(rows, device=device)


def log_probs(model: Any, ids: Tensor) -> Tensor:
    """``(batch, seq, vocab)`` log-probabilities of the next token, in float32."""
    import torch

    with torch.inference_mode():
        return model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)


def score_tokens(
    model: Any, sequences: Sequence[Sequence[int]], budget: int = 2048
) -> list[TokenScores]:
    """Score every token but the first of each sequence; one forward pass for each batch."""
    import torch

    found: list[TokenScores | None] = [None] * len(sequences)
    for group in batches([len(s) for s in sequences], budget):
        ids = padded([sequences[i] for i in group], model.device)
        with torch.inference_mode():
            lp = log_probs(model, ids)[:, :-1]
            taken = lp.gather(-1, ids[:, 1:, None])
            arrays = (
                taken.squeeze(-1),
                (lp > taken).sum(-1),
                -(lp.exp() * lp).sum(-1),
                lp.max(-1).values.exp(),
            )
        columns = [a.cpu().numpy() for a in arrays]
        for row, i in enumerate(group):
            n = len(sequences[i]) - 1
            found[i] = TokenScores(*(c[row, :n] for c in columns))
    return [scores for scores in found if scores is not None]


def first_choices(
    model: Any, sequences: Sequence[Sequence[int]], budget: int = 4096
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Natural log-probability of every token but the first, and whether it was the first choice.

    Two arrays ``(seq - 1,)`` for each sequence; only these numbers are formed, which is much faster
    than :func:`score_tokens`.
    """
    import torch

    found: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0), np.empty(0, bool))] * len(sequences)
    for group in batches([len(s) for s in sequences], budget):
        ids = padded([sequences[i] for i in group], model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
            taken = logits.gather(-1, ids[:, 1:, None]).squeeze(-1)
            hits = (taken >= logits.max(-1).values).cpu().numpy()
            values = (taken - logits.logsumexp(-1)).cpu().numpy()
        for row, i in enumerate(group):
            n = len(sequences[i]) - 1
            found[i] = values[row, :n], hits[row, :n]
    return found


def tail_surprisal(
    model: Any,
    heads: Sequence[Sequence[int]],
    tails: Sequence[Sequence[int]],
    budget: int = 4096,
) -> list[np.ndarray]:
    """Surprisal in nats of every token of each tail after its head, ``(tail,)`` each.

    Logits are formed only where a token of a tail is predicted, so that long heads are cheap.
    Raises ValueError for an empty head.
    """
    import torch

    if not all(heads):
        raise ValueError("a head needs at least one token")
    found = [np.empty(0) for _ in heads]
    sequences = [[*head, *tail] for head, tail in zip(heads, tails, strict=True)]
    for group in batches([len(s) for s in sequences], budget):
        places = [
            (row, len(heads[i]) - 1 + j, token)
            for row, i in enumerate(group)
            for j, token in enumerate(tails[i])
        ]
        if not places:
            continue
        rows, positions, tokens = (list(column) for column in zip(*places, strict=True))
        ids = padded([sequences[i] for i in group], model.device)
        logits = logits_at(model, ids, rows, positions)
        with torch.inference_mode():
            taken = logits.gather(-1, torch.tensor(tokens, device=model.device)[:, None])
            values = (logits.logsumexp(-1) - taken.squeeze(-1)).cpu().numpy()
        ends = np.cumsum([len(tails[i]) for i in group])
        for i, part in zip(group, np.split(values, ends[:-1]), strict=True):
            found[i] = part
    return found


def mean_surprisal(
    model: Any,
    heads: Sequence[Sequence[int]],
    tails: Sequence[Sequence[int]],
    budget: int = 4096,
) -> np.ndarray:
    """Mean surprisal in nats of the tokens of each tail after its head, ``(n,)``.

    As :func:`tail_surprisal`; NaN for an empty tail.
    """
    parts = tail_surprisal(model, heads, tails, budget)
    return np.array([part.mean() if len(part) else np.nan for part in parts], dtype=float)


def logits_at(model: Any, ids: Tensor, rows: list[int], positions: list[int]) -> Tensor:
    """``(asked, vocab)`` float32 logits of some places of ``ids`` ``(batch, seq)``.

    Only the asked states pass the head; what follows it (a soft cap) works on each alone.
    """
    import torch

    from internals.models import families

    head = families.unembedding(model)
    handle = head.register_forward_pre_hook(lambda _module, args: (args[0][rows, positions][None],))
    try:
        with torch.inference_mode():
            return model(input_ids=ids, use_cache=False).logits[0].float()
    finally:
        handle.remove()
