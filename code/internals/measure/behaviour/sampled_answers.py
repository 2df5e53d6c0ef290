"""Answers that a model gives by itself: short samples, grouped by what they say.

Different words can be the same answer, so samples are reduced to a normal form and counted; the
entropy of the groups is the uncertainty about the answer (semantic entropy, Kuhn et al. 2023, with
a rule in place of their entailment model). A base model goes on after its answer, so an answer ends
with its first word that says something.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from internals.models import LoadedModel

SAMPLES = 20
"""Samples of each question, at the model's own probabilities (temperature one)."""
LONGEST = 6
"""New tokens at most; few answers need more."""
_FILLERS = frozenset({"the", "a", "an", "some", "in", "to", "of", "on", "at"})
_END = re.compile(r"[.!?;:\n]")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_PROMPT_TOKENS, _VOCAB = 640, 20_480
"""Prompt tokens of a batch with a vocabulary of that size or less, fewer with a larger one: each
prompt may grow up to `SAMPLES` branches, and each branch holds a distribution."""


@dataclass(frozen=True)
class Sampled:
    """The samples of one question."""

    counts: Mapping[str, int]
    """Answers in normal form and how often each came; empty text where nothing was said."""
    next_entropy_bits: float
    """Entropy of the next token, without any grouping."""

    @property
    def entropy_bits(self) -> float:
        """Entropy of the groups of answers (of their shares in the samples)."""
        return entropy_bits(list(self.counts.values()))

    @property
    def most_frequent(self) -> str:
        """The answer given most often; the first in the alphabet among several."""
        return min(self.counts, key=lambda answer: (-self.counts[answer], answer))

    def share(self, answer: str) -> float:
        """Share of the samples that say ``answer``, which is brought to normal form."""
        return self.counts.get(normal_form(answer), 0) / sum(self.counts.values())


def entropy_bits(counts: Sequence[int]) -> float:
    """Entropy of the shares of some counts, without correction for their small number."""
    shares = np.asarray(counts, float)
    shares = shares[shares > 0] / shares.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


@cache
def _digits() -> dict[str, str]:
    from fable.general import world

    return {word: str(number) for number, word in enumerate(world()["numbers"])}


def normal_form(text: str) -> str:
    """The first word that says something: lower case, no article, number words as digits."""
    head = _END.split(text.strip(), maxsplit=1)[0]
    words = _WORD.findall(head.casefold())
    if not words:
        return ""
    word = next((w for w in words if w not in _FILLERS), words[0])
    return _digits().get(word, word)


def complete(text: str) -> bool:
    """Whether more text could no longer change the normal form."""
    text = text.lstrip()
    if _END.search(text):
        return True
    words = [m for m in _WORD.finditer(text) if m.group().casefold() not in _FILLERS]
    # A word at the very end may still grow; a joint after it may belong to it.
    return bool(words) and words[0].end() < len(text) and text[words[0].end()] not in "'’-"


def sample_answers(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], n: int = SAMPLES, seed: int = 0
) -> list[Sampled]:
    """``n`` sampled answers to each prompt (token ids), grouped.

    Raises:
        GenerationError: a prompt that leaves no room for `LONGEST` tokens in the context.
    """
    from internals.generation.branches import sample
    from internals.measure.scoring import batches

    tokenizer, end = loaded.tokenizer, loaded.facts.eos_id

    def text(ids: Sequence[int]) -> str:
        return tokenizer.decode(list(ids), skip_special_tokens=True)

    found: list[Sampled | None] = [None] * len(prompts)
    size = loaded.facts.vocab_size_embedding
    held = _PROMPT_TOKENS * min(_VOCAB, size) // size
    for number, group in enumerate(batches([len(p) for p in prompts], held)):
        made = sample(
            loaded.model,
            [prompts[i] for i in group],
            n,
            LONGEST,
            done=lambda ids: ids[-1] == end or complete(text(ids)),
            seed=seed + number,
        )
        for i, counts, entropy in zip(group, made.counts, made.entropy_bits, strict=True):
            answers: Counter[str] = Counter()
            for ids, times in counts.items():
                answers[normal_form(text(ids))] += times
            found[i] = Sampled(dict(answers), entropy)
    return [sampled for sampled in found if sampled is not None]


def room(loaded: LoadedModel) -> int:
    """Most tokens that a prompt may have, so that an answer still fits into the context."""
    return loaded.facts.context_length - LONGEST
