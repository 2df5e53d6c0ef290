"""GPT-2 in NumPy against the library, on an embedded model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from internals import inputs, stats
from internals.cache import measurement
from internals.measure.probabilities.temperature import PROMPTS

MODEL = "fable-gpt2"
EVERY = 3
"""Of the prompts of chapter 3 every third is run: all families, in a few seconds."""
NEW = 16


@dataclass(frozen=True)
class Agreement:
    """How far both implementations agree; differences are the largest over all prompts."""

    model: str
    prompts: int
    layers: int
    largest: float
    """Difference of a number of the residual stream after any layer, or of a logit."""
    cache_gap: float
    """Difference of a logit with and without the cache of the NumPy version."""
    same_text: stats.Estimate
    """Share of prompts with the same greedy tokens."""


def agreement() -> Agreement:
    """:func:`measured` on the embedded GPT-2."""
    from internals.models import open_model

    return measured(open_model(MODEL))


@measurement(files=[PROMPTS])
def measured(model: Any) -> Agreement:
    """The NumPy transformer against the library"""
    import torch

    from internals.generation import numpy_gpt2 as second
    from internals.generation.generate import generate
    from internals.models.resolve import resolve

    loaded = model.loaded()
    weights = second.load_weights(resolve(model.spec).folder)
    largest = gap = 0.0
    same = 0
    prompts = inputs.prompts(PROMPTS)[::EVERY]
    for prompt in prompts:
        ids = loaded.tokenizer(prompt.text)["input_ids"]
        with torch.inference_mode():
            out = loaded.model(torch.tensor([ids]), output_hidden_states=True)
        logits, stream = second.forward(ids, weights)
        # The library's last state is normed already, so it is compared through the logits.
        pairs = [
            (a[0].numpy(), b) for a, b in zip(out.hidden_states[:-1], stream[:-1], strict=True)
        ]
        pairs.append((out.logits[0].numpy(), logits))
        largest = max(largest, *(float(np.abs(a - b).max()) for a, b in pairs))
        cache = second.Cache()
        parts = [second.forward(ids[:2], weights, cache)[0]]
        parts += [second.forward([i], weights, cache)[0] for i in ids[2:]]
        gap = max(gap, float(np.abs(np.concatenate(parts) - logits).max()))
        own = second.greedy(ids, weights, NEW)
        same += tuple(own) == generate(loaded.model, [ids], NEW).ids[0]
    share = stats.wilson(same, len(prompts), unit="prompts")
    return Agreement(model.name, len(prompts), weights.n_layers, largest, gap, share)
