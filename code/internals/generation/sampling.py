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


def repetition_penalty(penalty: float, seen: Sequence[int] | Tensor) -> Rule:
    """Divide positive and multiply negative logits of tokens already ``seen`` by ``penalty``
    (Keskar et al. 2019). Unlike the other rules it depends on the zero of the logits.

    ``seen``: ``(tokens,)`` for all rows, or ``(batch, tokens)`` with a text for each row.
    """
    if not (penalty > 0 and math.isfinite(penalty)):
        raise SamplingError(f"The repetition penalty must be a positive number, but is {penalty}.")

    def rule(logits: Tensor) -> Tensor:
        import torch

        ids = torch.as_tensor(seen, dtype=torch.long, device=logits.device)
        ids = ids.expand(*logits.shape[:-1], ids.shape[-1])
        part = logits.gather(-1, ids)
        return logits.scatter(-1, ids, (part / penalty).where(part > 0, part * penalty))

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
    """A named decoding strategy: greedy, or a draw after rules.

    Their order is temperature, top-k, top-p, min-p, typical-p, as in the library. The repetition
    penalty comes before all of them and works on greedy decoding too. Parameters outside their
    range raise `SamplingError` at once.
    """

    name: str
    greedy: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    penalty: float | None = None
    """Repetition penalty; needs the tokens seen so far."""

    def __post_init__(self) -> None:
        self.rule()
        if self.penalty is not None:
            repetition_penalty(self.penalty, ())

    def rule(self) -> Rule:
        """The rules of this strategy as one, the repetition penalty apart."""
        parts = [temperature(self.temperature)]
        if self.top_k is not None:
            parts.append(top_k(self.top_k))
        for rule, p in ((top_p, self.top_p), (min_p, self.min_p), (typical_p, self.typical_p)):
            if p is not None:
                parts.append(rule(p))
        return compose(*parts)

    def choose(
        self, logits: Tensor, generator: Generator | None = None, seen: Tensor | None = None
    ) -> Tensor:
        """The next token of each row: ``(batch, vocab) -> (batch,)``.

        ``seen``: ``(batch, tokens)`` so far, read by the repetition penalty alone.
        """
        if self.penalty is not None:
            if seen is None:
                raise ValueError("a repetition penalty needs the tokens seen so far")
            logits = repetition_penalty(self.penalty, seen)(logits)
        if self.greedy:
            return argmax(logits)
        return draw(self.rule()(logits), generator)


def argmax(logits: Tensor) -> Tensor:
    """Greedy choice ``(..., vocab) -> (...)``; among equal logits the lowest id."""
    best, place = logits.max(dim=-1)  # the first of several maxima, as torch documents
    _check(best)
    return place


def draw(logits: Tensor, generator: Generator | None = None) -> Tensor:
    """One token of each row by its probability: ``(batch, vocab) -> (batch,)``."""
    return draws(logits, 1, generator).squeeze(-1)


def draws(logits: Tensor, n: int, generator: Generator | None = None) -> Tensor:
    """``n`` independent tokens of each row by their probability: ``(batch, vocab) -> (batch, n)``.

    The first token whose cumulative probability exceeds a uniform number, so that a token without
    probability is never drawn; ten times faster than `torch.multinomial` on a CPU.
    """
    import torch

    check_logits(logits)
    mass = logits.softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)
    uniform = torch.rand(
        (*mass.shape[:-1], n), generator=generator, device=mass.device, dtype=torch.float64
    )
    # The total is one up to rounding; scaled by it, the number stays below the last entry.
    return torch.searchsorted(mass, uniform * mass[..., -1:], right=True)


def check_logits(logits: Tensor) -> None:
    """Raise `SamplingError` unless every row of ``(..., vocab)`` logits has a finite maximum."""
    _check(logits.max(dim=-1).values)


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
