"""Generation with and without a key-value cache, timed: single steps, and whole texts.

A step without a cache runs the whole text; a step with one runs the new token alone. Times of
steps give a prediction of whole texts, which is then compared with whole texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.measure import effort
from internals.measure.efficiency.clock import REPEATS, interleaved, spread
from internals.measure.efficiency.operations import Machine, cost_of

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle
    from internals.models.facts import ModelFacts

TEXTS = ((8, 16), (8, 32), (8, 64))
"""Prompt length and new tokens of the whole texts that are timed."""
BATCHES = (1, 4, 16)


def lengths(context: int) -> list[int]:
    """Text lengths from 8 to the context, about evenly spaced on a logarithmic axis."""
    return sorted(
        {min(n, context) for n in (8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)}
    )


def random_ids(loaded: LoadedModel, rows: int, n: int, seed: int = 0) -> Any:
    """``(rows, n)`` token ids; times do not depend on which."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    high = loaded.facts.vocab_size_tokenizer
    return torch.randint(0, high, (rows, n), generator=generator).to(loaded.model.device)


def step_tasks(loaded: LoadedModel, n: int, rows: int = 1) -> dict[str, Callable[[], Any]]:
    """One step at a text of ``n`` tokens: without a cache, and with one that holds ``n - 1``."""
    import torch
    from transformers import DynamicCache

    network, ids = loaded.model, random_ids(loaded, rows, n)
    cache = DynamicCache()  # plain layers: a sliding window could not be cropped
    with torch.inference_mode():
        network(ids[:, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)

    def whole() -> None:
        with torch.inference_mode():
            network(ids, use_cache=False, logits_to_keep=1)

    def one() -> None:
        with torch.inference_mode():
            network(ids[:, -1:], past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.crop(-1)

    return {"no cache": whole, "cache": one}


@measurement(timing=True)
def steps(model: ModelHandle, repeats: int = REPEATS) -> pd.DataFrame:
    """Time of one step by text length, with and without a cache

    Columns: ``mode`` (cache, no cache), ``length``, ``median``, ``low``, ``high`` (quartiles,
    seconds), ``n`` (repeats).
    """
    loaded = model.loaded()
    tasks: dict[Any, Callable[[], Any]] = {}
    for n in lengths(loaded.facts.context_length):
        for mode, task in step_tasks(loaded, n).items():
            tasks[mode, n] = task
    table = interleaved(tasks, repeats=repeats)
    table[["mode", "length"]] = table.pop("task").tolist()
    return spread(table, ["mode", "length"])


@measurement(timing=True)
def texts(model: ModelHandle, repeats: int = REPEATS) -> pd.DataFrame:
    """Time of whole texts, with and without a cache

    Columns: ``mode`` (cache, no cache, library), ``prompt``, ``new``, ``median``, ``low``,
    ``high`` (seconds), ``n``, ``same`` (all modes gave the same tokens).
    """
    import torch

    from internals.generation.generate import generate

    loaded = model.loaded()
    context = loaded.facts.context_length
    tasks: dict[Any, Callable[[], Any]] = {}
    same: dict[tuple[int, int], bool] = {}
    for prompt, new in TEXTS:
        if prompt + new > context:
            continue
        ids = random_ids(loaded, 1, prompt)

        def own(cached: bool, ids: Any = ids, new: int = new) -> list[int]:
            return list(generate(loaded.model, ids.tolist(), new, cached=cached).ids[0])

        def library(ids: Any = ids, new: int = new) -> list[int]:
            with torch.inference_mode():
                return library_greedy(loaded.model, ids, new)[0]

        same[prompt, new] = own(True) == own(False) == library()
        tasks["cache", prompt, new] = partial(own, True)
        tasks["no cache", prompt, new] = partial(own, False)
        tasks["library", prompt, new] = library
    # Whole texts of a large model are slow; their spread is small against their length.
    table = interleaved(tasks, repeats=effort.units(loaded.facts, repeats, least=3), warm_up=1)
    table[["mode", "prompt", "new"]] = table.pop("task").tolist()
    found = spread(table, ["mode", "prompt", "new"])
    return found.assign(same=[same[k] for k in zip(found["prompt"], found["new"], strict=True)])


def library_greedy(network: Any, ids: Any, new: int) -> list[list[int]]:
    """New tokens by the library's own ``generate``, greedy, exactly ``new`` of them."""
    import torch

    made = network.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=new,
        min_new_tokens=new,
        eos_token_id=None,
        pad_token_id=0,
    )
    return [list(row) for row in made[:, ids.shape[1] :].tolist()]


@measurement(timing=True)
def batches(model: ModelHandle, length: int = 64) -> pd.DataFrame:
    """Tokens per second of cached steps by batch size

    Columns: ``batch``, ``median`` (seconds of a step), ``tokens_per_second``.
    """
    loaded = model.loaded()
    n = min(length, loaded.facts.context_length)
    found = spread(interleaved({b: step_tasks(loaded, n, b)["cache"] for b in BATCHES}))
    rows = [(int(r.task), r.median, int(r.task) / r.median) for r in found.itertuples()]
    return pd.DataFrame(rows, columns=["batch", "median", "tokens_per_second"])


def predicted_text(table: pd.DataFrame, mode: str, prompt: int, new: int) -> float:
    """Seconds of a whole text from the times of single steps, interpolated between lengths."""
    part = table[table["mode"] == mode].sort_values("length")
    at = np.arange(prompt, prompt + new)
    if mode == "no cache":
        return float(np.interp(at, part["length"], part["median"]).sum())
    whole = table[table["mode"] == "no cache"].sort_values("length")
    prefill = float(np.interp(prompt, whole["length"], whole["median"]))
    return prefill + float(np.interp(at[1:], part["length"], part["median"]).sum())


@dataclass(frozen=True)
class Prediction:
    """Expected against measured seconds of a step."""

    table: pd.DataFrame
    """``mode``, ``length``, ``operations``, ``bytes``, ``limit`` (seconds that the machine's peak
    allows), ``expected`` (limit plus the fixed cost of a call), ``median``, ``error`` (expected
    over measured, minus 1)."""
    fixed: float
    """Seconds of a call beyond its limit, from the shortest cached step."""


def predict(facts: ModelFacts, table: pd.DataFrame, peak: Machine, value_bytes: int) -> Prediction:
    """Roofline of every step: the slower of computing and of moving bytes (Williams et al. 2009).

    Bytes are the weights of the blocks and the head and the cache that is read. What a call costs
    whatever its size (Python, kernel launches) is taken from the shortest step with a cache.
    """
    cost = cost_of(facts)
    q = 2 * facts.n_layers * facts.n_kv_heads * facts.d_head * value_bytes
    weights = (cost.linear + cost.head) // 2 * value_bytes
    rows = []
    for row in table.itertuples():
        whole = row.mode == "no cache"
        operations = cost.full(row.length) if whole else cost.step(row.length)
        moved = weights + q * row.length
        limit = max(operations / peak.operations, moved / peak.bandwidth)
        rows.append((row.mode, row.length, operations, moved, limit, row.median))
    columns = ["mode", "length", "operations", "bytes", "limit", "median"]
    found = pd.DataFrame(rows, columns=columns)
    first = found[found["mode"] == "cache"].sort_values("length").iloc[0]
    fixed = max(0.0, float(first["median"] - first["limit"]))
    found["expected"] = found["limit"] + fixed
    found["error"] = found["expected"] / found["median"] - 1
    return Prediction(found, fixed)
