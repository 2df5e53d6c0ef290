"""One prompt in full: every logit of the vocabulary, and variants of the same question."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.measure.probabilities.temperature import PROMPTS, entropy_bits, next_logits

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel, ModelHandle


@dataclass(frozen=True)
class OnePrompt:
    """The distribution after one prompt."""

    text: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    top: pd.DataFrame
    """``place``, ``token``, ``id``, ``logit``, ``probability``, ``cumulative``,
    ``surprisal_bits``."""
    histogram: pd.DataFrame
    """``left``, ``right`` (edges of bins of the logits), ``tokens``, ``mass``."""
    tail: pd.DataFrame
    """``leading`` (tokens taken away), ``left`` (probability of all others)."""
    vocab: int
    lowest: float
    highest: float
    """Smallest and largest logit."""
    log_z: float
    """log-sum-exp of the logits, in nats."""
    entropy_bits: float
    above_uniform: int
    """Tokens more likely than one in the size of the vocabulary."""
    middle_share: float
    """Share of the tokens whose logit lies in the middle half of the range of the logits."""
    padding: int
    """Logits that belong to no token of the tokenizer (rows that pad the vocabulary)."""
    padding_mass: float
    """Probability of all of them."""

    @property
    def max_entropy_bits(self) -> float:
        """Entropy of the uniform distribution."""
        return math.log2(self.vocab)


@measurement
def main_prompt(model: ModelHandle, prompts: Path = PROMPTS, k: int = 10) -> OnePrompt:
    """Logits and probabilities of the whole vocabulary after one prompt"""
    from internals.tokens import display

    loaded = model.loaded()
    text = main_text(prompts)
    z = next_logits(loaded, text)
    lp = z.log_softmax(-1)
    p = lp.exp()
    order = p.argsort(descending=True)
    ids = order[:k].tolist()
    top = pd.DataFrame(
        {
            "place": range(1, k + 1),
            "token": [display(loaded.tokenizer, i) for i in ids],
            "id": ids,
            "logit": z[ids].tolist(),
            "probability": p[ids].tolist(),
            "cumulative": p[ids].cumsum(0).tolist(),
            "surprisal_bits": (-lp[ids] / math.log(2)).tolist(),
        }
    )
    prompt_ids = tuple(loaded.tokenizer(text)["input_ids"])
    ordered = p[order]
    quarter = (z.max() - z.min()) / 4
    inner = (z >= z.min() + quarter) & (z <= z.max() - quarter)
    leading = [n for n in (1, 10, 100, 1000) if n < len(p)]
    return OnePrompt(
        text=text,
        ids=prompt_ids,
        pieces=tuple(display(loaded.tokenizer, i) for i in prompt_ids),
        top=top,
        histogram=_histogram(z, p),
        tail=pd.DataFrame(
            {"leading": leading, "left": [ordered[n:].sum().item() for n in leading]}
        ),
        vocab=len(z),
        lowest=z.min().item(),
        highest=z.max().item(),
        log_z=z.logsumexp(0).item(),
        entropy_bits=entropy_bits(lp),
        above_uniform=int((p > 1 / len(p)).sum()),
        middle_share=inner.double().mean().item(),
        padding=max(0, len(z) - len(loaded.tokenizer)),
        padding_mass=p[len(loaded.tokenizer) :].sum().item(),
    )


def main_text(prompts: Path = PROMPTS) -> str:
    """The prompt with the id ``main``."""
    return next(p.text for p in inputs.prompts(prompts) if p.id == "main")


def _histogram(z: Tensor, p: Tensor, bins: int = 60) -> pd.DataFrame:
    edges = np.linspace(z.min().item(), z.max().item() + 1e-9, bins + 1)
    counts, _ = np.histogram(z.numpy(), edges)
    mass, _ = np.histogram(z.numpy(), edges, weights=p.numpy())
    return pd.DataFrame({"left": edges[:-1], "right": edges[1:], "tokens": counts, "mass": mass})


@measurement
def variants(model: ModelHandle, prompts: Path = PROMPTS) -> pd.DataFrame:
    """The same prompt with a blank at its end, and with and without a start token

    Columns: ``variant``, ``ids`` (number of tokens), ``top`` (most likely token), ``probability``
    of it, ``entropy_bits``, ``moved`` (total variation distance to the prompt as typed).
    """
    from internals.tokens import display

    loaded = model.loaded()
    text = main_text(prompts)
    base = next_logits(loaded, text).softmax(-1)
    typed = loaded.tokenizer(text)["input_ids"]
    rows = []
    for name, ids in _variants(loaded, text):
        lp = _logits(loaded, ids).log_softmax(-1)
        best = int(lp.argmax())
        rows.append(
            {
                "variant": name,
                "ids": len(ids),
                "top": display(loaded.tokenizer, best),
                "probability": lp[best].exp().item(),
                "entropy_bits": entropy_bits(lp),
                "moved": 0.0 if ids == typed else 0.5 * (lp.exp() - base).abs().sum().item(),
            }
        )
    return pd.DataFrame(rows)


@measurement
def blank_effect(model: ModelHandle, prompts: Path = PROMPTS) -> pd.DataFrame:
    """How much probability moves when a blank is put at the end of a prompt

    Columns: ``prompt``, ``moved`` (total variation distance), ``same_ids`` (the blank changes no
    id, so nothing can move).
    """
    loaded = model.loaded()
    return _moved(loaded, prompts, lambda text: loaded.tokenizer(text + " ")["input_ids"])


@measurement
def start_effect(model: ModelHandle, prompts: Path = PROMPTS) -> pd.DataFrame:
    """How much probability moves when a prompt loses its start token, or gets one

    Columns as in `blank_effect`. The start token goes where the tokenizer adds one and is put in
    front elsewhere; no rows where there is none.
    """
    loaded = model.loaded()
    return _moved(loaded, prompts, lambda text: other_start(loaded, text))


def _moved(loaded: LoadedModel, prompts: Path, edit: Callable[[str], list[int]]) -> pd.DataFrame:
    rows = []
    for prompt in inputs.prompts(prompts):
        typed, ids = loaded.tokenizer(prompt.text)["input_ids"], edit(prompt.text)
        if ids:
            p, q = (_logits(loaded, i).softmax(-1) for i in (typed, ids))
            rows.append((prompt.id, 0.5 * (p - q).abs().sum().item(), ids == typed))
    return pd.DataFrame(rows, columns=["prompt", "moved", "same_ids"])


def other_start(loaded: LoadedModel, text: str) -> list[int]:
    """Ids without the start token that the tokenizer adds, or with one that it does not add."""
    typed = loaded.tokenizer(text)["input_ids"]
    bare = list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])
    if typed != bare:
        return bare
    start = loaded.facts.bos_id if loaded.facts.bos_id is not None else loaded.facts.eos_id
    return [] if start is None else [start, *bare]


def _variants(loaded: LoadedModel, text: str) -> list[tuple[str, list[int]]]:
    """Name and ids of each variant that has any."""
    tokenizer = loaded.tokenizer
    typed = tokenizer(text)["input_ids"]
    other = other_start(loaded, text)
    asked: list[tuple[str, list[int]]] = [("as typed", typed)]
    name = "without the start token" if len(other) < len(typed) else "with a start token"
    asked.append((name, other))
    asked.append(("with a blank at the end", tokenizer(text + " ")["input_ids"]))
    asked.append(("without its last word", tokenizer(text.rsplit(" ", 1)[0])["input_ids"]))
    return [(name, ids) for name, ids in asked if ids]


def _logits(loaded: LoadedModel, ids: list[int]) -> Tensor:
    import torch

    with torch.inference_mode():
        row = torch.tensor([ids], device=loaded.model.device)
        return loaded.model(row, use_cache=False).logits[0, -1].double().cpu()


@dataclass(frozen=True)
class SoftmaxChecks:
    """Softmax and its gradient on the logits of the main prompt."""

    gradient_autograd: float
    """Largest difference of ``∂ loss / ∂ z`` by autograd and ``p − y``."""
    gradient_finite: float
    """The same for central finite differences, over 200 tokens."""
    overflow_at: float
    """Smallest shift (power of ten) at which exp in float32 without the max-shift fails."""
    naive_fails: bool
    stable_error: float
    """Error of the max-shifted softmax in float32 at that shift, against float64."""


@measurement
def softmax_checks(model: ModelHandle, prompts: Path = PROMPTS) -> SoftmaxChecks:
    """Gradient of the loss, and overflow without the shift by the maximum"""
    import torch

    z = next_logits(model.loaded(), main_text(prompts))
    target = int(z.topk(2).indices[1])
    p = z.softmax(-1)
    expected = p.clone()
    expected[target] -= 1
    leaf = z.clone().requires_grad_()
    torch.nn.functional.cross_entropy(leaf[None], torch.tensor([target])).backward()
    assert leaf.grad is not None
    chosen = torch.linspace(0, len(z) - 1, min(200, len(z))).long()
    finite = max(
        abs(_slope(z, int(i), target) - expected[int(i)].item())
        for i in [*chosen.tolist(), target, int(z.argmax())]
    )
    small = (z - z.max()).float()
    shift = 10.0
    while torch.isfinite((small + shift).exp()).all():
        shift *= 10
    shifted = small + shift
    naive = shifted.exp() / shifted.exp().sum()
    # The shift itself rounds the logits in float32, so the reference starts from the rounded ones.
    reference = shifted.double().softmax(-1)
    stable = (shifted - shifted.max()).exp()
    stable = stable / stable.sum()
    return SoftmaxChecks(
        gradient_autograd=(leaf.grad - expected).abs().max().item(),
        gradient_finite=finite,
        overflow_at=shift,
        naive_fails=not bool(torch.isfinite(naive).all()),
        stable_error=(stable.double() - reference).abs().max().item(),
    )


def _slope(z: Tensor, i: int, target: int, h: float = 1e-4) -> float:
    """Central difference of the cross-entropy (nats) in logit ``i``."""
    up, down = z.clone(), z.clone()
    up[i] += h
    down[i] -= h
    return float((-up.log_softmax(-1)[target] + down.log_softmax(-1)[target]).item() / (2 * h))


SHIFT = 10 / 3
"""Added to all logits; no binary fraction, so that rounding shows."""


@measurement
def map_properties(model: ModelHandle, prompts: Path = PROMPTS) -> pd.DataFrame:
    """What each normalisation keeps, on the logits of all prompts

    Columns: ``map``, ``undefined`` (prompts without a distribution), ``shift_change`` (largest
    change of a probability when :data:`SHIFT` is added to all logits), ``order_kept`` (share of
    prompts), ``zeros`` (mean share of the vocabulary with exactly 0), ``top`` (mean largest
    probability).
    """
    from internals.measure.probabilities.maps import MAPS, keeps_order

    loaded = model.loaded()
    logits = [next_logits(loaded, p.text) for p in inputs.prompts(prompts)]
    rows = []
    for name, normalise in MAPS.items():
        found = [(z, normalise(z), normalise(z + SHIFT)) for z in logits]
        defined = [(z, p, q) for z, p, q in found if not bool(p.isnan().any())]
        changes = [(p - q).abs().nan_to_num(1.0).max().item() for _, p, q in defined]
        rows.append(
            {
                "map": name,
                "undefined": len(found) - len(defined),
                "shift_change": max(changes, default=math.nan),
                "order_kept": _mean([keeps_order(z, p) for z, p, _ in defined]),
                "zeros": _mean([(p == 0).double().mean().item() for _, p, _ in defined]),
                "top": _mean([p.max().item() for _, p, _ in defined]),
            }
        )
    return pd.DataFrame(rows).assign(prompts=len(logits))


def _mean(values: list[float] | list[bool]) -> float:
    return float(np.mean(values)) if values else math.nan
