"""Whole texts with and without a key-value cache, timed while they are written.

Times do not depend on which tokens a text has.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.generation.clock import quiet, spread, synchronise
from internals.measure.windows import HELD_OUT, windows

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import ModelFacts, ModelHandle

READ_AT = (32, 64, 128)
"""New tokens after which the clock of a whole text is read."""
PROMPT = 8
"""Tokens of the prompts."""
SLOW_FROM = 400_000_000
"""Parameters from which on such a text would take many minutes on a CPU."""
MODES = ("no cache", "cache")


def slow(facts: ModelFacts) -> bool:
    """Whether shorter texts are timed because a pass takes seconds."""
    return facts.n_parameters > SLOW_FROM and facts.device == "cpu"


def read_at(facts: ModelFacts) -> list[int]:
    """New tokens at which the clock is read for this model: what its context has room for."""
    wanted = [n // 4 for n in READ_AT] if slow(facts) else list(READ_AT)
    found = [n for n in wanted if n <= facts.context_length - PROMPT]
    if not found:
        raise NotApplicable(f"The context has no room for a text of {wanted[0]} new tokens.")
    return found


@measurement(timing=True, files=[HELD_OUT])
def texts(model: ModelHandle) -> pd.DataFrame:
    """Whole texts with and without a cache, three times each

    Greedy continuations of the first tokens of held-out documents, a document for each round; both
    ways in turn, the first one changing from round to round, after a short text of each that is
    dropped. Columns: ``round``, ``mode`` (no cache, cache), ``new`` (tokens so far), ``length``
    (of the text that this step looked at), ``seconds`` (since the text began), ``token``, ``read``
    (this is a length at which whole texts are compared).
    """
    loaded = model.loaded()
    read = read_at(loaded.facts)
    place = np.arange(1, read[-1] + 1)
    prompts = windows(loaded, 3, PROMPT)
    for mode in MODES:
        timed_text(loaded.model, prompts[:1], 2, cached=mode == "cache")
    frames = []
    for number, ids in enumerate(prompts):
        for mode in MODES if number % 2 == 0 else MODES[::-1]:
            made = timed_text(loaded.model, ids[None], read[-1], cached=mode == "cache")
            shared = {"round": number, "mode": mode, "new": place, "length": PROMPT - 1 + place}
            frames.append(pd.DataFrame({**shared, **made, "read": np.isin(place, read)}))
    return pd.concat(frames, ignore_index=True)


def timed_text(
    network: Any,
    ids: Tensor,
    new: int,
    *,
    cached: bool,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[Any]]:
    """Greedy continuation of ``ids`` ``(1, seq)`` by the loop that the chapter shows.

    For each new token ``seconds`` since the text began, and ``token``, its id.
    """
    import torch

    seconds, tokens = [], []
    fed, cache = ids, None
    synchronise()
    with quiet():
        began = clock()
        for _ in range(new):
            out = network(fed, past_key_values=cache, use_cache=cached, logits_to_keep=1)
            token = out.logits[:, -1].argmax(-1, keepdim=True)
            ids = torch.cat([ids, token], dim=1)
            fed, cache = (token, out.past_key_values) if cached else (ids, None)
            tokens.append(int(token))  # also waits for a GPU
            seconds.append(clock() - began)
    return {"seconds": seconds, "token": tokens}


@measurement(files=[HELD_OUT])
def parted(model: ModelHandle, prompt: int = 8, new: int = 8) -> pd.DataFrame:
    """Greedy texts with and without a cache

    Columns: ``dtype`` (of the model), ``document``, ``flips`` (tokens that differ).
    """
    from internals.generation.generate import generate

    loaded = model.loaded()
    if loaded.facts.context_length < prompt + new:
        raise NotApplicable("The context is too short to go on from a cache.")
    heads = windows(loaded, effort.units(loaded.facts, 16, least=8), prompt).tolist()
    made = [np.array(generate(loaded.model, heads, new, cached=c).ids) for c in (True, False)]
    flips = (made[0] != made[1]).sum(1)
    own = {"dtype": loaded.facts.dtype, "document": range(len(heads))}
    return pd.DataFrame({**own, "flips": flips})


def step_seconds(texts: pd.DataFrame) -> pd.DataFrame:
    """Time of each step of the whole texts: ``mode``, ``length``, ``median``, ``low``, ``high``
    (seconds, over rounds)."""
    ordered = texts.sort_values(["round", "mode", "new"])
    each = ordered.groupby(["round", "mode"])["seconds"].diff()
    steps = ordered.assign(seconds=each.fillna(ordered["seconds"]))
    return spread(steps, ["mode", "length"])


def speed_ups(texts: pd.DataFrame) -> pd.DataFrame:
    """Whole texts by round: ``new``, ``round``, ``no cache``, ``cache`` (seconds), ``ratio``,
    ``passes`` (ratio of token passes)."""
    wide = texts[texts["read"]].pivot(index=["new", "round"], columns="mode", values="seconds")
    wide = wide.rename_axis(columns=None).reset_index()
    new = wide["new"]  # without a cache the passes have PROMPT, PROMPT + 1, … tokens
    passes = new * (PROMPT + (new - 1) / 2) / (PROMPT + new - 1)
    return wide.assign(ratio=wide["no cache"] / wide["cache"], passes=passes)
