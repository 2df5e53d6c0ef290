"""Number agreement as a test case: is it done, can it be read from the states, are they used?

"The keys beside the wall ..." must go on with "are", although the nearest noun is singular. The
verb is watched (Linzen, Dupoux and Goldberg 2016), a linear probe reads the number of the first
noun from the state of the *last* word, and states are moved to see whether the verb follows. The
unit is the noun. Axes: ``row`` (sentence), ``layer``, ``width``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from internals import stats
from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure.behaviour import finite
from internals.measure.scoring import logits_at, padded
from internals.stats.ridge import Ridge
from internals.tokens import prompt_ids, word_ids

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

Floats = NDArray[np.float64]
_REGULAR = (
    "key dog book farmer letter picture teacher ship tree doctor bottle king road bird table "
)
_REGULAR += "flower star river song sister"
_IRREGULAR = (("child", "children"), ("man", "men"), ("woman", "women"), ("story", "stories"))
NOUNS = (*((noun, f"{noun}s") for noun in _REGULAR.split()), *_IRREGULAR)
FRAMES = ("The {} near the {}", "The {} behind the {}", "The {} beside the {}")
SECOND = (("cabinet", "cabinets"), ("house", "houses"), ("wall", "walls"))
"""Second nouns; each number stands with each number of the first noun."""
CONTROLS = 30
"""Random labelings of the nouns' forms."""
FOLDS = 4
SHARES = (0, 0.13, 0.25, 0.75, 0.87, 0.93, 1)
"""Of the blocks, after which the states are read, beside the middle and the last but one."""
MOVED_NOUNS, LEAST_NOUNS = 12, 6
NOUN, LAST = "first noun", "last word"
MEANS, RANDOM = "to the other number", "in a random direction"


@dataclass(frozen=True)
class Sentences:
    """Beginnings of sentences that wait for their verb."""

    table: pd.DataFrame
    """``text``, ``frame``, ``noun`` (its number in :data:`NOUNS`), ``plural``, ``attracted`` (the
    second noun has the other number)."""
    rows: list[list[int]]
    noun_at: list[int]
    """Column of the first noun's last token."""
    verbs: tuple[int, int]
    """Ids of " is" and " are"."""

    def part(self, keep: Any) -> Sentences:
        """Some of the sentences."""
        index = np.flatnonzero(keep)
        return Sentences(
            self.table.iloc[index].reset_index(drop=True),
            [self.rows[i] for i in index],
            [self.noun_at[i] for i in index],
            self.verbs,
        )

    def columns(self, place: str) -> list[int]:
        """Column of a place in each row."""
        return self.noun_at if place == NOUN else [len(row) - 1 for row in self.rows]


@dataclass(frozen=True)
class Agreement:
    """What was found; each table is ready for statistics over nouns."""

    verbs: pd.DataFrame
    """The table of `Sentences` with ``right`` (the verb agrees with the first noun)."""
    probe: pd.DataFrame
    """``layer``, ``accuracy`` on nouns that the probe was not fitted on."""
    accuracy: stats.Estimate
    """The same in the middle layer."""
    control: stats.Estimate
    """There, accuracy with random labels, on fitted nouns in a new sentence."""
    selectivity: stats.Estimate
    """There, accuracy with the true labels on fitted nouns in a new sentence minus `control`."""
    moved: pd.DataFrame
    """``layer`` (whose input is moved), ``place``, ``direction``, ``noun``, ``flipped`` (the other
    verb is now likelier); sentences whose verb was right before."""
    depth: int
    """Number of blocks."""


@measurement
def agreement(model: ModelHandle, seed: int = 0) -> Agreement:
    """Number agreement: verbs, a probe of the states, moved states"""
    loaded = model.loaded()
    sentences = make(loaded)
    depth = loaded.facts.n_layers
    middle = depth // 2
    layers = sorted({round(depth * share) for share in SHARES} | {middle, depth - 1})
    odds, states = run(loaded.model, sentences, layers)
    table = sentences.table
    verbs = table.assign(right=(odds > 0) == table["plural"])
    rng = np.random.default_rng([seed, 57])
    read = dict(zip(layers, np.moveaxis(states[LAST], 1, 0), strict=False))
    hits = {layer: probe(one, table, rng) for layer, one in read.items()}
    probed = pd.DataFrame({"layer": [*hits], "accuracy": [hit.mean() for hit in hits.values()]})
    accuracy = stats.bootstrap_ci(
        hits[middle], clusters=table["noun"], unit="nouns", method="percentile"
    )
    true, control = fitted(read[middle], table, rng)
    labelled = stats.exact(control.mean(), CONTROLS, "random labelings")
    inner = [layer for layer in layers if layer < depth]
    moved = move(loaded.model, sentences, odds, states, inner, rng)
    chosen = selectivity(true, control, rng)
    return Agreement(verbs, probed, accuracy, labelled, chosen, moved, depth)


def make(loaded: LoadedModel) -> Sentences:
    """All sentences as ids.

    Raises:
        NotApplicable: the verbs begin with the same piece, or a sentence exceeds the context.
    """
    tokenizer = loaded.tokenizer
    first = word_ids(tokenizer, "is")[0], word_ids(tokenizer, "are")[0]
    if first[0] == first[1]:
        raise NotApplicable("the tokenizer begins “is” and “are” with the same piece")
    entries, rows, places = [], [], []
    for f, frame in enumerate(FRAMES):
        for n, forms in enumerate(NOUNS):
            for plural in (False, True):
                for attracted in (False, True):
                    second = SECOND[(n + f) % len(SECOND)][plural != attracted]
                    text = frame.format(forms[plural], second)
                    entries.append((text, f, n, plural, attracted))
                    rows.append(prompt_ids(tokenizer, text))
                    places.append(len(prompt_ids(tokenizer, f"The {forms[plural]}")) - 1)
    if max(map(len, rows)) > loaded.facts.context_length:
        raise NotApplicable("the sentences do not fit into the context")
    table = pd.DataFrame(entries, columns=["text", "frame", "noun", "plural", "attracted"])
    return Sentences(table, rows, places, first)


def run(
    network: Any, sentences: Sentences, layers: list[int], batch: int = 72
) -> tuple[Floats, dict[str, Floats]]:
    """Log-odds of "are" over "is" in bits ``(row,)``, and states by place ``(row, layer, width)``.

    ``layers`` as in ``hidden_states``: 0 is the embedding. A last state of another width, which
    some models have, is left out.
    """
    import torch

    odds: list[Floats] = []
    states: dict[str, list[Floats]] = {NOUN: [], LAST: []}
    for first in range(0, len(sentences.rows), batch):
        part = sentences.part(np.isin(np.arange(len(sentences.rows)), range(first, first + batch)))
        with torch.inference_mode():
            out = network(
                input_ids=padded(part.rows, network.device),
                output_hidden_states=True,
                use_cache=False,
            )
        index = np.arange(len(part.rows))
        last = out.logits[index, part.columns(LAST)]
        odds.append(_odds(last, part.verbs))
        for place, found in states.items():
            at = index, part.columns(place)
            kept = [out.hidden_states[k][at].float().cpu().numpy() for k in layers]
            width = kept[0].shape[-1]
            found.append(np.stack([h for h in kept if h.shape[-1] == width], 1).astype(float))
    return finite(np.concatenate(odds)), {p: finite(np.concatenate(s)) for p, s in states.items()}


def log_odds(network: Any, sentences: Sentences) -> Floats:
    """``(row,)``: log-odds of "are" over "is" in bits, without the logits of other places."""
    rows = list(range(len(sentences.rows)))
    ids = padded(sentences.rows, network.device)
    last = logits_at(network, ids, rows, sentences.columns(LAST))
    return finite(_odds(last, sentences.verbs))


def _odds(logits: Any, verbs: tuple[int, int]) -> Floats:
    """Of logits ``(row, vocab)``."""
    singular, plural = (logits[:, verb].float().cpu().numpy() for verb in verbs)
    return np.asarray((plural - singular) / math.log(2), float)


def probe(states: Floats, table: pd.DataFrame, rng: np.random.Generator) -> Floats:
    """``(row,)``: whether a linear probe of states ``(row, width)`` is right on new nouns."""
    plural, noun = table["plural"].to_numpy(int), table["noun"].to_numpy()
    fold = rng.permutation(len(NOUNS))[noun] % FOLDS
    new = np.zeros(len(table))
    for k in range(FOLDS):
        out = fold == k
        new[out] = Ridge(states[~out]).fit(plural[~out])(states[out]) == plural[out]
    return new


def fitted(states: Floats, table: pd.DataFrame, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Share right for every noun, ``(frame, noun)`` with true labels and ``(frame, labeling,
    noun)`` with random ones: fitted in two frames, tested in the third.

    A random labeling gives each form of a noun (key, keys) a label of its own, the same in all
    sentences (Hewitt and Liang 2019).
    """
    plural, noun = table["plural"].to_numpy(int), table["noun"].to_numpy()
    frame = table["frame"].to_numpy()
    random = rng.integers(0, 2, (CONTROLS, 2 * len(NOUNS)))[:, 2 * noun + plural]
    by_frame = []
    for f in range(len(FRAMES)):
        ridge, test = Ridge(states[frame != f]), frame == f
        per_noun = np.eye(len(NOUNS))[noun[test]]
        per_noun /= per_noun.sum(0)
        by_frame.append(
            [
                (ridge.fit(labels[~test])(states[test]) == labels[test]) @ per_noun
                for labels in (plural, *random)
            ]
        )
    found = np.array(by_frame)  # frame, labeling, noun
    return found[:, 0], found[:, 1:]


def selectivity(
    true: Floats, control: Floats, rng: np.random.Generator, n_resamples: int = 2000
) -> stats.Estimate:
    """Mean of ``true`` ``(frame, noun)`` minus that of ``control`` ``(frame, labeling, noun)``.

    Nouns, frames and labelings are drawn anew, each by itself, so that the interval holds all
    three (a bootstrap of crossed factors; Owen 2007).
    """
    frames, labelings, nouns = (
        rng.multinomial(n, np.full(n, 1 / n), n_resamples) / n for n in control.shape
    )
    draws = np.einsum("rf,rn,fn->r", frames, nouns, true)
    draws -= np.einsum("rf,rl,rn,fln->r", frames, labelings, nouns, control, optimize=True)
    low, high = np.quantile(draws, [0.025, 0.975])
    value = float(true.mean() - control.mean())
    how = f"bootstrap over nouns, frames and labelings, {n_resamples} resamples"
    return stats.Estimate(value, float(low), float(high), true.shape[1], "nouns", how)


def move(
    network: Any,
    sentences: Sentences,
    odds: Floats,
    states: dict[str, Floats],
    layers: list[int],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Move states to the other number, at each layer and place; see `Agreement.moved`.

    Only sentences whose verb was right before are moved; none if they have too few nouns.

    The way is the difference of the class means of other nouns in other frames; a random way has
    the same length.
    """
    table = sentences.table
    keep = (table["frame"] == len(FRAMES) - 1) & table["attracted"] & (table["noun"] < MOVED_NOUNS)
    keep &= (odds > 0) == table["plural"]
    part, index = sentences.part(keep), np.flatnonzero(keep)
    columns = ["noun", "layer", "place", "direction", "flipped"]
    if part.table["noun"].nunique() < LEAST_NOUNS:
        return pd.DataFrame(columns=columns)
    sign = np.where(part.table["plural"], -1.0, 1.0)
    parts = []
    for k, layer in enumerate(layers):
        for place in (NOUN, LAST):
            way = sign[:, None] * class_differences(states[place][:, k], table, index)
            ways = {MEANS: way}
            if place == NOUN:
                ways[RANDOM] = _of_length(rng.normal(size=way.shape), way)
            for direction, added in ways.items():
                with _added(network, layer, part.columns(place), added):
                    flipped = sign * log_odds(network, part) > 0
                found = {"layer": layer, "place": place, "direction": direction}
                parts.append(part.table[["noun"]].assign(**found, flipped=flipped))
    return pd.concat(parts, ignore_index=True)[columns]


def _of_length(vectors: Floats, like: Floats) -> Floats:
    """``vectors`` ``(row, width)``, each as long as the one of ``like``."""
    size = np.linalg.norm(like, axis=1) / np.linalg.norm(vectors, axis=1)
    return np.asarray(vectors * size[:, None])


def class_differences(states: Floats, table: pd.DataFrame, index: Any) -> Floats:
    """``(len(index), width)``: mean plural state minus mean singular state, over the sentences of
    other frames with other nouns than those of ``index``."""
    plural = table["plural"].to_numpy()
    found = []
    for i in index:
        own = table.iloc[i]
        others = ((table["noun"] != own["noun"]) & (table["frame"] != own["frame"])).to_numpy()
        found.append(states[others & plural].mean(0) - states[others & ~plural].mean(0))
    return np.array(found)


@contextmanager
def _added(network: Any, layer: int, columns: list[int], added: Floats) -> Iterator[None]:
    """Within this scope ``added`` ``(row, width)`` joins the input of a block at some columns."""
    import torch

    from internals.models import families

    at = torch.arange(len(columns)), torch.tensor(columns)
    extra = torch.as_tensor(added)

    def before(_module: Any, inputs: Any) -> Any:
        stream = inputs[0].clone()
        stream[at] += extra.to(stream)
        return (stream, *inputs[1:])

    handle = families.blocks(network)[layer].register_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()
