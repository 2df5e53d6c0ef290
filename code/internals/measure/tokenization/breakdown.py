"""Text into tokens, shown whole: id, spelling, bytes and place of every token.

Answers "what does the model get to see of this text?"; says nothing about the model itself.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from internals.inputs import Sample
from internals.tokens import Piece, hex_bytes, pieces, visible


def breakdown(tokenizer: Any, samples: list[Sample]) -> pd.DataFrame:
    """One row for each token of each sample.

    Columns: ``sample``, ``index``, ``id``, ``token`` (the vocabulary's spelling), ``shown``
    (readable), ``decoded`` (what the tokenizer itself decodes for this id alone), ``bytes``
    (hex), ``n_bytes``, ``pretoken`` (chunk number), ``starts_pretoken``, ``whole`` (its bytes
    are whole characters), ``special``.
    """
    rows = []
    for sample in samples:
        before = None
        for piece in pieces(tokenizer, sample.text):
            rows.append(
                {
                    "sample": sample.id,
                    "index": piece.index,
                    "id": piece.id,
                    "token": piece.token,
                    "shown": piece.shown,
                    "decoded": tokenizer.decode([piece.id]),
                    "bytes": hex_bytes(piece.raw),
                    "n_bytes": len(piece.raw),
                    "pretoken": -1 if piece.pretoken is None else piece.pretoken,
                    "starts_pretoken": piece.pretoken != before,
                    "whole": is_whole(piece.raw),
                    "special": piece.special,
                }
            )
            before = piece.pretoken
    return pd.DataFrame(rows)


def listing(tokenizer: Any, samples: list[Sample]) -> pd.DataFrame:
    """Four rows a sample: input, ids, pieces, and what the ids together decode to.

    Columns: ``sample`` (title, in its first row only), ``stage``, ``text`` with blanks and control
    characters made visible.
    """
    rows = []
    for sample in samples:
        found = pieces(tokenizer, sample.text)
        ids = [piece.id for piece in found]
        decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        rows += [
            (sample.title, "input", visible(sample.text)),
            ("", "ids", " ".join(map(str, ids))),
            ("", "pieces", barred(found)),
            ("", "decoded", visible(decoded)),
        ]
    return pd.DataFrame(rows, columns=["sample", "stage", "text"])


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


def sample_summary(tokenizer: Any, samples: list[Sample]) -> pd.DataFrame:
    """One row for each sample: lengths, rates, and whether the text comes back from its ids.

    Columns: ``sample``, ``title``, ``characters``, ``bytes``, ``words`` (runs between blanks),
    ``tokens``, ``bytes_per_token``, ``tokens_per_word``, ``partial`` (tokens whose bytes are no
    whole character), ``unknown`` (UNK tokens), ``returns`` (decode(encode(text)) == text).
    """
    table = breakdown(tokenizer, samples)
    rows = []
    for sample in samples:
        part = table[table["sample"] == sample.id]
        words = len(re.findall(r"\S+", sample.text))
        n_bytes = len(sample.text.encode())
        ids = part["id"].tolist()
        rows.append(
            {
                "sample": sample.id,
                "title": sample.title,
                "characters": len(sample.text),
                "bytes": n_bytes,
                "words": words,
                "tokens": len(part),
                "bytes_per_token": n_bytes / max(len(part), 1),
                "tokens_per_word": len(part) / max(words, 1),
                "partial": int((~part["whole"]).sum()),
                "unknown": ids.count(tokenizer.unk_token_id) if has_unknown(tokenizer) else 0,
                "returns": decode(tokenizer, ids) == sample.text,
            }
        )
    return pd.DataFrame(rows)


def has_unknown(tokenizer: Any) -> bool:
    """Whether the tokenizer has an UNK token that is not just another name of its end token."""
    unknown = tokenizer.unk_token_id
    return unknown is not None and unknown not in (tokenizer.eos_token_id, tokenizer.bos_token_id)


def decode(tokenizer: Any, ids: list[int]) -> str:
    """The text of ids, with nothing tidied up."""
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def typed_special_tokens(tokenizer: Any) -> pd.DataFrame:
    """The text of each special token typed into a prompt: as the tokenizer takes it by default,
    and as plain text.

    Columns: ``token``, ``id``, ``default_ids``, ``becomes_special`` (by default),
    ``plain_pieces`` (readable pieces when it is split), ``n_plain``.
    """
    rows = []
    for token in dict.fromkeys(tokenizer.all_special_tokens):
        default = pieces(tokenizer, token)
        plain = pieces(tokenizer, token, split_special=True)
        rows.append(
            {
                "token": token,
                "id": tokenizer.convert_tokens_to_ids(token),
                "default_ids": tuple(p.id for p in default),
                "becomes_special": any(p.special for p in default),
                "plain_pieces": barred(plain),
                "n_plain": len(plain),
            }
        )
    return pd.DataFrame(rows)
