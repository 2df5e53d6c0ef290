"""Does a token get attention because it matters? Weights against what happens without the token.

The last token of a sentence looks back; each earlier one is then hidden from all others, and the
change of the prediction is how much it mattered. The first token (a sink) and the last (known
without attention) are left out.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals.cache import measurement
from internals.measure import effort
from internals.measure.attention.watch import watched
from internals.measure.windows import HELD_OUT, window_length, windows
from internals.models import ModelHandle

if TYPE_CHECKING:
    from torch import Tensor

SEQ = 12
MEASURES = ("weights", "norms", "rollout", "nearness")


@measurement(files=[HELD_OUT])
def importance(model: ModelHandle, sentences: int = 128) -> pd.DataFrame:
    """What the last token looks at, and what hiding each token changes

    Columns: ``sentence``, ``nearness`` (place), ``change_bits`` (divergence of the prediction
    without the token from the one with it), ``weights`` (mean over layers and heads), ``norms``
    (length of what the token hands over, its share in each layer, mean over layers; Kobayashi et
    al. 2020), ``rollout`` (product of ½(A + 1); Abnar and Zuidema 2020).
    """
    import torch

    loaded = model.loaded()
    n = effort.units(loaded.facts, sentences, least=40)
    ids = windows(loaded, n, window_length(loaded, SEQ))
    places = range(1, ids.shape[1] - 1)
    with torch.inference_mode():
        looks, clean = looked_at(loaded.model, ids)
        without = (_prediction(loaded.model, ids, hidden=place) for place in places)
        nats = torch.stack([(clean.exp() * (clean - q)).sum(-1) for q in without], dim=1)
    values = {"change_bits": nats / math.log(2), **{k: x[:, 1:-1] for k, x in looks.items()}}
    columns = {name: table.cpu().numpy().ravel() for name, table in values.items()}
    index = pd.MultiIndex.from_product([range(len(ids)), places], names=["sentence", "nearness"])
    return pd.DataFrame(columns, index).reset_index()


def looked_at(network: Any, ids: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """What the last token looks at by each measure, ``(sentence, key)``, and its prediction."""
    import torch

    from internals.models import families

    name = families.family_of(network).output
    outputs = [families.get(families.attention(network, b), name) for b in families.blocks(network)]
    one = torch.eye(ids.shape[1], device=ids.device)
    means, norms = [], []

    def see(layer: int, weights: Tensor, value: Tensor, _output: Tensor) -> None:
        handed = (weights[:, :, -1, :, None] * value).transpose(1, 2).flatten(2)
        project = outputs[layer]  # without its bias, which no token hands over
        norm = (project(handed) - project(torch.zeros_like(handed))).float().norm(dim=-1)
        norms.append(norm / norm.sum(-1, keepdim=True))
        means.append(weights.float().mean(1))  # sentence, query, key

    with watched(network, see):
        prediction = _prediction(network, ids)
    rollout = one
    for mean in means:
        rollout = (mean + one) / 2 @ rollout
    weights = torch.stack(means)[:, :, -1].mean(0)
    looks = {"weights": weights, "norms": torch.stack(norms).mean(0), "rollout": rollout[:, -1]}
    return looks, prediction


def _prediction(network: Any, ids: Tensor, hidden: int | None = None) -> Tensor:
    """Log-probabilities of the next token, ``(sentence, vocab)``; a token may be hidden."""
    import torch

    mask = torch.ones_like(ids)
    if hidden is not None:
        mask[:, hidden] = 0
    at = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)  # places stay as they are
    options: dict[str, Any] = {"position_ids": at, "use_cache": False, "logits_to_keep": 1}
    logits: Tensor = network(ids, attention_mask=mask, **options).logits
    return logits[:, -1].float().log_softmax(-1)


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Measures against the change, sentence by sentence: ``sentence``, ``measure``,
    ``correlation`` (Spearman), ``top`` (the measure's first is the token that mattered most)."""
    rows = []
    for (sentence, part), name in product(table.groupby("sentence"), MEASURES):
        one, two = part[name], part["change_bits"]
        rows.append((sentence, name, one.rank().corr(two.rank()), one.idxmax() == two.idxmax()))
    return pd.DataFrame(rows, columns=["sentence", "measure", "correlation", "top"])


def means(importance: pd.DataFrame) -> pd.DataFrame:
    """Mean `agreement` over sentences: ``ranking_by``, ``rank_correlation``, ``first_is_right``."""
    table = (
        agreement(importance)
        .groupby("measure", sort=False)[["correlation", "top"]]
        .mean()
        .reset_index()
    )
    return table.set_axis(["ranking_by", "rank_correlation", "first_is_right"], axis=1)
