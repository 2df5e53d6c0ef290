"""Capitals in pairs of prompts that differ in one token, and what each part adds to the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.layers import stream
from internals.measure.probabilities.capitals import countries
from internals.models import families
from internals.models.facts import norm_eps, norm_kind
from internals.tokens import prompt_ids, word_ids

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel, ModelHandle

FILE = "data/facts/countries.csv"
TEMPLATE = "The capital of {} is the city of"
PAIRS, LEAST = 32, 6
EMBEDDING, ATTENTION, MLP = "embedding", "attention", "MLP"


class Prompts(NamedTuple):
    """Prompts of one length, two by two: rows ``2 i`` and ``2 i + 1`` are a pair."""

    countries: list[str]
    ids: Tensor
    """``(batch, seq)``."""
    answers: Tensor
    """``(batch, 2)`` first tokens of the own capital and of the partner's."""
    place: int
    """Position of the one token in which the prompts differ."""


def known_pairs(loaded: LoadedModel, pairs: int = PAIRS) -> Prompts:
    """Prompts about capitals that the model knows, each country in one pair at most.

    A capital counts as known if its first token gets a higher logit than those of all others.

    Raises:
        NotApplicable: there are too few.
    """
    import torch

    tokenizer, device = loaded.tokenizer, loaded.model.device
    rows = [
        (country, prompt_ids(tokenizer, TEMPLATE.format(country)), word_ids(tokenizer, capital)[0])
        for country, capital in countries(loaded)
        if len(word_ids(tokenizer, country)) == 1
    ]
    lengths = [len(ids) for _, ids, _ in rows]
    usual = max(set(lengths), key=lengths.count, default=0)
    rows = [row for row in rows if len(row[1]) == usual <= loaded.facts.context_length]
    ids, answers = (torch.tensor([row[k] for row in rows], device=device) for k in (1, 2))
    places = (ids != ids[:1]).any(0).nonzero().flatten().tolist() if rows else []
    if len(places) != 1:
        raise NotApplicable("no country's name is one token of a prompt that fits its context")
    best = answers[stream.last_logits(loaded.model, ids)[:, answers].argmax(-1)]
    known = (best == answers).nonzero().flatten().tolist()
    twos = zip(known[::2], known[1::2], strict=False)
    found = [(a, b) for a, b in twos if answers[a] != answers[b]]
    if len(found) < LEAST:
        raise NotApplicable("it knows too few capitals of countries whose name is one token")
    found = found[: effort.units(loaded.facts, pairs, least=pairs)]
    order, partner = ([row for pair in found for row in pair[::way]] for way in (1, -1))
    both = torch.stack([answers[order], answers[partner]], dim=1)
    return Prompts([rows[i][0] for i in order], ids[order], both, places[0])


@measurement(files=[FILE])
def contributions(model: ModelHandle) -> pd.DataFrame:
    """What each part adds to the right capital's lead over a wrong one

    Columns: ``pair``, ``country``, ``depth`` (of the block's end; 0 for the embedding), ``part``
    (embedding, attention, MLP), ``logit`` (added to the difference of the logits), ``error`` (sum
    of the parts minus the difference).
    """
    loaded = model.loaded()
    asked = known_pairs(loaded)
    parts, values, whole = lead(loaded.model, asked.ids, asked.answers)
    error = (values.sum(0) - whole).tolist()
    rows = [
        (row // 2, asked.countries[row], *part, logit, error[row])
        for part, logits in zip(parts, values.tolist(), strict=True)
        for row, logit in enumerate(logits)
    ]
    return pd.DataFrame(rows, columns=["pair", "country", "depth", "part", "logit", "error"])


def lead(network: Any, ids: Tensor, answers: Tensor) -> tuple[list[Any], Tensor, Tensor]:
    """Parts ``(depth, name)``, what they add ``(part, batch)``, and the difference ``(batch,)`` of
    the logits of two answers ``(batch, 2)`` after the last token.

    The norm divides every part by the size of the whole state (Elhage et al. 2021); what norm and
    head add in any case counts with the embedding. Raises NotApplicable where logits are no sum.
    """
    import torch

    norm, head = stream.reader(network)
    if families.placement(network) == "post" or head is not families.unembedding(network):
        raise NotApplicable("its logits are no sum of parts: of a norm on the stream, or a cap")
    seen = stream.trace(network, ids)
    parts = {(0, EMBEDDING): seen.states[0]}
    for depth, (attention, mlp) in enumerate(zip(seen.attention, seen.mlp, strict=True), 1):
        parts |= {(depth, ATTENTION): attention, (depth, MLP): mlp}
    state = seen.states[-1][:, -1]  # (batch, d)
    with torch.inference_mode():
        whole, bias = (
            head(norm(x)).float().gather(-1, answers) @ torch.tensor([1.0, -1.0], device=x.device)
            for x in (state, torch.zeros_like(state))
        )
        matrix = families.unembedding(network).weight
        weight = (matrix[answers[:, 0]] - matrix[answers[:, 1]]).float()
        stacked = torch.stack([part[:, -1] for part in parts.values()])
        values = (held(norm, state)(stacked) * weight).sum(-1)
        values[0] += bias
    return list(parts), values, whole


def held(norm: Any, state: Tensor) -> Callable[[Tensor], Tensor]:
    """The norm with its divisor held at that of ``state`` ``(…, d)``, without its shift: linear."""
    import torch

    def centre(x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True) if norm_kind(norm) == "LayerNorm" else x

    sign = torch.ones_like(state)
    sign[..., ::2] = -1  # mean zero and size one: shows what the norm multiplies by
    gain = (norm(64 * sign) - norm(0 * sign)).float() * sign
    size = (centre(state.float()).square().mean(-1, keepdim=True) + norm_eps(norm)).sqrt()
    return lambda part: centre(part.float()) * gain / size
