"""How many multiplications and how many bytes: counted from widths, checked by a counter.

A multiply-add counts as two operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals.cache import measurement

if TYPE_CHECKING:
    from internals.models import ModelHandle
    from internals.models.facts import ModelFacts


@dataclass(frozen=True)
class Cost:
    """Operations of a model by kind; widths of one block times the number of blocks."""

    linear: int
    """All matrices of all blocks, for one token."""
    attention: int
    """Scores and weighted values, for one token and one token that it looks at."""
    head: int
    """The unembedding, for one token whose logits are wanted."""

    def full(self, n: int, logits: int = 1) -> int:
        """A forward pass over ``n`` tokens with the whole square of scores."""
        return n * self.linear + n * n * self.attention + logits * self.head

    @property
    def crossover(self) -> float:
        """Tokens at which scores and values cost as much as the matrices: linear / attention."""
        return self.linear / self.attention


def cost_of(facts: ModelFacts) -> Cost:
    """Operations from the widths alone.

    For GPT-2's shape (q = k = d, m = 4d) a block costs 24 n d² + 4 n² d (Kaplan et al. 2020 count
    the same terms); gated MLPs have three matrices, grouped-query attention has narrower keys.
    """
    d, m = facts.d_model, facts.d_mlp
    q, k = facts.n_heads * facts.d_head, facts.n_kv_heads * facts.d_head
    matrices = 3 if facts.mlp_kind == "gated" else 2
    projection = 0 if facts.d_embedding == d else 4 * d * facts.d_embedding
    return Cost(
        linear=facts.n_layers * 2 * (2 * d * q + 2 * d * k + matrices * d * m) + projection,
        attention=facts.n_layers * 4 * q,
        head=2 * facts.d_embedding * facts.vocab_size_embedding,
    )


@measurement
def counted(model: ModelHandle, lengths: tuple[int, ...] = (4, 16, 48)) -> pd.DataFrame:
    """Operations by closed form and by a counter on the real forward pass

    Columns: ``n``, ``formula``, ``counter`` (PyTorch's dispatcher counts every matrix product),
    ``difference`` (counter over formula, minus 1).
    """
    import torch

    loaded = model.loaded()
    cost = cost_of(loaded.facts)
    rows = []
    for n in lengths:
        if n > loaded.facts.context_length:
            continue
        ids = torch.arange(n, device=loaded.model.device)[None] % loaded.facts.vocab_size_tokenizer
        formula, counter = cost.full(n, logits=n), count_operations(loaded.model, ids)
        rows.append((n, formula, counter, counter / formula - 1))
    return pd.DataFrame(rows, columns=["n", "formula", "counter", "difference"])


def count_operations(network: Any, ids: Any) -> int:
    """Operations of all matrix products of one forward pass, attention in its plain form."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from internals.models import eager_attention

    with eager_attention(network), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(ids, use_cache=False)
    return int(counter.get_total_flops())
