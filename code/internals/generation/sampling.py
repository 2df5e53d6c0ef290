"""Sampling rules: functions from logits to logits that compose, and the draw at the end.

A rule removes a token by setting its logit to minus infinity and never writes to its input.
The usual order is temperature, then top-k, then top-p: temperature changes the nucleus.
Axes: any leading axes, then ``vocab``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    if k < 1 or k != int(k):
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
        # Sorting a whole vocabulary is slow, so the leading logits are tried first.
        for k in (min(_LEADING, logits.shape[-1]), logits.shape[-1]):
            ordered = logits.topk(k, dim=-1).values
            mass = (ordered - logits.logsumexp(dim=-1, keepdim=True)).exp()
            before = mass.cumsum(dim=-1) - mass  # mass of the tokens ahead of each one
            if bool((before[..., -1] >= p).all()):
                break
        size = (before < p).sum(dim=-1, keepdim=True).clamp_min(1)  # rounding must never empty it
        last = ordered.gather(-1, size - 1)
        ties = (ordered[..., :] == last).logical_and(before < p).sum(dim=-1, keepdim=True)
        equal = logits == last
        kept = (logits > last) | (equal & (equal.cumsum(dim=-1) <= ties.clamp_min(1)))
        return logits.masked_fill(~kept, -math.inf)

    return rule


_LEADING = 1024
"""Logits that top-p sorts first; nearly always the nucleus is among them."""


def min_p(p: float) -> Rule:
    """Keep tokens with at least ``p`` times the probability of the likeliest one
    (Nguyen et al. 2024)."""
    if not 0 <= p <= 1:
        raise SamplingError(f"min-p must lie between 0 and 1, but is {p}.")

    def rule(logits: Tensor) -> Tensor:
        best = logits.max(dim=-1, keepdim=True).values
        floor = best + (math.log(p) if p > 0 else -math.inf)
        return logits.masked_fill(logits < floor, -math.inf)

    return rule


def typical_p(p: float) -> Rule:
    """Keep the tokens whose surprisal is closest to the entropy, up to mass ``p``
    (Meister et al. 2023, locally typical sampling); the crossing token stays."""
    if not 0 < p <= 1:
        raise SamplingError(f"typical-p must lie above 0 and at most at 1, but is {p}.")

    def rule(logits: Tensor) -> Tensor:
        if p == 1:
            return logits
        log_probs = logits.log_softmax(dim=-1)
        probs = log_probs.exp()
        entropy = -(probs * log_probs).nansum(dim=-1, keepdim=True)
        distance = (-log_probs - entropy).abs()
        _, order = distance.sort(dim=-1, stable=True)
        mass = probs.gather(-1, order)
        drop = mass.cumsum(dim=-1) - mass >= p
        drop[..., 0] = False
        return logits.masked_fill(drop.scatter(-1, order, drop), -math.inf)

    return rule


def repetition_penalty(penalty: float, seen: Sequence[int]) -> Rule:
    """Divide positive and multiply negative logits of tokens already ``seen`` by ``penalty``
    (Keskar et al. 2019). Unlike the other rules it depends on the zero of the logits."""
    if not (penalty > 0 and math.isfinite(penalty)):
        raise SamplingError(f"The repetition penalty must be a positive number, but is {penalty}.")
    ids = sorted(set(seen))

    def rule(logits: Tensor) -> Tensor:
        changed = logits.clone()
        part = logits[..., ids]
        changed[..., ids] = (part / penalty).where(part > 0, part * penalty)
        return changed

    return rule


def compose(*rules: Rule) -> Rule:
    """One rule that applies ``rules`` from left to right."""

    def rule(logits: Tensor) -> Tensor:
        for part in rules:
            logits = part(logits)
        return logits

    return rule


@dataclass(frozen=True)
class Sampler:
    """A named decoding strategy: greedy, or a draw after rules in the order T, k, p."""

    name: str
    greedy: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def rule(self) -> Rule:
        """The rules of this strategy as one."""
        parts: list[Rule] = [temperature(self.temperature)]
        if self.top_k is not None:
            parts.append(top_k(self.top_k))
        if self.top_p is not None:
            parts.append(top_p(self.top_p))
        return compose(*parts)

    def choose(self, logits: Tensor, generator: Generator | None = None) -> Tensor:
        """The next token of each row: ``(batch, vocab) -> (batch,)``."""
        if self.greedy:
            return argmax(logits)
        return draw(self.rule()(logits), generator)


def argmax(logits: Tensor) -> Tensor:
    """Greedy choice ``(..., vocab) -> (...)``; among equal logits the lowest id."""
    _check(logits)
    import torch

    # torch.argmax does not promise which of several maxima it returns.
    places = torch.arange(logits.shape[-1], device=logits.device)
    best = logits == logits.max(dim=-1, keepdim=True).values
    return places.where(best, logits.shape[-1]).min(dim=-1).values


def draw(logits: Tensor, generator: Generator | None = None) -> Tensor:
    """One token of each row by its probability: ``(batch, vocab) -> (batch,)``.

    The first token whose cumulative probability exceeds a uniform number, so that a token without
    probability is never drawn; ten times faster than `torch.multinomial` on a CPU.
    """
    import torch

    _check(logits)
    mass = logits.double().softmax(dim=-1).cumsum(dim=-1)
    uniform = torch.rand(
        mass.shape[:-1], generator=generator, device=mass.device, dtype=torch.float64
    )
    # The total is one up to rounding; scaled by it, the number stays below the last entry.
    return torch.searchsorted(mass, (uniform * mass[..., -1])[..., None], right=True).squeeze(-1)


def _check(logits: Tensor) -> None:
    if logits.isnan().any():
        raise SamplingError(
            "The model gave logits that are not numbers (NaN); load it in float32 and try again."
        )
    if (logits.max(dim=-1).values == -math.inf).any():
        raise SamplingError("Every token was removed by the sampling rules; loosen one of them.")
