"""Hidden states and human judgements: ratings, categories, senses."""

from __future__ import annotations

from internals.findings import Estimate, above, below, finding
from internals.measure.behaviour import representations as measured
from internals.models import ModelHandle


def _found(model: ModelHandle, task: str, source: str) -> Estimate:
    """Value of a task for a source; in the middle layer, so that none is picked for its result."""
    table = measured.by_layer(model)
    part = table[(table["task"] == task) & (table["source"] == source)]
    middle = (part["layer"] - part["layer"].max() / 2).abs().fillna(0)
    row = part.loc[middle.idxmin()]
    unit = "categories" if task == measured.GROUPED else "words"
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    return Estimate(value, low, high, int(row["n"]), unit, f"bootstrap over {unit}")


@finding(expect=above(0))
def ratings(model: ModelHandle) -> Estimate:
    """The likeness of hidden states goes with human ratings (rank correlation {value})."""
    return _found(model, measured.RATED, measured.MODEL)


@finding()
def ratings_static(model: ModelHandle) -> Estimate:
    """The likeness of static embeddings goes with human ratings (rank correlation {value})."""
    return _found(model, measured.RATED, measured.STATIC)


@finding(expect=above(0))
def ratings_gain(model: ModelHandle) -> Estimate:
    """Hidden states agree with human ratings better than static embeddings, by {value} in rank
    correlation."""
    return _found(model, measured.GAIN, measured.MODEL)


@finding(expect=below(0))
def ratings_last(model: ModelHandle) -> Estimate:
    """From the middle layer to the last, the agreement with human ratings changes by {value} in
    rank correlation."""
    return _found(model, measured.LATE, measured.MODEL)


@finding(expect=above(0))
def ratings_twin(model: ModelHandle) -> Estimate:
    """In a twin with random weights the rank correlation with human ratings is {value}."""
    return _found(model, measured.RATED, measured.TWIN)


@finding(expect=above(0))
def ratings_frequency(model: ModelHandle) -> Estimate:
    """Likeness in frequency goes with human ratings (rank correlation {value})."""
    return _found(model, measured.RATED, measured.FREQUENCY)


@finding(unit="share", expect=above(0.2))
def groups(model: ModelHandle) -> Estimate:
    """The word with the nearest hidden state is of the same category in {value} of the cases."""
    return _found(model, measured.GROUPED, measured.MODEL)


@finding(unit="share", expect=above(0.2))
def groups_static(model: ModelHandle) -> Estimate:
    """The word with the nearest static embedding is of the same category in {value}."""
    return _found(model, measured.GROUPED, measured.STATIC)


@finding(unit="share", expect=above(0.5))
def senses(model: ModelHandle) -> Estimate:
    """A word's hidden state is nearer to the same sense than to the other one in {value} of the
    comparisons."""
    return _found(model, measured.SENSED, measured.MODEL)


@finding(unit="share")
def senses_static(model: ModelHandle) -> Estimate:
    """The mean static embedding of the sentence is nearer to the same sense in {value}."""
    return _found(model, measured.SENSED, measured.STATIC)


@finding(unit="points", expect=above(0))
def senses_gain(model: ModelHandle) -> Estimate:
    """Hidden states tell senses apart better than the words of the sentence alone, by {value}."""
    return _found(model, measured.SENSE_GAIN, measured.MODEL)
