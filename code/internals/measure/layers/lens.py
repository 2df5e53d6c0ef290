"""What the head would say after each block: raw, and after an affine map fitted to it.

Axes: ``position`` (of all documents), ``d``, ``vocab``. *Depth* is the number of blocks passed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.measure import effort
from internals.measure.layers import stream
from internals.measure.windows import HELD_OUT, window_length, windows

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import ModelHandle

SEQ, EVERY = 48, 3
"""Tokens of a window; every third position is scored, the first two never."""
RIDGE = 0.03
"""Penalty on a map, relative to the mean variance of its inputs; fixed before the test."""
RAW, TUNED = "raw", "tuned"
MOST_DEPTHS = 16
_BATCH, _PIECE, _ROWS = 8, 128, 16
"""Documents in one pass; positions that the head reads at once, and that are compared at once."""


@measurement(files=[HELD_OUT])
def by_depth(model: ModelHandle, documents: int = 135) -> pd.DataFrame:
    """Raw and tuned lens at every depth, on held-out text

    The maps of the tuned lens are fitted on other documents. Means over the positions of each
    document. Columns: ``lens`` (raw, tuned), ``depth``, ``document``, ``positions``, ``kl_bits``
    (of the final distribution from this one), ``entropy_bits``, ``rank`` (of the final first
    choice, geometric mean; 1 is the first).
    """
    import torch

    loaded = model.loaded()
    norm, head = stream.reader(loaded.model)
    ids = windows(loaded, None, window_length(loaded, SEQ))
    scored = ids[1::2][: effort.units(loaded.facts, documents, least=24)]
    depths = chosen(loaded.facts.n_layers)
    places = torch.arange(2, ids.shape[1], EVERY)
    with torch.inference_mode():
        known = _states(loaded.model, norm, ids[::2], depths, torch.arange(1, ids.shape[1]))
        asked = _states(loaded.model, norm, scored, depths, places)
        maps = [translator(fitted, known[-1]) for fitted in known]
        values: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
        # In pieces: logits of all positions would fill the memory, and fresh memory is slow.
        pieces = (part.split(_PIECE) for part in (*asked, asked[-1]))
        for *states, last in zip(*pieces, strict=True):
            final = head(last).float().log_softmax(-1)
            for depth, better, state in zip(depths, maps, states, strict=True):
                for lens, inputs in ((RAW, state), (TUNED, better(state))):
                    logits = head(inputs).float()
                    few = zip(logits.split(_ROWS), final.split(_ROWS), strict=True)
                    values[lens, depth] += [_compared(*rows) for rows in few]
    tables = [
        _by_document(torch.cat(parts, 1), len(scored)).assign(
            lens=lens, depth=depth, positions=len(places)
        )
        for (lens, depth), parts in values.items()
    ]
    return pd.concat(tables, ignore_index=True)


def chosen(n_layers: int, most: int = MOST_DEPTHS) -> list[int]:
    """Depths at equal steps, both ends among them: few enough for a large vocabulary."""
    return sorted({*range(0, n_layers, math.ceil(n_layers / (most - 1))), n_layers})


def _states(network: Any, norm: Any, ids: Tensor, depths: list[int], places: Tensor) -> Any:
    """``(document · place, d)`` normed states at each depth."""
    import torch

    parts: list[list[Tensor]] = [[] for _ in depths]
    for batch in ids.split(_BATCH):
        states = stream.trace(network, batch).states
        for part, depth in zip(parts, depths, strict=True):
            part.append(norm(states[depth][:, places]).flatten(0, 1))
    return [torch.cat(part) for part in parts]


def translator(x: Tensor, y: Tensor, ridge: float = RIDGE) -> Callable[[Tensor], Tensor]:
    """The affine map from states ``(position, d)`` to final ones by least squares.

    As in Din et al. 2024; Belrose et al. 2023 train such maps on the divergence of the predictions,
    which costs far more. The penalty pulls towards the identity, which is the raw lens.
    """
    import torch

    x, step = x.float(), y.float() - x.float()
    centre, shift = x.mean(0), step.mean(0)
    inner = x - centre
    gram = inner.T @ inner
    gram += (ridge * gram.diagonal().mean() + 1e-6) * torch.eye(len(gram), device=gram.device)
    weight = torch.linalg.solve(gram, inner.T @ (step - shift))
    return lambda state: state + ((state.float() - centre) @ weight + shift).to(state.dtype)


def _compared(logits: Tensor, final: Tensor) -> Tensor:
    """``(3, position)`` divergence and entropy in bits and logarithm of the rank, from ``logits``
    and ``final`` log-probabilities, both ``(position, vocab)``."""
    import torch

    rank = (logits > logits.gather(-1, final.argmax(-1, keepdim=True))).sum(-1) + 1
    own = logits.log_softmax(-1)
    kl = torch.linalg.vecdot(final.exp(), final - own)
    entropy = -torch.linalg.vecdot(own.exp(), own)
    return torch.stack([kl / math.log(2), entropy / math.log(2), rank.log()])


def _by_document(values: Tensor, documents: int) -> pd.DataFrame:
    """A row for each document, from what `_compared` says of its positions."""
    kl, entropy, rank = values.view(3, documents, -1).mean(-1).cpu().numpy()
    table = {"kl_bits": kl, "entropy_bits": entropy, "rank": np.exp(rank)}
    return pd.DataFrame({**table, "document": range(documents)})
