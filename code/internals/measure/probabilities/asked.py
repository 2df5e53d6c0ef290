"""What a model says first to a question, how sure it is, and whether the whole answer would follow.

The first choice is taken over the whole vocabulary: nobody hands the model a list of answers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from internals.measure.scoring import batches, check_length, logits_at, padded

if TYPE_CHECKING:
    from internals.models import LoadedModel

_BUDGET = 1024  # tokens of questions that are run together


@dataclass(frozen=True)
class Asked:
    """The ids of a question, and of each way to write its answer."""

    head: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]


def ask(loaded: LoadedModel, questions: Sequence[Asked]) -> pd.DataFrame:
    """One row a question: ``confidence`` (probability of the first choice), ``choice`` (its id),
    ``correct`` (an answer begins with it), ``whole`` (every piece of an answer is the first choice,
    so greedy decoding writes it), ``right`` (probability of all tokens that begin an answer to this
    head)."""
    check_length(loaded, max(len(q.head) + len(a) - 1 for q in questions for a in q.answers))
    begins: dict[tuple[int, ...], set[int]] = {}
    for q in questions:
        begins.setdefault(q.head, set()).update(a[0] for a in q.answers)
    first = first_choices(loaded, begins)
    best = [first[q.head] for q in questions]
    begun = [[a for a in q.answers if a[0] == b[0]] for q, b in zip(questions, best, strict=True)]
    # Only where the first piece is right can greedy decoding write the others.
    longer = [
        (*q.head, *a[:i]) for q, own in zip(questions, begun, strict=True) for a in own
        for i in range(1, len(a))
    ]  # fmt: skip
    then = first_choices(loaded, dict.fromkeys(longer, ()))
    whole = [
        any(all(then[(*q.head, *a[:i])][0] == a[i] for i in range(1, len(a))) for a in own)
        for q, own in zip(questions, begun, strict=True)
    ]
    table = pd.DataFrame(best, columns=["choice", "confidence", "right"])
    return table.assign(correct=[bool(own) for own in begun], whole=whole)


def first_choices(
    loaded: LoadedModel, texts: Mapping[tuple[int, ...], Collection[int]]
) -> dict[tuple[int, ...], tuple[int, float, float]]:
    """The likeliest token after each text, its probability, and that of the tokens which the text
    comes with; a text that begins another one is read in the same pass."""
    hosts: list[tuple[tuple[int, ...], list[int]]] = []
    for text in sorted(texts, reverse=True):  # right behind a text come its beginnings
        if hosts and hosts[-1][0][: len(text)] == text:
            hosts[-1][1].append(len(text))
        else:
            hosts.append((text, [len(text)]))
    found = {}
    for group in batches([len(text) for text, _ in hosts], _BUDGET):
        places = [(row, n, hosts[k][0][:n]) for row, k in enumerate(group) for n in hosts[k][1]]
        ids = padded([hosts[k][0] for k in group], loaded.model.device)
        logits = logits_at(loaded.model, ids, [p[0] for p in places], [p[1] - 1 for p in places])
        best, whole = logits.max(-1), logits.logsumexp(-1)
        shares = (best.values - whole).exp()
        own = zip(places, best.indices.tolist(), shares.tolist(), logits, whole, strict=True)
        for (*_, text), token, share, z, log_sum in own:
            found[text] = (token, share, float((z[list(texts[text])] - log_sum).exp().sum()))
    return found
