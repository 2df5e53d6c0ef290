"""What a narrow hidden state costs a large vocabulary: the head cut to fewer directions.

Axes: ``position``, ``vocab``, ``d``: width of the state that enters the head.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals.cache import measurement
from internals.measure import effort
from internals.measure.windows import HELD_OUT, window_length, windows

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import ModelHandle

SEQ = 48
PARTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 7 / 8, 1.0)
"""Directions that are kept, as shares of the width."""


@measurement(files=[HELD_OUT])
def truncation(model: ModelHandle, documents: int = 60) -> pd.DataFrame:
    """Loss when the head sees fewer directions

    The states that enter the head are projected on their k leading directions in the geometry of
    the logits (the best approximation of rank k of centred logits), found on other documents.

    Columns: ``document``, ``k``, ``share`` (k over d), ``bits`` (loss per token), ``extra_bits``
    (more than with all directions).
    """
    loaded = model.loaded()
    documents = effort.units(loaded.facts, documents, least=16)
    ids = windows(loaded, None, window_length(loaded, SEQ))
    # One half of the documents is scored; the others, twice as many, find the directions.
    score, find = ids[1::2][:documents], ids[::2][: 2 * documents]
    weight, bias = head_weights(loaded.model)
    basis, inverse, centre = leading(head_inputs(loaded.model, find), weight)
    states = head_inputs(loaded.model, score)
    targets = score[:, 2:].cpu().reshape(-1)
    d = states.shape[1]
    states = states.view(len(score), -1, d)[:, :-1].reshape(-1, d)  # the last one has no target
    rows = []
    for k in sorted({max(1, round(d * part)) for part in PARTS}):
        kept = states if k == d else (states - centre) @ basis[:, :k] @ inverse[:k] + centre
        losses = _losses(kept, targets, weight, bias).view(len(score), -1).mean(1)
        rows += [(number, k, k / d, bits) for number, bits in enumerate(losses.tolist())]
    table = pd.DataFrame(rows, columns=["document", "k", "share", "bits"])
    whole = table[table["k"] == d].set_index("document")["bits"]
    return table.assign(extra_bits=table["bits"] - table["document"].map(whole))


def _losses(states: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``(position,)``: surprisal of the true tokens in bits."""
    import torch

    losses = []
    for part, true in zip(states.split(256), targets.split(256), strict=True):
        logits = part @ weight.T if bias is None else part @ weight.T + bias
        losses.append(torch.nn.functional.cross_entropy(logits, true, reduction="none"))
    return torch.cat(losses) / math.log(2)


def head_inputs(network: Any, ids: Tensor) -> Tensor:
    """``(position, d)`` float32: what enters the head, first positions left out.

    The first position of a text is unlike all others in many models (attention sinks).
    """
    import torch

    from internals.models import families

    body = families.body(network)
    with torch.inference_mode():
        states = [body(part, use_cache=False).last_hidden_state[:, 1:] for part in ids.split(8)]
    return torch.cat(states).flatten(0, 1).float().cpu()


def head_weights(network: Any) -> tuple[Tensor, Tensor | None]:
    """Head matrix ``(vocab, d)`` and its bias, in float32 on the CPU."""
    from internals.models import families

    head = families.unembedding(network)
    bias = getattr(head, "bias", None)
    weight = head.weight.detach().float().cpu()
    return weight, None if bias is None else bias.detach().float().cpu()


def leading(states: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Directions of the states in order of their weight in the logits; back again; mean state.

    With ``W`` the head without its mean row (a shift of all logits changes nothing) and ``RᵀR`` its
    Gram matrix, the singular vectors of ``(states - mean) Rᵀ`` give the best logits of rank k
    (Eckart, Young 1936). Shapes ``(d, d)``, ``(d, d)``, ``(d,)``.
    """
    import torch

    centre = states.mean(0)
    w = weight - weight.mean(0)
    gram = (w.T @ w).double()
    gram += 1e-7 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    root = torch.linalg.cholesky(gram)  # gram = root rootᵀ
    scatter = root.T @ (states - centre).double().T @ (states - centre).double() @ root
    directions = torch.linalg.eigh(scatter).eigenvectors.flip(1)
    inverse = torch.linalg.solve_triangular(root.T, directions, upper=True).T
    return (root @ directions).float(), inverse.float(), centre
