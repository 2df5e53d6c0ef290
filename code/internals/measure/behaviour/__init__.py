"""Measurements of chapter 5, behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from internals import stats
from internals.errors import NotApplicable

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``values``, if all of them are numbers.

    Raises:
        NotApplicable: some are not, since the model's numbers overflow.
    """
    if not np.isfinite(values).all():
        raise NotApplicable("the numbers of this model overflow")
    return values


def share(flags: ArrayLike, unit: str) -> stats.Estimate:
    """Share of flags that are true, with Wilson's interval."""
    held = np.asarray(flags, bool)
    return stats.wilson(int(held.sum()), len(held), unit=unit)


def next_logits(loaded: LoadedModel, heads: Sequence[Sequence[int]]) -> Tensor:
    """``(head, vocab)`` float32 logits of what comes after each head.

    Raises:
        NotApplicable: a head is longer than the context.
    """
    import torch

    from internals.measure.scoring import batches, logits_at, padded

    if max(map(len, heads)) > loaded.facts.context_length:
        raise NotApplicable("the prompts do not fit into the context")
    found: dict[int, Tensor] = {}
    for group in batches([len(head) for head in heads], 1024):
        ids = padded([heads[i] for i in group], loaded.model.device)
        ends = [len(heads[i]) - 1 for i in group]
        logits = logits_at(loaded.model, ids, list(range(len(group))), ends)
        found |= dict(zip(group, logits.cpu(), strict=True))
    return torch.stack([found[i] for i in range(len(heads))])
