"""Does generated text drift away? Loss along continuations written by people and by the model.

A continuation is cut into equal segments. The second model judges both kinds of text at the same
places; what grows in the model's own text and not in human text is error that accumulates
(exposure bias: Ranzato et al. 2016; Arora et al. 2022). The unit is the document.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.generation.sampling import Sampler
from internals.measure import effort
from internals.measure.capability import start_ids
from internals.measure.windows import HELD_OUT, documents

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

HUMAN, SAMPLED, GREEDY = "human text", "own sample", "own greedy text"
SEGMENTS = 4
PROMPT, CONTINUATION = 32, 96
"""Tokens; less where the model's context is shorter."""


@measurement(files=[HELD_OUT])
def drift(model: ModelHandle, judge: ModelHandle, n: int = 28, seed: int = 0) -> pd.DataFrame:
    """Loss along human and generated continuations

    Columns: ``document``, ``source`` (human text, own sample at temperature 1, own greedy text),
    ``segment`` (from 1), ``own_bits`` and ``judge_bits`` (per byte, under the model and under the
    second one).
    """
    from internals.generation.generate import generate

    loaded = model.loaded()
    prompts, human = beginnings(loaded, effort.units(loaded.facts, n, least=16))
    length = len(human[0])
    sampled = generate(loaded.model, prompts, length, sampler=Sampler("T 1"), seed=seed).ids
    greedy = generate(loaded.model, prompts, length).ids
    tables = []
    for source, tails in ((HUMAN, human), (SAMPLED, sampled), (GREEDY, greedy)):
        own = own_bits(loaded, prompts, tails)
        judged = judged_bits(loaded, prompts, tails, judge.loaded())
        tables.append(
            own.rename(columns={"bits": "own_bits"})
            .merge(judged.rename(columns={"bits": "judge_bits"}), on=["document", "segment"])
            .assign(source=source)
        )
    return pd.concat(tables, ignore_index=True)


def beginnings(loaded: LoadedModel, n: int) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts (a start token and the beginning of a story) and what people wrote next, as ids."""
    start = start_ids(loaded)
    room = loaded.facts.context_length - len(start)
    prompt = min(PROMPT, room // 4)
    length = min(CONTINUATION, room - prompt) // SEGMENTS * SEGMENTS
    prompts: list[list[int]] = []
    tails: list[list[int]] = []
    for text in documents(("stories",)):
        ids = list(loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        if len(ids) >= prompt + length and len(prompts) < n:
            prompts.append([*start, *ids[:prompt]])
            tails.append(ids[prompt : prompt + length])
    return prompts, tails


def own_bits(loaded: LoadedModel, prompts: list[list[int]], tails: Any) -> pd.DataFrame:
    """Bits per byte of each segment under the model that has these very tokens.

    Columns: ``document``, ``segment``, ``bits``.
    """
    from internals.measure.scoring import tail_surprisal

    rows = []
    for number, nats in enumerate(tail_surprisal(loaded.model, prompts, tails)):
        ends = _edges(loaded, prompts[number], tails[number])
        sizes = np.diff([len(text.encode()) for text in ends])
        for k, part in enumerate(np.split(nats, SEGMENTS)):
            rows.append((number, k + 1, float(part.sum()) / math.log(2) / max(int(sizes[k]), 1)))
    return pd.DataFrame(rows, columns=["document", "segment", "bits"])


def judged_bits(
    loaded: LoadedModel, prompts: list[list[int]], tails: Any, scorer: LoadedModel
) -> pd.DataFrame:
    """Bits per byte of each segment under ``scorer``, which has its own tokens.

    Segments are equal numbers of tokens of ``loaded``; a token of the scorer belongs to the segment
    in which it begins, and what exceeds the scorer's context is left out. Columns: ``document``,
    ``segment``, ``bits``.
    """
    from internals.measure.scoring import tail_surprisal
    from internals.tokens import pieces

    start = start_ids(scorer)
    heads, rests, owners = [], [], []
    for number, (prompt, tail) in enumerate(zip(prompts, tails, strict=True)):
        texts = _edges(loaded, prompt, tail)
        edges, text = [len(t) for t in texts], texts[-1]
        parts = pieces(scorer.tokenizer, text, split_special=True)
        parts = parts[: scorer.facts.context_length - len(start)]
        first = next((i for i, p in enumerate(parts) if p.start >= edges[0]), len(parts))
        heads.append([*start, *(p.id for p in parts[:first])])
        rests.append([p.id for p in parts[first:]])
        owners.append(
            [
                (number, int(np.searchsorted(edges, p.start, side="right")), _size(text, p))
                for p in parts[first:]
            ]
        )
    rows = []
    for nats, own in zip(tail_surprisal(scorer.model, heads, rests), owners, strict=True):
        rows += [(*place, x / math.log(2)) for place, x in zip(own, nats, strict=True)]
    table = pd.DataFrame(rows, columns=["document", "segment", "bytes", "bits"])
    table["segment"] = table["segment"].clip(upper=SEGMENTS)
    sums = table.groupby(["document", "segment"])[["bits", "bytes"]].sum()
    return (sums["bits"] / sums["bytes"].clip(lower=1)).rename("bits").reset_index()


def _edges(loaded: LoadedModel, prompt: list[int], tail: Any) -> list[str]:
    """The text up to the end of the prompt and of each segment."""
    size = len(tail) // SEGMENTS
    return [_text(loaded, [*prompt, *tail[: k * size]]) for k in range(SEGMENTS + 1)]


def _text(loaded: LoadedModel, ids: list[int]) -> str:
    text: Any = loaded.tokenizer.decode(
        ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return str(text)


def _size(text: str, piece: Any) -> int:
    return len(text[piece.start : piece.end].encode())


def by_segment(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Means over documents: ``source``, ``segment``, ``value``, ``low``, ``high``, ``n``."""
    rows = []
    for (source, segment), part in table.groupby(["source", "segment"], sort=False):
        found = stats.bootstrap_ci(part[column].to_numpy(), unit="documents")
        rows.append((source, segment, found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=["source", "segment", "value", "low", "high", "n"])


def growth(table: pd.DataFrame, source: str, column: str = "judge_bits") -> stats.Estimate | None:
    """Change of the loss from the first to the last segment, minus the same in human text.

    Positive: the text gets worse along its way. Paired by document; None with fewer than two.
    """
    first, last = (
        table[table["segment"] == k].pivot(index="document", columns="source", values=column)
        for k in (1, SEGMENTS)
    )
    change = (last - first).reindex(columns=[source, HUMAN])
    gap = (change[source] - change[HUMAN]).dropna()
    if len(gap) < 2:
        return None
    return stats.bootstrap_ci(gap.to_numpy(), unit="documents")


def against_human(table: pd.DataFrame, source: str, column: str) -> stats.Estimate:
    """Mean loss of a kind of text minus that of human text, paired by document."""
    mean = table.pivot_table(index="document", columns="source", values=column).dropna()
    return stats.paired_difference(mean[source], mean[HUMAN], unit="documents")
