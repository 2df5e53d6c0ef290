"""Does a cache change the likeliest token? Held-out text in one pass and token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.windows import HELD_OUT, window_length, windows

if TYPE_CHECKING:
    from internals.models import ModelHandle

READ, STEPS = 12, 12
"""Tokens that are read at once, and tokens that follow one by one."""


@measurement(files=[HELD_OUT])
def equality(model: ModelHandle) -> pd.DataFrame:
    """Logits with and without a cache

    Columns: ``dtype`` (of the model), ``document``, ``steps``, ``largest`` (difference of a logit),
    ``flips`` (steps whose first choice differs).
    """
    import torch

    loaded = model.loaded()
    network, length = loaded.model, window_length(loaded, READ + STEPS)
    if length < READ + 2:
        raise NotApplicable("The context is too short to go on from a cache.")
    ids = windows(loaded, effort.units(loaded.facts, 16, least=8), length)
    with torch.inference_mode():
        whole = network(ids, use_cache=False).logits[:, READ:].float()
        cache, parts = network(ids[:, :READ], use_cache=True).past_key_values, []
        for token in ids[:, READ:].split(1, dim=1):
            out = network(token, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            parts.append(out.logits.float())
    one_by_one = torch.cat(parts, dim=1)  # (documents, steps, vocab)
    flips = (whole.argmax(-1) != one_by_one.argmax(-1)).sum(-1).tolist()
    largest = (whole - one_by_one).abs().amax((-1, -2)).tolist()
    own = {"dtype": loaded.facts.dtype, "document": range(len(ids)), "steps": length - READ}
    return pd.DataFrame({**own, "largest": largest, "flips": flips})
