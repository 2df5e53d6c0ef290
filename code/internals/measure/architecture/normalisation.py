"""Batch statistics in place of the model's own norm: what leaks, what it costs, what explodes.

The exchange is made in the trained model, so its losses are those of a mismatch; the dependence of
a prediction on other tokens is arithmetic. Axes: ``batch``, ``seq``, ``feature``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.scoring import logits_at
from internals.measure.windows import HELD_OUT, window_length, windows
from internals.paths import DATA

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel, ModelHandle

SEQ = 32
NORMS = {"own": "the model's own", "batch": "batch statistics"}
MATE, LATER, BOTH = "the other text in the batch", "later tokens", "both"


def moments(network: Any, ids: Tensor) -> dict[str, Tensor]:
    """``(4, feature)`` for every norm of the stream, by its name in `families.all_norms`: mean and
    spread of what enters, mean and spread of what leaves."""
    import torch

    found: dict[str, Tensor] = {}

    def note(name: str, x: Tensor, y: Tensor) -> None:
        x, y = _rows(x).float(), _rows(y).float()
        found[name] = torch.stack([x.mean(0), x.std(0), y.mean(0), y.std(0)])

    with watched(network, note):
        hidden(network, ids)
    return found


@contextmanager
def exchanged(network: Any, kind: str, known: dict[str, Tensor]) -> Iterator[None]:
    """Within this scope the norms use other statistics (``own``: none) of each feature: those of
    the ``batch``, or ``frozen`` ones from other text.

    Batch normalisation (Ioffe, Szegedy 2015) over batch × positions. Gain and shift are set so that
    every feature leaves with the mean and spread that it has in the intact model: what differs is
    whose statistics are used, not the scale of the features.
    """

    def swap(name: str, x: Tensor, y: Tensor) -> Tensor:
        mean, spread, mean_out, spread_out = known[name]
        variance = spread**2
        if kind == "batch":
            mean, variance = _rows(x).float().mean(0), _rows(x).float().var(0, unbiased=False)
        unit = (x.float() - mean) / (variance + 1e-5).sqrt()
        return (unit * spread_out + mean_out).to(y.dtype)

    with watched(network, (lambda *_: None) if kind == "own" else swap):
        yield


@contextmanager
def watched(network: Any, act: Any) -> Iterator[None]:
    """Within this scope ``act(name, input, output)`` meets, and may replace, what a norm gives."""
    from internals.models import families

    def hook(name: str) -> Any:
        return lambda _module, args, out: act(name, args[0], out)

    norms = families.all_norms(network)
    handles = [norm.register_forward_hook(hook(name)) for name, norm in norms.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _rows(x: Tensor) -> Tensor:
    """``(batch · seq, feature)``; OPT flattens before some norms, others do not."""
    return x.detach().reshape(-1, x.shape[-1])


def hidden(network: Any, ids: Tensor) -> Any:
    """The body's result, with all hidden states; the head, which is large, is spared."""
    import torch

    from internals.models import families

    with torch.inference_mode():
        return families.body(network)(ids, use_cache=False, output_hidden_states=True)


@measurement(files=[HELD_OUT])
def leak(model: ModelHandle, documents: int = 48) -> pd.DataFrame:
    """What a prediction depends on, under the model's own norm and under batch statistics

    Every document is read in a batch of two. What a prediction must not depend on is exchanged: the
    other text of the batch, the document's own second half (compared in its first half), or, under
    the own norm, both at once.

    Columns: ``norm``, ``exchanged``, ``largest_change`` (of a logit), ``kl_bits`` (mean over
    positions), ``other_first_choice`` (share of positions); a row for each document.
    """
    import torch

    loaded = model.loaded()
    network = loaded.model
    subjects, others = _subjects(loaded, effort.units(loaded.facts, documents, least=16))
    known = moments(network, others)
    places = list(range(subjects.shape[1]))
    half = len(places) // 2
    rows: list[dict[str, Any]] = []
    for kind, exchanges in (("own", [BOTH]), ("batch", [MATE, LATER])):
        with exchanged(network, kind, known):
            for subject, mate, other in zip(subjects, others, others.roll(-1, 0), strict=True):
                later = torch.cat([subject[:half], mate[half:]])
                pair = torch.stack([subject, mate])
                before = logits_at(network, pair, [0] * len(places), places)
                for what in exchanges:
                    text, end = (subject, None) if what == MATE else (later, half)
                    pair = torch.stack([text, mate if what == LATER else other])
                    after = logits_at(network, pair, [0] * len(places), places)
                    change = _change(before[:end], after[:end])
                    rows.append({"norm": NORMS[kind], "exchanged": what, **change})
    table = pd.DataFrame(rows)
    _refuse_overflow(table["kl_bits"], "the model's logits")
    return table


def leak_means(table: pd.DataFrame) -> pd.DataFrame:
    """`leak` over the documents: the largest change of a logit, and means of the other columns."""
    how = {"largest_change": "max", "kl_bits": "mean", "other_first_choice": "mean"}
    return table.groupby(["norm", "exchanged"], sort=False).agg(how).reset_index()


def _refuse_overflow(values: pd.Series, what: str) -> None:
    if not np.isfinite(values).all():
        raise NotApplicable(f"{what} are not finite numbers")


def _subjects(loaded: LoadedModel, documents: int) -> tuple[Tensor, Tensor]:
    """``(document, seq)`` of the documents that are looked at, and as many others."""
    ids = windows(loaded, 2 * documents, window_length(loaded, SEQ))
    return ids[: len(ids) // 2], ids[len(ids) // 2 : len(ids) // 2 * 2]


def _change(before: Tensor, after: Tensor) -> dict[str, float]:
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    return {
        "largest_change": (before - after).abs().max().item(),
        "kl_bits": (p.exp() * (p - q)).sum(-1).clamp_min(0).mean().item() / math.log(2),
        "other_first_choice": (before.argmax(-1) != after.argmax(-1)).float().mean().item(),
    }


@measurement(files=[HELD_OUT])
def sizes(model: ModelHandle, documents: int = 20) -> pd.DataFrame:
    """Largest hidden values after each block, under the own norm and under frozen statistics

    Columns: ``kind`` (own, frozen), ``document``, ``block`` (0: what enters the first), ``series``
    (largest of the first token, largest of later tokens, median of later tokens), ``size``
    (absolute value; infinite after an overflow).
    """
    loaded = model.loaded()
    subjects, others = _subjects(loaded, effort.units(loaded.facts, documents, least=8))
    known = moments(loaded.model, others)
    tables = []
    for kind in ("own", "frozen"):
        with exchanged(loaded.model, kind, known):
            states = hidden(loaded.model, subjects).hidden_states
        # The last state of most models has passed the final norm: it is no part of the stream.
        for block, state in enumerate(states[: loaded.facts.n_layers]):
            x = state.float().abs().cpu().numpy()
            series = {
                "first token, largest": x[:, 0].max(1),
                "later tokens, largest": x[:, 1:].max((1, 2)),
                "later tokens, median": np.median(x[:, 1:], (1, 2)),
            }
            size = pd.DataFrame(series).fillna(np.inf).rename_axis("document").reset_index()
            tables.append(size.melt("document", var_name="series", value_name="size"))
            tables[-1][["kind", "block"]] = kind, block
    table = pd.concat(tables, ignore_index=True)
    _refuse_overflow(table.loc[table["kind"] == "own", "size"], "the model's hidden values")
    return table


def twins() -> pd.DataFrame:
    """Held-out loss at the end of the paired training runs that ship with the project (by
    `fable.twins`), in bits per token.

    Columns: ``learning_rate``, ``seed``, ``layer_norm``, ``rms_norm``, ``batch_norm_of_batch``,
    ``batch_norm_running`` (with running averages). Only batch normalisation has two modes.
    """
    curves = pd.read_csv(DATA / "twins" / "norms.csv")
    last = curves[curves["step"] == curves["step"].max()]
    keys, runs = ["learning_rate", "seed"], ["variant", "mode"]
    wide = last.pivot(index=keys, columns=runs, values="bits_per_token")
    names = {
        ("LayerNorm", "evaluation"): "layer_norm",
        ("RMSNorm", "evaluation"): "rms_norm",
        ("batch normalisation", "training"): "batch_norm_of_batch",
        ("batch normalisation", "evaluation"): "batch_norm_running",
    }
    return wide[list(names)].set_axis(list(names.values()), axis=1).reset_index()
