"""What the vocabulary can write: bytes, random strings, numbers."""

from __future__ import annotations

from internals.findings import Estimate, above, at_least, exact, exactly, finding
from internals.measure.tokenization import coverage, merges, numbers
from internals.models import ModelHandle


@finding()
def byte_tokens(model: ModelHandle) -> Estimate:
    """Of the bytes that occur in UTF-8, {value} are a token of their own."""
    n = len(coverage.UTF8_BYTES)
    return exact(n - len(coverage.missing_bytes(model)), n, "bytes")


@finding(expect=exactly(0))
def missing(model: ModelHandle) -> Estimate:
    """Of the bytes that occur in UTF-8, {value} are no token."""
    return exact(len(coverage.missing_bytes(model)), len(coverage.UTF8_BYTES), "bytes")


@finding(unit="share", expect=at_least(0.999))
def assigned(model: ModelHandle) -> Estimate:
    """Of random strings of assigned characters, {value} come back unchanged from their ids."""
    table = coverage.fuzz(model).set_index("kind")
    row = table.loc["any assigned character"]
    return exact(row["returned"] / row["strings"], row["strings"], "strings")


@finding(unit="share", expect=at_least(1))
def controls(model: ModelHandle) -> Estimate:
    """Of random strings of blanks and control characters, {value} come back unchanged."""
    row = coverage.fuzz(model).set_index("kind").loc["blanks and controls"]
    return exact(row["returned"] / row["strings"], row["strings"], "strings")


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


@finding(expect=exactly(1))
def path_agrees(model: ModelHandle) -> Estimate:
    """Applying the merges by hand ends at the library's own tokens ({value}: yes)."""
    return exact(float(merges.path(model)["agrees"].all()), 1, "words")


@finding()
def merge_steps(model: ModelHandle) -> Estimate:
    """The word takes {value} merges."""
    return exact(merges.path(model)["step"].max(), 1, "words")
