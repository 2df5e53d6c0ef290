"""Measures of generated texts: diversity among samples, repetition inside one, and quality.

Texts are compared at equal length, since all measures of diversity fall with length.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

LOOP = 8
"""Length of the n-grams whose repetition counts as a loop."""


def distinct(texts: Sequence[Sequence[int]], n: int) -> float:
    """Different n-grams over all n-grams of some texts (Li et al. 2016); 1 is most diverse."""
    grams = [tuple(t[i : i + n]) for t in texts for i in range(len(t) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def repetition(text: Sequence[int], n: int = 4) -> float:
    """Share of the n-grams inside one text that repeat an earlier one: 1 − unique / all
    (rep-n, Welleck et al. 2020)."""
    grams = [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else float("nan")


def loops(text: Sequence[int], n: int = LOOP) -> bool:
    """Whether some n-gram of tokens occurs twice."""
    grams = [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]
    return len(set(grams)) < len(grams)


def final_loop(text: Sequence[int], least: int = LOOP) -> tuple[int, int] | None:
    """Where the repetition begins that a text ends in, and its period, in tokens.

    A text ends in a loop of period q if its last tokens, at least ``least`` and at least two
    periods of them, equal those q places before. The smallest such q counts; the beginning is the
    first token of the first round. None if the text does not end in a loop.
    """
    n = len(text)
    for period in range(1, n // 2 + 1):
        first = n
        while first > period and text[first - 1] == text[first - 1 - period]:
            first -= 1
        if n - first >= max(period, least - period):
            return first - period, period
    return None


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU of each text with all others as references (Zhu et al. 2018), 0 to 100.

    High means that the samples are alike. `sacrebleu` counts (Post 2018), smoothing as it does by
    default for sentences. NaN for fewer than two texts.
    """
    from sacrebleu.metrics import BLEU

    if len(texts) < 2:
        return float("nan")
    metric = BLEU(effective_order=True)
    scores = [
        metric.sentence_score(text, [*texts[:i], *texts[i + 1 :]]).score
        for i, text in enumerate(texts)
    ]
    return sum(scores) / len(scores)


def vocabulary_growth(texts: Sequence[Sequence[int]], seed: int = 0) -> list[int]:
    """Different tokens after one, two, … texts in a shuffled order."""
    order = list(texts)
    random.Random(seed).shuffle(order)
    seen: set[int] = set()
    sizes = []
    for text in order:
        seen.update(text)
        sizes.append(len(seen))
    return sizes


def says(text: str, answer: str) -> bool:
    """Whether a continuation begins with an answer, as whole words and in this case."""
    return re.match(rf"\s*{re.escape(answer)}(?!\w)", text) is not None
