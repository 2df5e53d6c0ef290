"""What changes when batch statistics stand in the place of a model's own norms.

Every norm of the residual stream is exchanged, nothing else; norms inside attention stay. Measured:
dependence on batch mates, on future tokens, and loss. Axes: ``batch``, ``seq``, ``feature``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from internals.cache import measurement
from internals.measure import effort
from internals.measure.windows import HELD_OUT, utf8_bytes, window_length, windows

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel, ModelHandle

Kind = Literal["own", "batch", "running"]
KINDS: tuple[Kind, ...] = ("own", "batch", "running")
"""The model's own norm; batch statistics; statistics frozen from other text (evaluation mode)."""
SEQ = 48


@dataclass(frozen=True)
class Moments:
    """Per feature, over calibration text: what enters a norm and what leaves it."""

    mean_in: Tensor
    std_in: Tensor
    mean_out: Tensor
    std_out: Tensor


def moments(network: Any, ids: Tensor) -> dict[str, Moments]:
    """Moments of every norm of the residual stream, by its name in `families.all_norms`."""
    import torch

    from internals.models import families

    found: dict[str, Moments] = {}

    def watch(name: str) -> Any:
        def note(_module: Any, args: tuple[Tensor, ...], out: Tensor) -> None:
            x, y = _flat(args[0]), _flat(out)
            found[name] = Moments(x.mean(0), x.std(0), y.mean(0), y.std(0))

        return note

    norms = families.all_norms(network)
    handles = [norm.register_forward_hook(watch(name)) for name, norm in norms.items()]
    try:
        with torch.inference_mode():
            network(ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _flat(x: Tensor) -> Tensor:
    """``(batch · seq, feature)`` in float32; OPT flattens before some norms, others do not."""
    return x.detach().reshape(-1, x.shape[-1]).float()


@contextmanager
def exchanged(network: Any, kind: Kind, known: dict[str, Moments]) -> Iterator[None]:
    """Within this scope the norms use batch (or frozen) statistics of each feature.

    Batch normalisation (Ioffe, Szegedy 2015) over batch × positions. Gain and shift are set so that
    every feature leaves with the mean and spread that it has in the intact model: what differs is
    whose statistics are used, not the scale of the features.
    """
    from internals.models import families

    def swap(name: str) -> Any:
        own = known[name]

        def replaced(_module: Any, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
            x = args[0].float()
            rows = x.reshape(-1, x.shape[-1])
            mean = rows.mean(0) if kind == "batch" else own.mean_in
            variance = rows.var(0, unbiased=False) if kind == "batch" else own.std_in**2
            unit = (x - mean) / (variance + 1e-5).sqrt()
            return (unit * own.std_out + own.mean_out).to(out.dtype)

        return replaced

    handles = []
    if kind != "own":
        norms = families.all_norms(network)
        handles = [norm.register_forward_hook(swap(name)) for name, norm in norms.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _logits(network: Any, ids: Tensor, rows: int | None = None) -> Tensor:
    """Logits ``(batch, seq, vocab)``; of the first ``rows`` sequences if given.

    The others pass through the network, where they act, but not through the head.
    """
    import torch

    from internals.models import families

    head = families.unembedding(network)
    handle = head.register_forward_pre_hook(lambda _module, args: (args[0][:rows],))
    try:
        with torch.inference_mode():
            return network(ids, use_cache=False).logits.float()
    finally:
        handle.remove()


def _kl_bits(p: Tensor, q: Tensor) -> Tensor:
    """KL(p‖q) in bits at each position, from logits ``(…, vocab)``."""
    first, second = p.log_softmax(-1), q.log_softmax(-1)
    return (first.exp() * (first - second)).sum(-1).clamp_min(0) / math.log(2)


@dataclass(frozen=True)
class Swap:
    """Dependence and loss under each kind of norm, one row for each document."""

    dependence: pd.DataFrame
    """``network`` (model, random twin), ``kind``, ``document``, ``of`` (mates, future, shape),
    ``largest_change`` (of a logit), ``kl_bits`` (mean over positions), ``top_changed_share``."""
    loss: pd.DataFrame
    """``kind``, ``document``, ``bits_per_byte``."""
    batch: int
    seq: int


@measurement(files=[HELD_OUT])
def swap(model: ModelHandle, documents: int = 24, batch: int = 4) -> Swap:
    """Batch statistics in place of the model's own norm"""
    loaded = model.loaded()
    seq = window_length(loaded, SEQ)
    documents = effort.units(loaded.facts, documents, least=10)
    ids = windows(loaded, documents * 2, seq)
    half = len(ids) // 2
    subjects, others = ids[:half], ids[half:]
    rows: list[dict[str, Any]] = []
    losses: list[dict[str, Any]] = []
    for name, network in (("model", loaded.model), ("random twin", loaded.random_twin())):
        known = moments(network, others)
        for kind in KINDS if name == "model" else KINDS[:2]:
            with exchanged(network, kind, known):
                for number, row in enumerate(_dependence(network, subjects, others, batch)):
                    rows += [{"network": name, "kind": kind, "document": number, **r} for r in row]
                if name == "model":
                    losses += _losses(loaded, subjects, kind, batch)
    return Swap(pd.DataFrame(rows), pd.DataFrame(losses), batch, seq)


def _dependence(
    network: Any, subjects: Tensor, others: Tensor, batch: int
) -> Iterator[list[dict[str, Any]]]:
    """Change of one sequence's predictions when something changes that it must not see."""
    half = subjects.shape[1] // 2
    for number, subject in enumerate(subjects):
        first = _mates(others, number, batch - 1)
        second = _mates(others, number + batch - 1, batch - 1)
        base = _logits(network, _with(subject, first), 1)[0]
        mates = _logits(network, _with(subject, second), 1)[0]
        later = subject.clone()
        later[half:] = others[number % len(others)][half:]
        future = _logits(network, _with(later, first), 1)[0]
        alone = _logits(network, subject[None])[0]
        yield [
            _change("mates", base, mates),
            _change("future", base[:half], future[:half]),
            _change("shape", base, alone),
        ]


def _with(subject: Tensor, mates: Tensor) -> Tensor:
    import torch

    return torch.cat([subject[None], mates])


def _mates(others: Tensor, start: int, n: int) -> Tensor:
    """``n`` sequences from a ring; starts that lie ``n`` apart share none if it is long enough."""
    return others[[(start + i) % len(others) for i in range(n)]]


def _change(of: str, before: Tensor, after: Tensor) -> dict[str, Any]:
    return {
        "of": of,
        "largest_change": (before - after).abs().max().item(),
        "kl_bits": _kl_bits(before, after).mean().item(),
        "top_changed_share": (before.argmax(-1) != after.argmax(-1)).float().mean().item(),
    }


def _losses(loaded: LoadedModel, ids: Tensor, kind: str, batch: int) -> list[dict[str, Any]]:
    """Bits per byte of each document, documents scored ``batch`` at a time."""
    rows: list[dict[str, Any]] = []
    for part in ids.split(batch):
        log_p = _logits(loaded.model, part)[:, :-1].log_softmax(-1)
        nll = -log_p.gather(-1, part[:, 1:, None]).squeeze(-1).sum(-1) / math.log(2)
        for bits, tokens in zip(nll.tolist(), part.tolist(), strict=True):
            size = utf8_bytes(loaded, tokens[1:])
            rows.append({"kind": kind, "document": len(rows), "bits_per_byte": bits / size})
    return rows


@measurement(files=[HELD_OUT])
def batch_sizes(model: ModelHandle, documents: int = 12) -> pd.DataFrame:
    """Dependence on batch mates for growing batches

    Columns: ``batch``, ``document``, ``kl_bits``: change of a sequence's predictions when all its
    batch mates are exchanged, under batch statistics.
    """
    loaded = model.loaded()
    documents = effort.units(loaded.facts, documents, least=6)
    ids = windows(loaded, documents * 4, window_length(loaded, SEQ))
    subjects, others = ids[:documents], ids[documents:]
    known = moments(loaded.model, others)
    rows = []
    with exchanged(loaded.model, "batch", known):
        for batch in (2, 4, 8, 16):
            for number, subject in enumerate(subjects):
                first = _mates(others, number, batch - 1)
                second = _mates(others, number + batch - 1, batch - 1)
                one, two = (_logits(loaded.model, _with(subject, m), 1)[0] for m in (first, second))
                change = _kl_bits(one, two).mean().item()
                rows.append({"batch": batch, "document": number, "kl_bits": change})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class OneToken:
    """What is left of a single token under batch statistics."""

    tokens: int
    own_change: float
    """Largest difference of a logit between two single tokens, under the model's own norm."""
    batch_change: float
    """The same under batch statistics: a batch of one position is its own mean."""


@measurement(files=[HELD_OUT])
def one_token(model: ModelHandle, tokens: int = 50) -> OneToken:
    """A batch of one token under both norms"""
    import torch

    loaded = model.loaded()
    ids = windows(loaded, None, window_length(loaded, SEQ))
    known = moments(loaded.model, ids[::4])
    singles = ids[:, 1:].flatten().unique()
    step = max(1, len(singles) // tokens)
    chosen = singles[::step][:tokens]
    changes = []
    for kind in ("own", "batch"):
        with exchanged(loaded.model, kind, known):
            rows = torch.cat([_logits(loaded.model, token.view(1, 1))[0] for token in chosen])
        changes.append((rows - rows[0]).abs().max().item())
    return OneToken(len(chosen), *changes)
