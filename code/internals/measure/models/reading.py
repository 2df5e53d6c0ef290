"""The same held-out texts for every model: what they cost, and how alike their states are.

Models cut a text into different tokens, so bits are counted for bytes and states are compared at
words. Axes: ``depth`` (blocks passed), ``group`` (of documents), ``word``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.layers import lens, stream
from internals.measure.layers.geometry import GROUPS, centred_gram
from internals.measure.windows import HELD_OUT, documents
from internals.models import LoadedModel, ModelFacts, ModelHandle

if TYPE_CHECKING:
    from torch import Tensor

DOCUMENTS = 56
"""As many stories as expository texts."""
HEAD, TAIL, WORDS = 60, 220, 24
"""Characters that are read first, characters whose bits count, and last words of the text at which
states are compared."""
DEPTHS = 9
_BATCH = 8
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Untrained(ModelHandle):
    """A model with random weights in the place of its own: the floor of every comparison."""

    @classmethod
    def of(cls, model: ModelHandle) -> Untrained:
        return cls(model.source, f"{model.fingerprint}-random")

    @property
    def name(self) -> str:
        return "random weights"

    def loaded(self) -> LoadedModel:
        base = self._trained.loaded()
        return replace(base, model=base.random_twin(), fingerprint=self.fingerprint)

    @property
    def facts(self) -> ModelFacts:
        return replace(self._trained.facts, name=self.name)

    @property
    def _trained(self) -> ModelHandle:
        return ModelHandle(self.source, self.fingerprint.removesuffix("-random"))


@dataclass(frozen=True)
class Reading:
    """What a model made of the texts."""

    texts: pd.DataFrame
    """``document``, ``kind``, and of the second part of its text: ``bytes``, ``tokens``, ``bits``;
    ``top`` (tokens that were the first choice)."""
    grams: np.ndarray
    """``(depth, group, word, word)`` centred products of states (see `geometry.centred_gram`)."""
    depths: tuple[int, ...]


@measurement(files=[HELD_OUT])
def reading(model: ModelHandle, head: int = HEAD, tail: int = TAIL, words: int = WORDS) -> Reading:
    """The same texts for every model: bits, and states at the ends of words

    ``head``, ``tail``: characters that are given, and that are predicted; ``words``: last words at
    which states are compared.

    Raises:
        NotApplicable: a text does not fit into the context, or the tokenizer does not say where in
            the text a token stands.
    """
    import torch

    loaded = model.loaded()
    parts = texts(round(DOCUMENTS * effort.factor()), head, tail, words)
    cut = [_tokens(loaded, text, start, words) for _, text, start in parts]
    depths = lens.chosen(loaded.facts.n_layers, DEPTHS)
    rows, states = [], []
    for first in range(0, len(cut), _BATCH):
        batch = cut[first : first + _BATCH]
        scores, seen = _pass(loaded, batch, depths)
        for i, (ids, scored, ends) in enumerate(batch):
            kind, text, start = parts[first + i]
            surprisal, hit = (values[i, scored - 1 : len(ids) - 1] for values in scores)
            size = len(text[start:].encode())
            bits = float(surprisal.sum()) / math.log(2)
            rows.append((first + i, kind, size, len(surprisal), bits, int(hit.sum())))
            states.append(torch.stack([state[i, ends] for state in seen]).float().cpu().numpy())
    table = pd.DataFrame(rows, columns=["document", "kind", "bytes", "tokens", "bits", "top"])
    if not np.isfinite(table["bits"]).all():
        raise NotApplicable("some token of the texts has no finite surprisal")
    grams = [_grams(np.stack([s[k] for s in states])) for k in range(len(depths))]
    return Reading(table, np.stack(grams).astype(np.float16), tuple(depths))


def texts(
    n: int, head: int = HEAD, tail: int = TAIL, words: int = WORDS
) -> list[tuple[str, str, int]]:
    """Kind, text, and the character (a blank) at which its second part begins, kinds in turn."""
    found = []
    for kind in ("stories", "expository"):
        own = [" ".join(text.split()) for text in documents((kind,))]
        for text in (t for t in own if len(t) > head + tail + 40):
            start, end = (text.index(" ", size) for size in (head, head + tail))
            if len(_WORD.findall(text[:end])) > words:
                found.append((kind, text[:end], start))
    by_kind = [[t for t in found if t[0] == kind] for kind in ("stories", "expository")]
    return [text for pair in zip(*by_kind, strict=False) for text in pair][: max(n, 2 * GROUPS)]


def _tokens(loaded: LoadedModel, text: str, start: int, words: int) -> tuple[list[int], int, Any]:
    """Ids of a text, the first that counts, and the last token of each of its last words."""
    from internals.tokens import start_ids

    if not loaded.tokenizer.is_fast:
        raise NotApplicable("its tokenizer does not say where in the text a token stands")
    own = loaded.tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    before = start_ids(loaded.tokenizer)
    ids = [*before, *own["input_ids"]]
    if len(ids) > loaded.facts.context_length:
        raise NotApplicable("its context is too short for the texts of the comparison")
    firsts = np.array([first for first, _ in own["offset_mapping"]])
    ends = [m.end() for m in _WORD.finditer(text)][-words:]
    places = np.searchsorted(firsts, ends) - 1 + len(before)
    return ids, int(np.searchsorted(firsts, start)) + len(before), places


def _pass(
    loaded: LoadedModel, batch: list[tuple[list[int], int, Any]], depths: list[int]
) -> tuple[tuple[np.ndarray, np.ndarray], list[Tensor]]:
    """Surprisal in nats and whether it was the first choice, ``(text, token - 1)``; states
    ``(text, token, d)`` at each depth."""
    import torch

    from internals.measure.scoring import padded

    ids = padded([own for own, _, _ in batch], loaded.model.device)
    with torch.inference_mode(), stream.watched(loaded.model) as seen:
        logits = loaded.model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        taken = logits.gather(-1, ids[:, 1:, None]).squeeze(-1)
        surprisal, hit = logits.logsumexp(-1) - taken, taken >= logits.max(-1).values
    scores = surprisal.cpu().numpy(), hit.cpu().numpy()
    return scores, [seen.states[depth] for depth in depths]


def _grams(states: np.ndarray) -> np.ndarray:
    """``(group, word, word)`` from states ``(document, word, d)``; sizes are taken out first, else
    a few giant states decide."""
    states = states[: len(states) // GROUPS * GROUPS].astype(float)
    states /= np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), 1e-12)
    groups = [states[group::GROUPS].reshape(-1, states.shape[-1]) for group in range(GROUPS)]
    return np.stack([centred_gram(group) for group in groups])


def alike(a: Reading, b: Reading) -> pd.DataFrame:
    """How alike the states of two models are at the ends of the same words, depth by depth.

    Centred kernel alignment (see `geometry.likeness_of`): 0 for nothing in common, 1 for the same
    up to rotation and scale. Columns: ``depth``, ``other`` (shares of the blocks), ``group``,
    ``cka``.
    """
    if a.grams.shape[1:] != b.grams.shape[1:]:
        raise NotApplicable("the two models have not read the same words")
    values = np.einsum("dgij,egij->deg", a.grams.astype(np.float32), b.grams.astype(np.float32))
    values /= a.grams.shape[-1] ** 2
    axes = [[d / r.depths[-1] for d in r.depths] for r in (a, b)]
    index = pd.MultiIndex.from_product([*axes, range(GROUPS)], names=["depth", "other", "group"])
    return pd.Series(values.ravel(), index, name="cka").reset_index()
