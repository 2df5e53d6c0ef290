"""Text into tokens, shown whole: id and spelling of every token.

Answers "what does the model get to see of this text?"; says nothing about the model itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.models import ModelHandle
from internals.tokens import pieces

SAMPLES = inputs.PROMPTS / "samples.yaml"


@measurement
def sample_tokens(
    model: ModelHandle, only: tuple[str, ...] = (), samples: Path = SAMPLES
) -> pd.DataFrame:
    """Tokens of the samples (all, or those with the ids ``only``)

    Columns: ``title``, ``id``, ``shown`` (readable), ``starts_pretoken`` (no merge joins it to the
    token before), ``whole`` (its bytes are whole characters).
    """
    tokenizer = model.loaded().tokenizer
    chosen = inputs.samples(samples)
    rows = []
    for sample in [s for s in chosen if s.id in only] or chosen:
        before: int | None = -1
        for piece in pieces(tokenizer, sample.text):
            whole = piece.raw.decode(errors="ignore").encode() == piece.raw
            rows.append((sample.title, piece.id, piece.shown, piece.pretoken != before, whole))
            before = piece.pretoken
    return pd.DataFrame(rows, columns=["title", "id", "shown", "starts_pretoken", "whole"])


@measurement
def sample_summary(model: ModelHandle, samples: Path = SAMPLES) -> pd.DataFrame:
    """Lengths of the samples

    Columns: ``title``, ``bytes_per_token``, ``returns`` (decode(encode(text)) == text).
    """
    tokenizer = model.loaded().tokenizer
    rows = []
    for sample in inputs.samples(samples):
        ids = [piece.id for piece in pieces(tokenizer, sample.text)]
        size = len(sample.text.encode()) / max(len(ids), 1)
        rows.append((sample.title, size, decode(tokenizer, ids) == sample.text))
    return pd.DataFrame(rows, columns=["title", "bytes_per_token", "returns"])


def has_unknown(tokenizer: Any) -> bool:
    """Whether the tokenizer has an UNK token that is not just another name of its end token."""
    unknown = tokenizer.unk_token_id
    return unknown is not None and unknown not in (tokenizer.eos_token_id, tokenizer.bos_token_id)


def decode(tokenizer: Any, ids: list[int]) -> str:
    """The text of ids, with nothing tidied up."""
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
