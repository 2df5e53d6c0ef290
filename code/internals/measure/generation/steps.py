"""Single steps, timed: at longer texts, from caches stored in different ways, of many texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.generation import stores
from internals.measure.generation.clock import REPEATS, interleaved
from internals.measure.generation.speed import slow
from internals.measure.generation.stores import FULL, NOTHING, STORES

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

LENGTHS = (256, 512)
"""Tokens of the text at which steps are timed, where the context holds them."""
BATCHES = (1, 4, 16, 64)
CONTEXT = 32
"""Tokens of each text in a batch."""


def random_ids(loaded: LoadedModel, rows: int, n: int) -> Any:
    """``(rows, n)`` token ids; times and sizes do not depend on which."""
    import torch

    generator = torch.Generator().manual_seed(0)
    high = loaded.facts.vocab_size_tokenizer
    return torch.randint(0, high, (rows, n), generator=generator).to(loaded.model.device)


@measurement(timing=True)
def costs(model: ModelHandle, repeats: int = REPEATS) -> pd.DataFrame:
    """Time of a step and bytes kept, by what is stored

    Packed caches are unpacked anew in every step, and timed at the longest text alone. Columns:
    ``stored``, ``tokens`` (of the text), ``mib`` (of the tensors that are held, scales included),
    ``repeat``, ``seconds``.
    """
    loaded = model.loaded()
    tasks: dict[Any, Callable[[], Any]] = {}
    sizes: dict[Any, int] = {}
    lengths = [n for n in LENGTHS if n <= loaded.facts.context_length and not slow(loaded.facts)]
    for n in lengths:
        ids = random_ids(loaded, 1, n)
        tasks[NOTHING, n] = partial(loaded.model, ids, use_cache=False, logits_to_keep=1)
        sizes[NOTHING, n] = 0
        for name, store in STORES.items():
            if name == FULL or n == lengths[-1]:
                tasks[name, n], sizes[name, n] = cached_step(loaded, n, store)
    if not tasks:
        raise NotApplicable("No longer text is timed for this model.")
    count = effort.units(loaded.facts, repeats, least=3)
    table = interleaved(tasks, repeats=count, warm_up=1, columns=["stored", "tokens"])
    places = zip(table["stored"], table["tokens"], strict=True)
    return table.assign(mib=[sizes[place] / 2**20 for place in places])


@measurement(timing=True)
def batches(model: ModelHandle, repeats: int = REPEATS) -> pd.DataFrame:
    """A step of several texts at once, with a cache

    Columns: ``batch``, ``repeat``, ``seconds`` (of a step of all texts).
    """
    loaded = model.loaded()
    n = min(CONTEXT, loaded.facts.context_length)
    tasks: dict[Any, Any] = {rows: cached_step(loaded, n, rows=rows)[0] for rows in BATCHES}
    count = effort.units(loaded.facts, repeats, least=5)
    return interleaved(tasks, repeats=count, warm_up=1, columns=["batch"])


def cached_step(
    loaded: LoadedModel, n: int, store: stores.Store = stores.everything, rows: int = 1
) -> tuple[Callable[[], Any], int]:
    """A step at texts of ``n`` tokens whose earlier keys and values were packed by ``store``, and
    the bytes of what is packed."""
    import torch
    from transformers import DynamicCache

    facts, network = loaded.facts, loaded.model
    shape = (rows, facts.n_kv_heads, n - 1, facts.d_head)  # times do not depend on what is kept
    cache = DynamicCache()  # plain layers: a sliding window would drop tokens by itself
    for layer in range(facts.n_layers):
        pair = torch.randn(2, *shape, dtype=network.dtype, device=network.device)
        cache.update(*pair, layer)
    held = stores.packed(cache, store)
    newest = random_ids(loaded, rows, 1)
    place = torch.full((rows, 1), n - 1, device=network.device)
    options = {"use_cache": True, "logits_to_keep": 1, "position_ids": place}

    def run() -> Any:
        for layer, (keys, values) in zip(cache.layers, held, strict=True):
            layer.keys, layer.values = stores.product(keys), stores.product(values)
        return network(newest, past_key_values=cache, **options).logits

    return run, sum(t.nbytes for pair in held for part in pair for t in part)
