"""What the vocabulary can write: bytes, random strings, numbers."""

from __future__ import annotations

from internals import stats
from internals.findings import Estimate, above, at_least, exact, exactly, finding
from internals.measure.tokenization import coverage, numbers
from internals.models import ModelHandle


@finding(expect=exactly(len(coverage.UTF8_BYTES)))
def byte_tokens(model: ModelHandle) -> Estimate:
    """Of the bytes that occur in UTF-8, {value} are a token of their own."""
    n = len(coverage.UTF8_BYTES)
    return exact(n - len(coverage.missing_bytes(model)), n, "bytes")


@finding(unit="share", expect=at_least(0.99))
def assigned(model: ModelHandle) -> Estimate:
    """Of random strings of assigned characters, {value} come back unchanged from their ids."""
    return _returned(model, "any assigned character")


@finding(unit="share", expect=at_least(0.99))
def controls(model: ModelHandle) -> Estimate:
    """Of random strings of blanks and control characters, {value} come back unchanged."""
    return _returned(model, "blanks and controls")


@finding(expect=exactly(0))
def unknown(model: ModelHandle) -> Estimate:
    """Random strings of all kinds give an unknown token in {value} cases."""
    table = coverage.fuzz(model)
    return exact(table["unknown"].sum(), table["strings"].sum(), "strings")


@finding(unit="share", expect=above(0.99))
def single_digits(model: ModelHandle) -> Estimate:
    """Of the numbers up to 9,999, {value} are cut into single digits."""
    table = numbers.splits(model)
    own = table[table["tokenizer"] == model.name]
    cut = own.loc[own["digits"] == own["pieces"], "numbers"].sum()
    return exact(cut / own["numbers"].sum(), own["numbers"].sum(), "numbers")


def _returned(model: ModelHandle, kind: str) -> Estimate:
    row = coverage.fuzz(model).set_index("kind").loc[kind]
    return stats.wilson(int(row["returned"]), int(row["strings"]), unit="strings")
