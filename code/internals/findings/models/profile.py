"""What a comparison asks every model: tasks, each of a few estimates that other chapters have too.

Tasks know one model each and nothing of one another, so that they can run anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import numpy as np
import pandas as pd

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, exact
from internals.findings.behaviour import tricks
from internals.findings.layers import lens
from internals.findings.probabilities import confidence
from internals.measure.attention import heads
from internals.measure.generation import memory, speed
from internals.measure.models.reading import Reading, Untrained, alike, reading
from internals.measure.probabilities import calibration
from internals.models import ModelHandle, open_model

SMALL = ("fable-gpt2", "fable-llama")
"""Models of the project itself: two architectures, the same data."""
REFERENCE = SMALL[1]
"""The model with whose states those of all others are compared."""


def others(model: ModelHandle) -> list[ModelHandle]:
    """The small models that are not ``model`` itself."""
    return [other for other in small() if other.fingerprint != model.fingerprint]


def small() -> tuple[ModelHandle, ModelHandle]:
    """The small models, in the order of :data:`SMALL`."""
    return open_model(SMALL[0]), open_model(SMALL[1])


def per_byte(model: ModelHandle, kind: str = "") -> Estimate:
    """Bits for each byte of the texts of one kind, or of all."""
    table = reading(model).texts
    part = table[table["kind"] == kind] if kind else table
    return _ratio(part["bits"], part["bytes"])


def _ratio(a: pd.Series, b: pd.Series) -> Estimate:
    pairs = np.column_stack([a, b])
    return stats.bootstrap_ci(pairs, lambda x: x[:, 0].sum() / x[:, 1].sum(), unit="documents")


def likeness(a: Reading, b: Reading, share: float = 0.5) -> Estimate:
    """Alignment of the states of two models at the same share of their blocks."""
    return stats.bootstrap_ci(likeness_by_group(a, b, share), unit="groups of documents")


def likeness_by_group(a: Reading, b: Reading, share: float = 0.5) -> np.ndarray:
    """``(group,)``, as `likeness`, at the depth nearest to the share."""
    table = alike(a, b)
    for side in ("depth", "other"):
        nearest = min(table[side].unique(), key=lambda depth: abs(depth - share))
        table = table[table[side] == nearest]
    return table.sort_values("group")["cka"].to_numpy()


def _kept(model: ModelHandle) -> Estimate:
    return _exact(memory.bytes_per_token(model.facts) / 2**10)


def _exact(value: float) -> Estimate:
    return exact(value, 1, "models")


def _per_token(model: ModelHandle, column: str) -> Estimate:
    table = reading(model).texts
    return _ratio(table[column], table["tokens"])


def _strong(model: ModelHandle, kind: str) -> Estimate:
    share = heads.ranked(model).groupby("kind")["strong"].mean()[kind]
    return exact(share, model.facts.n_layers * model.facts.n_heads, "heads")


def _settles(model: ModelHandle) -> Estimate | None:
    if isinstance(model, Untrained):
        raise NotApplicable("random weights have no prediction worth a depth")
    return lens.halved.estimate(model)


def _speed(model: ModelHandle) -> Estimate:
    if isinstance(model, Untrained):
        raise NotApplicable("random weights take as long as trained ones")
    texts = speed.texts(model).query("mode == 'cache'")
    by_text = texts.groupby("round").agg(new=("new", "max"), seconds=("seconds", "max"))
    return stats.quartiles(by_text["new"] / by_text["seconds"], unit="texts")


Quantity = Callable[[ModelHandle], Estimate | None]
TASKS: dict[str, dict[str, Quantity]] = {
    "size": {
        "parameters": lambda m: _exact(m.facts.n_parameters),
        "layers": lambda m: _exact(m.facts.n_layers),
        "vocabulary": lambda m: _exact(m.facts.vocab_size_tokenizer),
        "weights_mib": lambda m: _exact(m.facts.weight_bytes / 2**20),
        "cache_kib": _kept,
    },
    "text": {
        "bytes_per_token": lambda m: _per_token(m, "bytes"),
        "bits_per_token": lambda m: _per_token(m, "bits"),
        "bits_per_byte": per_byte,
        "stories": lambda m: per_byte(m, "stories"),
        "expository": lambda m: per_byte(m, "expository"),
    },
    "calibration": {"calibration_error": lambda m: calibration.of_text(m).error},
    "facts": {"capitals": confidence.capital_first.estimate},
    "tricks": {"tricks": tricks.both.estimate},
    "heads": {
        f"{kind} heads": partial(_strong, kind=kind) for kind in ("previous token", "induction")
    },
    "depth": {"settles": _settles},
    "likeness": {
        "likeness": lambda m: likeness(reading(m), reading(open_model(REFERENCE))),
        "likeness_floor": lambda m: likeness(
            reading(m), reading(Untrained.of(open_model(REFERENCE)))
        ),
    },
    "speed": {"tokens_per_second": _speed},
}
"""Tasks and their quantities. The last one takes times, and is asked when nothing else runs."""


def rows(task: str, model: ModelHandle) -> pd.DataFrame:
    """The estimates of a task: ``quantity``, ``value``, ``low``, ``high``, ``n``, ``unit``.

    Raises:
        NotApplicable: the task does not apply to the model.
    """
    found = {name: ask(model) for name, ask in TASKS[task].items()}
    keep = ("value", "low", "high", "n", "unit")
    return pd.DataFrame(
        [{"quantity": name} | {k: getattr(e, k) for k in keep} for name, e in found.items() if e]
    )


def of_subject(model: ModelHandle) -> pd.DataFrame:
    """All tasks of the model, the small ones, and one of these with random weights: ``model`` and
    the columns of `rows`; no row where a task does not apply."""
    beside, tables = others(model), []
    for one in (model, *beside, Untrained.of(open_model(REFERENCE))):
        for task in TASKS:
            with suppress(NotApplicable):
                tables.append(rows(task, one).assign(model=one.name))
    return pd.concat(tables, ignore_index=True)


TITLES: dict[str, tuple[str, str]] = {
    "parameters": ("parameters", "{:,.0f}"),
    "layers": ("blocks", "{:.0f}"),
    "vocabulary": ("entries of the vocabulary", "{:,.0f}"),
    "bytes_per_token": ("bytes a token", "{:.2f}"),
    "bits_per_token": ("bits a token", "{:.2f}"),
    "bits_per_byte": ("bits a byte", "{:.3f}"),
    "stories": ("… of stories", "{:.3f}"),
    "expository": ("… of expository text", "{:.3f}"),
    "calibration_error": ("calibration error", "{:.1%}"),
    "capitals": ("capitals, first choice right", "{:.0%}"),
    "tricks": ("trick pairs, both right", "{:.0%}"),
    "previous token heads": ("strong previous-token heads", "{:.0%}"),
    "induction heads": ("strong induction heads", "{:.0%}"),
    "settles": ("half of the way, share of the blocks", "{:.0%}"),
    "cache_kib": ("cache of a token (KiB)", "{:.3g}"),
    "weights_mib": ("weights (MiB)", "{:.3g}"),
    "tokens_per_second": ("tokens written a second", "{:.3g}"),
}


def wide(profiles: pd.DataFrame) -> pd.DataFrame:
    """A row for each quantity of :data:`TITLES`, a column for each model, ready to be printed."""
    values = profiles.pivot(index="quantity", columns="model", values="value")
    names = list(dict.fromkeys(profiles["model"]))
    lines = [
        {"quantity": title}
        | {m: form.format(values.loc[q, m]) if values.loc[q, m] == values.loc[q, m] else "–"
           for m in names}
        for q, (title, form) in TITLES.items()
        if q in values.index
    ]  # fmt: skip
    return pd.DataFrame(lines)
