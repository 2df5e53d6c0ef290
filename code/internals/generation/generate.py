"""Generation written out: prefill, then one token at a time, with or without a key-value cache.

Takes token ids and returns token ids; text, timing and statistics are made elsewhere.
Axes: ``batch`` prompts, ``seq`` tokens, ``vocab`` vocabulary entries.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from internals.errors import UserError
from internals.generation.sampling import Sampler
from internals.models import families

if TYPE_CHECKING:
    from torch import Tensor

GREEDY = Sampler("greedy", greedy=True)


class GenerationError(UserError):
    """A prompt or a length with which the model cannot generate."""


class Strategy(Protocol):
    """What chooses the next token; a `Sampler` does."""

    def choose(self, logits: Tensor, generator: Any) -> Tensor:
        """``(batch, vocab) -> (batch,)``"""


@dataclass(frozen=True)
class Generated:
    """New tokens of each prompt, without the prompt."""

    ids: tuple[tuple[int, ...], ...]
    """One tuple of new token ids for each prompt."""
    tokens_processed: int
    """Token positions that went through the model, padding included."""


@dataclass(frozen=True)
class Padded:
    """A batch of prompts padded on the left, so that every last column is a real token."""

    ids: Tensor
    """``(batch, seq)``"""
    mask: Tensor
    """``(batch, seq)``: 1 for real tokens, 0 for padding."""

    @property
    def positions(self) -> Tensor:
        """``(batch, seq)``: 0 at the first real token; padding repeats 0 and is masked."""
        return (self.mask.cumsum(dim=-1) - 1).clamp(min=0)

    @property
    def padded(self) -> bool:
        """Whether any row is shorter than the others."""
        return not bool(self.mask.all())


def pad_left(prompts: Sequence[Sequence[int]], pad_id: int, device: Any = None) -> Padded:
    """Stack prompts of different lengths. A decoder needs the padding on the left, because the
    next token is predicted at the last column."""
    import torch

    if not prompts or not all(prompts):
        raise GenerationError("A prompt has no tokens, so there is nothing to continue; add text.")
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return Padded(ids.to(device), mask.to(device))


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    n_new: int,
    *,
    sampler: Strategy = GREEDY,
    seed: int = 0,
    cached: bool = True,
    copies: int = 1,
) -> Generated:
    """Continue each prompt by ``n_new`` tokens, whatever they are: no token ends a text.

    Args:
        model: a causal language model of the library, in evaluation mode.
        prompts: token ids of each prompt; lengths may differ.
        n_new: new tokens.
        sampler: greedy by default.
        seed: of a generator of its own, so that the same call gives the same tokens.
        cached: keep keys and values, or run the whole text again for each token.
        copies: continuations of each prompt, which stand together and share its prefill.

    Raises:
        GenerationError: for an empty prompt, ``n_new`` < 1, or a text longer than the context.
        SamplingError: for logits that are not numbers.
    """
    import torch

    check_length(model, prompts, n_new)
    batch = pad_left(prompts, 0, model.device)
    generator = torch.Generator(model.device).manual_seed(seed)
    new: list[Tensor] = []
    processed = 0
    for logits, n_processed in _steps(model, batch, new, cached, copies):
        processed += n_processed
        new.append(sampler.choose(logits.float(), generator))
        if len(new) == n_new:
            break
    rows = torch.stack(new, dim=1).tolist()
    return Generated(tuple(map(tuple, rows)), processed)


def check_length(model: Any, prompts: Sequence[Sequence[int]], n_new: int) -> None:
    if n_new < 1:
        raise GenerationError(f"At least one new token must be asked for, not {n_new}.")
    longest = max(map(len, prompts), default=0)
    context = context_length(model)
    if context is not None and longest + n_new > context:
        raise GenerationError(
            f"The prompt has {longest} tokens and {n_new} more are asked for, but the model's "
            f"context holds {context}; shorten the prompt or ask for fewer tokens."
        )


def context_length(model: Any) -> int | None:
    """Most tokens that the model can look at; None if its config does not say."""
    return families.context_length(model)


def _steps(
    model: Any, batch: Padded, new: list[Tensor], cached: bool, copies: int = 1
) -> Iterator[tuple[Tensor, int]]:
    """Logits ``(batch, vocab)`` of the next token, step after step, and tokens processed.

    ``new`` is read between steps: the caller appends what it chose.
    """
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config) if cached else None
    ids, mask, positions = batch.ids, batch.mask, batch.positions
    one = torch.ones_like(mask[:, :1])
    padded = batch.padded
    while True:
        logits = next_logits(model, ids, mask if padded else None, positions, cache)
        n_processed = ids.numel()
        if not new and copies > 1:  # one prefill serves all continuations of a prompt
            logits, ids, mask, one, positions = (
                x.repeat_interleave(copies, dim=0) for x in (logits, ids, mask, one, positions)
            )
            if cache is not None:
                cache.batch_repeat_interleave(copies)
        yield logits, n_processed
        last = new[-1].unsqueeze(1)
        mask = torch.cat([mask, one], dim=1)
        following = positions[:, -1:] + 1
        # With a cache only the new token goes in; its keys and values join those of the others.
        ids = last if cached else torch.cat([ids, last], dim=1)
        positions = following if cached else torch.cat([positions, following], dim=1)


def next_logits(
    model: Any, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Any
) -> Tensor:
    """``(batch, vocab)`` logits after the last column of ``ids``, whose places are ``positions``.

    ``mask`` covers what lies in ``cache`` too; None for rows without padding, since plain causal
    attention takes the faster kernels.
    """
    import torch

    accepted = _accepted(type(model).forward)
    arguments: dict[str, Any] = {"input_ids": ids, "use_cache": cache is not None}
    if mask is not None:
        arguments |= {"attention_mask": mask}
        if "position_ids" in accepted:
            arguments |= {"position_ids": positions}
    if cache is not None:
        arguments |= {"past_key_values": cache}
    if "logits_to_keep" in accepted:
        arguments |= {"logits_to_keep": 1}
    with torch.inference_mode():
        return model(**arguments).logits[:, -1]


@functools.cache
def _accepted(forward: Callable[..., Any]) -> frozenset[str]:
    """Names of the arguments that the forward pass of a class of models takes."""
    return frozenset(inspect.signature(forward).parameters)
