"""Train a small causal language model on one stream of tokens, once through, in plain PyTorch.

Order of the data and weights follow from the seed; a run can be stopped at any time and goes on
from its last checkpoint with the same result. Text is not read here, only tokens.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internals.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run that is not data."""

    batch_tokens: int = 8192
    window: int = 256
    """Tokens of a training row in the first phase, at a random offset of the positions."""
    last_window: int = 512
    """Tokens of a row in the second phase: the whole context."""
    last_share: float = 0.12
    """Share of the tokens that the second phase gets."""
    muon_lr: float = 0.02
    """Peak learning rate of the weight matrices (Muon; Jordan et al. 2024)."""
    adam_lr: float = 0.003
    """Peak learning rate of embeddings, norms and biases (AdamW)."""
    weight_decay: float = 0.01
    warmup_share: float = 0.02
    decay_share: float = 0.6
    """The learning rate falls linearly to zero over this last share of the run."""
    clip: float = 1.0
    seed: int = 0

    def lr_factor(self, done: float) -> float:
        """Factor on the peak learning rate when the share ``done`` of the run is over."""
        up = done / self.warmup_share if self.warmup_share else 1.0
        down = (1 - done) / self.decay_share if self.decay_share else 1.0
        return max(0.0, min(1.0, up, down))


@dataclass(frozen=True)
class Step:
    """One batch: where its rows start in the stream, and their length."""

    starts: np.ndarray
    window: int


def schedule(n_tokens: int, recipe: Recipe) -> list[Step]:
    """Every batch of one pass over ``n_tokens`` tokens, in an order that the seed fixes.

    The stream is cut into windows without overlap; a rest shorter than a window at the end of a
    phase, and a last batch that is not full, are left out.
    """
    rng = np.random.default_rng([recipe.seed, 10])
    cut = int(n_tokens * (1 - recipe.last_share))
    steps = []
    for first, last, window in ((0, cut, recipe.window), (cut, n_tokens, recipe.last_window)):
        starts = np.arange(first, last - window, window)
        starts = starts[rng.permutation(len(starts))]
        rows = max(recipe.batch_tokens // window, 1)
        full = len(starts) // rows
        steps += [Step(part, window) for part in np.split(starts[: full * rows], max(full, 1))]
    return [step for step in steps if len(step.starts)]


def split_parameters(model: torch.nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Weight matrices of the blocks (for Muon) and everything else (for AdamW)."""
    embeddings = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}  # type: ignore[operator]
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in model.named_parameters():
        hidden = parameter.ndim == 2 and id(parameter) not in embeddings and "wpe" not in name
        (matrices if hidden else others).append(parameter)
    return matrices, others


def optimisers(model: torch.nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices and AdamW for the rest; ``peak_lr`` is kept in each group."""
    import torch

    matrices, others = split_parameters(model)
    found: list[torch.optim.Optimizer] = [
        torch.optim.Muon(
            matrices, lr=recipe.muon_lr, weight_decay=recipe.weight_decay, momentum=0.95
        ),
        torch.optim.AdamW(others, lr=recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for optimiser in found:
        for group in optimiser.param_groups:
            group["peak_lr"] = group["lr"]
    return found


def chunked_loss_backward(
    hidden: Tensor, unembedding: Tensor, targets: Tensor, chunk: int = 1024
) -> float:
    """Mean cross-entropy in nats, and its gradients, a few rows at a time.

    The logits of a whole batch would be the largest tensor of the step; the loss of each chunk is
    sent back at once, so that only ``chunk`` rows of them exist.

    Args:
        hidden: ``(rows, d_model)``, part of a graph.
        unembedding: ``(vocab, d_model)``.
        targets: ``(rows,)`` token ids.
    """
    import torch.nn.functional as F

    leaf = hidden.detach().requires_grad_()
    total = 0.0
    for h, y in zip(leaf.split(chunk), targets.split(chunk), strict=True):
        loss = F.cross_entropy(F.linear(h, unembedding), y, reduction="sum") / len(targets)
        loss.backward()
        total += loss.item()
    hidden.backward(leaf.grad)
    return total


def train_batch(
    model: Any,
    rows: Tensor,
    found: list[torch.optim.Optimizer],
    recipe: Recipe,
    offset: int,
    body: Callable[..., Any] | None = None,
) -> float:
    """One optimiser step on ``(batch, window + 1)`` tokens; returns the loss in nats.

    ``body`` is the model without its head, compiled or not.
    """
    import torch

    inputs, targets = rows[:, :-1], rows[:, 1:].reshape(-1)
    positions = torch.arange(inputs.shape[1], device=rows.device)[None] + offset
    # Without hardware for them, 16-bit products are emulated and many times slower.
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=fast_bfloat16(rows.device.type)):
        body = model.base_model if body is None else body
        hidden = body(input_ids=inputs, position_ids=positions, use_cache=False)[0]
        loss = chunked_loss_backward(
            hidden.flatten(0, 1), model.get_output_embeddings().weight, targets
        )
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    for optimiser in found:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return loss


def fast_bfloat16(device: str) -> bool:
    """Whether this machine multiplies bfloat16 matrices in hardware."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return any(yes for name, yes in found.items() if "bf16" in name)


SAVE_EVERY_S = 300.0


@dataclass
class Progress:
    """State of a run, told to the callback after every step."""

    step: int
    steps: int
    tokens: int
    loss_nats: float
    tokens_per_second: float


def log_spaced(steps: int, n: int = 16) -> set[int]:
    """About ``n`` step numbers from 1 to ``steps``, evenly spaced on a logarithmic axis."""
    return {round(x) for x in np.geomspace(1, steps, n)} | {steps}


def even(steps: int, n: int = 8) -> set[int]:
    """``n`` step numbers up to ``steps``, evenly spaced; for rounds after the first."""
    return {round(x) for x in np.linspace(0, steps, n + 1)[1:]}


def train(
    model: Any,
    stream: np.ndarray,
    run: Path,
    recipe: Recipe,
    *,
    snapshot: Callable[[Any, int, int], None] | None = None,
    marks: Callable[[int], set[int]] = log_spaced,
    report: Callable[[Progress], None] | None = None,
    stop_after: int | None = None,
    compiled: bool = False,
) -> int:
    """Train ``model`` in place over ``stream``; returns the number of tokens seen.

    Args:
        model: a causal language model; its weights are replaced if ``run`` holds a checkpoint.
        stream: ``(n_tokens,)`` token ids.
        run: folder of the checkpoint, written every :data:`SAVE_EVERY_S` and at the end.
        recipe: sizes and learning rates.
        snapshot: called with model, step and tokens at the steps that ``marks`` names.
        marks: the steps of the snapshots, from the number of all steps.
        report: called after every step.
        stop_after: end after this many steps of this call (for tests and for pauses).
        compiled: compile the model first (a third faster on a CPU; needs a C++ compiler).

    Raises:
        UserError: if the checkpoint belongs to another recipe or stream.
    """
    import torch

    run.mkdir(parents=True, exist_ok=True)
    steps = schedule(len(stream), recipe)
    found = optimisers(model, recipe)
    done = _restore(run, model, found, recipe, len(stream))
    wanted = marks(len(steps)) if snapshot else set()
    saved, first, began = time.monotonic(), done, time.monotonic()
    body = torch.compile(model.base_model, dynamic=False) if compiled else model.base_model
    model.train()
    last = len(steps) if stop_after is None else min(first + stop_after, len(steps))
    while done < last:
        loss = _take(model, stream, steps, done, found, recipe, body)
        done += 1
        tokens = sum(len(s.starts) * s.window for s in steps[:done])
        if report:
            speed = (done - first) * recipe.batch_tokens / (time.monotonic() - began)
            report(Progress(done, len(steps), tokens, loss, speed))
        if snapshot and done in wanted:
            snapshot(model, done, tokens)
        if time.monotonic() - saved > SAVE_EVERY_S:
            _save(run, model, found, recipe, len(stream), done)
            saved = time.monotonic()
    _save(run, model, found, recipe, len(stream), done)
    return sum(len(s.starts) * s.window for s in steps[:done])


def _take(
    model: Any,
    stream: np.ndarray,
    steps: list[Step],
    number: int,
    found: list[torch.optim.Optimizer],
    recipe: Recipe,
    body: Callable[..., Any],
) -> float:
    """Step ``number`` of a run: rate, rows and place follow from the number; returns the loss."""
    import torch

    step = steps[number]
    factor = recipe.lr_factor(number / len(steps))
    for optimiser in found:
        for group in optimiser.param_groups:
            group["lr"] = factor * group["peak_lr"]
    rows = np.stack([stream[s : s + step.window + 1] for s in step.starts]).astype(np.int64)
    # Short windows at random places, so that every learned position is trained.
    context = getattr(model.config, "max_position_embeddings", recipe.last_window)
    offset = _offset(recipe.seed, number, context - step.window)
    return train_batch(model, torch.from_numpy(rows).to(model.device), found, recipe, offset, body)


def _offset(seed: int, step: int, room: int) -> int:
    return int(np.random.default_rng([seed, 11, step]).integers(0, room + 1)) if room > 0 else 0


def _save(
    run: Path, model: Any, found: list[Any], recipe: Recipe, n_tokens: int, done: int
) -> None:
    """Write the checkpoint to a new file and move it into place, so that it is never half there."""
    import torch

    state = {
        "model": model.state_dict(),
        "optimisers": [o.state_dict() for o in found],
        "recipe": asdict(recipe),
        "n_tokens": n_tokens,
        "done": done,
    }
    new = run / "checkpoint.new"
    torch.save(state, new)
    os.replace(new, run / "checkpoint.pt")


def _restore(run: Path, model: Any, found: list[Any], recipe: Recipe, n_tokens: int) -> int:
    """Load the checkpoint of ``run`` if there is one; returns the number of steps done."""
    import torch

    file = run / "checkpoint.pt"
    if not file.exists():
        return 0
    state = torch.load(file, map_location=model.device, weights_only=True)
    if state["recipe"] != asdict(recipe) or state["n_tokens"] != n_tokens:
        raise UserError(
            f"{file} belongs to another recipe or data set; delete it to start anew, "
            "or use the recipe and data it was made with."
        )
    model.load_state_dict(state["model"])
    for optimiser, saved in zip(found, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    return int(state["done"])
