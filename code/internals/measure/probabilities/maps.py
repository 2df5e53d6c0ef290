"""Ways to turn logits into numbers that add up to one, and what each of them breaks.

All take ``(…, vocab)`` logits and return ``(…, vocab)`` probabilities; a row without any positive
weight comes back as NaN, because no distribution is defined there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Map = Callable[["Tensor"], "Tensor"]

_CANDIDATES = 512
"""Leading logits that the sparse maps look at first; they look further where that is too few."""


def softmax(z: Tensor) -> Tensor:
    """``exp(z_i) / Σ exp(z_j)`` (Boltzmann; Bridle 1990)."""
    return z.softmax(-1)


def sparsemax(z: Tensor) -> Tensor:
    """Euclidean projection on the simplex (Martins, Astudillo 2016); library `entmax`."""
    from entmax import sparsemax as projected

    return projected(z, dim=-1, k=min(_CANDIDATES, z.shape[-1]))


def entmax15(z: Tensor) -> Tensor:
    """α-entmax with α = 1.5, between softmax and sparsemax (Peters et al. 2019)."""
    from entmax import entmax15 as between

    return between(z, dim=-1, k=min(_CANDIDATES, z.shape[-1]))


def relu_normalised(z: Tensor) -> Tensor:
    """``max(z, 0)`` over its sum."""
    return _over_sum(z.clamp_min(0))


def squared(z: Tensor) -> Tensor:
    """``z²`` over its sum."""
    return _over_sum(z.square())


def sigmoid_normalised(z: Tensor) -> Tensor:
    """``σ(z)`` over its sum."""
    return _over_sum(z.sigmoid())


def hard_max(z: Tensor) -> Tensor:
    """All mass on the largest logit (the first of equal ones)."""
    import torch

    return torch.zeros_like(z).scatter(-1, z.argmax(-1, keepdim=True), 1.0)


def _over_sum(weight: Tensor) -> Tensor:
    return weight / weight.sum(-1, keepdim=True)  # 0/0 is NaN on purpose


MAPS: dict[str, Map] = {
    "softmax": softmax,
    "1.5-entmax": entmax15,
    "sparsemax": sparsemax,
    "sigmoid, normalised": sigmoid_normalised,
    "ReLU, normalised": relu_normalised,
    "squared, normalised": squared,
    "hard max": hard_max,
}


def keeps_order(z: Tensor, p: Tensor) -> bool:
    """Whether a larger logit never gets a smaller probability; ``(vocab,)`` both."""
    ordered = p[z.argsort(descending=True)]
    return bool((ordered.diff() <= 1e-12).all())
