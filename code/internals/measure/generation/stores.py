"""Between storing everything and computing it again: caches that keep fewer bits or fewer tokens.

Axes of a layer's keys and values: ``batch``, ``kv_heads``, ``tokens``, ``d_head``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.generation.clock import REPEATS, interleaved, rounds, spread
from internals.measure.generation.speed import lengths, random_ids, step_tasks
from internals.measure.windows import HELD_OUT, utf8_bytes, window_length, windows

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel, ModelFacts, ModelHandle

Packed = tuple["Tensor", ...]


@dataclass(frozen=True)
class Store:
    """A way to keep keys or values: ``pack`` gives what is held, ``unpack`` what is read."""

    name: str
    pack: Callable[[Tensor], Packed]
    unpack: Callable[[Packed], Tensor]
    share: float = 1.0
    """Share of the tokens that is kept, the latest ones."""


def _same(x: Tensor) -> Packed:
    return (x,)


def _first(held: Packed) -> Tensor:
    return held[0]


def to_bfloat16(x: Tensor) -> Packed:
    """16 bits, 8 of them mantissa."""
    import torch

    return (x.to(torch.bfloat16),)


def from_bfloat16(held: Packed) -> Tensor:
    """Back to 32 bits."""
    return held[0].float()


def to_integers(x: Tensor, bits: int) -> Packed:
    """Integers of ``bits`` bits (8, or 4 packed in pairs) and one scale for each head and token,
    so that its largest number becomes the largest integer."""
    import torch

    top = 2 ** (bits - 1) - 1
    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-12) / top
    q = (x / scale).round().to(torch.int8)
    if bits == 8:
        return q, scale
    if q.shape[-1] % 2:
        q = torch.nn.functional.pad(q, (0, 1))
    low, high = q[..., ::2] & 15, q[..., 1::2] << 4
    return low | high, scale


def from_integers(held: Packed, bits: int, width: int = 0) -> Tensor:
    """Integers times their scale; ``width`` cuts what pairing has added."""
    import torch

    q, scale = held
    if bits == 8:
        return q * scale
    low, high = (q << 4) >> 4, q >> 4  # arithmetic shifts keep the sign
    both = torch.stack([low, high], dim=-1).flatten(-2)
    return (both[..., :width] if width else both) * scale


def stores(width: int) -> tuple[Store, ...]:
    """What is compared; ``width`` of a head."""
    return (
        Store("all in full", _same, _first),
        Store("16 bits", to_bfloat16, from_bfloat16),
        Store("8-bit integers", partial(to_integers, bits=8), partial(from_integers, bits=8)),
        Store(
            "4-bit integers",
            partial(to_integers, bits=4),
            partial(from_integers, bits=4, width=width),
        ),
        Store("last quarter only", _same, _first, 0.25),
    )


NOTHING = "nothing (recompute)"


WINDOW = 128
"""Tokens of a text whose loss is taken with a stored cache."""


def halves(facts: ModelFacts) -> tuple[int, int]:
    """Tokens in the stored cache of `losses`, and tokens that are scored with it."""
    seq = min(WINDOW, facts.context_length)
    return seq // 2 - 1, seq - seq // 2


@measurement(files=[HELD_OUT])
def losses(model: ModelHandle, documents: int = 24) -> pd.DataFrame:
    """Loss of a continuation when the cache of its beginning is stored in less space

    The first half of a window fills the cache, the cache is packed and unpacked, and the second
    half is scored with it. Columns: ``stored``, ``extra_bits`` (change of the loss, bits per byte
    of the second half), ``low``, ``high``, ``n`` (documents).
    """
    loaded = model.loaded()
    documents = effort.units(loaded.facts, documents, least=8)
    ids = windows(loaded, documents, window_length(loaded, WINDOW))
    half = ids.shape[1] // 2
    sizes = np.array([max(1, utf8_bytes(loaded, row[half:].tolist())) for row in ids])
    bits = {
        store.name: continued_bits(loaded.model, ids, store) / sizes
        for store in stores(loaded.facts.d_head)
    }
    rows = []
    for name, own in bits.items():
        found = stats.paired_difference(own, bits["all in full"], unit="documents")
        rows.append((name, found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=["stored", "extra_bits", "low", "high", "n"])


def continued_bits(network: Any, ids: Tensor, store: Store) -> np.ndarray:
    """``(batch,)`` bits of the second half of each window ``(batch, seq)``, given the first half in
    a packed cache."""
    import torch
    from transformers import DynamicCache

    seq = ids.shape[1]
    half = seq // 2
    cache = DynamicCache()  # plain layers: a sliding window would drop tokens by itself
    keep = max(1, round((half - 1) * store.share))
    positions = torch.arange(half - 1, seq - 1, device=ids.device)[None]
    with torch.inference_mode():
        network(ids[:, : half - 1], past_key_values=cache, use_cache=True, logits_to_keep=1)
        for layer in cache.layers:
            layer.keys, layer.values = (
                store.unpack(store.pack(x[..., -keep:, :])).contiguous()
                for x in (layer.keys, layer.values)
            )
        logits = network(
            ids[:, half - 1 : -1],
            past_key_values=cache,
            use_cache=True,
            position_ids=positions.expand(len(ids), -1),
        ).logits.float()
        taken = logits.gather(-1, ids[:, half:, None]).squeeze(-1) - logits.logsumexp(-1)
    found: np.ndarray = -taken.double().sum(-1).cpu().numpy() / math.log(2)
    return found


@measurement(timing=True)
def costs(model: ModelHandle, repeats: int = REPEATS) -> pd.DataFrame:
    """Time of a token and bytes kept, by what is stored

    A step at the longest timed text; packed caches are unpacked anew in every step. Columns:
    ``stored``, ``tokens``, ``mib`` (of the tensors that are held, scales included), ``median``,
    ``low``, ``high`` (seconds of a step), ``n``.
    """
    loaded = model.loaded()
    n = lengths(loaded.facts)[-1]
    tasks: dict[Any, Callable[[], Any]] = {NOTHING: step_tasks(loaded, n)["no cache"]}
    held_bytes = {NOTHING: 0}
    for store in stores(loaded.facts.d_head):
        tasks[store.name], held_bytes[store.name] = _step_with(loaded, n, store)
    found = spread(interleaved(tasks, repeats=rounds(loaded.facts, repeats))).rename(
        columns={"task": "stored"}
    )
    return found.assign(mib=[held_bytes[s] / 2**20 for s in found["stored"]], tokens=n)


def _step_with(loaded: LoadedModel, n: int, store: Store) -> tuple[Callable[[], Any], int]:
    """A step at ``n`` tokens from a packed cache, and the bytes of what is packed."""
    import torch
    from transformers import DynamicCache

    ids = random_ids(loaded, 1, n)
    cache = DynamicCache()
    with torch.inference_mode():
        loaded.model(ids[:, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)
        keep = max(1, round((n - 1) * store.share))
        held = [
            tuple(store.pack(x[..., -keep:, :].contiguous()) for x in (layer.keys, layer.values))
            for layer in cache.layers
        ]
    place = torch.tensor([[n - 1]], device=ids.device)

    def run() -> None:
        with torch.inference_mode():
            for layer, (k, v) in zip(cache.layers, held, strict=True):
                layer.keys, layer.values = store.unpack(k), store.unpack(v)
            loaded.model(
                ids[:, -1:],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                position_ids=place,
            )

    return run, sum(t.nbytes for pair in held for packed in pair for t in packed)


def tradeoff(costs: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """Both tables in one: ``stored``, ``mib``, ``median``, ``low``, ``high`` (seconds),
    ``extra_bits``, ``extra_low``, ``extra_high``; recomputing changes nothing in the loss."""
    loss = losses.rename(columns={"low": "extra_low", "high": "extra_high"}).drop(columns="n")
    table = costs.merge(loss, on="stored", how="left")
    columns = ["extra_bits", "extra_low", "extra_high"]
    return table.fillna(dict.fromkeys(columns, 0.0))
