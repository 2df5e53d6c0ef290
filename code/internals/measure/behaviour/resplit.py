"""Ids for a text that is put together by hand: another split of the same bytes, a continuation
with or without its blank, and what a model expects after it.

Nothing here edits text; the bytes that a row of ids stands for are always the ones asked for.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from internals.measure.capability import start_ids
from internals.measure.tokenization.measured import sentences
from internals.tokens import pieces

if TYPE_CHECKING:
    from internals.models import LoadedModel

_MARK = "\n"
"""Put before a continuation and taken off again, where a tokenizer adds a blank at the start."""


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids without added special tokens; text that spells a special token stays text."""
    options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    return list(tokenizer(text, **options)["input_ids"])


def headed(loaded: LoadedModel, text: str) -> list[int]:
    """Ids of the beginning of a document."""
    return [*start_ids(loaded), *plain_ids(loaded.tokenizer, text)]


def continuation(tokenizer: Any, text: str) -> list[int] | None:
    """Ids of a text that goes on from another one, with a blank before it if it has one.

    Some tokenizers put a blank before whatever they encode; for them a blank of the text is left
    to the tokenizer, and for a text without one the added blank is taken off. None if the ids
    cannot be told.
    """
    ids = _continuation(tokenizer, text)
    return None if ids is None else list(ids)


@functools.lru_cache(maxsize=50_000)
def _continuation(tokenizer: Any, text: str) -> tuple[int, ...] | None:
    found = pieces(tokenizer, text, split_special=True)
    if b"".join(p.raw for p in found) == text.encode():  # no blank was added
        return tuple(p.id for p in found)
    if text.startswith(" "):
        return tuple(plain_ids(tokenizer, text[1:]))
    alone, both = plain_ids(tokenizer, _MARK), plain_ids(tokenizer, _MARK + text)
    return tuple(both[len(alone) :]) if both[: len(alone)] == alone else None


def as_letters(vocabulary: dict[bytes, int], text: str) -> list[int] | None:
    """The same bytes in single characters; a blank goes with the character after it if it can.

    ``vocabulary`` is that of `internals.measure.tokenization.segmentation.bytes_to_id`. Returns
    None if the vocabulary lacks a character.
    """
    units = list(text)
    if text.startswith(" ") and text[:2].encode() in vocabulary:
        units = [text[:2], *text[2:]]
    ids = [vocabulary.get(unit.encode()) for unit in units]
    return None if None in ids else [i for i in ids if i is not None]


def one_sentence_each(n: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """Number and sentences of held-out documents; a caller that takes one sentence of each has
    independent units."""
    texts, owners = sentences(1_000_000)
    for number, group in itertools.islice(
        itertools.groupby(zip(owners, texts, strict=True), key=lambda pair: pair[0]), n
    ):
        yield number, [text for _, text in group]


def next_log_probs(model: Any, sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """``(n, vocab)`` natural log-probabilities of what comes after each sequence, float32."""
    import torch

    from internals.measure.scoring import batches, padded

    rows: dict[int, np.ndarray] = {}
    for group in batches([len(s) for s in sequences], 2048):
        ids = padded([sequences[i] for i in group], model.device)
        last = [len(sequences[i]) - 1 for i in group]
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False).logits
            lp = logits[range(len(group)), last].float().log_softmax(-1).cpu().numpy()
        rows |= dict(zip(group, lp, strict=True))
    return np.stack([rows[i] for i in range(len(sequences))])


def kl_bits(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Divergence of ``q`` from ``p`` in bits, row by row; both ``(n, vocab)`` log-probabilities."""
    wide = p.astype(float)
    return np.asarray((np.exp(wide) * (wide - q)).sum(-1) / np.log(2))
