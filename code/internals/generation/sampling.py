"""Sampling rules: functions from logits to logits that compose, and the draw at the end.

A rule removes a token by setting its logit to minus infinity and never writes to its input.
The usual order is temperature, then top-k, then top-p: temperature changes the nucleus.
Axes: any leading axes, then ``vocab``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from internals.errors import UserError

if TYPE_CHECKING:
    from torch import Generator, Tensor

Rule = Callable[["Tensor"], "Tensor"]
"""``(..., vocab)`` logits to ``(..., vocab)`` logits."""


class SamplingError(UserError):
    """A parameter of a sampling rule lies outside its range, or the logits are no numbers."""


def temperature(t: float) -> Rule:
    """Divide the logits by ``t`` > 0; ``t`` = 0 is greedy decoding, which is no rule of sampling.

    The order of the tokens stays for every ``t``; the distribution becomes ``p^(1/t)``, normalised.
    """
    if not (t > 0 and math.isfinite(t)):
        raise SamplingError(
            f"The temperature must be a positive number, but is {t}; for T = 0 use greedy decoding."
        )
    return lambda logits: logits / t


def top_k(k: int) -> Rule:
    """Keep the ``k`` largest logits (Fan et al. 2018); ties with the k-th are kept as well."""
    if not (math.isfinite(k) and k >= 1 and k == int(k)):
        raise SamplingError(
            f"top-k needs a whole number of at least 1, but is {k}; to switch it off, leave it out."
        )

    def rule(logits: Tensor) -> Tensor:
        kth = logits.topk(min(int(k), logits.shape[-1]), dim=-1).values[..., -1:]
        return logits.masked_fill(logits < kth, -math.inf)

    return rule


def top_p(p: float) -> Rule:
    """Keep the nucleus: the shortest prefix of the sorted tokens with mass ≥ ``p``.

    The token that crosses ``p`` stays, so at least one token is always kept
    (Holtzman et al. 2020). Among equal logits the lower id comes first.
    """
    if not 0 < p <= 1:
        raise SamplingError(f"top-p must lie above 0 and at most at 1, but is {p}.")

    def rule(logits: Tensor) -> Tensor:
        if p == 1:
            return logits
        rows = logits.reshape(-1, logits.shape[-1])
        last, ties = _nucleus_edge(rows, p)
        kept = rows >= last
        equal = rows == last
        if bool((equal.sum(dim=-1, keepdim=True) > ties).any()):
            kept &= ~equal | (equal.cumsum(dim=-1) <= ties)
        return logits.masked_fill(~kept.view_as(logits), -math.inf)

    return rule


_LEADING = (128, 1024)
"""Logits that top-p sorts first, since sorting a whole vocabulary is slow; rows whose nucleus is
larger go on."""


def _nucleus_edge(rows: Tensor, p: float, stage: int = 0) -> tuple[Tensor, Tensor]:
    """Smallest logit of each nucleus and how many tokens with this logit belong to it.

    ``(rows, vocab) -> (rows, 1), (rows, 1)``
    """
    vocab = rows.shape[-1]
    k = min(_LEADING[stage], vocab) if stage < len(_LEADING) else vocab
    ordered = rows.topk(k, dim=-1).values
    mass = (ordered - rows.logsumexp(dim=-1, keepdim=True)).exp()
    inside = mass.cumsum(dim=-1) - mass < p  # by the mass of the tokens ahead of each one
    size = inside.sum(dim=-1, keepdim=True).clamp_min(1)  # rounding must never empty it
    last = ordered.gather(-1, size - 1)
    ties = ((ordered == last) & inside).sum(dim=-1, keepdim=True).clamp_min(1)
    if k < vocab and bool((open_ := inside[:, -1]).any()):
        last[open_], ties[open_] = _nucleus_edge(rows[open_], p, stage + 1)
    return last, ties


@dataclass(frozen=True)
class Sampler:
    """A named decoding strategy: greedy, or a draw after temperature, top-k and top-p, in this
    order, which is the library's. Parameters outside their range raise `SamplingError` at once."""

    name: str
    greedy: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        self.rule()

    def rule(self) -> Rule:
        """The rules of this strategy as one."""
        rules = [temperature(self.temperature)]
        rules += [] if self.top_k is None else [top_k(self.top_k)]
        rules += [] if self.top_p is None else [top_p(self.top_p)]
        return lambda logits: functools.reduce(lambda z, rule: rule(z), rules, logits)

    def choose(self, logits: Tensor, generator: Generator | None = None) -> Tensor:
        """The next token of each row: ``(batch, vocab) -> (batch,)``."""
        return argmax(logits) if self.greedy else draw(self.rule()(logits), generator)


def argmax(logits: Tensor) -> Tensor:
    """Greedy choice ``(..., vocab) -> (...)``; among equal logits the lowest id."""
    best, place = logits.max(dim=-1)  # the first of several maxima, as torch documents
    _check(best)
    return place


def draw(logits: Tensor, generator: Generator | None = None) -> Tensor:
    """One token of each row by its probability: ``(batch, vocab) -> (batch,)``.

    The first token whose cumulative probability exceeds a uniform number, so that a token without
    probability is never drawn; ten times faster than `torch.multinomial` on a CPU.
    """
    import torch

    _check(logits.max(dim=-1).values)
    mass = logits.softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)
    uniform = torch.rand(
        (*mass.shape[:-1], 1), generator=generator, device=mass.device, dtype=torch.float64
    )
    # The total is one up to rounding; scaled by it, the number stays below the last entry.
    return torch.searchsorted(mass, uniform * mass[..., -1:], right=True).squeeze(-1)


def _check(best: Tensor) -> None:
    """Refuse rows whose largest logit is no number; a NaN anywhere makes the largest NaN."""
    if bool(best.isfinite().all()):
        return
    if bool((best == -math.inf).any()):
        raise SamplingError("Every token was removed by the sampling rules; loosen one of them.")
    raise SamplingError(
        "The model gave logits that are not numbers (NaN or infinite); load it in float32 and try "
        "again."
    )
