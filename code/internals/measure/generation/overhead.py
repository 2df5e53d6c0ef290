"""What it costs to look inside: a bare forward pass against one that hands out its insides."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals.cache import measurement
from internals.measure.generation.clock import REPEATS, interleaved, spread
from internals.measure.generation.speed import random_ids

if TYPE_CHECKING:
    from internals.models import ModelHandle


@measurement(timing=True)
def overhead(model: ModelHandle, length: int = 128, repeats: int = REPEATS) -> pd.DataFrame:
    """Capturing hidden states and attention weights against a bare forward pass

    Columns: ``what``, ``median``, ``low``, ``high`` (seconds), ``n``, ``ratio`` (to the bare pass).
    Attention weights need the plain form of attention, whose cost is part of theirs.
    """
    import torch

    from internals.models import eager_attention

    loaded = model.loaded()
    network = loaded.model
    ids = random_ids(loaded, 1, min(length, loaded.facts.context_length))

    def bare() -> None:
        network(ids, use_cache=False)

    def hidden() -> None:
        network(ids, use_cache=False, output_hidden_states=True)

    def attentions() -> None:
        with eager_attention(network):
            network(ids, use_cache=False, output_attentions=True)

    tasks: dict[Any, Callable[[], Any]] = {
        "bare pass": bare,
        "hidden states": hidden,
        "attention weights": attentions,
    }
    with torch.inference_mode():
        found = spread(interleaved(tasks, repeats=repeats)).rename(columns={"task": "what"})
    return found.assign(ratio=found["median"] / found["median"].iloc[0])
