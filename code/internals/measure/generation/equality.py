"""Does a cache change the result? Logits step by step, tokens, and types of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals import inputs, stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.generation.speed import library_greedy, random_ids
from internals.measure.probabilities.temperature import PROMPTS

if TYPE_CHECKING:
    from internals.models import ModelHandle

NEW = 16
PAIRS = 16
"""Prompts whose logits are compared, taken from all families."""


@measurement
def equality(model: ModelHandle, prompts: Path = PROMPTS, new: int = NEW) -> pd.DataFrame:
    """Logits and tokens with and without a cache, in two types of numbers

    Columns: ``dtype``, ``prompt``, ``steps``, ``largest`` (difference of a logit), ``flips`` (steps
    whose greedy token differs), ``near_ties`` (steps whose two best logits lie closer together than
    twice the difference between both runs at that step: only there can the order change). Both runs
    are fed the same tokens, so that one flip cannot cause the next.
    """
    import torch

    from internals.generation.generate import generate

    loaded = model.loaded()
    everything = inputs.prompts(prompts)
    wanted = effort.units(loaded.facts, PAIRS, least=8)
    chosen = everything[:: max(1, len(everything) // wanted)][:wanted]
    heads = [list(loaded.tokenizer(prompt.text)["input_ids"]) for prompt in chosen]
    new = min(new, loaded.facts.context_length - max(map(len, heads)))
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        same = next(loaded.model.parameters()).dtype == dtype
        network = loaded.model if same else in_type(loaded.model, dtype)
        made = generate(network, heads, new).ids
        texts = [[*head, *tail] for head, tail in zip(heads, made, strict=True)]
        for prompt, found in zip(chosen, compare(network, texts, new), strict=True):
            rows.append((str(dtype).removeprefix("torch."), prompt.id, *found))
    columns = ["dtype", "prompt", "steps", "largest", "flips", "near_ties"]
    return pd.DataFrame(rows, columns=columns)


def same_token(table: pd.DataFrame, dtype: str) -> stats.Estimate:
    """Share of the steps whose greedy token is the same with and without a cache, in one type.

    ``table`` as `equality` gives it. Steps of a prompt depend on each other, so prompts are drawn
    anew. Where all steps agree, resampling would give no width: the interval is then that of the
    share of prompts without a flip, which is the wider one.
    """
    own = table[table["dtype"] == dtype]
    if not own["flips"].any():
        return stats.wilson(len(own), len(own), unit="prompts")
    rates = 1 - (own["flips"] / own["steps"]).to_numpy()
    return stats.bootstrap_ci(rates, unit="prompts")


def in_type(network: Any, dtype: Any) -> Any:
    """A copy of a network in another type of numbers.

    Processors without 16-bit arithmetic take a hundred times as long for a matrix product in it. On
    a CPU the products of a 16-bit copy are therefore computed in 32 bits and rounded, which is what
    hardware for 16 bits does: its sums are kept in 32 bits too. Everything else runs in the type.
    """
    import copy

    import torch
    from transformers.pytorch_utils import Conv1D

    made = copy.deepcopy(network).to(dtype)
    if dtype == torch.float32 or made.device.type != "cpu":
        return made
    for module in made.modules():
        if isinstance(module, torch.nn.Linear | Conv1D):
            for name, weight in list(module.named_parameters(recurse=False)):
                # A new tensor, since the embedding may share the old one.
                module.register_parameter(name, torch.nn.Parameter(weight.float(), False))
            module.register_forward_pre_hook(lambda _module, given: (given[0].float(),))
            module.register_forward_hook(lambda _module, _given, out: out.to(dtype))
    return made


def compare(network: Any, texts: list[list[int]], new: int) -> list[tuple[int, float, int, int]]:
    """For each text: steps, largest difference, flips and near-ties over its last ``new`` tokens.

    All texts go through at once, padded on the left; both ways are fed the same columns.
    """
    import torch
    from transformers import DynamicCache

    from internals.generation.generate import next_logits, pad_left

    batch = pad_left(texts, 0, network.device)
    cache = DynamicCache(config=network.config)
    width = batch.ids.shape[1]
    plain, cached, done = [], [], 0
    for n in range(width - new, width + 1):
        mask = batch.mask[:, :n] if batch.padded else None
        arguments = (batch.ids[:, :n], mask, batch.positions[:, :n])
        plain.append(next_logits(network, *arguments, None).float())
        arguments = (batch.ids[:, done:n], mask, batch.positions[:, done:n])
        cached.append(next_logits(network, *arguments, cache).float())
        done = n
    one, other = torch.stack(plain, dim=1), torch.stack(cached, dim=1)  # (batch, steps, vocab)
    gap = (one - other).abs().amax(-1)
    flips = one.argmax(-1) != other.argmax(-1)
    two = one.topk(2, -1).values
    ties = two[..., 0] - two[..., 1] <= 2 * gap
    rows = zip(gap.amax(-1).tolist(), flips.sum(-1).tolist(), ties.sum(-1).tolist(), strict=True)
    return [(new + 1, largest, flipped, tied) for largest, flipped, tied in rows]


@dataclass(frozen=True)
class Growing:
    """Keys and values of a text's beginning, alone and with more text after it."""

    kept: int
    """Tokens of the beginning."""
    after: int
    """Tokens that came after it."""
    largest: float
    """Largest difference of a key or value in any layer."""
    typical: float
    """Mean absolute value of the keys and values, for scale."""


@measurement
def unchanged(model: ModelHandle, kept: int = 8, after: int = 24) -> Growing:
    """Do later tokens change the keys and values of earlier ones?"""
    import torch
    from transformers import DynamicCache

    loaded = model.loaded()
    ids = random_ids(loaded, 1, min(kept + after, loaded.facts.context_length))
    tensors = []
    for part in (ids[:, :kept], ids):
        cache = DynamicCache()  # plain layers, which drop nothing
        with torch.inference_mode():
            loaded.model(part, past_key_values=cache, use_cache=True)
        held = [t[..., :kept, :] for layer in cache.layers for t in (layer.keys, layer.values)]
        tensors.append(torch.cat([t.flatten() for t in held]).float())
    gap = (tensors[0] - tensors[1]).abs().max().item()
    typical = tensors[0].abs().mean().item()
    return Growing(kept, ids.shape[1] - kept, gap, typical)


@measurement
def same_as_library(model: ModelHandle, prompts: Path = PROMPTS, new: int = NEW) -> pd.DataFrame:
    """Greedy tokens of the own loop and of the library

    All prompts at once, padded on the left. Columns: ``prompt``, ``tokens``, ``same``.
    """
    import torch

    from internals.generation.generate import generate, pad_left

    loaded = model.loaded()
    chosen = inputs.prompts(prompts)
    ids = [loaded.tokenizer(prompt.text)["input_ids"] for prompt in chosen]
    n = min(new, loaded.facts.context_length - max(map(len, ids)))
    batch = pad_left(ids, 0, loaded.model.device)
    with torch.inference_mode():
        theirs = library_greedy(loaded.model, batch.ids, n, batch.mask)
    own = generate(loaded.model, ids, n).ids
    rows = [(prompt.id, n, list(a) == b) for prompt, a, b in zip(chosen, own, theirs, strict=True)]
    return pd.DataFrame(rows, columns=["prompt", "tokens", "same"])
