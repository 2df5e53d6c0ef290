"""What a key-value cache holds and how large it is, here and in public models.

What may be thrown away is in `stores`.
Axes of a layer's keys and values: ``batch``, ``kv_heads``, ``tokens``, ``d_head``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.measure.generation.speed import LONGEST, random_ids
from internals.measure.generation.watched import give_back, lines_of, rise, rise_of_device
from internals.paths import DATA

if TYPE_CHECKING:
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
    windows: tuple[int | None, ...]
    """For each layer the most tokens that its cache keeps; None for all."""
    value_bytes: int


def kept_tokens(windows: Sequence[int | None], n: int) -> int:
    """Tokens kept by all layers together after ``n`` tokens."""
    return sum(n if window is None else min(n, window) for window in windows)


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
    windows = tuple(_window(layer) for layer in cache.layers) or (None,) * facts.n_layers
    for n in [n for n in tokens if n < facts.context_length]:
        cache = DynamicCache(config=loaded.model.config)
        ids = torch.arange(n, device=loaded.model.device)[None] % facts.vocab_size_tokenizer
        with torch.inference_mode():
            loaded.model(ids, past_key_values=cache, use_cache=True)
        total = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
        shapes = [str(tuple(t.shape)) for t in (cache.layers[0].keys, cache.layers[0].values)]
        formula = bytes_per_token(facts, size) // facts.n_layers * kept_tokens(windows, n)
        rows.append((n, len(cache.layers), *shapes, total, formula))
    columns = ["tokens", "layers", "key_shape", "value_shape", "bytes", "formula"]
    before = cache.get_seq_length()
    with torch.inference_mode():
        out = loaded.model(
            torch.zeros((1, 1), dtype=torch.long, device=loaded.model.device),
            past_key_values=cache,
            use_cache=True,
        )
    first = (
        f"1 token, with {before} in the cache",
        f"logits of shape {tuple(out.logits.shape)}, with {cache.get_seq_length()} in the cache",
    )
    return Held(pd.DataFrame(rows, columns=columns), first, windows, size)


def _window(layer: Any) -> int | None:
    """Most tokens that a layer of the cache keeps between steps: its window less the next token,
    which comes on top when it looks; None if it keeps all."""
    return layer.sliding_window - 1 if getattr(layer, "is_sliding", False) else None


def growth(facts: ModelFacts, value_bytes: int, windows: Sequence[int | None]) -> pd.DataFrame:
    """Cache against weights by batch: ``batch``, ``tokens`` (the context), ``cache_mib``,
    ``weights_mib``, ``ratio``."""
    rows = []
    for batch in (1, 4, 16, 64):
        per_layer = bytes_per_token(facts, value_bytes) // facts.n_layers
        cache = batch * per_layer * kept_tokens(windows, facts.context_length)
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


_PROBE = """
import json, sys, torch
from internals.measure.generation.memory import peaks
from internals.measure.generation.watched import rise
from transformers import AutoConfig, AutoModelForCausalLM

folder, dtype, device = sys.argv[1:4]
vocab, rows, n, chunk = map(int, sys.argv[4:])
config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
network = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).to(device).eval()
for row in peaks(network, torch.randint(vocab, (rows, n)).to(device), chunk, rise):
    print(json.dumps(row))
"""


CHUNK = 64
"""Tokens of a piece in which a long prompt is read into a cache."""
NOISE_MIB = 4.0
"""What an allocator may take or keep in addition, whatever runs."""


def peaks(
    network: Any, ids: Any, chunk: int, watch: Callable[[Callable[[], int]], tuple[int, int]]
) -> list[tuple[str, int, int]]:
    """Rise of the memory while the texts ``ids``, ``(batch, tokens)``, are read: into a cache in
    pieces of ``chunk`` tokens, as long prompts are read, and as a whole without one.

    Returns rows of the way (cache, no cache), the rise by ``watch``, and the bytes of the cache.
    """
    import torch
    from transformers import DynamicCache

    def cached(texts: Any) -> int:
        cache = DynamicCache(config=network.config)
        for part in texts.split(chunk, dim=1):
            network(part, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))

    def whole(texts: Any) -> int:
        network(texts, use_cache=False, logits_to_keep=1)
        return 0

    rows = []
    ways: dict[str, Callable[[Any], int]] = {"cache": cached, "no cache": whole}
    with torch.inference_mode():
        for name, way in ways.items():
            way(ids[:1, :8])
            give_back()
            rows.append((name, *watch(partial(way, ids))))
    return rows


@measurement(timing=True, version_of=[rise])
def resident(model: ModelHandle, batch: int = 4, chunk: int = CHUNK) -> pd.DataFrame:
    """Peak memory of a step at the longest text, with and without a cache

    In a process of its own, by a network of this configuration with random weights: memory does
    not depend on their values, and the model need not be loaded a second time. On a GPU by the
    model itself, since its allocator counts exactly. Without a cache the whole text runs; with one
    it is read in pieces of ``chunk`` tokens, and the last piece stands for a step.
    Columns: ``mode``, ``tokens``, ``batch``, ``peak_mib`` (rise of the resident memory, sampled),
    ``cache_mib`` (bytes of the cache's tensors).
    """
    facts = model.facts
    n = min(facts.context_length, LONGEST)
    if on_gpu(facts):
        loaded = model.loaded()
        found = peaks(loaded.model, random_ids(loaded, batch, n), chunk, rise_of_device)
    else:
        network = [model.folder, facts.dtype, facts.device, facts.vocab_size_tokenizer]
        found = lines_of(_PROBE, [*network, batch, n, chunk])
    rows = [(mode, n, batch, peak / 2**20, cache / 2**20) for mode, peak, cache in found]
    return pd.DataFrame(rows, columns=["mode", "tokens", "batch", "peak_mib", "cache_mib"])


def on_gpu(facts: ModelFacts) -> bool:
    """Whether the memory in question is that of a GPU with a counting allocator."""
    return facts.device == "cuda"


def peaks_differ(table: pd.DataFrame, chunk: int = CHUNK) -> bool:
    """Whether both peaks of `resident` are told apart.

    They are not if they differ by less than the allocator's noise (some MiB, or a tenth of the
    larger peak), nor if the text fits one piece, so that both ways run the same pass.
    """
    peaks = table.set_index("mode")["peak_mib"]
    gap = abs(float(peaks["no cache"] - peaks["cache"]))
    return bool(table["tokens"].max() > chunk and gap > max(NOISE_MIB, 0.1 * float(peaks.max())))
