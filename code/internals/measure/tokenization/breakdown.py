"""Text into tokens, shown whole: id, spelling, bytes and place of every token.

Answers "what does the model get to see of this text?"; says nothing about the model itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.models import ModelHandle
from internals.tokens import Piece, hex_bytes, pieces

SAMPLES = inputs.PROMPTS / "samples.yaml"


@measurement
def sample_tokens(
    model: ModelHandle, only: tuple[str, ...] = (), samples: Path = SAMPLES
) -> pd.DataFrame:
    """Tokens of the samples (all, or those with the ids ``only``)

    Columns: ``sample`` (id), ``title``, ``id``, ``shown`` (readable), ``bytes`` (hex),
    ``starts_pretoken`` (no merge joins it to the token before), ``whole`` (its bytes are whole
    characters).
    """
    tokenizer = model.loaded().tokenizer
    rows = []
    chosen = inputs.samples(samples)
    for sample in [s for s in chosen if s.id in only] or chosen:
        before: int | None = -1
        for piece in pieces(tokenizer, sample.text):
            rows.append(
                {
                    "sample": sample.id,
                    "title": sample.title,
                    "id": piece.id,
                    "shown": piece.shown,
                    "bytes": hex_bytes(piece.raw),
                    "starts_pretoken": piece.pretoken != before,
                    "whole": is_whole(piece.raw),
                }
            )
            before = piece.pretoken
    return pd.DataFrame(rows)


@measurement
def sample_summary(model: ModelHandle, samples: Path = SAMPLES) -> pd.DataFrame:
    """Lengths of the samples

    Columns: ``title``, ``characters``, ``bytes``, ``tokens``, ``bytes_per_token``, ``partial``
    (tokens whose bytes are no whole character), ``returns`` (decode(encode(text)) == text).
    """
    tokenizer = model.loaded().tokenizer
    rows = []
    for sample in inputs.samples(samples):
        found = pieces(tokenizer, sample.text)
        n_bytes = len(sample.text.encode())
        rows.append(
            {
                "title": sample.title,
                "characters": len(sample.text),
                "bytes": n_bytes,
                "tokens": len(found),
                "bytes_per_token": n_bytes / max(len(found), 1),
                "partial": sum(not is_whole(piece.raw) for piece in found),
                "returns": decode(tokenizer, [p.id for p in found]) == sample.text,
            }
        )
    return pd.DataFrame(rows)


def barred(found: list[Piece]) -> str:
    """Pieces with bars between them: an unknown token by its name, a bar of text by its byte."""
    return " | ".join((p.shown or p.token).replace("|", "⟨7C⟩") for p in found)


def is_whole(raw: bytes) -> bool:
    """Whether bytes are complete UTF-8 characters."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def has_unknown(tokenizer: Any) -> bool:
    """Whether the tokenizer has an UNK token that is not just another name of its end token."""
    unknown = tokenizer.unk_token_id
    return unknown is not None and unknown not in (tokenizer.eos_token_id, tokenizer.bos_token_id)


def decode(tokenizer: Any, ids: list[int]) -> str:
    """The text of ids, with nothing tidied up."""
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
