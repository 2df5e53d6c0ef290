"""Generation written out: prefill, then one token at a time, with or without a key-value cache.

Takes token ids and returns token ids; text, timing and statistics are made elsewhere.
Axes: ``batch`` prompts, ``seq`` tokens, ``vocab`` vocabulary entries.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
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


def pad_left(prompts: Sequence[Sequence[int]], device: Any = None) -> tuple[Tensor, Tensor]:
    """Ids and mask (1 for real tokens), ``(batch, seq)`` both, of prompts of different lengths.

    The padding is on the left, so that every last column is a real token: there the next one is
    predicted.
    """
    import torch

    if not prompts or not all(prompts):
        raise GenerationError("A prompt has no tokens, so there is nothing to continue; add text.")
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    return ids, mask


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
    from transformers import DynamicCache

    _check_length(model, prompts, n_new)
    ids, mask = pad_left(prompts, model.device)
    generator = torch.Generator(model.device).manual_seed(seed)
    cache = DynamicCache(config=model.config) if cached else None
    new: list[Tensor] = []
    while True:
        logits = next_logits(model, ids, mask, cache)
        if not new and copies > 1:  # one prefill serves all continuations of a prompt
            logits, ids, mask = (x.repeat_interleave(copies, dim=0) for x in (logits, ids, mask))
            if cache is not None:
                cache.batch_repeat_interleave(copies)
        new.append(sampler.choose(logits.float(), generator))
        if len(new) == n_new:
            return Generated(tuple(map(tuple, torch.stack(new, dim=1).tolist())))
        last = new[-1].unsqueeze(1)
        mask = torch.cat([mask, torch.ones_like(last)], dim=1)
        # With a cache only the new token goes in; its keys and values join those of the others.
        ids = last if cached else torch.cat([ids, last], dim=1)


def _check_length(model: Any, prompts: Sequence[Sequence[int]], n_new: int) -> None:
    if n_new < 1:
        raise GenerationError(f"At least one new token must be asked for, not {n_new}.")
    longest = max(map(len, prompts), default=0)
    context = families.context_length(model)
    if context is not None and longest + n_new > context:
        raise GenerationError(
            f"The prompt has {longest} tokens and {n_new} more are asked for, but the model's "
            f"context holds {context}; shorten the prompt or ask for fewer tokens."
        )


def next_logits(model: Any, ids: Tensor, mask: Tensor, cache: Any = None) -> Tensor:
    """``(batch, vocab)`` logits after the last column of ``ids``; ``mask`` covers what lies in
    ``cache`` too."""
    import torch

    accepted = _accepted(type(model).forward)
    arguments: dict[str, Any] = {"input_ids": ids, "use_cache": cache is not None}
    if not mask.all():  # without padding plain causal attention takes the faster kernels
        arguments["attention_mask"] = mask
        if "position_ids" in accepted:  # 0 at the first real token
            places = (mask.cumsum(-1) - 1).clamp(min=0)
            arguments["position_ids"] = places[:, -ids.shape[1] :]
    if cache is not None:
        arguments["past_key_values"] = cache
    if "logits_to_keep" in accepted:
        arguments["logits_to_keep"] = 1
    with torch.inference_mode():
        return model(**arguments).logits[:, -1]


@functools.cache
def _accepted(forward: Callable[..., Any]) -> frozenset[str]:
    """Names of the arguments that the forward pass of a class of models takes."""
    return frozenset(inspect.signature(forward).parameters)
