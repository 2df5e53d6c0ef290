"""How much room a hidden state of d numbers leaves for a vocabulary of V: the softmax bottleneck.

Ranks and spectra are of the model's own matrices, against a random twin and random matrices of the
same shape; truncation shows what the last directions are worth. Axes: ``position``, ``vocab``.
Logits of the whole vocabulary are held for one batch of positions at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from internals.cache import measurement
from internals.measure import effort
from internals.measure.windows import HELD_OUT, many_windows, window_length, windows

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import ModelHandle

Values = NDArray[np.float64]
_BATCH = 256
"""Positions whose full logits are held at once."""
_SEQ = 64


@dataclass(frozen=True)
class LogitRank:
    """Numerical rank of a table of positions × tokens."""

    ranks: pd.DataFrame
    """``source`` (model, random twin), ``matrix`` (logits, log-probabilities), ``rank``,
    ``bound``."""
    spectrum: pd.DataFrame
    """``source``, ``index`` (from 1), ``singular_value`` relative to the largest; of the logits in
    float32, as the model computes them."""
    cliff: float
    """Last singular value inside the bound over the first one beyond it, in float32; NaN where the
    vocabulary is no larger than the bound, so that nothing lies beyond."""
    positions: int
    tokens: int
    """Columns: a random sample of the vocabulary, far more than the bound."""
    vocab: int
    d: int
    """Width of what enters the head."""
    head_bias: bool


@measurement(files=[HELD_OUT])
def logit_rank(model: ModelHandle, seed: int = 0) -> LogitRank:
    """Rank of the logits over many positions

    The logits are formed from the head's true inputs before any soft cap, in float64, so that
    rounding cannot fill the directions that the model leaves empty.
    """
    loaded = model.loaded()
    facts = loaded.facts
    d = facts.d_embedding
    factor = min(4.0, max(1.5, 1536 / d))
    ids = many_windows(loaded, math.ceil(factor * d), window_length(loaded, _SEQ))
    rng = np.random.default_rng(seed)
    n_tokens = min(facts.vocab_size_embedding, math.ceil(factor * d))
    chosen = np.sort(rng.choice(facts.vocab_size_embedding, n_tokens, replace=False))
    rows, curves = [], []
    positions = 0
    bias = getattr(_head(loaded.model), "bias", None) is not None
    for source, network in (("model", loaded.model), ("random twin", loaded.random_twin(seed))):
        hidden = head_inputs(network, ids)[: math.ceil(factor * d)]
        positions = len(hidden)
        logits, log_z = _sampled_logits(network, hidden, chosen)
        for matrix, table, bound in (
            ("logits", logits, d + bias),
            ("log-probabilities", logits - log_z[:, None], d + bias + 1),
        ):
            rank = numerical_rank(singular_values(table), table.shape)
            rows.append({"source": source, "matrix": matrix, "rank": rank, "bound": bound})
        curves.append(_curve(source, singular_values(logits.astype(np.float32))))
    spectrum = pd.concat(curves, ignore_index=True)
    own = curves[0]["singular_value"].to_numpy()
    edge = d + bias
    cliff = float(own[edge - 1] / own[edge]) if 0 < edge < len(own) and own[edge] > 0 else math.nan
    vocab = facts.vocab_size_embedding
    return LogitRank(pd.DataFrame(rows), spectrum, cliff, positions, n_tokens, vocab, d, bias)


def singular_values(table: NDArray[Any]) -> Values:
    """Singular values in float64, largest first."""
    return np.asarray(np.linalg.svd(table.astype(float), compute_uv=False), float)


def numerical_rank(values: Values, shape: tuple[int, ...]) -> int:
    """Singular values above rounding: larger than ``max(shape) · eps · largest`` in float64.

    The inputs were float32, but a product of float32 matrices taken in float64 has exactly the rank
    of its factors, so rounding of the product alone has to be told from zero.
    """
    return int((values > max(shape) * np.finfo(float).eps * values[0]).sum())


def _curve(source: str, values: Values) -> pd.DataFrame:
    index = np.arange(1, len(values) + 1)
    relative = np.maximum(values / values[0], 1e-18)
    return pd.DataFrame({"source": source, "index": index, "singular_value": relative})


def _head(network: Any) -> Any:
    from internals.models import families

    return families.unembedding(network)


def head_inputs(network: Any, ids: Tensor) -> Tensor:
    """``(position, d_embedding)`` float32: what enters the head, first positions left out.

    The first position of a text is unlike all others in many models (attention sinks).
    """
    import torch

    caught: list[Tensor] = []
    handle = _head(network).register_forward_pre_hook(lambda _m, args: caught.append(args[0]))
    try:
        with torch.inference_mode():
            for part in ids.split(max(1, _BATCH // ids.shape[1])):
                network(part, use_cache=False)
    finally:
        handle.remove()
    return torch.cat([h[:, 1:].reshape(-1, h.shape[-1]) for h in caught]).float().cpu()


def _weights(network: Any) -> tuple[Tensor, Tensor | None]:
    """Head matrix ``(vocab, d_embedding)`` and its bias, in float32 on the CPU."""
    head = _head(network)
    bias = getattr(head, "bias", None)
    weight = head.weight.detach().float().cpu()
    return weight, None if bias is None else bias.detach().float().cpu()


def _sampled_logits(network: Any, hidden: Tensor, chosen: Any) -> tuple[Values, Values]:
    """Logits of the chosen tokens ``(position, token)``, and the log-sum-exp over all tokens."""
    import torch

    weight, bias = _weights(network)
    columns = torch.as_tensor(chosen)
    logits = hidden.double() @ weight[columns].double().T
    if bias is not None:
        logits += bias[columns].double()
    sums = []
    for part in hidden.split(_BATCH):
        full = part @ weight.T
        full = full if bias is None else full + bias
        sums.append(full.double().logsumexp(-1))
    return logits.numpy(), torch.cat(sums).numpy()


@dataclass(frozen=True)
class Spectra:
    """Singular values of embedding and head against random matrices of the same shape."""

    values: pd.DataFrame
    """``matrix`` (embedding, unembedding), ``source`` (model, random twin, random matrix),
    ``index``, ``singular_value`` (divided by that of the root mean square entry times √rows)."""
    summary: pd.DataFrame
    """``matrix``, ``source``, ``effective_rank``, ``largest``, ``outside`` (singular values outside
    the Marchenko–Pastur edges), ``low``, ``high`` (range of the random matrices' effective rank)"""
    rows: int
    columns: int
    edges: tuple[float, float]
    """Edges of the Marchenko–Pastur law in the same unit."""


@measurement
def spectra(model: ModelHandle, draws: int = 50, seed: int = 0) -> Spectra:
    """Spectra of embedding and unembedding against random matrices"""
    from internals.models import families

    loaded = model.loaded()
    matrices = {"embedding": families.embedding(loaded.model).weight}
    if not loaded.facts.tied_embeddings:
        matrices["unembedding"] = families.unembedding(loaded.model).weight
    twin = loaded.random_twin(seed)
    rows, columns = loaded.facts.vocab_size_embedding, loaded.facts.d_embedding
    ratio = math.sqrt(columns / rows)
    edges = (abs(1 - ratio), 1 + ratio)
    random = random_spectra(rows, columns, draws, seed)
    low, high = np.quantile([effective_rank(v) for v in random], [0.0, 1.0])
    curves, summary = [], []
    for name, weight in matrices.items():
        control = families.embedding(twin) if name == "embedding" else families.unembedding(twin)
        sources = {
            "model": scaled_spectrum(weight),
            "random twin": scaled_spectrum(control.weight),
            "random matrix": random[0],
        }
        for source, values in sources.items():
            index = np.arange(1, len(values) + 1)
            frame = pd.DataFrame({"index": index, "singular_value": values})
            curves.append(frame.assign(matrix=name, source=source))
            outside = int(((values > 1.02 * edges[1]) | (values < 0.98 * edges[0])).sum())
            summary.append(
                {
                    "matrix": name,
                    "source": source,
                    "effective_rank": effective_rank(values),
                    "largest": values[0],
                    "outside": outside,
                    "low": low,
                    "high": high,
                }
            )
    return Spectra(
        pd.concat(curves, ignore_index=True), pd.DataFrame(summary), rows, columns, edges
    )


def scaled_spectrum(weight: Any) -> Values:
    """Singular values over √rows and the root mean square entry: a random matrix then lies at 1.

    From the Gram matrix ``(d, d)`` in float64: exact to about 1e-8 of the largest value.
    """
    import torch

    w = weight.detach().cpu()
    gram = torch.zeros((w.shape[1], w.shape[1]), dtype=torch.float64)
    for part in w.split(8192):
        gram += part.double().T @ part.double()
    mean_square = gram.trace().item() / w.numel()
    values = torch.linalg.eigvalsh(gram / w.shape[0]).clamp_min(0).sqrt().flip(0)
    return np.asarray(values.numpy() / math.sqrt(mean_square))


def random_spectra(rows: int, columns: int, draws: int, seed: int) -> list[Values]:
    """Scaled singular values of Gaussian ``(rows, columns)`` matrices, without forming them.

    The triangular factor of a Gaussian matrix has independent entries: chi variables on the
    diagonal, normal ones above (Bartlett 1933), so a ``(columns, columns)`` matrix suffices.
    """
    rng = np.random.default_rng(seed)
    found: list[Values] = []
    for _ in range(draws if columns <= 512 else max(3, draws // 10)):
        factor = np.triu(rng.standard_normal((columns, columns)), 1)
        factor[np.diag_indices(columns)] = np.sqrt(rng.chisquare(rows - np.arange(columns)))
        values = np.linalg.svd(factor, compute_uv=False)
        found.append(np.asarray(values / math.sqrt((values**2).sum() / columns), float))
    return found


def effective_rank(values: Values) -> float:
    """Exponential of the entropy of the squared singular values as shares (Roy, Vetterli 2007).

    Equal values give their number; one large value among small ones gives about 1.
    """
    shares = values**2 / (values**2).sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


@measurement(files=[HELD_OUT])
def truncation(model: ModelHandle, documents: int = 32) -> pd.DataFrame:
    """What the model loses when its head sees fewer directions

    The states that enter the head are projected on their k leading directions in the geometry of
    the logits (the best approximation of rank k of centred logits), found on other documents.

    Columns: ``document``, ``k``, ``share`` (k over d), ``moved_share`` (mean total variation
    distance to the full distribution: probability mass that changes place), ``extra_bits`` (change
    of loss per token).
    """
    loaded = model.loaded()
    network, d = loaded.model, loaded.facts.d_embedding
    ids = windows(loaded, None, window_length(loaded, 2 * _SEQ))
    # Half of the documents find the directions, the others are scored.
    score = ids[1::2][: effort.units(loaded.facts, documents, least=10)]
    weight, bias = _weights(network)
    project, centre = _leading(head_inputs(network, ids[::2]), weight)
    hidden = head_inputs(network, score)
    target = score[:, 1:].cpu()
    rows = []
    for number, states in enumerate(hidden.split(score.shape[1] - 1)):
        full = _log_probs(states, weight, bias)
        taken = target[number][1:, None]
        basis, inverse = project
        for k in sorted({max(1, round(d * part)) for part in _PARTS}):
            kept = (states - centre) @ basis[:, :k] @ inverse[:k] + centre
            cut = _log_probs(kept, weight, bias)
            moved = 0.5 * (full.exp() - cut.exp()).abs().sum(-1)
            extra = (full[:-1].gather(1, taken) - cut[:-1].gather(1, taken)).mean() / math.log(2)
            rows.append((number, k, k / d, moved.mean().item(), extra.item()))
    return pd.DataFrame(rows, columns=["document", "k", "share", "moved_share", "extra_bits"])


_PARTS = (1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8, 15 / 16)


def _log_probs(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    logits = states @ weight.T
    return (logits if bias is None else logits + bias).log_softmax(-1)


def _leading(states: Tensor, weight: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Directions of the states in order of their weight in the logits, and the mean state.

    With ``W`` the head without its mean row (a shift of all logits changes nothing), ``W = QR``;
    the singular vectors of ``(states - mean) Rᵀ`` give the best rank-k logits (Eckart, Young 1936).
    """
    import torch

    centre = states.mean(0)
    w = (weight - weight.mean(0)).double()
    gram = w.T @ w + 1e-9 * torch.eye(w.shape[1], dtype=torch.float64) * (w**2).mean()
    root = torch.linalg.cholesky(gram)  # gram = root rootᵀ
    _, _, directions = torch.linalg.svd((states - centre).double() @ root, full_matrices=False)
    basis = root @ directions.T
    inverse = torch.linalg.solve_triangular(root.T, directions.T, upper=True).T
    return (basis.float(), inverse.float()), centre
