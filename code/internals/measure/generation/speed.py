"""Generation with and without a key-value cache, timed: single steps, whole texts, batches.

A step without a cache runs the whole text; a step with one runs the new token alone; the prefill
runs the prompt and fills the cache. What is expected of them is in `prediction`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals.cache import measurement
from internals.measure import effort
from internals.measure.generation.clock import REPEATS, WARM_UP, interleaved, rounds, spread

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelFacts, ModelHandle

BATCHES = (1, 4, 16)
LONGEST = 1024
"""Tokens of the longest timed text, where the context allows it."""


def large(facts: ModelFacts) -> bool:
    """Whether less is timed, by the rule of `internals.measure.effort`."""
    return facts.n_parameters > effort.FULL_UP_TO


def lengths(facts: ModelFacts) -> list[int]:
    """Text lengths from 8 to the context, about evenly spaced on a logarithmic axis; for a large
    model only those that double."""
    doubling = (8, 16, 32, 64, 128, 256, 512, LONGEST)
    between = () if large(facts) else (96, 192, 384, 768)
    return sorted({min(n, facts.context_length) for n in (*doubling, *between)})


def timed_texts(facts: ModelFacts) -> list[tuple[int, int]]:
    """Prompt length and new tokens of the whole texts that are timed: two lengths after a short
    prompt, and a few tokens after a prompt of an eighth of the context; shorter for a large
    model."""
    context = facts.context_length
    few, more = (8, 24) if large(facts) else (16, 32)
    wanted = ((8, few), (8, more), (min(context, LONGEST) // 8, few))
    return sorted({(p, min(new, context - p)) for p, new in wanted})


def random_ids(loaded: LoadedModel, rows: int, n: int, seed: int = 0) -> Any:
    """``(rows, n)`` token ids; times do not depend on which."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    high = loaded.facts.vocab_size_tokenizer
    return torch.randint(0, high, (rows, n), generator=generator).to(loaded.model.device)


def step_tasks(loaded: LoadedModel, n: int, rows: int = 1) -> dict[str, Callable[[], Any]]:
    """One step at a text of ``n`` tokens: without a cache, with one that holds ``n - 1``, and the
    prefill of a prompt of ``n`` tokens; each returns the last logits, ``(rows, vocab)``."""
    import torch
    from transformers import DynamicCache

    network, ids = loaded.model, random_ids(loaded, rows, n)
    cache = DynamicCache()  # plain layers: a sliding window could not be cropped
    with torch.inference_mode():
        network(ids[:, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)

    def last(tokens: Any, **options: Any) -> Any:
        with torch.inference_mode():
            return network(tokens, logits_to_keep=1, **options).logits[:, -1]

    def whole() -> Any:
        return last(ids, use_cache=False)

    def prefill() -> Any:
        return last(ids, past_key_values=DynamicCache(config=network.config), use_cache=True)

    def one() -> Any:
        logits = last(ids[:, -1:], past_key_values=cache, use_cache=True)
        cache.crop(-1)
        return logits

    return {"no cache": whole, "prefill": prefill, "cache": one}


@measurement(timing=True)
def steps(model: ModelHandle, repeats: int = REPEATS) -> pd.DataFrame:
    """Time of one step by text length, with and without a cache

    Columns: ``mode`` (cache, no cache, prefill), ``length``, ``repeat``, ``seconds``.
    """
    loaded = model.loaded()
    tasks: dict[Any, Callable[[], Any]] = {}
    for i, n in enumerate(reversed(lengths(loaded.facts))):
        for mode, task in step_tasks(loaded, n).items():
            # A prefill costs nearly what a pass without a cache does: every third length is enough.
            if mode != "prefill" or i % 3 == 0:
                tasks[mode, n] = task
    table = interleaved(tasks, repeats=rounds(loaded.facts, repeats))
    table[["mode", "length"]] = table.pop("task").tolist()
    return table.astype({"length": int}).sort_values(["mode", "length"], ignore_index=True)


@measurement(timing=True)
def texts(model: ModelHandle, repeats: int = REPEATS) -> pd.DataFrame:
    """Time of whole texts, with and without a cache

    The library is timed on the longest text. Columns: ``mode`` (cache, no cache, library),
    ``prompt``, ``new``, ``median``, ``low``,
    ``high`` (seconds), ``n``, ``same`` (all modes gave the same tokens).
    """
    loaded = model.loaded()
    tasks: dict[Any, Callable[[], Any]] = {}
    same: dict[tuple[int, int], bool] = {}
    wanted = timed_texts(loaded.facts)
    for prompt, new in wanted:
        own = text_tasks(loaded, prompt, new)
        made = [task() for task in own.values()]
        same[prompt, new] = all(other == made[0] for other in made)
        if new < max(n for _, n in wanted):
            del own["library"]
        tasks |= {(mode, prompt, new): task for mode, task in own.items()}
    # Whole texts of a large model are slow; their spread is small against their length. Each was
    # made once above, which was its first warm-up.
    wanted_repeats = effort.units(loaded.facts, repeats, least=3)
    table = interleaved(tasks, repeats=wanted_repeats, warm_up=WARM_UP - 1)
    table[["mode", "prompt", "new"]] = table.pop("task").tolist()
    table = table.astype({"prompt": int, "new": int})
    found = spread(table, ["mode", "prompt", "new"])
    return found.assign(same=[same[k] for k in zip(found["prompt"], found["new"], strict=True)])


def text_tasks(
    loaded: LoadedModel, prompt: int, new: int, rows: int = 1
) -> dict[str, Callable[[], list[list[int]]]]:
    """A whole greedy text of exactly ``new`` tokens in three ways; each returns its tokens."""
    import torch

    from internals.generation.generate import generate

    ids = random_ids(loaded, rows, prompt)

    def own(cached: bool) -> list[list[int]]:
        return [list(row) for row in generate(loaded.model, ids.tolist(), new, cached=cached).ids]

    def library() -> list[list[int]]:
        with torch.inference_mode():
            return library_greedy(loaded.model, ids, new)

    return {"cache": partial(own, True), "no cache": partial(own, False), "library": library}


def library_greedy(network: Any, ids: Any, new: int, mask: Any = None) -> list[list[int]]:
    """New tokens by the library's own ``generate``, greedy, exactly ``new`` of them."""
    import torch

    made = network.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids) if mask is None else mask,
        do_sample=False,
        max_new_tokens=new,
        min_new_tokens=new,
        eos_token_id=None,
        pad_token_id=0,
    )
    return [list(row) for row in made[:, ids.shape[1] :].tolist()]


@measurement(timing=True)
def batches(model: ModelHandle, length: int = 64, repeats: int = REPEATS) -> pd.DataFrame:
    """Time of a step by batch size

    Columns: ``mode`` (cache, no cache), ``batch``, ``length``, ``median``, ``low``, ``high``
    (seconds of a step), ``n``, ``tokens_per_second`` (new tokens of all texts).
    """
    loaded = model.loaded()
    n = min(length, loaded.facts.context_length)
    tasks: dict[Any, Callable[[], Any]] = {}
    for rows in BATCHES:
        own = step_tasks(loaded, n, rows)
        tasks |= {(mode, rows): own[mode] for mode in ("cache", "no cache")}
    table = interleaved(tasks, repeats=rounds(loaded.facts, repeats))
    table[["mode", "batch"]] = table.pop("task").tolist()
    found = spread(table.astype({"batch": int}), ["mode", "batch"])
    return found.assign(length=n, tokens_per_second=found["batch"] / found["median"])
