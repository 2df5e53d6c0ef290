"""What a key-value cache holds and how large it is, here and in public models.

What may be thrown away is in `stores`.
Axes of a layer's keys and values: ``batch``, ``kv_heads``, ``tokens``, ``d_head``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.measure.generation.steps import random_ids
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import ModelHandle
    from internals.models.facts import ModelFacts


def bytes_per_token(facts: ModelFacts, value_bytes: int | None = None) -> int:
    """``2 · layers · kv heads · d_head · bytes of a number``: a key and a value in every layer;
    numbers as wide as those of the weights, if ``value_bytes`` says nothing else."""
    size = value_bytes or facts.weight_bytes // facts.n_parameters
    return 2 * facts.n_layers * facts.n_kv_heads * facts.d_head * size


@dataclass(frozen=True)
class Held:
    """The real tensors of a cache after a text."""

    table: pd.DataFrame
    """``tokens``, ``bytes``, ``formula``."""
    windows: tuple[int | None, ...]
    """For each layer the most tokens that its cache keeps; None for all."""

    def kept(self, n: int) -> int:
        """Tokens kept by all layers together after ``n`` tokens."""
        return sum(n if window is None else min(n, window) for window in self.windows)


@measurement
def held(model: ModelHandle, tokens: tuple[int, ...] = (1, 8, 32)) -> Held:
    """The tensors of the cache and their bytes"""
    import torch
    from transformers import DynamicCache

    loaded = model.loaded()
    facts = loaded.facts
    cache = DynamicCache(config=loaded.model.config)
    windows = tuple(_window(layer) for layer in cache.layers) or (None,) * facts.n_layers
    found, rows = Held(pd.DataFrame(), windows), []
    for n in [n for n in tokens if n < facts.context_length]:
        cache = DynamicCache(config=loaded.model.config)
        with torch.inference_mode():
            loaded.model(random_ids(loaded, 1, n), past_key_values=cache, use_cache=True)
        size = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
        rows.append((n, size, bytes_per_token(facts) // facts.n_layers * found.kept(n)))
    return replace(found, table=pd.DataFrame(rows, columns=["tokens", "bytes", "formula"]))


def _window(layer: Any) -> int | None:
    """Most tokens that a layer of the cache keeps between steps: its window less the next token,
    which comes on top when it looks; None if it keeps all."""
    return layer.sliding_window - 1 if getattr(layer, "is_sliding", False) else None


def public_models() -> pd.DataFrame:
    """Caches of public models, one of each report, from their published widths, in 16 bits.

    Columns: ``name``, ``layers``, ``heads``, ``kv_heads``, ``kib_per_token``, ``context``,
    ``gib_at_context``, ``weights_gib``, ``saved`` (factor that sharing of key-value heads saves),
    ``crossover`` (tokens in all texts of a batch at which the cache is as large as the weights).
    """
    table = pd.read_csv(DATA / "facts" / "architectures.csv").drop_duplicates("source")
    per_token = 2 * table["layers"] * table["kv_heads"] * table["d_head"] * 2
    weights = table["parameters_billion"] * 1e9 * 2
    # A sliding window keeps no more than its width; Gemma 2 uses it in every other layer.
    windowed = table["window"].fillna(table["context"])
    half = table["name"].str.startswith("Gemma")
    kept = np.where(half, (windowed + table["context"]) / 2, windowed)
    return table[["name", "layers", "heads", "kv_heads", "context"]].assign(
        kib_per_token=per_token / 2**10,
        gib_at_context=per_token * kept / 2**30,
        weights_gib=weights / 2**30,
        saved=table["heads"] / table["kv_heads"],
        crossover=(weights / per_token).round().astype(int),
    )
