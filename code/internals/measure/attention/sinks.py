"""The first token: how much attention it gets, how long its value is, and what it is good for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.attention.watch import watched
from internals.measure.windows import HELD_OUT, window_length, windows
from internals.models import LoadedModel, ModelHandle

if TYPE_CHECKING:
    from torch import Tensor

SEQ = 40
PLAIN, BEHIND, OTHER = "as it is", "behind a start token", "another first token"
HIDDEN, DROPPED, FIFTH = "first hidden", "first hidden late", "fifth hidden late"
# Late: from the second half only, which was prepared for the token's being there.


@measurement(files=[HELD_OUT])
def readings(model: ModelHandle, documents: int = 40) -> pd.DataFrame:
    """Attention to the first token, and the loss without it

    Columns: ``case`` (above; `BEHIND` only if there is a start or end token), ``document``,
    ``layer``, ``first`` and ``second`` (mean weight in the second half), ``uniform`` (if all were
    alike), ``value`` (length of the first token's value over that of the median token, in the
    median head), ``bits`` (per token of the second half).
    """
    import torch

    loaded = model.loaded()
    # Without the tokenizer's own start token, which is put by hand.
    n, seq = effort.units(loaded.facts, documents, least=16), window_length(loaded, SEQ)
    plain = windows(loaded, n, seq)[:, 1:]
    half = (seq - 1) // 2
    late = seq - 2 - half  # from here on the second half is predicted
    swapped = torch.cat([plain[:, :1].roll(1, 0), plain[:, 1:]], dim=1)
    cases = [(PLAIN, plain, None, 0), (OTHER, swapped, None, 0), (HIDDEN, plain, 0, 0),
             (DROPPED, plain, 0, late), (FIFTH, plain, min(4, late - 1), late)]  # fmt: skip
    start = loaded.facts.eos_id if loaded.facts.bos_id is None else loaded.facts.bos_id
    if start is not None:
        first = torch.full_like(plain[:, :1], start)
        cases.insert(2, (BEHIND, torch.cat([first, plain], dim=1), None, 0))
    parts = [_read(loaded, ids, hide, since, half).assign(case=c) for c, ids, hide, since in cases]
    found = pd.concat(parts, ignore_index=True)
    if not np.isfinite(found[["first", "value", "bits"]]).all(axis=None):
        raise NotApplicable("attention or loss of this model are not finite")
    return found


def _read(
    loaded: LoadedModel, ids: Tensor, hide: int | None, since: int, half: int
) -> pd.DataFrame:
    """A row for each layer and document; the queries from ``since`` on do not see ``hide``."""
    import torch

    parts: list[pd.DataFrame] = []

    def see(layer: int, weights: Tensor, value: Tensor, _output: Tensor) -> None:
        at = weights[:, :, -half:, :2].float().mean((1, 2)).cpu().numpy()  # document, place
        size = value.float().norm(dim=-1).cpu().numpy()  # document, head, token
        ratio = np.median(size[..., 0] / np.median(size[..., 1:], axis=-1), axis=1)
        parts.append(pd.DataFrame({"first": at[:, 0], "second": at[:, 1], "value": ratio}))
        parts[-1]["layer"] = layer

    size, never = ids.shape[1], torch.finfo(loaded.model.dtype).min
    mask = torch.full((size, size), never, dtype=loaded.model.dtype).triu(1)
    mask[since:, hide if hide is not None else slice(0)] = never  # is added to the scores
    given = {"attention_mask": mask.to(ids.device).expand(len(ids), 1, size, size),
             "position_ids": torch.arange(size, device=ids.device).expand_as(ids)}  # fmt: skip
    with torch.inference_mode(), watched(loaded.model, see):
        out = loaded.model(ids, **given, use_cache=False, logits_to_keep=half + 1)
        log_p = out.logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, -half:, None])
    bits = -log_p.mean((1, 2)).cpu().numpy() / math.log(2)
    uniform = (1 / np.arange(size - half + 1, size + 1)).mean()
    return pd.concat(part.assign(document=part.index, bits=bits, uniform=uniform) for part in parts)


def means(readings: pd.DataFrame) -> pd.DataFrame:
    """`readings` over documents and layers: ``text`` (case), ``first_place``, ``second_place``,
    ``bits_per_token``."""
    table = readings.groupby("case", sort=False)[["first", "second", "bits"]].mean()
    return table.reset_index().set_axis(
        ["text", "first_place", "second_place", "bits_per_token"], axis=1
    )
