"""Where a fact is decided: one state of a pass put into another pass (activation patching).

Two prompts differ in one token. A state of the one, at one depth and place, is put into the pass of
the other; what the answer does shows what was in it. Axes: ``batch`` (prompts), ``seq``, ``d``.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals.cache import measurement
from internals.measure.layers import stream
from internals.measure.layers.facts import FILE, Prompts, known_pairs
from internals.tokens import display

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import ModelHandle

MOST_DEPTHS = 15


@measurement(files=[FILE])
def effects(model: ModelHandle) -> pd.DataFrame:
    """What single states carry over from one prompt to another

    Columns: ``pair``, ``row`` (prompt that is changed; both of a pair are), ``depth`` (blocks
    passed), ``place`` (0: the token that differs; the last one ends the prompt), ``token`` (as
    shown), ``effect`` (0: the answer stays as it was, 1: it is that of the other prompt). Before
    the token that differs both prompts hold the same states, which are left out.
    """
    loaded = model.loaded()
    asked = known_pairs(loaded)
    passes = Passes(loaded.model, asked)
    rest = [display(loaded.tokenizer, i) for i in asked.ids[0, asked.place + 1 :].tolist()]
    rows = [
        (row // 2, row, depth, place, token, effect)
        for depth in range(0, loaded.facts.n_layers, -(-loaded.facts.n_layers // MOST_DEPTHS))
        for place, token in enumerate(["the country", *rest])
        for row, effect in enumerate(passes.effect(depth, asked.place + place).tolist())
    ]
    return pd.DataFrame(rows, columns=["pair", "row", "depth", "place", "token", "effect"])


class Passes:
    """The own passes of prompts in pairs, and patched ones.

    A patch changes nothing in earlier blocks and at earlier places: a patched pass starts at its
    block and its place, behind the keys and values of the own pass.
    """

    def __init__(self, network: Any, asked: Prompts) -> None:
        import torch
        from transformers import DynamicCache

        self.network, self.ids, self.answers = network, asked.ids, asked.answers
        self._read = DynamicCache(config=network.config)
        with stream.watched(network) as seen:
            self.lead = self._run(self.ids, self._read)
        self.states = seen.states
        self.partner = torch.arange(len(self.ids), device=self.ids.device) ^ 1

    def effect(self, depth: int, place: int) -> Tensor:
        """``(batch,)`` effect on each prompt of its partner's state; 1: the partner's own lead."""
        state = self.states[depth][:, place:].clone()
        state[:, 0] = self.states[depth][self.partner, place]
        cache = copy.deepcopy(self._read)
        cache.crop(place - self.ids.shape[1])
        with stream.started_at(self.network, depth, state):
            patched = self._run(self.ids[:, place:], cache)
        goal = -self.lead[self.partner]  # the partner's lead, seen from this prompt's answers
        return (patched - self.lead) / (goal - self.lead)

    def _run(self, ids: Tensor, cache: Any) -> Tensor:
        """``(batch,)`` lead of the own answer over the partner's."""
        own = stream.last_logits(self.network, ids, cache).gather(-1, self.answers)
        return own[:, 0] - own[:, 1]
