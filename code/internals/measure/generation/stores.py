"""Between storing everything and computing it again: caches that keep fewer bits or fewer tokens.

Axes of a layer's keys and values: ``batch``, ``kv_heads``, ``tokens``, ``d_head``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.windows import HELD_OUT, window_length, windows

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import ModelHandle

Held = tuple["Tensor", ...]
"""What is kept of a layer's keys or values: the numbers themselves, or integers and a scale."""
Store = Callable[["Tensor"], Held]


def everything(x: Tensor) -> Held:
    """All tokens, all bits."""
    return (x.contiguous(),)


def eight_bits(x: Tensor) -> Held:
    """Integers from -127 to 127, and one scale for each head and token: its largest number."""
    import torch

    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 127
    return (x / scale).round().to(torch.int8), scale


def last_quarter(x: Tensor) -> Held:
    """The latest tokens alone, as a sliding window keeps them."""
    return (x[..., -max(1, x.shape[-2] // 4) :, :].contiguous(),)


def first_and_last_quarter(x: Tensor) -> Held:
    """The same with the first token, on which many heads rest (Xiao et al. 2024)."""
    import torch

    return (torch.cat([x[..., :1, :], *last_quarter(x[..., 1:, :])], dim=-2),)


NOTHING, FULL, EIGHT_BITS = "nothing (recompute)", "everything", "eight-bit integers"
WINDOW, FIRST = "last quarter of the tokens", "first token and last quarter"
STORES: dict[str, Store] = {
    FULL: everything,
    EIGHT_BITS: eight_bits,
    WINDOW: last_quarter,
    FIRST: first_and_last_quarter,
}
SEQ = 96
"""Tokens of a text whose loss is taken: half of them in the stored cache, half scored."""


def packed(cache: Any, store: Store) -> list[tuple[Held, Held]]:
    """What a store keeps of the keys and values of every layer."""
    return [(store(layer.keys), store(layer.values)) for layer in cache.layers]


def product(held: Held) -> Tensor:
    """What attention reads."""
    return held[0] if len(held) == 1 else held[0] * held[1]


@measurement(files=[HELD_OUT])
def losses(model: ModelHandle, documents: int = 24) -> pd.DataFrame:
    """Loss of a continuation when the cache of its beginning is stored in less space

    The first half of a window fills the cache, the cache is packed and unpacked, and the second
    half is scored with it. Columns: ``stored``, ``document``, ``bits`` (per byte of that half).
    """
    loaded = model.loaded()
    wanted = effort.units(loaded.facts, documents, least=8)
    ids = windows(loaded, wanted, window_length(loaded, SEQ))
    half = ids.shape[1] // 2
    if half < 16:
        raise NotApplicable("The context is too short to store half of it and score the rest.")
    texts = loaded.tokenizer.batch_decode(
        ids[:, half:], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    sizes = np.array([max(1, len(text.encode())) for text in texts])
    rows = [
        (name, number, value)
        for name, bits in continued_bits(loaded.model, ids).items()
        for number, value in enumerate(bits / sizes)
    ]
    return pd.DataFrame(rows, columns=["stored", "document", "bits"])


def continued_bits(network: Any, ids: Tensor) -> dict[str, np.ndarray]:
    """For each store ``(batch,)`` bits of the second half of each window ``(batch, seq)``, given
    the first half in a packed cache."""
    import torch
    from transformers import DynamicCache

    seq, found = ids.shape[1], {}
    half = seq // 2
    full = DynamicCache()  # plain layers: a sliding window would drop tokens by itself
    positions = torch.arange(half - 1, seq - 1, device=ids.device)[None].expand(len(ids), -1)
    with torch.inference_mode():
        network(ids[:, : half - 1], past_key_values=full, use_cache=True, logits_to_keep=1)
        for name, store in STORES.items():
            cache = DynamicCache()
            for number, (keys, values) in enumerate(packed(full, store)):
                cache.update(product(keys), product(values), number)
            logits = network(
                ids[:, half - 1 : -1], past_key_values=cache, use_cache=True, position_ids=positions
            ).logits.float()
            taken = logits.gather(-1, ids[:, half:, None]).squeeze(-1) - logits.logsumexp(-1)
            found[name] = -taken.double().sum(-1).cpu().numpy() / math.log(2)
    return found


def tradeoff(costs: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """Both in one, at the longest timed text: ``stored``, ``tokens``, ``mib``, ``ms`` (median of a
    step), ``extra_bits`` (mean change of the loss per byte against everything; 0 by definition for
    recomputing)."""
    longest = costs[costs["tokens"] == costs["tokens"].max()]
    table = longest.groupby("stored", sort=False).agg(
        tokens=("tokens", "first"), mib=("mib", "first"), ms=("seconds", "median")
    )
    bits = losses.groupby("stored")["bits"].mean()
    extra = (bits - bits[FULL]).reindex(table.index).fillna(0.0)
    return table.assign(ms=1000 * table["ms"], extra_bits=extra).reset_index()
