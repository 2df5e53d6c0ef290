"""What a key-value cache holds, how large it is, and what may be thrown away.

Axes of a layer's keys and values: ``batch``, ``kv_heads``, ``tokens``, ``d_head``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.windows import HELD_OUT, window_length, windows
from internals.paths import DATA

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import ModelHandle
    from internals.models.facts import ModelFacts


def bytes_per_token(facts: ModelFacts, value_bytes: int) -> int:
    """``2 · layers · kv heads · d_head · bytes of a number``: a key and a value in every layer."""
    return 2 * facts.n_layers * facts.n_kv_heads * facts.d_head * value_bytes


@dataclass(frozen=True)
class Held:
    """The real tensors of a cache after a text."""

    table: pd.DataFrame
    """``tokens``, ``layers``, ``key_shape``, ``value_shape``, ``bytes``, ``formula``."""
    first_step: tuple[str, ...]
    """What goes in and comes out of the first step with a cache, in words with shapes."""
    weight_bytes: int
    value_bytes: int


@measurement
def held(model: ModelHandle, tokens: tuple[int, ...] = (1, 8, 32)) -> Held:
    """The tensors of the cache and their bytes"""
    import torch
    from transformers import DynamicCache

    loaded = model.loaded()
    facts = loaded.facts
    size = next(loaded.model.parameters()).element_size()
    rows = []
    cache = DynamicCache(config=loaded.model.config)
    for n in [n for n in tokens if n < facts.context_length]:
        cache = DynamicCache(config=loaded.model.config)
        ids = torch.arange(n, device=loaded.model.device)[None] % facts.vocab_size_tokenizer
        with torch.inference_mode():
            loaded.model(ids, past_key_values=cache, use_cache=True)
        total = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
        shapes = [str(tuple(t.shape)) for t in (cache.layers[0].keys, cache.layers[0].values)]
        rows.append((n, len(cache.layers), *shapes, total, n * bytes_per_token(facts, size)))
    columns = ["tokens", "layers", "key_shape", "value_shape", "bytes", "formula"]
    before = cache.get_seq_length()
    with torch.inference_mode():
        out = loaded.model(
            torch.zeros((1, 1), dtype=torch.long, device=loaded.model.device),
            past_key_values=cache,
            use_cache=True,
        )
    first = (
        f"in: 1 token, {before} tokens in the cache",
        f"out: logits {tuple(out.logits.shape)}, {cache.get_seq_length()} tokens in the cache",
    )
    return Held(pd.DataFrame(rows, columns=columns), first, facts.weight_bytes, size)


def growth(facts: ModelFacts, value_bytes: int) -> pd.DataFrame:
    """Cache against weights by batch: ``batch``, ``tokens`` (the context), ``cache_mib``,
    ``weights_mib``, ``ratio``."""
    rows = []
    for batch in (1, 4, 16, 64):
        cache = batch * facts.context_length * bytes_per_token(facts, value_bytes)
        rows.append(
            (
                batch,
                facts.context_length,
                cache / 2**20,
                facts.weight_bytes / 2**20,
                cache / facts.weight_bytes,
            )
        )
    return pd.DataFrame(rows, columns=["batch", "tokens", "cache_mib", "weights_mib", "ratio"])


def public_models() -> pd.DataFrame:
    """Caches of public models from their published widths, in 16 bits.

    Columns: ``name``, ``layers``, ``kv_heads``, ``heads``, ``kib_per_token``, ``gib_at_context``,
    ``weights_gib``, ``saved`` (factor that sharing of key-value heads saves), ``crossover`` (tokens
    in all texts of a batch at which the cache is as large as the weights).
    """
    table = pd.read_csv(DATA / "facts" / "architectures.csv")
    per_token = 2 * table["layers"] * table["kv_heads"] * table["d_head"] * 2
    weights = table["parameters_billion"] * 1e9 * 2
    # A sliding window keeps no more than its width; Gemma 2 uses it in every other layer.
    windowed = table["window"].fillna(table["context"])
    half = table["name"].str.startswith("Gemma")
    kept = np.where(half, (windowed + table["context"]) / 2, windowed)
    return pd.DataFrame(
        {
            "name": table["name"],
            "layers": table["layers"],
            "heads": table["heads"],
            "kv_heads": table["kv_heads"],
            "kib_per_token": per_token / 2**10,
            "gib_at_context": per_token * kept / 2**30,
            "weights_gib": weights / 2**30,
            "saved": table["heads"] / table["kv_heads"],
            "crossover": (weights / per_token).round().astype(int),
        }
    )


Change = Callable[["Tensor"], "Tensor"]


def as_bfloat16(x: Tensor) -> Tensor:
    """Rounded to 16 bits (8 of mantissa) and back."""
    import torch

    return x.to(torch.bfloat16).to(x.dtype)


def as_integers(bits: int) -> Change:
    """Rounded to ``bits`` bits with one scale for each head and token (absolute maximum)."""

    def change(x: Tensor) -> Tensor:
        top = 2 ** (bits - 1) - 1
        scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-12) / top
        return (x / scale).round() * scale

    return change


def kept(x: Tensor) -> Tensor:
    """Unchanged."""
    return x


STORED: dict[str, tuple[Change, float, float]] = {
    "full precision": (kept, 4.0, 1.0),
    "16 bits": (as_bfloat16, 2.0, 1.0),
    "8-bit integers": (as_integers(8), 1.0, 1.0),
    "4-bit integers": (as_integers(4), 0.5, 1.0),
    "last quarter only": (kept, 4.0, 0.25),
}
"""Change of keys and values, bytes of a number, and share of the tokens that is kept."""


@measurement(files=[HELD_OUT])
def stored(model: ModelHandle, documents: int = 24) -> pd.DataFrame:
    """Loss of a continuation when the cache of its beginning is stored in less space

    The first half of a window fills the cache, the cache is changed, and the second half is scored
    with it. Columns: ``stored``, ``bytes_per_token`` (scales of the integers left out),
    ``extra_bits`` (change of the loss in bits per token), ``low``, ``high``, ``n`` (documents).
    """
    loaded = model.loaded()
    documents = effort.units(loaded.facts, documents, least=8)
    ids = windows(loaded, documents, window_length(loaded, 128))
    losses = {
        name: np.array([_continued_loss(loaded.model, row, change, share) for row in ids])
        for name, (change, _, share) in STORED.items()
    }
    rows = []
    for name, (_, size, share) in STORED.items():
        found = stats.paired_difference(losses[name], losses["full precision"], unit="documents")
        width = bytes_per_token(loaded.facts, 1) * size * share
        rows.append((name, width, found.value, found.low, found.high, found.n))
    columns = ["stored", "bytes_per_token", "extra_bits", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def _continued_loss(network: Any, ids: Tensor, change: Change, share: float) -> float:
    """Bits per token of the second half of a window, given the changed cache of the first half."""
    import torch
    from transformers import DynamicCache

    half = len(ids) // 2
    cache = DynamicCache()  # plain layers: a sliding window would drop tokens by itself
    first = round(half * share)
    positions = torch.arange(len(ids), device=ids.device)[None]
    with torch.inference_mode():
        network(ids[None, : half - 1], past_key_values=cache, use_cache=True)
        for layer in cache.layers:
            layer.keys = change(layer.keys)[..., -first:, :].contiguous()
            layer.values = change(layer.values)[..., -first:, :].contiguous()
        arguments: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
        if _takes_positions(network):
            arguments["position_ids"] = positions[:, half - 1 : -1]
        logits = network(ids[None, half - 1 : -1], **arguments).logits[0].double()
    taken = logits.log_softmax(-1).gather(-1, ids[half:, None])
    return float(-taken.mean().item() / math.log(2))


def _takes_positions(network: Any) -> bool:
    """OPT counts positions from its mask and takes none."""
    import inspect

    return "position_ids" in inspect.signature(network.forward).parameters
