"""Why this answer and not that one: which tokens of the prompt carry a difference of two logits.

Two methods with the same blank, the mean embedding: occlusion (Li, Monroe, Jurafsky 2016) takes the
whole step from the token to the blank, the gradient times their distance is its first-order form
(Ancona et al. 2018; for contrasts Yin, Neubig 2022). They agree where the difference is linear in
the embedding. With zero as the blank (gradient × input) a model whose embeddings go straight into
an RMSNorm would show next to nothing, since scaling an embedding hardly changes what follows.
Axes: ``seq``, ``d_embedding``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel, ModelHandle

PROMPTS = 40
_FRAME = "The capital of {} is"


@measurement(files=["data/facts/countries.csv"])
def contrasts(model: ModelHandle, n: int = PROMPTS, seed: int = 0) -> pd.DataFrame:
    """Difference of two answers' logits by token of the prompt

    The answers are a country's capital and another one; their logits are compared at the first
    piece in which they differ, pieces that they share are added to the prompt. Columns:
    ``country``, ``right``, ``other``, ``difference`` (of the logits), ``position``, ``token``,
    ``subject`` (the token belongs to the country's name), ``gradient`` (gradient of the difference
    times the distance of the token's embedding from the mean embedding of the vocabulary) and
    ``occlusion`` (fall of the difference when the token's embedding is replaced by that mean).
    Differences and attributions are in nats.
    """
    from internals.tokens import display

    loaded = model.loaded()
    rows: list[dict[str, Any]] = []
    for country, right, other in _pairs(loaded, effort.units(loaded.facts, n, least=15), seed):
        shared, good, bad = fork(_ids(loaded, right), _ids(loaded, other))
        ids = [*loaded.tokenizer(_FRAME.format(country))["input_ids"], *shared]
        own = set(_ids(loaded, country))
        difference, gradient = gradient_from_mean(loaded.model, ids, good, bad)
        fall = occlusion(loaded.model, ids, good, bad)
        for position, token in enumerate(ids):
            rows.append(
                {
                    "country": country,
                    "right": right,
                    "other": other,
                    "difference": difference,
                    "position": position,
                    "token": display(loaded.tokenizer, token),
                    "subject": token in own,
                    "gradient": gradient[position],
                    "occlusion": fall[position],
                }
            )
    return pd.DataFrame(rows)


def _ids(loaded: LoadedModel, word: str) -> list[int]:
    from internals.tokens import word_ids

    return word_ids(loaded.tokenizer, word)


def fork(first: list[int], second: list[int]) -> tuple[list[int], int, int]:
    """Where two answers part: the ids that they share, and the first in which each differs.

    Raises ValueError if one is the beginning of the other.
    """
    for i, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return first[:i], a, b
    raise ValueError("one answer is the beginning of the other")


def _pairs(loaded: LoadedModel, n: int, seed: int) -> list[tuple[str, str, str]]:
    """Country, its capital and another capital; France and Lyon first."""
    from fable.dataset import countries

    rng = np.random.default_rng([seed, 31])
    rows = [(row["country"], row["capital"]) for row in countries() if row["capital"]]
    order = rng.permutation(len(rows))
    found = [("France", "Paris", "Lyon")]
    for k in order:
        country, capital = rows[int(k)]
        other = rows[int(order[(int(k) + 7) % len(rows)])][1]
        if country != "France" and _part(loaded, capital, other):
            found.append((country, capital, other))
    return found[:n]


def _part(loaded: LoadedModel, first: str, second: str) -> bool:
    """Whether neither answer is the beginning of the other."""
    a, b = _ids(loaded, first), _ids(loaded, second)
    return a[: len(b)] != b[: len(a)]


def gradient_from_mean(model: Any, ids: list[int], good: int, bad: int) -> tuple[float, np.ndarray]:
    """The difference of two logits, and gradient · (embedding − mean embedding) of each token.

    Returns the difference and ``(seq,)`` attributions: what `occlusion` would find if the model
    were linear in the embedding. They need not add up to the difference.
    """
    import torch

    embedded, handle = _tapped(model, ids)
    try:
        with torch.enable_grad():
            logits = model(torch.tensor([ids], device=model.device), use_cache=False).logits[0, -1]
            difference = logits[good].float() - logits[bad].float()
            (gradient,) = torch.autograd.grad(difference, embedded[0])
    finally:
        handle.remove()
    step = embedded[0].detach() - mean_embedding(model)
    attribution = (gradient * step).sum(-1)[0]
    return difference.item(), attribution.float().cpu().numpy()


def _tapped(model: Any, ids: list[int]) -> tuple[list[Tensor], Any]:
    """A hook that makes the embeddings of the tokens a leaf of the graph and keeps it."""
    from internals.models import families

    kept: list[Tensor] = []

    def leaf(_module: Any, _args: Any, out: Tensor) -> Tensor:
        kept.append(out.detach().clone().requires_grad_())
        return kept[-1]

    return kept, families.embedding(model).register_forward_hook(leaf)


def mean_embedding(model: Any) -> Tensor:
    """``(d_embedding,)`` mean of what the embedding gives, over every seventh row of the table."""
    import torch

    from internals.models import families

    table = families.embedding(model)
    with torch.no_grad():
        rows = torch.arange(table.weight.shape[0], device=model.device)[::7]
        mean: Tensor = table(rows).mean(0)
    return mean


def occlusion(model: Any, ids: list[int], good: int, bad: int) -> np.ndarray:
    """``(seq,)`` fall of the logit difference when a token's embedding becomes the mean embedding.

    All variants run as one batch.
    """
    import torch

    from internals.models import families

    table = families.embedding(model)
    blank = mean_embedding(model)
    with torch.inference_mode():

        def occlude(_module: Any, _args: Any, out: Tensor) -> Tensor:
            replaced = out.clone()
            for position in range(len(ids)):
                replaced[position + 1, position] = blank
            return replaced

        handle = table.register_forward_hook(occlude)
        try:
            rows = torch.tensor([ids] * (len(ids) + 1), device=model.device)
            logits = model(rows, use_cache=False).logits[:, -1].float()
        finally:
            handle.remove()
    difference = (logits[:, good] - logits[:, bad]).cpu().numpy()
    return np.asarray(difference[0] - difference[1:])


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Per prompt: ``country``, ``n`` tokens, ``spearman`` of both attributions, ``same_top`` (the
    same token comes first in both orders, the one that speaks most for the right answer),
    ``chance`` of the latter for two random orders, ``size`` (sum of the absolute
    attributions by the gradient over that by the occlusion)."""
    rows = []
    for country, part in table.groupby("country", sort=False):
        both = part[["gradient", "occlusion"]]
        if len(part) < 3 or (both.nunique() < 2).any():
            continue
        rho = float(both.rank().corr().iloc[0, 1])
        same = part["gradient"].idxmax() == part["occlusion"].idxmax()
        total = both.abs().sum()
        size = float(total["gradient"] / total["occlusion"])
        rows.append((country, len(part), rho, bool(same), 1 / len(part), size))
    return pd.DataFrame(rows, columns=["country", "n", "spearman", "same_top", "chance", "size"])


def foreseen(agree: pd.DataFrame) -> stats.Estimate:
    """Median over prompts of ``size``: how much of the whole step the small step foresees."""
    return stats.bootstrap_ci(agree["size"].to_numpy(), np.median, unit="prompts")
