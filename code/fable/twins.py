"""Tiny paired runs: models that differ in one part and share seed, data, order and budget.

Two questions are answered: which norm (layer norm, root mean square, batch statistics) and which
head (softmax, sparsemax, normalised sigmoid). Axes: ``batch``, ``seq``, ``d_model``, ``vocab``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

NORMS = ("LayerNorm", "RMSNorm", "batch normalisation")
HEADS = ("softmax", "sparsemax", "normalised sigmoid")
SMOOTHING = 0.01
"""Share of a uniform distribution that is mixed in before a head's loss is compared, so that one
true token with probability zero does not make the mean infinite."""


@dataclass(frozen=True)
class TwinRecipe:
    """Sizes and rates of a paired run; every twin gets the same."""

    d_model: int = 128
    n_layers: int = 2
    seq: int = 128
    batch: int = 8
    steps: int = 500
    learning_rates: tuple[float, ...] = (0.003, 0.03)
    seeds: tuple[int, ...] = (0, 1)
    records: int = 14
    """Moments at which a twin is evaluated, evenly spaced on a logarithmic axis."""
    evaluation_rows: int = 32


NORM_RECIPE = TwinRecipe()
HEAD_RECIPE = TwinRecipe(learning_rates=(0.001, 0.003))
"""Lower rates than for the norms: at 0.03 a sparse head learns nothing."""


def write_twins(dataset: Path, folder: Path, report: Callable[[str], None] | None = None) -> None:
    """Train all twins and write ``norms.csv`` and ``heads.csv`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, train, recipe in (
        ("norms.csv", train_norm_twins, NORM_RECIPE),
        ("heads.csv", train_head_twins, HEAD_RECIPE),
    ):
        table = train(dataset, recipe, report)
        table.to_csv(folder / name, index=False, float_format="%.6g")


def train_norm_twins(
    dataset: Path, recipe: TwinRecipe, report: Callable[[str], None] | None = None
) -> pd.DataFrame:
    """Train the three norm twins at each learning rate and seed.

    Args:
        dataset: folder of :func:`fable.dataset.build_dataset`.
        recipe: sizes, rates and seeds.
        report: told what starts.

    Returns:
        ``variant`` (see :data:`NORMS`), ``learning_rate``, ``seed``, ``step``, ``tokens``,
        ``mode`` (``training``: batch statistics where the norm has them; ``evaluation``: running
        statistics), ``bits_per_token`` on held-out windows; NaN after a divergence.
    """
    data = _Data(dataset, recipe)
    rows = []
    for variant, rate, seed in _grid(NORMS, recipe):
        if report:
            report(f"{variant}, learning rate {rate:g}, seed {seed}")
        model = exchange_norms(_new(data.vocab, recipe, seed), variant)
        for step in _run(model, data, rate, seed, recipe, softmax_loss):
            for mode in ("training", "evaluation"):
                nats = _held_out(model, data, training=mode == "training")
                rows.append((variant, rate, seed, *step, mode, nats / math.log(2)))
    names = ["variant", "learning_rate", "seed", "step", "tokens", "mode", "bits_per_token"]
    return pd.DataFrame(rows, columns=names)


def train_head_twins(
    dataset: Path, recipe: TwinRecipe, report: Callable[[str], None] | None = None
) -> pd.DataFrame:
    """Train the three head twins at each learning rate and seed, each with the loss of its head.

    Returns:
        ``variant`` (see :data:`HEADS`), ``learning_rate``, ``seed``, ``step``, ``tokens``, and on
        held-out windows ``bits_per_token`` (of the distribution with :data:`SMOOTHING` mixed in),
        ``accuracy`` (true token ranked first), ``zero_share`` (true token has probability 0).
    """
    data = _Data(dataset, recipe)
    rows = []
    for variant, rate, seed in _grid(HEADS, recipe):
        if report:
            report(f"{variant}, learning rate {rate:g}, seed {seed}")
        loss, distribution = head(variant)
        model = _new(data.vocab, recipe, seed)
        for step in _run(model, data, rate, seed, recipe, loss):
            rows.append((variant, rate, seed, *step, *_head_scores(model, data, distribution)))
    names = ["variant", "learning_rate", "seed", "step", "tokens"]
    return pd.DataFrame(rows, columns=[*names, "bits_per_token", "accuracy", "zero_share"])


# --- the parts that differ --------------------------------------------------------------------


def exchange_norms(model: Any, variant: str) -> Any:
    """Put another norm in the place of every norm of a GPT-2, gains at one and shifts at zero."""
    from torch import nn

    from internals.models import families

    if variant == "LayerNorm":
        return model
    norms = {id(norm) for norm in families.all_norms(model).values()}
    for name in [path for path, module in model.named_modules() if id(module) in norms]:
        parent, _, leaf = name.rpartition(".")
        width = model.config.n_embd
        new = nn.RMSNorm(width, eps=1e-5) if variant == "RMSNorm" else batch_norm(width)
        setattr(model.get_submodule(parent), leaf, new)
    return model


def batch_norm(width: int) -> Any:
    """Batch normalisation over batch × positions (Ioffe, Szegedy 2015), for ``(batch, seq, d)``."""
    from torch import nn

    class BatchNormOverPositions(nn.BatchNorm1d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.reshape(-1, x.shape[-1])).reshape(x.shape)

    return BatchNormOverPositions(width)


def softmax_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats, ``(rows, vocab)`` and ``(rows,)`` to the mean."""
    import torch.nn.functional as F

    return F.cross_entropy(logits, targets)


def sparsemax_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss whose gradient is sparsemax(z) − y (Martins, Astudillo 2016, equation 13)."""
    from entmax import sparsemax_loss as loss

    return loss(logits, targets, k=256).mean()  # k: a first guess at the support; exact anyway


def sigmoid_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of σ(z) / Σσ(z)."""
    import torch.nn.functional as F

    log_sigmoid = F.logsigmoid(logits)
    taken = log_sigmoid.gather(-1, targets[:, None]).squeeze(-1)
    return (log_sigmoid.logsumexp(-1) - taken).mean()


def head(
    variant: str,
) -> tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Loss and distribution of one of :data:`HEADS`."""
    import torch
    from entmax import sparsemax

    def shares(logits: Tensor) -> Tensor:
        weights = torch.sigmoid(logits)
        return weights / weights.sum(-1, keepdim=True)

    return {
        "softmax": (softmax_loss, lambda z: torch.softmax(z, -1)),
        "sparsemax": (sparsemax_loss, lambda z: sparsemax(z, -1, k=256)),
        "normalised sigmoid": (sigmoid_loss, shares),
    }[variant]


# --- what they share --------------------------------------------------------------------------


class _Data:
    """Training rows in a fixed order and held-out rows, ``(rows, seq + 1)`` token ids."""

    def __init__(self, dataset: Path, recipe: TwinRecipe) -> None:
        if not (dataset / "meta.json").exists():
            raise UserError(f"{dataset} is no data set; `make train` builds one from a corpus.")
        self.train = np.fromfile(dataset / "train.bin", np.uint16)
        held = np.fromfile(dataset / "heldout.bin", np.uint16)
        needed = recipe.evaluation_rows * (recipe.seq + 1)
        starts = np.linspace(0, len(held) - recipe.seq - 1, recipe.evaluation_rows).astype(int)
        if len(held) < needed or len(self.train) < recipe.batch * recipe.seq * 2:
            raise UserError(f"The data set in {dataset} is too small for the paired runs.")
        self.held_out = np.stack([held[s : s + recipe.seq + 1] for s in starts]).astype(np.int64)
        self.vocab = _vocabulary(dataset)

    def batch(self, step: int, seed: int, recipe: TwinRecipe) -> np.ndarray:
        """Rows of one step; they depend on seed and step alone, so that twins see the same."""
        rng = np.random.default_rng([seed, 21, step])
        starts = rng.integers(0, len(self.train) - recipe.seq - 1, recipe.batch)
        return np.stack([self.train[s : s + recipe.seq + 1] for s in starts]).astype(np.int64)


def _vocabulary(dataset: Path) -> int:
    import json

    return int(json.loads((dataset / "meta.json").read_text("utf-8"))["vocab_size"])


def _grid(variants: tuple[str, ...], recipe: TwinRecipe) -> Iterator[tuple[str, float, int]]:
    for rate in recipe.learning_rates:
        for seed in recipe.seeds:
            for variant in variants:
                yield variant, rate, seed


def _new(vocab: int, recipe: TwinRecipe, seed: int) -> Any:
    """A tiny GPT-2; the same seed gives the same weights to every twin."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab,
            n_positions=recipe.seq,
            n_embd=recipe.d_model,
            n_layer=recipe.n_layers,
            n_head=recipe.d_model // 32,
            bos_token_id=0,
            eos_token_id=0,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )


def _run(
    model: Any,
    data: _Data,
    rate: float,
    seed: int,
    recipe: TwinRecipe,
    loss_of: Callable[[Tensor, Tensor], Tensor],
) -> Iterator[tuple[int, int]]:
    """Train with AdamW; yields step and tokens at the moments of evaluation."""
    import torch

    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.01)
    marks = {round(x) for x in np.geomspace(1, recipe.steps, recipe.records)} | {recipe.steps}
    for step in range(1, recipe.steps + 1):
        model.train()
        done = step / recipe.steps
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, step / (0.05 * recipe.steps), (1.02 - done) / 0.5)
        rows = torch.from_numpy(data.batch(step, seed, recipe))
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits
        loss = loss_of(logits.flatten(0, 1).float(), rows[:, 1:].flatten())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step in marks:
            yield step, step * recipe.batch * recipe.seq


def _logits(model: Any, data: _Data, *, training: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits ``(rows, vocab)`` and targets of the held-out rows, batches of sixteen.

    ``training`` uses the statistics of the batch; a copy of the model takes the update of the
    running statistics, so that looking changes nothing.
    """
    import torch

    network = copy.deepcopy(model).train(training)
    with torch.inference_mode():
        for rows in torch.from_numpy(data.held_out).split(16):
            logits = network(input_ids=rows[:, :-1], use_cache=False).logits
            yield logits.flatten(0, 1).float(), rows[:, 1:].flatten()


def _held_out(model: Any, data: _Data, *, training: bool) -> float:
    losses = [softmax_loss(*pair).item() for pair in _logits(model, data, training=training)]
    return float(np.mean(losses))


def _head_scores(
    model: Any, data: _Data, distribution: Callable[[Tensor], Tensor]
) -> tuple[float, float, float]:
    """Smoothed bits per token, accuracy, share of true tokens with probability zero."""
    taken, correct = [], []
    for logits, targets in _logits(model, data):
        p = distribution(logits)
        taken.append(p.gather(-1, targets[:, None]).squeeze(-1).numpy())
        correct.append((logits.argmax(-1) == targets).numpy())
    p_true = np.concatenate(taken)
    smoothed = (1 - SMOOTHING) * p_true + SMOOTHING / data.vocab
    return (
        float(-np.log2(smoothed).mean()),
        float(np.concatenate(correct).mean()),
        float((p_true == 0).mean()),
    )
