"""A large vocabulary through a narrow state: the ratio, and the worth of the head's directions."""

from __future__ import annotations

from internals import stats
from internals.findings import Estimate, above, exact, finding
from internals.measure.architecture.bottleneck import truncation
from internals.models import ModelHandle


@finding(expect=above(1))
def ratio(model: ModelHandle) -> Estimate:
    """The vocabulary has {value} times as many entries as the state that enters the head has
    numbers."""
    facts = model.facts
    vocab = facts.vocab_size_embedding
    return exact(vocab / facts.d_embedding, vocab, "entries")


@finding(unit="bits per token")
def whole(model: ModelHandle) -> Estimate:
    """With all directions the loss on held-out text is {value}."""
    table = truncation(model)
    return stats.bootstrap_ci(table.loc[table["share"] == 1, "bits"], unit="documents")


@finding(unit="bits per token", expect=above(0))
def half(model: ModelHandle) -> Estimate:
    """With the better half of the directions the loss is higher by {value}."""
    return _extra(model, 1 / 2)


@finding(unit="bits per token", expect=above(0))
def last(model: ModelHandle) -> Estimate:
    """Without the last eighth of the directions the loss is higher by {value}."""
    return _extra(model, 7 / 8)


def _extra(model: ModelHandle, share: float) -> Estimate:
    """Additional loss with the cut nearest to this share of the directions."""
    table = truncation(model)
    away = (table["share"] - share).abs()
    return stats.bootstrap_ci(table.loc[away == away.min(), "extra_bits"], unit="documents")
