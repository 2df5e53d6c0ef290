"""What a linear probe reads about a country at each depth, and what it reads of random labels.

The label is the country's continent. The control task deals the continents out at random (Hewitt
and Liang 2019). Axes: ``frame`` (beginning of the prompt), ``country``, ``d``.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.layers import stream
from internals.measure.layers.facts import FILE, TEMPLATE
from internals.measure.layers.lens import chosen
from internals.paths import DATA
from internals.stats.ridge import Ridge
from internals.tokens import prompt_ids, word_ids

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FRAMES = ("T", "Well, t", "I hear t")
"""What stands in place of the first letter: the end of the prompt is the same in all."""
COUNTRIES, LEAST = 120, 40
FOLDS, LABELINGS = 5, 8
COUNTRY, LAST = "the country", "the last token"
NEW, SEEN, RANDOM = "new countries", "known countries", "known, random labels"


@measurement(files=[FILE])
def continents(model: ModelHandle, seed: int = 0) -> pd.DataFrame:
    """Continents read from the states of prompts about capitals, by depth

    Columns: ``place`` (of the state), ``depth``, ``country``, ``largest`` (share of the largest
    continent: what a probe gets that sees nothing), ``what`` and ``right`` (share of prompts, for
    random labels also of labelings): countries on which the probe was not fitted (`NEW`); those on
    which it was, in another prompt (`SEEN`); and these with labels at random (`RANDOM`).
    """
    loaded = model.loaded()
    rng = np.random.default_rng([seed, 7])
    names, labels = _labelled(loaded, rng)
    tasks = rng.permuted(np.tile(labels, (LABELINGS, 1)), axis=1)
    fold = rng.permutation(len(names)) % FOLDS
    depths = chosen(loaded.facts.n_layers)
    largest = np.bincount(labels).max() / len(labels)
    tables = []
    for place, states in _states(loaded, names, depths).items():
        for depth, at in zip(depths, states, strict=True):
            for what, right in read(at, labels, tasks, fold).items():
                table = pd.DataFrame({"country": names, "right": right, "what": what})
                tables.append(table.assign(place=place, depth=depth, largest=largest))
    return pd.concat(tables, ignore_index=True)


def _labelled(loaded: LoadedModel, rng: np.random.Generator) -> tuple[list[str], Ints]:
    """Countries whose name is one token, and their continents as numbers.

    Raises:
        NotApplicable: there are too few.
    """
    with (DATA / "facts/countries.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["continent"] != "Antarctica"]
    rows = [row for row in rows if len(word_ids(loaded.tokenizer, row["country"])) == 1]
    if len(rows) < LEAST:
        raise NotApplicable("too few countries have a name of one token")
    most = effort.units(loaded.facts, COUNTRIES, least=COUNTRIES)
    rows = [rows[i] for i in rng.permutation(len(rows))[:most]]
    continents = np.unique([row["continent"] for row in rows], return_inverse=True)[1]
    return [row["country"] for row in rows], continents


def _states(loaded: LoadedModel, names: list[str], depths: list[int]) -> dict[str, Floats]:
    """States ``(depth, frame, country, d)`` at the country and at the end of the prompt."""
    import torch

    found: dict[str, list[Floats]] = {COUNTRY: [], LAST: []}
    for frame in FRAMES:
        texts = [frame + TEMPLATE[1:].format(name) for name in names]
        rows = [prompt_ids(loaded.tokenizer, text) for text in texts]
        if len({len(row) for row in rows}) > 1 or len(rows[0]) > loaded.facts.context_length:
            raise NotApplicable("its prompts are of several lengths or longer than its context")
        ids = torch.tensor(rows, device=loaded.model.device)
        at = int((ids != ids[:1]).any(0).nonzero()[0])
        parts = [stream.trace(loaded.model, part).states for part in ids.split(40)]
        for name, place in ((COUNTRY, at), (LAST, -1)):
            every = [torch.cat([part[k][:, place] for part in parts]) for k in depths]
            found[name].append(torch.stack(every).double().cpu().numpy())
    states = {place: np.stack(by_frame, axis=1) for place, by_frame in found.items()}
    if not all(np.isfinite(array).all() for array in states.values()):
        raise NotApplicable("its states are not finite")
    return states


def read(states: Floats, labels: Ints, tasks: Ints, fold: Ints) -> dict[str, Floats]:
    """Share right for every country, from ``states`` ``(frame, country, d)`` less the mean of each
    frame, which says nothing about countries.

    ``labels`` and ``fold``: ``(country,)``; ``tasks``: ``(labeling, country)`` random labels.
    """
    frames, countries, width = states.shape
    states = states - states.mean(1, keepdims=True)
    right = {what: np.zeros(countries) for what in (NEW, SEEN, RANDOM)}
    for k in range(FOLDS):
        out = fold == k
        ridge = Ridge(states[:, ~out].reshape(-1, width))
        probe = ridge.fit(np.tile(labels[~out], frames))
        right[NEW][out] = np.mean([probe(one[out]) == labels[out] for one in states], axis=0)
    for frame in range(frames):
        ridge = Ridge(np.delete(states, frame, axis=0).reshape(-1, width))
        for what, dealt in ((SEEN, labels[None]), (RANDOM, tasks)):
            probes = [ridge.fit(np.tile(task, frames - 1)) for task in dealt]
            hits = [p(states[frame]) == task for p, task in zip(probes, dealt, strict=True)]
            right[what] += np.mean(hits, axis=0) / frames
    return right
