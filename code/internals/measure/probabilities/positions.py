"""Next-token predictions at many held-out positions: one forward pass serves the whole chapter.

The unit is the document. Full distributions exist for one batch at a time; what is kept of each
position is a row of numbers. Axes: ``batch``, ``position``, ``vocab``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.probabilities.maps import MAPS
from internals.measure.windows import HELD_OUT, documents

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel, ModelHandle

POSITIONS = 5_000
EACH = 60
"""Tokens of a document that are scored: many documents, since they are the unit."""
MAP_EVERY = 6
"""Every which position is also put through the other normalisations."""
_BATCH = 8
"""Documents whose distributions are held at once."""


@measurement(files=[HELD_OUT])
def positions(model: ModelHandle, n: int = POSITIONS) -> pd.DataFrame:
    """Predictions at held-out positions

    Columns: ``document``, ``log_prob`` (natural, of the true token), ``rank`` (tokens more likely
    than it), ``top_prob``, ``correct`` (the first choice was right), ``opens`` (the true token
    begins with a blank), and at every sixth position ``true:RULE``: probability of the true token
    under each normalisation (NaN where it is undefined).
    """
    from internals.tokens import token_bytes

    loaded = model.loaded()
    frames: list[pd.DataFrame] = []
    for document, logits, targets in _streamed(loaded):
        if sum(map(len, frames)) >= n * effort.factor():
            break
        taken, best = logits.gather(-1, targets[:, None]), logits.max(-1)
        total = logits.logsumexp(-1)
        columns = {
            "log_prob": taken.squeeze(-1) - total,
            "rank": (logits > taken).sum(-1),
            "top_prob": (best.values - total).exp(),
            "correct": best.indices == targets,
        }
        table = pd.DataFrame({name: column.cpu().numpy() for name, column in columns.items()})
        table.insert(0, "document", document)
        raw = [token_bytes(loaded.tokenizer, i) for i in targets.tolist()]
        table["opens"] = [r[:1].isspace() for r in raw]
        at = np.arange(MAP_EVERY // 2, len(table), MAP_EVERY)  # not the opening of each
        for name, normalise in MAPS.items():
            true = normalise(logits[at]).gather(-1, targets[at][:, None]).squeeze(-1)
            table.loc[at, f"true:{name}"] = true.cpu().numpy()
        frames.append(table)
    return pd.concat(frames, ignore_index=True)


def _streamed(loaded: LoadedModel) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Document, logits ``(position, vocab)`` float32 and true ids ``(position,)``."""
    import torch

    from internals.measure.scoring import padded
    from internals.tokens import start_ids

    start = start_ids(loaded.tokenizer)
    room = min(EACH + 1, loaded.facts.context_length)
    texts = documents()
    for first in range(0, len(texts), _BATCH):
        own = loaded.tokenizer(
            texts[first : first + _BATCH], add_special_tokens=False, verbose=False
        )
        rows = [[*start, *ids][:room] for ids in own["input_ids"]]
        ids = padded(rows, loaded.model.device)
        with torch.inference_mode():
            logits = loaded.model(input_ids=ids[:, :-1], use_cache=False).logits.float()
        for number, row in enumerate(rows):
            size = len(row) - 1
            if size > 0:
                yield first + number, logits[number, :size], ids[number, 1 : size + 1]


def by_map(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each normalisation: ``map``, ``lost`` (share of true tokens that get nothing:
    exactly 0 or undefined), ``bits`` (mean surprisal; infinite if any token is lost)."""
    rows = []
    for name in MAPS:
        true = table[f"true:{name}"][table["true:softmax"].notna()]
        share = lost(table, name).value
        bits = float(-np.log2(true).mean()) if share == 0 else np.inf
        rows.append((name, share, bits))
    return pd.DataFrame(rows, columns=["map", "lost", "bits"])


def lost(table: pd.DataFrame, name: str) -> stats.Estimate:
    """Share of true tokens that a normalisation gives nothing, over documents."""
    part = table[table["true:softmax"].notna()]
    true = part[f"true:{name}"]
    values = (true.isna() | (true <= 0)).to_numpy(float)
    return stats.bootstrap_ci(values, clusters=part["document"].to_numpy(), unit="documents")


def over_documents(table: pd.DataFrame, values: pd.Series) -> stats.Estimate:
    """Mean of one number a position, over documents."""
    documents = table["document"].to_numpy()
    return stats.bootstrap_ci(values.to_numpy(float), clusters=documents, unit="documents")
