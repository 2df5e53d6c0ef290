"""Ways to turn logits into numbers that add up to one, and what each of them does to a model.

All take ``(…, vocab)`` logits and return ``(…, vocab)`` probabilities; a row without any positive
weight comes back as NaN, because no distribution is defined there.
"""

from __future__ import annotations

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
def reordered(model: ModelHandle, prompts: Path = PROMPTS) -> pd.DataFrame:
    """Whether squares in place of exponentials change the order of the tokens

    Columns: ``prompt``, ``changed`` (a larger logit gets a smaller probability).
    """
    ordered = np.sort(prompt_logits(model, prompts), axis=-1)  # its squares should not fall
    changed = (np.diff(ordered**2, axis=-1) < 0).any(-1)
    return pd.DataFrame({"prompt": [p.id for p in inputs.prompts(prompts)], "changed": changed})
