"""Many short samples of the same prompts; samples that begin alike are run once.

Twenty samples of a sure answer are twenty times the same token: one branch with a count stands for
all of them. The samples are independent draws, as if each had been generated alone.
Axes: ``batch`` branches, ``vocab``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from internals.generation.generate import check_length, next_logits, pad_left
from internals.generation.sampling import Sampler, draws

PLAIN = Sampler("plain")
"""The model's own distribution: temperature one, nothing cut off."""
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Branches:
    """What was sampled after each prompt."""

    counts: tuple[dict[Ids, int], ...]
    """Of each prompt: new tokens and how often they were drawn; counts add up to the samples."""
    entropy_bits: tuple[float, ...]
    """Entropy of the first new token's distribution."""


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    n: int,
    n_new: int,
    *,
    done: Callable[[Ids], bool],
    sampler: Sampler = PLAIN,
    seed: int = 0,
) -> Branches:
    """Draw ``n`` continuations of each prompt, of ``n_new`` tokens at most.

    Args:
        model: a causal language model of the library, in evaluation mode.
        prompts: token ids of each prompt; lengths may differ.
        done: whether new tokens are a complete answer, which is then not continued.
        seed: of a generator of its own.

    Raises:
        GenerationError: for an empty prompt, ``n_new`` < 1, or a text longer than the context.
        SamplingError: for logits that are not numbers.
    """
    import torch
    from transformers import DynamicCache

    check_length(model, prompts, n_new)
    batch = pad_left(prompts, 0, model.device)
    generator = torch.Generator(model.device).manual_seed(seed)
    cache = DynamicCache(config=model.config)
    mask, positions = batch.mask if batch.padded else None, batch.positions
    logits = next_logits(model, batch.ids, mask, positions, cache).float()
    first = logits.double().log_softmax(-1)
    entropy = -(first.exp() * first).nansum(-1) / torch.log(torch.tensor(2.0))
    found: list[Counter[Ids]] = [Counter() for _ in prompts]
    live: list[tuple[int, Ids, int]] = [(i, (), n) for i in range(len(prompts))]
    for step in range(n_new):
        # Each branch has as many draws as samples stand behind it; the rest are left unused.
        most = max(count for _, _, count in live)
        tokens = draws(sampler.rule()(logits), most, generator).tolist()
        drawn = [Counter(row[:count]) for row, (_, _, count) in zip(tokens, live, strict=True)]
        live, parents = _grow(live, drawn, found, done, last=step == n_new - 1)
        if not live:
            break
        chosen = torch.tensor(parents, device=model.device)
        cache.batch_select_indices(chosen)
        if mask is not None:
            mask = torch.cat([mask[chosen], torch.ones_like(mask[chosen, :1])], dim=1)
        positions = positions[chosen][:, -1:] + 1
        newest = torch.tensor([[ids[-1]] for _, ids, _ in live], device=model.device)
        logits = next_logits(model, newest, mask, positions, cache).float()
    return Branches(tuple(dict(c) for c in found), tuple(entropy.tolist()))


def _grow(
    live: list[tuple[int, Ids, int]],
    drawn: list[Counter[int]],
    found: list[Counter[Ids]],
    done: Callable[[Ids], bool],
    last: bool,
) -> tuple[list[tuple[int, Ids, int]], list[int]]:
    """Branches that go on, each with the row of its parent; complete ones are counted in
    ``found``."""
    children, parents = [], []
    for row, ((owner, ids, _), tokens) in enumerate(zip(live, drawn, strict=True)):
        for token, count in tokens.items():
            grown = (*ids, token)
            if last or done(grown):
                found[owner][grown] += count
            else:
                children.append((owner, grown, count))
                parents.append(row)
    return children, parents
