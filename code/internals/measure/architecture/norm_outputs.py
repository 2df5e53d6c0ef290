"""What leaves a norm, feature by feature: means, spreads, outlier features, gains and shifts.

A norm fixes the mean and spread over the features of one token; it says nothing about one feature
over many tokens. First positions are left out: attention sinks make them unlike the others.
Axes: ``position`` (tokens of all documents), ``feature``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals.cache import measurement
from internals.measure.windows import HELD_OUT, window_length, windows

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import ModelHandle

SEQ = 64
OUTLIER = 3.0
"""A feature is an outlier if its root mean square is this many times the median feature's."""


@dataclass(frozen=True)
class NormOutputs:
    """Statistics after every norm of the residual stream."""

    features: pd.DataFrame
    """``network`` (model, random twin), ``norm``, ``order``, ``feature``; ``mean``, ``std``,
    ``rms`` over positions of the output; ``unit_mean``, ``unit_std`` before gain and shift;
    ``gain``, ``shift`` (0 where the norm has none)."""
    tokens: pd.DataFrame
    """``network``, ``norm``, ``order``, ``scale_in`` (median root mean square of a token that
    enters), ``spread_in`` (95th over 5th percentile of it); ``largest_mean``, ``largest_rms_off``:
    farthest that any token's mean is from 0 and root mean square from 1, before gain and shift."""
    positions: int
    documents: int


@measurement(files=[HELD_OUT])
def norm_outputs(model: ModelHandle, documents: int = 24) -> NormOutputs:
    """Per-feature statistics after each norm"""
    loaded = model.loaded()
    ids = windows(loaded, documents, window_length(loaded, SEQ))
    kind = loaded.facts.norm_kind
    features, tokens = [], []
    for name, network in (("model", loaded.model), ("random twin", loaded.random_twin())):
        for order, (norm, x, y) in enumerate(_streams(network, ids)):
            unit = normalised(x, kind, loaded.facts.norm_eps)
            gain, shift = _affine(y, unit)
            frame = pd.DataFrame(
                {
                    "mean": y.mean(0),
                    "std": y.std(0),
                    "rms": y.square().mean(0).sqrt(),
                    "unit_mean": unit.mean(0),
                    "unit_std": unit.std(0),
                    "gain": gain,
                    "shift": shift,
                }
            ).astype(float)
            place = {"network": name, "norm": norm, "order": order}
            features.append(frame.assign(feature=frame.index, **place))
            tokens.append({**place, **_token_statistics(x, unit)})
    return NormOutputs(
        pd.concat(features, ignore_index=True),
        pd.DataFrame(tokens),
        positions=len(ids) * (ids.shape[1] - 1),
        documents=len(ids),
    )


def normalised(x: Tensor, kind: str, eps: float) -> Tensor:
    """``(position, feature)`` after the norm's division, before gain and shift."""
    centred = x - x.mean(-1, keepdim=True) if kind == "LayerNorm" else x
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


def _affine(y: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Gain and shift of each feature by regression of output on normalised input.

    Families write the gain differently (Gemma stores it minus one), the regression does not care.
    """
    centred = unit - unit.mean(0)
    gain = (centred * (y - y.mean(0))).sum(0) / centred.square().sum(0).clamp_min(1e-12)
    return gain, y.mean(0) - gain * unit.mean(0)


def _token_statistics(x: Tensor, unit: Tensor) -> dict[str, float]:
    import torch

    size = x.square().mean(-1).sqrt()
    low, middle, high = torch.quantile(size, torch.tensor([0.05, 0.5, 0.95])).tolist()
    return {
        "scale_in": middle,
        "spread_in": high / max(low, 1e-12),
        "largest_mean": unit.mean(-1).abs().max().item(),
        "largest_rms_off": (unit.square().mean(-1).sqrt() - 1).abs().max().item(),
    }


def _streams(network: Any, ids: Tensor) -> list[tuple[str, Tensor, Tensor]]:
    """Name, input and output ``(position, feature)`` of every norm, first positions left out."""
    import torch

    from internals.models import families

    caught: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Any:
        def note(_module: Any, args: tuple[Tensor, ...], out: Tensor) -> None:
            caught[name] = (_inner(args[0], ids), _inner(out, ids))

        return note

    norms = families.all_norms(network)
    handles = [norm.register_forward_hook(watch(name)) for name, norm in norms.items()]
    try:
        with torch.inference_mode():
            network(ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return [(name, *caught[name]) for name in norms]


def _inner(x: Tensor, ids: Tensor) -> Tensor:
    """Drop the first position and flatten; OPT has flattened already."""
    width = x.shape[-1]
    return x.detach().reshape(*ids.shape, width)[:, 1:].reshape(-1, width).float().cpu()
