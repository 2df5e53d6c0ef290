"""Tasks with a rule that no stored text can stand in for: copying what was just read, adding.

The units are the sequence and the sum.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.behaviour import finite
from internals.measure.windows import HELD_OUT, documents
from internals.tokens import prompt_ids

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

SENTENCE, RANDOM = "a sentence", "random tokens"
PERIOD = 24
"""Tokens of a copy."""
SHOTS = "12 + 30 = 42\n5 + 4 = 9\n"
"""Two sums that show the task; both answers differ from most that are asked for."""


@measurement(files=[HELD_OUT])
def copying(model: ModelHandle, n: int = 12, seed: int = 0) -> pd.DataFrame:
    """Loss on a text and on its repetition, for text that is more or less probable

    Columns: ``row``, ``material`` (a sentence of a held-out story, random tokens), ``first_bits``,
    ``second_bits`` (per token of the first and of the second copy).
    """
    from internals.measure.scoring import token_log_probs

    loaded = model.loaded()
    period = min(PERIOD, loaded.facts.context_length // 2 - 1)
    rng = np.random.default_rng([seed, 54])
    sentences: list[list[int]] = []
    for text in documents(("stories",)):
        ids = loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) > 2 * period and len(sentences) < n:
            sentences.append(ids[period : 2 * period])
    sentences = sentences[: effort.units(loaded.facts, n, least=n)]
    if len(sentences) < 3 or period < 4:
        raise NotApplicable("the context is too short for two copies of a text")
    size = loaded.facts.vocab_size_tokenizer
    material = {
        SENTENCE: sentences,
        RANDOM: rng.integers(0, size, (len(sentences), period)).tolist(),
    }
    rows = []
    for name, copies in material.items():
        scores = token_log_probs(loaded.model, [ids + ids for ids in copies])
        for row, log_prob in enumerate(scores):
            bits = finite(-log_prob / math.log(2))
            rows.append((row, name, bits[: period - 1].mean(), bits[period:].mean()))
    return pd.DataFrame(rows, columns=["row", "material", "first_bits", "second_bits"])


@measurement
def small_sums(model: ModelHandle, n: int = 30, seed: int = 0) -> pd.DataFrame:
    """Sums of numbers of one and of two digits, after two examples

    Columns: ``digits``, ``a``, ``b``, ``correct`` (the number that greedy decoding writes).
    """
    loaded = model.loaded()
    rng = np.random.default_rng([seed, 53])
    parts = []
    for digits, (low, high) in ((1, (2, 10)), (2, (10, 100))):
        cells = rng.permutation((high - low) ** 2)[: effort.units(loaded.facts, n, least=n)]
        a, b = low + cells // (high - low), low + cells % (high - low)
        parts.append(pd.DataFrame({"digits": digits, "a": a, "b": b}))
    table = pd.concat(parts, ignore_index=True)
    heads = [
        prompt_ids(loaded.tokenizer, f"{SHOTS}{a} + {b} =")
        for a, b in zip(table["a"], table["b"], strict=True)
    ]
    return table.assign(correct=added(loaded, heads, (table["a"] + table["b"]).tolist()))


def added(loaded: LoadedModel, heads: list[list[int]], sums: list[int]) -> list[bool]:
    """Whether greedy decoding after each head writes the number in ``sums``.

    Raises:
        NotApplicable: a head leaves no room for the answer.
    """
    from internals.generation.generate import generate

    if max(map(len, heads)) + 5 > loaded.facts.context_length:
        raise NotApplicable("a sum does not fit into the context")
    texts = [loaded.tokenizer.decode(list(ids)) for ids in generate(loaded.model, heads, 5).ids]
    written = [re.match(r"\s*(\d+)(?!\d)", text) for text in texts]
    return [m is not None and int(m[1]) == n for m, n in zip(written, sums, strict=True)]
