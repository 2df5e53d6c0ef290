"""Are the sampling rules what they are called? Against the library, and against their own draws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import inputs, stats
from internals.cache import measurement
from internals.measure.generation.samples import SETTINGS
from internals.measure.probabilities.temperature import PROMPTS, next_logits

if TYPE_CHECKING:
    from torch import Tensor

    from internals.generation.sampling import Sampler
    from internals.models import ModelHandle

DRAWS = 20_000


@measurement
def rules(model: ModelHandle, prompts: Path = PROMPTS, seed: int = 0) -> pd.DataFrame:
    """Own sampling rules against the library's, and draws against their probabilities

    Columns: ``setting``, ``prompts``, ``largest`` (difference of a probability to the library's
    processors), ``same_sets`` (prompts on which the same tokens are kept), ``draws``, ``chi2``,
    ``cells``, ``p`` (of draws after the prompt of median entropy), ``adjusted`` (Benjamini–Hochberg
    over the settings that leave more than one cell; NaN for the others, which cannot misfit).
    """
    import torch

    loaded = model.loaded()
    # In 64 bits, so that rounding cannot move a token over the edge of a nucleus.
    logits = torch.stack([next_logits(loaded, p.text) for p in inputs.prompts(prompts)])
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    usual = int(entropy.argsort()[len(entropy) // 2])  # a sure prompt would leave one token
    rows = []
    for number, setting in enumerate(s for s in SETTINGS if not s.greedy):
        own, theirs = setting.rule()(logits), _library(setting, logits)
        gap = (own.softmax(-1) - theirs.softmax(-1)).abs().max().item()
        same = (own.isfinite() == theirs.isfinite()).all(-1).sum().item()
        chi2, cells, p = _fit(own[usual], seed + number)
        rows.append((setting.name, len(logits), gap, same, DRAWS, chi2, cells, p))
    columns = ["setting", "prompts", "largest", "same_sets", "draws", "chi2", "cells", "p"]
    table = pd.DataFrame(rows, columns=columns)
    tested = table["cells"] > 1
    table.loc[tested, "adjusted"] = stats.benjamini_hochberg(table.loc[tested, "p"])
    return table.astype({"adjusted": float})


def _library(setting: Sampler, logits: Tensor) -> Tensor:
    """The library's processors in the order in which its `generate` puts them."""
    import transformers as tf

    parts = [tf.TemperatureLogitsWarper(float(setting.temperature))]
    if setting.top_k is not None:
        parts.append(tf.TopKLogitsWarper(setting.top_k))
    if setting.top_p is not None:
        parts.append(tf.TopPLogitsWarper(setting.top_p))
    return tf.LogitsProcessorList(parts)(None, logits.clone())


def _fit(logits: Tensor, seed: int) -> tuple[float, int, float]:
    """Chi-squared of many draws against the probabilities, number of cells, p-value.

    Tokens with fewer than five expected draws share a cell (Cochran's rule); one cell, where a
    token has nearly all the mass, cannot misfit.
    """
    import torch
    from scipy.stats import chi2 as distribution

    from internals.generation.sampling import draws

    drawn = draws(logits[None], DRAWS, torch.Generator().manual_seed(seed))[0]
    counts = torch.bincount(drawn, minlength=len(logits)).double().numpy()
    expected = logits.double().softmax(-1).numpy() * DRAWS
    big = expected >= 5
    observed = np.append(counts[big], counts[~big].sum())
    wanted = np.append(expected[big], expected[~big].sum())
    if wanted[-1] < 5 and len(wanted) > 1:  # too rare for a cell of its own: joins the rarest one
        place = int(np.argmin(wanted[:-1]))
        for cells in (observed, wanted):
            cells[place] += cells[-1]
        observed, wanted = observed[:-1], wanted[:-1]
    if len(wanted) < 2:
        return 0.0, 1, 1.0
    chi2 = float(((observed - wanted) ** 2 / wanted).sum())
    return chi2, len(wanted), float(distribution.sf(chi2, len(wanted) - 1))
