"""The residual stream of a pass: watched, read through the head, replaced.

Tensors are ``(batch, seq, d)``. *Depth* is the number of blocks that a state has passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from internals.errors import NotApplicable
from internals.models import families

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Trace:
    """What one pass put into the stream."""

    states: list[Tensor] = field(default_factory=list)
    """At every depth, before the final norm: one more than blocks."""
    attention: list[Tensor] = field(default_factory=list)
    """What attention adds in each block."""

    @property
    def mlp(self) -> list[Tensor]:
        """The rest of each block's step: that of the MLP, where a block only adds."""
        steps = zip(self.states, self.states[1:], self.attention, strict=False)
        return [after - before - attention for before, after, attention in steps]


@contextmanager
def watched(network: Any) -> Iterator[Trace]:
    """Within this scope a pass of the model leaves its trace; afterwards no hook is left."""
    trace = Trace()

    def added(_module: Any, _args: Any, output: Any) -> None:
        trace.attention.append((output[0] if isinstance(output, tuple) else output).detach())

    with ExitStack() as hooks:
        for block in (blocks := families.blocks(network)):
            adds = families.attention(network, block)
            if families.placement(network) == "pre+post":  # a norm stands before the addition
                adds = families.norms(network, block)[1]
            enters = block.register_forward_pre_hook(lambda _, args: trace.states.append(args[0]))
            hooks.enter_context(enters)
            hooks.enter_context(adds.register_forward_hook(added))
        leaves = blocks[-1].register_forward_hook(lambda _, args, out: trace.states.append(out))
        hooks.enter_context(leaves)
        yield trace


def trace(network: Any, ids: Tensor) -> Trace:
    """The trace of ``(batch, seq)`` ids; the head, which is large, is spared."""
    import torch

    with torch.inference_mode(), watched(network) as seen:
        families.body(network)(ids, use_cache=False)
    return seen


@contextmanager
def started_at(network: Any, depth: int, state: Tensor) -> Iterator[None]:
    """Within this scope blocks before ``depth`` do nothing, and block ``depth`` reads ``state``.

    So a pass costs only the blocks from there on. Afterwards the model is as it was.
    """
    blocks = families.blocks(network)
    with blocks[depth].register_forward_pre_hook(lambda _, args: (state, *args[1:])):
        try:
            for block in blocks[:depth]:
                block.forward = lambda hidden, *_, **__: hidden  # hides the method of the class
            yield
        finally:
            for block in blocks[:depth]:
                vars(block).pop("forward", None)


def reader(network: Any) -> tuple[Any, Callable[[Tensor], Tensor]]:
    """Final norm and head, for states ``(…, d)``; the head with the cap that some models have.

    Raises:
        NotApplicable: the model has no final norm, or a head of another width.
    """
    norm, head = families.final_norm(network), families.unembedding(network)
    if norm is None or head.weight.shape[1] != network.config.hidden_size:
        raise NotApplicable("its head does not read the stream through a final norm")
    cap = getattr(network.config, "final_logit_softcapping", None)
    return norm, (lambda states: cap * (head(states) / cap).tanh()) if cap else head


def last_logits(network: Any, ids: Tensor, cache: Any = None) -> Tensor:
    """``(batch, vocab)`` float32 logits after the last token of ``(batch, seq)`` ids."""
    import torch

    with torch.inference_mode():
        out = families.body(network)(ids, past_key_values=cache, use_cache=cache is not None)
        return reader(network)[1](out.last_hidden_state[:, -1]).float()
