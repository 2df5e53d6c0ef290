"""Equal pieces of held-out text, one window of tokens for each document: units are documents.

Windows of one length need no padding; padding would enter every statistic over a batch.
Axes: ``batch`` (documents), ``seq`` (tokens of a window).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from internals.errors import UserError
from internals.paths import DATA

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel

HELD_OUT = "data/heldout/documents.jsonl"
"""For ``files=`` of measurements that read windows."""
PROSE = ("stories", "expository")
"""Kinds of documents that are long enough for a window."""


def documents(kinds: Sequence[str] = PROSE) -> list[str]:
    """Texts of the shipped held-out documents of these kinds, kinds taken in turn."""
    with (DATA / "heldout" / "documents.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    by_kind = [[row["text"] for row in rows if row["kind"] == kind] for kind in kinds]
    longest = max(map(len, by_kind), default=0)
    return [texts[i] for i in range(longest) for texts in by_kind if i < len(texts)]


def window_length(loaded: LoadedModel, wanted: int) -> int:
    """``wanted`` tokens, or as many as the model's context holds."""
    return min(wanted, loaded.facts.context_length)


def windows(loaded: LoadedModel, n: int | None, seq: int) -> Tensor:
    """``(n, seq)`` ids: the first ``seq`` tokens of the first ``n`` long enough documents.

    ``n`` None takes all of them. Raises `UserError` if there are fewer than two.
    """
    import torch

    found: list[list[int]] = []
    for text in documents():
        ids = loaded.tokenizer(text, verbose=False)["input_ids"]
        if len(ids) >= seq:
            found.append(ids[:seq])
        if len(found) == n:
            break
    if len(found) < 2:
        raise UserError(
            f"{HELD_OUT} has fewer than two documents of {seq} tokens; restore the file."
        )
    return torch.tensor(found, device=loaded.model.device)
