"""Does a cache change the result? Logits step by step, tokens, and types of numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.measure import effort
from internals.measure.efficiency.speed import library_greedy
from internals.measure.probability.temperature import PROMPTS

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel, ModelHandle

NEW = 16
PAIRS = 10
"""Prompts whose logits are compared, taken from all families."""


@measurement
def equality(model: ModelHandle, prompts: Path = PROMPTS, new: int = NEW) -> pd.DataFrame:
    """Logits and tokens with and without a cache, in two types of numbers

    Columns: ``dtype``, ``prompt``, ``steps``, ``largest`` (difference of a logit), ``flips`` (steps
    whose greedy token differs), ``near_ties`` (steps whose two largest logits differ by less than
    ``largest``). Both runs are fed the same tokens, so that one flip cannot cause the next.
    """
    import copy

    import torch

    loaded = model.loaded()
    everything = inputs.prompts(prompts)
    wanted = effort.units(loaded.facts, PAIRS, least=8)
    chosen = everything[:: max(1, len(everything) // wanted)]
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        same = next(loaded.model.parameters()).dtype == dtype
        network = loaded.model if same else copy.deepcopy(loaded.model).to(dtype)
        for prompt in chosen:
            ids = loaded.tokenizer(prompt.text)["input_ids"]
            ids = _continued(network, ids, min(new, loaded.facts.context_length - len(ids)))
            start = len(loaded.tokenizer(prompt.text)["input_ids"])
            rows.append(
                (str(dtype).removeprefix("torch."), prompt.id, *compare(network, ids, start))
            )
    columns = ["dtype", "prompt", "steps", "largest", "flips", "near_ties"]
    return pd.DataFrame(rows, columns=columns)


def _continued(network: Any, ids: list[int], new: int) -> list[int]:
    from internals.generation.generate import generate

    return [*ids, *generate(network, [ids], new).ids[0]]


def compare(network: Any, ids: list[int], start: int) -> tuple[int, float, int, int]:
    """Steps, largest difference, flips and near-ties over the tokens after ``start``."""
    import torch

    with torch.inference_mode():
        plain = torch.stack(
            [
                network(_row(network, ids[:n]), use_cache=False).logits[0, -1].float()
                for n in range(start, len(ids) + 1)
            ]
        )
        cached = torch.stack(_cached_logits(network, ids, start))
    largest = (plain - cached).abs().max().item()
    flips = int((plain.argmax(-1) != cached.argmax(-1)).sum())
    two = plain.topk(2, -1).values
    return len(plain), largest, flips, int(((two[:, 0] - two[:, 1]) < largest).sum())


def _cached_logits(network: Any, ids: list[int], start: int) -> list[Tensor]:
    from transformers import DynamicCache

    cache = DynamicCache(config=network.config)
    feed, found = ids[:start], []
    for n in range(start, len(ids) + 1):
        out = network(_row(network, feed), past_key_values=cache, use_cache=True)
        found.append(out.logits[0, -1].float())
        feed = ids[n : n + 1]
    return found


def _row(network: Any, ids: list[int]) -> Tensor:
    import torch

    return torch.tensor([ids], device=network.device)


@measurement
def same_as_library(model: ModelHandle, prompts: Path = PROMPTS, new: int = NEW) -> pd.DataFrame:
    """Greedy tokens of the own loop and of the library

    Columns: ``prompt``, ``tokens``, ``same``.
    """
    from internals.generation.generate import generate

    loaded = model.loaded()
    rows = []
    for prompt in inputs.prompts(prompts):
        ids = loaded.tokenizer(prompt.text)["input_ids"]
        n = min(new, loaded.facts.context_length - len(ids))
        own = list(generate(loaded.model, [ids], n).ids[0])
        rows.append((prompt.id, n, own == _library(loaded, ids, n)))
    return pd.DataFrame(rows, columns=["prompt", "tokens", "same"])


def _library(loaded: LoadedModel, ids: list[int], new: int) -> list[int]:
    import torch

    with torch.inference_mode():
        return library_greedy(loaded.model, _row(loaded.model, ids), new)[0]
