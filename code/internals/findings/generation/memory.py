"""What a cache costs in memory, and what it costs to have less of it."""

from __future__ import annotations

from internals import stats
from internals.findings import Estimate, above, below, exact, exactly, finding
from internals.measure.generation import memory, steps, stores
from internals.models import ModelHandle


@finding(unit="bytes", expect=exactly(0))
def formula(model: ModelHandle) -> Estimate:
    """The bytes of the cache's tensors differ from the formula by at most {value}."""
    table = memory.held(model).table
    return exact(int((table["bytes"] - table["formula"]).abs().max()), len(table), "lengths")


@finding(unit="KiB")
def token(model: ModelHandle) -> Estimate:
    """The cache takes {value} for each token."""
    return exact(memory.bytes_per_token(model.facts) / 2**10, 1, "token")


@finding(unit="MiB")
def context(model: ModelHandle) -> Estimate:
    """The cache of a text that fills the context takes {value}."""
    facts = model.facts
    kept = memory.held(model).kept(facts.context_length)
    return exact(memory.bytes_per_token(facts) / facts.n_layers * kept / 2**20, 1, "text")


@finding(unit="tokens")
def equal(model: ModelHandle) -> Estimate:
    """The cache is as large as the weights with {value} in all texts of a batch."""
    return exact(round(model.facts.weight_bytes / memory.bytes_per_token(model.facts)), 1, "model")


@finding()
def shared(model: ModelHandle) -> Estimate:
    """Each key-value head serves {value} query heads."""
    return exact(model.facts.n_heads // model.facts.n_kv_heads, model.facts.n_heads, "query heads")


@finding(unit="bits", expect=below(0.01))
def eight(model: ModelHandle) -> Estimate:
    """A cache in eight-bit integers changes the loss of the text after it by {value} a byte."""
    return _loss(model, stores.EIGHT_BITS)


@finding(expect=above(2))
def smaller(model: ModelHandle) -> Estimate:
    """Eight-bit integers with their scales take {value} times less memory."""
    sizes = steps.costs(model).groupby("stored")["mib"].max()
    return exact(sizes[stores.FULL] / sizes[stores.EIGHT_BITS], 1, "cache")


@finding(unit="bits", expect=above(0))
def window(model: ModelHandle) -> Estimate:
    """Keeping the last quarter of the tokens raises the loss of the text after them by {value} a
    byte."""
    return _loss(model, stores.WINDOW)


@finding(unit="bits", expect=above(0))
def first(model: ModelHandle) -> Estimate:
    """Of that loss, {value} a byte goes if the first token is kept as well."""
    return _loss(model, stores.WINDOW, stores.FIRST)


def _loss(model: ModelHandle, stored: str, other: str = stores.FULL) -> Estimate:
    bits = stores.losses(model).pivot(index="document", columns="stored", values="bits")
    return stats.paired_difference(bits[stored], bits[other], unit="documents")
