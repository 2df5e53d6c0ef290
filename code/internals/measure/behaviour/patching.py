"""Does the model use what a probe reads? A country's state is moved, and the answer is watched.

At one layer and one token, the difference of two class means is added to the residual stream. If
the answer follows, the direction is a cause of it; a random direction of the same length, and the
difference of means of shuffled classes, are the controls. Unit: the country.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour.minimal_pairs import beginning, token_ids
from internals.measure.behaviour.probing import Floats, Ints, countries

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

FRAME = "{s} is a country in"
MOST_LAYERS = 6
RANDOM = 3
"""Random directions for each country; their mean effect counts."""


@measurement(files=["data/facts/countries.csv"])
def patched(model: ModelHandle, n: int = 96, seed: int = 0) -> pd.DataFrame:
    """The state of a country is moved to another continent

    Columns: ``layer`` (the block whose input is changed, from 0), ``direction`` (class means,
    shuffled classes, random), ``country``, ``shift_bits`` (rise of the log-odds of the new
    continent over the old), ``flipped`` (the new continent is now first). Countries whose continent
    the model names rightly; empty if there are fewer than ten of them or fewer than two continents,
    or if the names are right no more often than by chance.
    """
    loaded = model.loaded()
    table = countries(effort.units(loaded.facts, n, least=60), seed)
    asked = questions(loaded, table)
    if len(asked.first) < 2:
        return pd.DataFrame(columns=["layer", "direction", "country", "shift_bits", "flipped"])
    return move(loaded.model, asked, table["country"].to_numpy(), seed)


class Questions:
    """Prompts with the place of their subject, first pieces of the answers, and true answers."""

    def __init__(self, rows: list[list[int]], places: Ints, labels: Ints, first: Ints) -> None:
        self.rows, self.places = rows, places
        self.labels, self.first = labels, first
        """``labels``: number of the true answer in ``first``, -1 if it has no piece of its own."""


def questions(loaded: LoadedModel, table: pd.DataFrame) -> Questions:
    """The question of every country; continents that share their first piece are left out."""
    names = sorted(table["continent"].unique())
    pieces = [token_ids(loaded, f" {name}")[0] for name in names]
    single = [i for i, piece in enumerate(pieces) if pieces.count(piece) == 1]
    place_of = {names[i]: k for k, i in enumerate(single)}
    start = beginning(loaded)
    rows = [[*start, *token_ids(loaded, FRAME.format(s=c))] for c in table["country"]]
    ends = [len(start) + len(token_ids(loaded, c)) - 1 for c in table["country"]]
    labels = table["continent"].map(lambda c: place_of.get(c, -1)).to_numpy(int)
    return Questions(rows, np.array(ends), labels, np.array([pieces[i] for i in single], int))


def move(network: Any, asked: Questions, names: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Move every rightly answered question to the next class, at each layer, in each direction.

    Nothing is moved unless the answers are clearly better than chance. Else the "rightly answered"
    would be those that a liking happens to fit, and the mean states of whatever a network answers
    alike move its answers in any network.
    """
    rng = np.random.default_rng([seed, 59])
    depth = len(_blocks(network))
    layers = np.unique(np.linspace(0, depth - 1, min(depth, MOST_LAYERS)).round().astype(int))
    plain, states = run(network, asked, layers)
    right = (plain.argmax(1) == asked.labels) & (asked.labels >= 0)
    counts = np.bincount(asked.labels[right], minlength=len(asked.first))
    usable = np.flatnonzero(counts >= 2)  # a class mean without the country itself needs another
    use = np.flatnonzero(right & np.isin(asked.labels, usable))
    known = named_above_chance(plain.argmax(1), asked.labels)
    if len(use) < 10 or len(usable) < 2 or not known:
        return pd.DataFrame(columns=["layer", "direction", "country", "shift_bits", "flipped"])
    old = asked.labels[use]
    target = usable[(np.searchsorted(usable, old) + 1) % len(usable)]
    part = Questions([asked.rows[i] for i in use], asked.places[use], old, asked.first)
    parts = []
    for k, layer in enumerate(layers):
        own = states[use, k]
        true = differences(own, old, target)
        length = np.linalg.norm(true, axis=1, keepdims=True)
        mixed = rng.permutation(old)
        for name, ways in (
            ("class means", [true]),
            ("shuffled classes", [_of_length(differences(own, mixed, target), length)]),
            ("random", [_of_length(rng.normal(size=own.shape), length) for _ in range(RANDOM)]),
        ):
            shifts, flips = zip(
                *(effect(network, part, int(layer), way, plain[use], target) for way in ways),
                strict=True,
            )
            parts.append(
                pd.DataFrame(
                    {
                        "layer": int(layer),
                        "direction": name,
                        "country": names[use],
                        "shift_bits": np.mean(shifts, axis=0),
                        "flipped": np.mean(flips, axis=0),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def named_above_chance(given: Ints, labels: Ints) -> bool:
    """Whether answers are right clearly more often than if they were given to shuffled questions.

    Wilson interval against the sum over classes of share of truth times share of answers. Items
    labelled -1 have no answer and do not count.
    """
    kept = labels >= 0
    given, labels = given[kept], labels[kept]
    if not len(labels):
        return False
    size = int(max(given.max(), labels.max())) + 1
    answers, truth = (np.bincount(x, minlength=size) / len(x) for x in (given, labels))
    return stats.wilson(int((given == labels).sum()), len(labels)).low > float(answers @ truth)


def differences(states: Floats, labels: Ints, target: Ints) -> Floats:
    """``(item, width)``: mean state of the target class minus that of the item's own class.

    The item itself is left out of its class. A class without another member counts as the mean of
    all items.
    """
    total, found = states.mean(0), np.empty_like(states)
    index = np.arange(len(states))
    for i, (own, new) in enumerate(zip(labels, target, strict=True)):
        there, here = states[labels == new], states[(labels == own) & (index != i)]
        away = here.mean(0) if len(here) else total
        found[i] = (there.mean(0) if len(there) else total) - away
    return found


def _of_length(vectors: Floats, length: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12) * length


def effect(
    network: Any, asked: Questions, layer: int, added: Floats, plain: Floats, target: Ints
) -> tuple[Floats, Floats]:
    """Rise of the log-odds of ``target`` over the true answer in bits; whether it came first."""
    changed, _ = run(network, asked, [], layer, added)
    rows = np.arange(len(target))
    odds = [scores[rows, target] - scores[rows, asked.labels] for scores in (changed, plain)]
    return (odds[0] - odds[1]) / math.log(2), (changed.argmax(1) == target).astype(float)


def run(
    network: Any,
    asked: Questions,
    layers: Sequence[int] | np.ndarray,
    patch: int | None = None,
    added: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Logits of the answers' first pieces, ``(question, answer)``, and the states at the subjects
    that enter the blocks ``layers``, ``(question, layer, width)``.

    ``patch``: block to whose input ``added`` ``(question, width)`` is added at the subject.
    """
    import torch

    from internals.measure.scoring import batches, logits_at, padded

    logits = np.zeros((len(asked.rows), len(asked.first)))
    states: list[Any] = [None] * len(asked.rows)
    for group in batches([len(r) for r in asked.rows], 2048):
        lines = [asked.rows[i] for i in group]
        at = torch.arange(len(group)), torch.as_tensor(asked.places[group])
        last = [len(line) - 1 for line in lines]
        kept: dict[int, Any] = {}
        extra = None if added is None else torch.as_tensor(added[group], dtype=torch.float32)
        with torch.inference_mode(), _inputs(network, layers, patch, at, extra, kept):
            rows = list(range(len(group)))
            out = logits_at(network, padded(lines, network.device), rows, last)
        logits[group] = out[:, asked.first.tolist()].cpu().numpy()
        for row, i in enumerate(group):
            states[i] = [kept[int(k)][row] for k in layers]
    return logits, np.asarray(states, float)


@contextmanager
def _inputs(
    network: Any, layers: Any, patch: int | None, at: Any, extra: Any, kept: dict[int, Any]
) -> Iterator[None]:
    """Within this scope the residual stream is read before ``layers`` and changed before
    ``patch``."""

    def hook(number: int) -> Any:
        def before(_module: Any, args: Any, kwargs: Any) -> Any:
            stream = args[0] if args else kwargs["hidden_states"]
            if number != patch or extra is None:
                kept[number] = stream[at].float().cpu().numpy()
                return None
            stream = stream.clone()
            stream[at] += extra.to(stream)
            return (
                ((stream, *args[1:]), kwargs)
                if args
                else (args, {**kwargs, "hidden_states": stream})
            )

        return before

    wanted = {int(k) for k in layers} | (set() if patch is None else {patch})
    blocks = _blocks(network)
    handles = [blocks[k].register_forward_pre_hook(hook(k), with_kwargs=True) for k in wanted]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _blocks(network: Any) -> list[Any]:
    from internals.models import families

    return families.blocks(network)


def by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """Mean effect by ``layer`` and ``direction``: ``value``, ``low``, ``high`` (bits), ``flipped``
    (share of countries whose answer became the new continent), ``countries``."""
    rows = []
    for (layer, direction), part in table.groupby(["layer", "direction"], sort=False):
        found = stats.bootstrap_ci(part["shift_bits"], unit="countries", method="percentile")
        rows.append(
            {
                "layer": layer,
                "direction": direction,
                "value": found.value,
                "low": found.low,
                "high": found.high,
                "flipped": float(part["flipped"].mean()),
                "countries": len(part),
            }
        )
    return pd.DataFrame(rows)


def best_layer(table: pd.DataFrame) -> int | None:
    """The layer where class means move the answer most; None for an empty table."""
    if table.empty:
        return None
    means = table[table["direction"] == "class means"].groupby("layer")["shift_bits"].mean()
    return int(means.idxmax())


def nearest_layer(table: pd.DataFrame, layer: int) -> int | None:
    """The layer that was changed and lies nearest to ``layer``; None for an empty table."""
    return None if table.empty else min(map(int, table["layer"]), key=lambda k: abs(k - layer))


def against_random(table: pd.DataFrame, layer: int | None = None) -> stats.Estimate | None:
    """Shift by class means minus that by random directions at a layer (:func:`best_layer` by
    default), in bits; None for an empty table."""
    if table.empty:
        return None
    part = table[table["layer"] == (best_layer(table) if layer is None else layer)]
    wide = part.pivot(index="country", columns="direction", values="shift_bits")
    return stats.paired_difference(
        wide["class means"], wide["random"], unit="countries", method="percentile"
    )
