"""Next-token predictions at many held-out positions: one forward pass serves the whole chapter.

The unit is the document. Full distributions exist for one batch at a time; what is kept of each
position is a row of numbers. Axes: ``position``, ``vocab``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.capability import start_ids
from internals.measure.probabilities.maps import MAPS
from internals.measure.windows import HELD_OUT, documents
from internals.stats.calibration import calibration_error

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel, ModelHandle

POSITIONS = 10_000
LONGEST = 160
"""Tokens of a document that are scored."""
TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0)
"""Grid from which temperature scaling takes the best."""
MAP_EVERY = 2
"""Every which position is also put through the other normalisations."""
_ROWS = 256
"""Positions whose distributions are held at once."""


@measurement(files=[HELD_OUT])
def positions(model: ModelHandle, n: int = POSITIONS) -> pd.DataFrame:
    """Predictions at held-out positions

    Columns: ``document``, ``log_prob`` (natural, of the true token), ``rank`` (tokens more likely
    than it), ``entropy`` (nats), ``top_prob``, ``correct`` (the first choice was right),
    ``nll@T`` and ``top@T`` (loss in nats and top probability with all logits divided by T), and at
    every second position ``true:NAME`` and ``top:NAME``: probability of the true token and the
    largest probability under each other normalisation (NaN where it is undefined).
    """
    loaded = model.loaded()
    frames: list[pd.DataFrame] = []
    n = round(n * effort.factor())
    for document, logits, targets in _streamed(loaded, n):
        table = _of_softmax(logits, targets)
        table.insert(0, "document", document)
        chosen = np.arange(len(table)) % MAP_EVERY == 0
        for column, values in _of_maps(logits[chosen], targets[chosen]).items():
            table.loc[chosen, column] = values
        frames.append(table)
    return pd.concat(frames, ignore_index=True).head(n)


def _streamed(loaded: LoadedModel, n: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Document, logits ``(position, vocab)`` float32 and true ids ``(position,)``, until ``n``."""
    import torch

    start = start_ids(loaded)
    longest = min(LONGEST, loaded.facts.context_length)
    seen = 0
    for number, text in enumerate(documents()):
        own = loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        ids = [*start, *own][:longest]
        if len(ids) < 2:
            continue
        row = torch.tensor([ids], device=loaded.model.device)
        with torch.inference_mode():
            logits = loaded.model(row, use_cache=False).logits[0, :-1]
        for a, b in zip(logits.split(_ROWS), row[0, 1:].split(_ROWS), strict=True):
            yield number, a.float(), b
            seen += len(b)
        if seen >= n:
            return


def _of_softmax(logits: Tensor, targets: Tensor) -> pd.DataFrame:
    lp = logits.log_softmax(-1)
    taken = lp.gather(-1, targets[:, None])
    table: dict[str, Any] = {
        "log_prob": taken.squeeze(-1),
        "rank": (lp > taken).sum(-1),
        "entropy": -(lp.exp() * lp).sum(-1),
        "top_prob": lp.max(-1).values.exp(),
        "correct": lp.argmax(-1) == targets,
    }
    true, top = logits.gather(-1, targets[:, None]).squeeze(-1), logits.max(-1).values
    for t in TEMPERATURES:
        log_z = (logits / t).logsumexp(-1)
        table[f"nll@{t}"] = log_z - true / t
        table[f"top@{t}"] = (top / t - log_z).exp()
    return pd.DataFrame({name: column.cpu().numpy() for name, column in table.items()})


def _of_maps(logits: Tensor, targets: Tensor) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, normalise in MAPS.items():
        p = normalise(logits)
        columns[f"true:{name}"] = p.gather(-1, targets[:, None]).squeeze(-1).cpu().numpy()
        columns[f"top:{name}"] = p.max(-1).values.cpu().numpy()
    return columns


def rank_buckets(table: pd.DataFrame, vocab: int) -> pd.DataFrame:
    """Share of true tokens by rank (as in GLTR, Gehrmann et al. 2019): ``bucket``, ``n``,
    ``share``, ``mean_bits`` (surprisal). No bucket begins or ends beyond the ``vocab`` logits."""
    edges = [e for e in (0, 1, 10, 100, 1000) if e < vocab]
    names = ["first"]
    for low, high in zip(edges[1:], [*edges[2:], vocab], strict=True):
        names.append(f"{low + 1:,} to {high:,}" if low < 1000 else "beyond 1,000")
    edges.append(vocab)
    bucket = pd.cut(table["rank"], edges, right=False, labels=names)
    grouped = table.assign(bits=-table["log_prob"] / np.log(2)).groupby(bucket, observed=False)
    found = pd.DataFrame({"n": grouped.size(), "mean_bits": grouped["bits"].mean()})
    found.insert(1, "share", found["n"] / len(table))
    return found.rename_axis("bucket").reset_index()


FEWEST_KEPT = 30
"""True tokens with a probability above zero from which their mean surprisal is told."""


def map_summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row a normalisation: ``map``, ``n`` positions, ``undefined`` (share of positions without
    a distribution), ``lost`` (share whose true token gets nothing: exactly 0 or undefined) with
    ``lost_low``, ``lost_high``, ``bits`` (mean surprisal of the others; NaN for fewer than
    `FEWEST_KEPT`), ``top_mass``, ``gap`` (top
    mass minus accuracy: confidence too high is positive), ``error`` (expected calibration error of
    the first choice). Intervals resample documents."""
    rows = []
    part = table[table["true:softmax"].notna()]
    for name in MAPS:
        true, top = part[f"true:{name}"], part[f"top:{name}"].fillna(0)
        kept = true[true > 0]
        share = lost(table, name)
        rows.append(
            {
                "map": name,
                "n": len(part),
                "undefined": float(true.isna().mean()),
                "lost": share.value,
                "lost_low": share.low,
                "lost_high": share.high,
                "bits": float(-np.log2(kept).mean()) if len(kept) >= FEWEST_KEPT else np.nan,
                "top_mass": float(top.mean()),
                "gap": float(top.mean() - part["correct"].mean()),
                "error": calibration_error(top, part["correct"]),
            }
        )
    return pd.DataFrame(rows)


def lost(table: pd.DataFrame, name: str) -> stats.Estimate:
    """Share of true tokens that a normalisation gives nothing, over documents."""
    part = table[table["true:softmax"].notna()]
    true = part[f"true:{name}"]
    values = (true.isna() | (true <= 0)).to_numpy(float)
    return stats.bootstrap_ci(values, clusters=part["document"].to_numpy(), unit="documents")


def extra_bits(table: pd.DataFrame, name: str) -> stats.Estimate:
    """Surprisal under a normalisation that gives everything something, less softmax's, in bits."""
    part = table[table["true:softmax"].notna()]
    extra = np.log2(part["true:softmax"]) - np.log2(part[f"true:{name}"])
    return stats.bootstrap_ci(
        extra.to_numpy(), clusters=part["document"].to_numpy(), unit="documents"
    )


def among_first(table: pd.DataFrame, k: int) -> stats.Estimate:
    """Share of true tokens among the first ``k`` choices, over documents."""
    hits = (table["rank"] < k).to_numpy(float)
    return stats.bootstrap_ci(hits, clusters=table["document"].to_numpy(), unit="documents")


def at_the_end(temperature: float) -> str:
    """Whether a temperature is the ``smallest`` or the ``largest`` of the grid; else empty."""
    ends = {min(TEMPERATURES): "smallest", max(TEMPERATURES): "largest"}
    return ends.get(temperature, "")


def best_temperature(table: pd.DataFrame) -> float:
    """Temperature of the grid with the smallest loss (temperature scaling, Guo et al. 2017)."""
    return min(TEMPERATURES, key=lambda t: float(table[f"nll@{t}"].mean()))
