"""The subject beside the small models: text, facts, tricks, depth, states.

The small models differ in architecture and share their data; the subject differs from both in
size, data and tokenizer at once.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, above, below, exact, finding
from internals.findings.models import profile
from internals.measure.generation import memory
from internals.measure.models.reading import Untrained, alike, reading
from internals.measure.probabilities import calibration
from internals.measure.probabilities.capitals import capitals
from internals.models import ModelHandle, open_model


@finding(unit="bits", expect=above(0))
def architecture(model: ModelHandle) -> Estimate:
    """On the same texts fable-gpt2 needs {value} a byte more than fable-llama, from the same
    data."""
    return _more(*profile.small())


@finding(unit="bits", expect=above(0))
def random(model: ModelHandle) -> Estimate:
    """Random weights need {value} a byte more than the trained ones of fable-llama."""
    trained = open_model(profile.REFERENCE)
    return _more(Untrained.of(trained), trained)


@finding(unit="share", expect=below(0.02))
def calibrated(model: ModelHandle) -> Estimate:
    """With random weights in fable-llama the calibration error on text is {value}."""
    return calibration.of_text(Untrained.of(open_model(profile.REFERENCE))).error


@finding(unit="bits", expect=above(0.2))
def expository(model: ModelHandle) -> Estimate:
    """On expository text fable-llama needs {value} a byte more than the model."""
    return _more(_small(model), model, "expository")


@finding(unit="bits", expect=above(0))
def stories(model: ModelHandle) -> Estimate:
    """On stories fable-llama needs {value} a byte more than the model."""
    return _more(_small(model), model, "stories")


@finding(expect=above(2))
def where(model: ModelHandle) -> Estimate:
    """On expository text the model is ahead of fable-llama {value} times as far as on stories."""
    table = _gaps(_small(model), model)
    codes = (table["kind"] == "stories").astype(float)

    def ratio(x: np.ndarray) -> float:
        story = x[:, 0] == 1
        gaps = [x[part, 1].sum() / x[part, 2].sum() for part in (~story, story)]
        return float(gaps[0] / gaps[1])

    rows = pd.concat([codes, table["gap"], table["bytes"]], axis=1).to_numpy()
    found = stats.bootstrap_ci(rows, ratio, unit="documents", method="percentile")
    # A gap on stories that is hardly above zero has no ratio worth the name.
    ahead = found.low > 0 and table.loc[codes == 1, "gap"].sum() > 0
    return found if ahead else exact(float("nan"), found.n, found.unit)


@finding(unit="points", expect=above(0))
def per_token(model: ModelHandle) -> Estimate:
    """The model saves less of fable-llama's bits a token than of its bits a byte, by {value}."""
    small = _small(model)
    a, b = (reading(m).texts for m in (model, small))
    if a["tokens"].equals(b["tokens"]):
        raise NotApplicable("both models cut the texts into the same tokens")
    rows = pd.concat([a[["bits", "tokens", "bytes"]], b[["bits", "tokens"]]], axis=1).to_numpy()

    def gap(x: np.ndarray) -> float:
        bits, tokens, _, other_bits, other_tokens = x.sum(0)
        return float((bits / tokens) / (other_bits / other_tokens) - bits / other_bits)

    return stats.bootstrap_ci(rows, gap, unit="documents")


@finding(unit="points", expect=above(0))
def facts(model: ModelHandle) -> Estimate:
    """The model's first choice for a capital is right more often than fable-llama's, by {value}."""
    keys = ["country", "template"]
    a, b = (capitals(m).set_index(keys)["correct"].astype(float) for m in (model, _small(model)))
    both = pd.concat([a, b], axis=1, join="inner", keys=["a", "b"]).reset_index()
    clusters = both["country"].to_numpy()
    return stats.paired_difference(both["a"], both["b"], clusters=clusters, unit="countries")


@finding(expect=above(0.6))
def alike_small(model: ModelHandle) -> Estimate:
    """Halfway through, the states of fable-gpt2 and fable-llama at the same words are alike with a
    CKA of {value}."""
    a, b = map(reading, profile.small())
    return profile.likeness(a, b)


@finding(expect=above(0.6))
def alike_large(model: ModelHandle) -> Estimate:
    """Halfway through, the states of the model and of fable-llama are alike with a CKA of
    {value}."""
    return profile.likeness(reading(model), reading(_small(model)))


@finding(expect=below(0.4))
def alike_random(model: ModelHandle) -> Estimate:
    """With random weights in fable-llama the CKA is {value}."""
    return profile.likeness(reading(model), reading(Untrained.of(_small(model))))


@finding(expect=above(0))
def words_first(model: ModelHandle) -> Estimate:
    """Before the first block, where a state knows its word alone, the CKA is higher than halfway,
    by {value}."""
    a, b = reading(model), reading(_small(model))
    start, half = (profile.likeness_by_group(a, b, share) for share in (0, 0.5))
    return stats.paired_difference(start, half, unit="groups of documents")


@finding(expect=above(1))
def cache(model: ModelHandle) -> Estimate:
    """The cache of a token is {value} times as large in fable-gpt2 as in fable-llama."""
    a, b = (memory.bytes_per_token(small.facts) for small in profile.small())
    return exact(a / b, 2, "models")


def nearest(model: ModelHandle) -> pd.DataFrame:
    """CKA of the model's states with those of others at the nearest share of their blocks.

    Columns: ``depth`` (share of the model's blocks), ``model`` (the other), ``group``, ``cka``.
    """
    small, tables = profile.others(model), []
    for other in [*small, Untrained.of(open_model(profile.REFERENCE))]:
        table = alike(reading(model), reading(other))
        gap = (table["depth"] - table["other"]).abs()
        closest = gap == gap.groupby(table["depth"]).transform("min")
        kept = table[closest].groupby(["depth", "group"], as_index=False)["cka"].mean()
        tables.append(kept.assign(model=other.name))
    return pd.concat(tables, ignore_index=True)


def _small(model: ModelHandle) -> ModelHandle:
    """The small model that the subject is compared with.

    Raises:
        NotApplicable: the subject is one of the small models.
    """
    if len(profile.others(model)) < len(profile.SMALL):
        raise NotApplicable("it is one of the small models itself")
    return open_model(profile.REFERENCE)


def _gaps(a: ModelHandle, b: ModelHandle) -> pd.DataFrame:
    """By document: ``kind``, ``bytes``, ``gap`` (bits that ``a`` needs more)."""
    first, second = (reading(m).texts for m in (a, b))
    if not first["bytes"].equals(second["bytes"]):
        raise NotApplicable("the two models have not read the same texts")
    return first[["kind", "bytes"]].assign(gap=first["bits"] - second["bits"])


def _more(a: ModelHandle, b: ModelHandle, kind: str = "") -> Estimate:
    """Bits a byte that ``a`` needs more than ``b`` on the same documents."""
    table = _gaps(a, b)
    part = table[table["kind"] == kind] if kind else table
    rows = part[["gap", "bytes"]].to_numpy(float)
    return stats.bootstrap_ci(rows, lambda x: x[:, 0].sum() / x[:, 1].sum(), unit="documents")
