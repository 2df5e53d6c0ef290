"""What it costs to ask a model the questions of a comparison, one after another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.measure.attention import heads
from internals.measure.behaviour import tricks
from internals.measure.generation.clock import quiet, synchronise
from internals.measure.layers import lens
from internals.measure.models.reading import reading
from internals.measure.probabilities.capitals import capitals
from internals.measure.probabilities.positions import positions
from internals.measure.windows import HELD_OUT, window_length, windows
from internals.models import families

if TYPE_CHECKING:
    from internals.models import ModelHandle

ASKED: dict[str, Any] = {
    "text": reading,
    "calibration": positions,
    "facts": capitals,
    "tricks": tricks.pairs,
    "heads": heads.scores,
    "depth": lens.by_depth,
}
"""The passes behind each task; what is made of them costs little."""


@measurement(timing=True, files=[HELD_OUT])
def tasks(model: ModelHandle) -> pd.DataFrame:
    """Cost of each question of a comparison

    Nothing is taken from the store. Columns: ``task``, ``tokens`` (that went through the model),
    ``seconds``.
    """
    network, read, rows = model.loaded().model, [0], []

    def count(_module: Any, args: Any) -> None:
        read[0] += args[0].numel()

    with families.embedding(network).register_forward_pre_hook(count):
        for task, ask in ASKED.items():
            before, began = read[0], time.perf_counter()
            ask.uncached(model)
            rows.append((task, read[0] - before, time.perf_counter() - began))
    return pd.DataFrame(rows, columns=["task", "tokens", "seconds"])


@measurement(timing=True, files=[HELD_OUT])
def pace(model: ModelHandle, texts: int = 8, seq: int = 64, repeats: int = 3) -> float:
    """Seconds that a token takes in a pass over several texts (median of the repeats)"""
    import torch

    loaded = model.loaded()
    ids = windows(loaded, texts, window_length(loaded, seq))
    seconds = []
    with torch.inference_mode(), quiet():
        for _ in range(repeats + 1):
            began = time.perf_counter()
            loaded.model(ids, use_cache=False)
            synchronise()
            seconds.append((time.perf_counter() - began) / ids.numel())
    return float(np.median(seconds[1:]))  # the first one warms up
