"""Sizes and directions of the states on their way through the blocks.

Axes: ``depth`` (blocks passed), ``document``, ``position``, ``d``. The first position is unlike all
others in many models and stands apart everywhere.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.measure import effort
from internals.measure.layers import stream
from internals.measure.layers.lens import chosen
from internals.measure.windows import HELD_OUT, window_length, windows

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import ModelHandle

SEQ, GROUPS, TOP = 48, 8, 3
"""Tokens of a window; groups of documents; directions that are taken out."""
FIRST, LATER = "first token", "later tokens"
STREAM, ATTENTION, MLP = "stream", "attention", "MLP"
NEXT, RAW, CENTRED, CUT = "next depth", "unrelated", "without mean", "without mean and top 3"
_BATCH = 8


@measurement(files=[HELD_OUT])
def geometry(model: ModelHandle, documents: int = 162) -> dict[str, pd.DataFrame]:
    """Sizes and directions of the residual stream, on held-out text

    One pass for three tables: ``sizes`` (see `sizes_of`), ``cosines`` (`cosines_of`) and
    ``likeness`` (`likeness_of`).
    """
    import torch

    loaded = model.loaded()
    wanted = max(2 * GROUPS, effort.units(loaded.facts, documents, least=3 * GROUPS))
    ids = windows(loaded, wanted, window_length(loaded, SEQ))
    sizes, later = [], []
    for number, batch in enumerate(ids.split(_BATCH)):
        seen = stream.trace(loaded.model, batch)
        sizes.append(sizes_of(seen, number * _BATCH))
        later.append(torch.stack([state[:, 1:].float().cpu() for state in seen.states]))
    states = torch.cat(later, dim=1)
    return {
        "sizes": pd.concat(sizes, ignore_index=True),
        "cosines": cosines_of(states),
        "likeness": likeness_of(states.numpy()),
    }


def sizes_of(seen: stream.Trace, document: int = 0) -> pd.DataFrame:
    """Size of the stream and of what each block adds to it.

    Columns: ``document`` (counted from the given one), ``depth``, ``part`` (stream, attention, MLP;
    the last two of the block that ends at this depth), ``where`` (first token, later tokens),
    ``size`` (Euclidean norm, median over positions).
    """
    tables = []
    parts = ((STREAM, seen.states, 0), (ATTENTION, seen.attention, 1), (MLP, seen.mlp, 1))
    for part, states, first in parts:
        for depth, state in enumerate(states, first):
            sizes = state.float().norm(dim=-1).cpu()
            for where, size in ((FIRST, sizes[:, 0]), (LATER, sizes[:, 1:].median(1).values)):
                table = pd.DataFrame({"size": size.numpy(), "where": where})
                number = document + np.arange(len(size))
                tables.append(table.assign(part=part, depth=depth, document=number))
    return pd.concat(tables, ignore_index=True)


def cosines_of(states: Tensor) -> pd.DataFrame:
    """Cosines of neighbouring depths and of unrelated tokens.

    Columns: ``document``, ``depth``, ``what``, ``cosine``: of a token's state and the one a block
    later (`NEXT`; missing at the end), and means over tokens of other documents (`RAW`, `CENTRED`,
    `CUT`). Mean and top directions come from the other half of the documents.
    """
    import torch

    rows = []
    for depth, now in enumerate(states):
        if depth + 1 < len(states):
            near = torch.cosine_similarity(now, states[depth + 1], dim=-1).mean(1)
            rows += [(i, depth, NEXT, c) for i, c in enumerate(near.tolist())]
        for half in (0, 1):
            known = now[1 - half :: 2].flatten(0, 1)
            inner = known - known.mean(0)
            top = torch.linalg.eigh(inner.T @ inner).eigenvectors[:, -TOP:]
            centred = now[half::2] - known.mean(0)
            kinds = {RAW: now[half::2], CENTRED: centred, CUT: centred - centred @ top @ top.T}
            for what, vectors in kinds.items():
                rows += [(half + 2 * i, depth, what, c) for i, c in enumerate(_across(vectors))]
    return pd.DataFrame(rows, columns=["document", "depth", "what", "cosine"])


def _across(states: Tensor) -> list[float]:
    """Mean cosine of each document's tokens with all of the others', ``(document, position, d)``:
    the product of mean unit vectors."""
    own = (states / states.norm(dim=-1, keepdim=True).clamp_min(1e-12)).mean(1)
    others = (own.sum(0) - own) / max(len(own) - 1, 1)
    return list((own * others).sum(-1).tolist())


def likeness_of(states: np.ndarray) -> pd.DataFrame:
    """Which depths hold like pictures of the same tokens: centred kernel alignment.

    Kornblith et al. 2019, from unbiased estimates (Song et al. 2012), one for each group of
    documents (Nguyen et al. 2021). States are divided by their size first, as the norm before each
    block does: else a few giant tokens decide. Columns: ``depth``, ``other`` (depths), ``group``,
    ``tokens``, ``cka``.
    """
    depths, rows = chosen(len(states) - 1), []
    for group in range(GROUPS):
        part = states[depths, group::GROUPS].astype(float)
        part /= np.maximum(np.linalg.norm(part, axis=-1, keepdims=True), 1e-12)
        grams = [centred_gram(x.reshape(-1, x.shape[-1])) for x in part]
        for i, j in itertools.combinations_with_replacement(range(len(depths)), 2):
            value = (group, len(grams[i]), float((grams[i] * grams[j]).mean()))
            rows += [(depths[a], depths[b], *value) for a, b in {(i, j), (j, i)}]
    return pd.DataFrame(rows, columns=["depth", "other", "group", "tokens", "cka"])


def centred_gram(x: np.ndarray) -> np.ndarray:
    """``(n, n)`` products of rows ``(n, d)``, U-centred (Székely and Rizzo 2014) and so scaled that
    the mean of the product of two such tables is their alignment."""
    n = len(x)
    gram = x @ x.T
    np.fill_diagonal(gram, 0)
    sums = gram.sum(0) / (n - 2)
    gram -= sums[:, None] + sums[None] - sums.sum() / (n - 1)
    np.fill_diagonal(gram, 0)
    return np.asarray(gram / max(np.sqrt(np.mean(gram**2)), 1e-300))
