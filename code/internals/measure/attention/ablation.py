"""Do heads matter? Their output is replaced by its mean over texts, and the loss is taken again.

A head ablated so still says what it says on average at this place, but nothing about this text.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.attention import heads
from internals.measure.attention.watch import watched
from internals.measure.scoring import mean_surprisal
from internals.models import ModelHandle

if TYPE_CHECKING:
    from torch import Tensor

COUNTS = (1, 4, 16)  # heads that are ablated together
Heads = list[tuple[int, int]]  # layer and number of each


def chosen(model: ModelHandle, kind: str, count: int) -> Heads:
    """The ``count`` heads with the highest scores, but at most half of a layer's."""
    part = heads.ranked(model).query("kind == @kind")
    part = part[part.groupby("layer").cumcount() < (part["head"].max() + 1) // 2].head(count)
    return list(zip(part["layer"].tolist(), part["head"].tolist(), strict=True))


def others(picked: Heads, n_heads: int, rng: np.random.Generator) -> Heads:
    """As many random heads of the same layers, none of them among ``picked``."""
    found: Heads = []
    for layer, n in Counter(layer for layer, _ in picked).items():
        rest = [head for head in range(n_heads) if (layer, head) not in picked]
        found += [(layer, int(head)) for head in rng.choice(rest, n, replace=False)]
    return found


@measurement
def loss(model: ModelHandle, rows: int = 48, seed: int = 1) -> pd.DataFrame:
    """Loss on a repetition without some heads

    Other texts than those by which heads were chosen; each text has random heads of its own.
    Columns: ``row``, ``kind`` (whose heads), ``which`` (intact, top, random), ``count``, ``bits``
    (per token of the second copy, without its first).
    """
    loaded = model.loaded()
    network, facts = loaded.model, loaded.facts
    room = facts.n_layers * (facts.n_heads // 2)
    if not room:
        raise NotApplicable("a layer of the model has no second head to compare the first with")
    texts = heads.repeated(loaded, effort.units(facts, rows, least=20), seed)
    n, rng = len(texts.ids), np.random.default_rng(seed)
    means: dict[int, Tensor] = {}  # (head, seq, d_head) of each layer
    with watched(network, lambda layer, _w, _v, output: means.update({layer: output.mean(0)})):
        bits = {("", "intact", 0): _bits(network, texts)}
    for kind, count in product(("induction", "previous token"), COUNTS):
        if count <= room:
            top = chosen(model, kind, count)
            random = [others(top, facts.n_heads, rng) for _ in range(n)]
            for which, silent in (("top", [top] * n), ("random", random)):
                with watched(network, partial(silenced, silent=silent, means=means)):
                    bits[kind, which, count] = _bits(network, texts)
    table = pd.DataFrame(bits).T.rename_axis(["kind", "which", "count"])
    return table.melt(ignore_index=False, var_name="row", value_name="bits").reset_index()


def silenced(
    layer: int, _weights: Any, _value: Any, output: Tensor, *, silent: list[Heads], means: Any
) -> Tensor:
    """``output`` ``(row, head, seq, d_head)`` with means in place of each row's silent heads."""
    output = output.clone()
    for row, pairs in enumerate(silent):
        own = [head for at, head in pairs if at == layer]
        output[row, own] = means[layer][own]
    return output


def _bits(network: Any, texts: heads.Repeated) -> np.ndarray:
    """``(row,)`` mean surprisal of the second copy; its first token cannot be known."""
    first = texts.start + texts.periods + 1
    known = [row[:n].tolist() for row, n in zip(texts.ids, first, strict=True)]
    tails = [row[n:].tolist() for row, n in zip(texts.ids, first, strict=True)]
    # In one batch, so that rows keep their places.
    return mean_surprisal(network, known, tails, texts.ids.size) / math.log(2)
