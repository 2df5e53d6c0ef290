"""Scores of texts under a model: the surprisal of every token, and joint log-probabilities of
continuations, many at a time.

Sequences are padded on the right, where a causal model cannot look; nothing here samples.
Axes: ``batch``, ``seq``, ``vocab``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from internals.errors import NotApplicable
from internals.tokens import prompt_ids

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel


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


def token_log_probs(
    model: Any, sequences: Sequence[Sequence[int]], budget: int = 1024
) -> list[np.ndarray]:
    """Natural log-probability of every token but the first, ``(seq - 1,)`` for each sequence."""
    import torch

    found: list[np.ndarray] = [np.empty(0)] * len(sequences)
    for group in batches([len(s) for s in sequences], budget):
        ids = padded([sequences[i] for i in group], model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
            taken = logits.gather(-1, ids[:, 1:, None]).squeeze(-1)
            values = (taken - logits.logsumexp(-1)).cpu().numpy()
        for row, i in enumerate(group):
            found[i] = values[row, : len(sequences[i]) - 1]
    return found


def mean_surprisal(
    model: Any,
    heads: Sequence[Sequence[int]],
    tails: Sequence[Sequence[int]],
    budget: int = 1024,
) -> np.ndarray:
    """Mean surprisal in nats of the tokens of each tail after its head, ``(n,)``; NaN for an empty
    tail.

    Logits are formed only where a token of a tail is predicted, so that long heads are cheap.
    """
    import torch

    found = np.full(len(heads), np.nan)
    sequences = [[*head, *tail] for head, tail in zip(heads, tails, strict=True)]
    for group in batches([len(s) for s in sequences], budget):
        places = [
            (row, len(heads[i]) - 1 + j, token, i)
            for row, i in enumerate(group)
            for j, token in enumerate(tails[i])
        ]
        if not places:
            continue
        rows, positions, tokens, owners = (list(column) for column in zip(*places, strict=True))
        logits = logits_at(
            model, padded([sequences[i] for i in group], model.device), rows, positions
        )
        with torch.inference_mode():
            taken = logits.gather(-1, torch.tensor(tokens, device=model.device)[:, None])
            values = (logits.logsumexp(-1) - taken.squeeze(-1)).double().cpu().numpy()
        counts = np.bincount(owners, minlength=len(heads))
        scored = counts > 0
        found[scored] = np.bincount(owners, values, minlength=len(heads))[scored] / counts[scored]
    return found


def logits_after(loaded: LoadedModel, texts: Sequence[str], budget: int = 1024) -> Tensor:
    """``(text, vocab)`` logits of the token after each text, in float32 on the CPU.

    Raises `NotApplicable` for a text that the context cannot hold.
    """
    import torch

    prompts = [prompt_ids(loaded.tokenizer, text) for text in texts]
    lengths = [len(ids) for ids in prompts]
    check_length(loaded, max(lengths))
    found: dict[int, Tensor] = {}
    for group in batches(lengths, budget):
        rows = padded([prompts[i] for i in group], loaded.model.device)
        last = [lengths[i] - 1 for i in group]
        logits = logits_at(loaded.model, rows, list(range(len(group))), last)
        found |= zip(group, logits.cpu(), strict=True)
    return torch.stack([found[i] for i in range(len(texts))])


def check_length(loaded: LoadedModel, tokens: int) -> None:
    """Raise `NotApplicable` if a prompt of so many tokens does not fit the context."""
    room = loaded.facts.context_length
    if tokens > room:
        raise NotApplicable(f"a prompt has {tokens} tokens, and the context holds {room}")


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
