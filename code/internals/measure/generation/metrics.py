"""Measures of generated texts: diversity among samples, and repetition inside one.

Texts are compared at equal length, since all measures of diversity fall with length.
"""

from __future__ import annotations

from collections.abc import Sequence


def distinct(texts: Sequence[Sequence[int]], n: int) -> float:
    """Different n-grams over all n-grams of some texts (Li et al. 2016); 1 is most diverse."""
    grams = [tuple(t[i : i + n]) for t in texts for i in range(len(t) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def repetition(text: Sequence[int], n: int = 4) -> float:
    """Share of the n-grams inside one text that repeat an earlier one: 1 − unique / all
    (rep-n, Welleck et al. 2020)."""
    return 1 - distinct([text], n)


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
