"""Ways to turn logits into numbers that add up to one, and what each of them does to a model.

All take ``(…, vocab)`` logits and return ``(…, vocab)`` probabilities; a row without any positive
weight comes back as NaN, because no distribution is defined there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.measure.probabilities.temperature import PROMPTS, prompt_logits

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import ModelHandle

_CANDIDATES = 512
"""Leading logits that the sparse maps look at first; they look further where that is too few."""


def sparsemax(z: Tensor) -> Tensor:
    """Euclidean projection on the simplex (Martins, Astudillo 2016); library `entmax`."""
    from entmax import sparsemax as projected

    return projected(z, dim=-1, k=min(_CANDIDATES, z.shape[-1]))


def entmax15(z: Tensor) -> Tensor:
    """α-entmax with α = 1.5, between softmax and sparsemax (Peters et al. 2019)."""
    from entmax import entmax15 as between

    return between(z, dim=-1, k=min(_CANDIDATES, z.shape[-1]))


def _over_sum(weight: Tensor) -> Tensor:
    return weight / weight.sum(-1, keepdim=True)  # 0/0 is NaN on purpose


MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda z: z.softmax(-1),
    "1.5-entmax": entmax15,
    "sparsemax": sparsemax,
    "ReLU": lambda z: _over_sum(z.clamp_min(0)),
    "square": lambda z: _over_sum(z.square()),
    "sigmoid": lambda z: _over_sum(z.sigmoid()),
    "linear": lambda z: _over_sum(z - z.amin(-1, keepdim=True)),
}
"""Seven rules; all but the sparse ones divide a weight of each logit by the sum of the weights."""


@measurement
def map_properties(model: ModelHandle, prompts: Path = PROMPTS) -> pd.DataFrame:
    """What each normalisation does to the logits of all prompts

    Columns: ``map``, ``undefined`` (prompts without a distribution), ``order_kept`` (share of the
    others in which no larger logit gets a smaller probability), ``prompts``.
    """
    logits = prompt_logits(model.loaded(), inputs.prompts(prompts))
    rows = []
    for name, normalise in MAPS.items():
        found = [(z, normalise(z)) for z in logits]
        kept = [keeps_order(z, p) for z, p in found if not bool(p.isnan().any())]
        share = float(np.mean(kept)) if kept else math.nan
        rows.append((name, len(found) - len(kept), share, len(found)))
    return pd.DataFrame(rows, columns=["map", "undefined", "order_kept", "prompts"])


def keeps_order(z: Tensor, p: Tensor) -> bool:
    """Whether a larger logit never gets a smaller probability; ``(vocab,)`` both."""
    ordered = p[z.argsort(descending=True)]
    return bool((ordered.diff() <= 1e-12).all())
