"""Does a cache change the result? Logits and first choices, in two types of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.windows import HELD_OUT, window_length, windows

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import ModelHandle

READ, STEPS = 12, 16
"""Tokens that are read at once, and tokens that follow one by one."""


@measurement(files=[HELD_OUT])
def equality(model: ModelHandle) -> pd.DataFrame:
    """Logits with and without a cache, in two types of numbers

    Held-out text in one pass, and token by token from a cache. Columns: ``dtype``, ``document``,
    ``steps``, ``largest`` (difference of a logit), ``flips`` (steps whose first choice differs).
    """
    import torch

    loaded = model.loaded()
    length = window_length(loaded, READ + STEPS)
    if length < READ + 2:
        raise NotApplicable("The context is too short to go on from a cache.")
    ids = windows(loaded, effort.units(loaded.facts, 16, least=8), length)
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        same = next(loaded.model.parameters()).dtype == dtype
        network = loaded.model if same else in_type(loaded.model, dtype)
        gap, flips = compare(network, ids)
        name = str(dtype).removeprefix("torch.")
        for i, (largest, flipped) in enumerate(zip(gap.tolist(), flips.tolist(), strict=True)):
            rows.append((name, i, length - READ, largest, flipped))
    return pd.DataFrame(rows, columns=["dtype", "document", "steps", "largest", "flips"])


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


def compare(network: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Largest difference of a logit and number of other first choices in each row of ``ids``,
    ``(batch, seq) -> (batch,), (batch,)``."""
    import torch

    with torch.inference_mode():
        whole = network(ids, use_cache=False).logits[:, READ:].float()
        cache, parts = network(ids[:, :READ], use_cache=True).past_key_values, []
        for token in ids[:, READ:].split(1, dim=1):
            out = network(token, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            parts.append(out.logits.float())
    one_by_one = torch.cat(parts, dim=1)  # (batch, steps, vocab)
    flips = (whole.argmax(-1) != one_by_one.argmax(-1)).sum(-1)
    return (whole - one_by_one).abs().amax((-1, -2)), flips
