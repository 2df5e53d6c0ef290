"""Which heads copy: attention on random tokens that are repeated once (Olsson et al. 2022).

Random tokens leave nothing to predict but the repetition. Axes: ``layer``, ``head``, ``seq``.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def random_copies(rows: int, period: int, vocab: int, seed: int) -> np.ndarray:
    """``(rows, 2 * period)`` random token ids, the second half equal to the first; no id 0."""
    half = np.random.default_rng(seed).integers(1, vocab, (rows, period))
    return np.concatenate([half, half], axis=1)


def attention_scores(model: Any, ids: np.ndarray, period: int) -> tuple[np.ndarray, np.ndarray]:
    """Prefix-matching and previous-token scores, ``(layer, head)`` each.

    Prefix matching is the mean attention from a token of the second copy to the token that came
    after its first occurrence, ``A[i, i - period + 1]``; the previous-token score is the mean of
    ``A[i, i - 1]``.
    """
    import torch

    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the fast kernels do not return weights
    try:
        with torch.inference_mode():
            rows = torch.as_tensor(ids, device=model.device)
            attention = model(input_ids=rows, output_attentions=True, use_cache=False).attentions
    finally:
        model.set_attn_implementation(before)
    stack = torch.stack(attention).float()  # layer, batch, head, query, key
    matching = stack.diagonal(offset=1 - period, dim1=-2, dim2=-1)[..., 1:]
    previous = stack.diagonal(offset=-1, dim1=-2, dim2=-1)
    return tuple(part.mean(dim=(1, -1)).cpu().numpy() for part in (matching, previous))  # type: ignore[return-value]


def copying_heads(model: Any, ids: np.ndarray, period: int) -> dict[str, float]:
    """The best head's scores and the mean over heads, as columns of the training log."""
    matching, previous = attention_scores(model, ids, period)
    return {
        "prefix_matching_max": float(matching.max()),
        "prefix_matching_mean": float(matching.mean()),
        "previous_token_max": float(previous.max()),
    }
