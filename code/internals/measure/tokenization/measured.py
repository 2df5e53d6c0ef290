"""What other chapters still ask for under its former name."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from internals.measure.tokenization.casing import words as words
from internals.measure.windows import documents


def sentences(n: int) -> tuple[list[str], list[int]]:
    """Up to ``n`` sentences of 40 to 160 characters, at most eight from one document, and the
    number of the document of each; documents are stories and expository prose in turn."""
    found: list[tuple[str, int]] = []
    for number, text in enumerate(documents()):
        parts = re.split(r"(?<=[.!?])\s+", text.replace("\n", " "))
        found += [(p, number) for p in parts if 40 <= len(p) <= 160][:8]
    return [text for text, _ in found[:n]], [number for _, number in found[:n]]


def last_token_states(model: Any, tokenizer: Any, texts: list[str]) -> np.ndarray:
    """``(text, layer + 1, d_model)`` hidden states at the last token; layer 0 is the embedding."""
    import torch

    rows = [tokenizer(text)["input_ids"] for text in texts]
    found: list[np.ndarray] = [np.empty(0)] * len(rows)
    for length in sorted(set(map(len, rows))):
        group = [i for i, row in enumerate(rows) if len(row) == length]
        ids = torch.tensor([rows[i] for i in group], device=model.device)
        with torch.inference_mode():
            states = model(ids, output_hidden_states=True).hidden_states
        states = [s for s in states if s.shape[-1] == states[0].shape[-1]]
        last = torch.stack([s[:, -1].float() for s in states], dim=1).cpu().numpy()
        for i, state in zip(group, last, strict=True):
            found[i] = state
    return np.stack(found)
