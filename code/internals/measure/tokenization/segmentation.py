"""Segmentation as a cause: the same bytes under another split, and what the model makes of it.

The text stays the same, only the ids change, so any change of the loss is the split's doing.
The unit is the sentence; losses are summed over its tokens and divided by its bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from internals.tokens import Piece, pieces, token_bytes


def bytes_to_id(tokenizer: Any) -> dict[bytes, int]:
    """The lowest id for each byte string of the vocabulary, special tokens left out."""
    table: dict[bytes, int] = {}
    for token_id in range(len(tokenizer)):
        raw = token_bytes(tokenizer, token_id)
        if raw:
            table.setdefault(raw, token_id)
    return table


def forced_split(
    found: list[Piece], vocabulary: dict[bytes, int], n_splits: int, rng: np.random.Generator
) -> list[int] | None:
    """Ids of the same bytes with ``n_splits`` tokens cut in two at random.

    Returns None if fewer than ``n_splits`` tokens can be cut into two vocabulary entries.
    """
    choices = {}
    for piece in found:
        cuts = [
            c
            for c in range(1, len(piece.raw))
            if piece.raw[:c] in vocabulary and piece.raw[c:] in vocabulary
        ]
        if cuts and not piece.special:
            choices[piece.index] = cuts
    if len(choices) < n_splits:
        return None
    chosen = set(rng.permutation(sorted(choices))[:n_splits].tolist())
    ids: list[int] = []
    for piece in found:
        if piece.index in chosen:
            cut = rng.choice(choices[piece.index])
            ids += [vocabulary[piece.raw[:cut]], vocabulary[piece.raw[cut:]]]
        else:
            ids.append(piece.id)
    return ids


def split_sentences(
    tokenizer: Any,
    sentences: list[str],
    splits: tuple[int, ...] = (1, 2, 4),
    seed: int = 0,
    longest: int | None = None,
) -> pd.DataFrame:
    """Every sentence in its canonical split and with forced splits, same bytes.

    Columns: ``sentence``, ``splits`` (0 is canonical), ``ids`` (tuple), ``bytes``. Sentences that
    cannot be split often enough, or get longer than ``longest`` tokens, are left out whole, so that
    all rows are paired.
    """
    rng = np.random.default_rng(seed)
    vocabulary = bytes_to_id(tokenizer)
    rows = []
    for number, text in enumerate(sentences):
        found = pieces(tokenizer, text, split_special=True)
        variants = {0: [p.id for p in found]}
        for n in splits:
            ids = forced_split(found, vocabulary, n, rng)
            if ids is not None:
                variants[n] = ids
        fits = longest is None or max(map(len, variants.values())) <= longest
        if fits and len(variants) == len(splits) + 1:
            n_bytes = len(text.encode())
            rows += [
                {"sentence": number, "splits": n, "ids": tuple(ids), "bytes": n_bytes}
                for n, ids in variants.items()
            ]
    return pd.DataFrame(rows)


def sequence_bits(
    model: Any, sequences: list[tuple[int, ...]], start_id: int | None, batch_size: int = 32
) -> np.ndarray:
    """Total surprisal in bits of each id sequence.

    With a start token every token is predicted; without one (``start_id`` None) the first token
    is given, in every variant alike.
    """
    import torch

    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    bits = np.zeros(len(sequences))
    for first in range(0, len(order), batch_size):
        part = order[first : first + batch_size]
        rows = [([] if start_id is None else [start_id]) + list(sequences[i]) for i in part]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows]).to(model.device)
        # Padding stands on the right, where a causal model cannot look back at it.
        with torch.inference_mode():
            log_probs = model(input_ids=ids).logits[:, :-1].float().log_softmax(-1)
        taken = log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1)
        for row, i in enumerate(part):
            bits[i] = -taken[row, : len(rows[row]) - 1].double().sum().item() / np.log(2)
    return bits
