"""The bench of the laboratory: a few passes of the model, from which many sentences are judged.

Axes: ``prompt``, ``document``, ``seq``, ``vocab``, ``layer``, ``head``, ``d_model``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.probabilities.temperature import NUCLEUS, PROMPTS, prompt_logits
from internals.measure.windows import HELD_OUT, window_length, windows
from internals.models import ModelHandle, eager_attention, families
from internals.tokens import prompt_ids

if TYPE_CHECKING:
    from torch import Tensor

    from internals.models import LoadedModel

DOCUMENTS, SEQ = 12, 48
WIDE, HIDDEN_K = 0.95, 50
"""A top-p as it is often asked for, and the top-k that libraries add to it."""


@measurement
def after_prompts(model: ModelHandle, prompts: Path = PROMPTS) -> pd.DataFrame:
    """Distributions after many prompts, and what common mistakes say of them

    Columns: ``prompt``, ``top_prob``, ``top_ten`` (mass of ten tokens), ``log_sum_exp`` (nats),
    ``moved_by_division`` (total variation between temperature two and divided probabilities),
    ``moved_by_blank`` (by a blank at its end), ``first_changes`` (at temperature 0.1 or 2),
    ``nucleus_mass`` (of the top-p set of 0.9), ``same_order`` (temperature two before or after
    top-p keeps as many tokens), ``hidden_lost`` (mass of the top-p set of 0.95 that a top-k of
    fifty removes), ``hidden_left`` (tokens that it leaves, as a share), ``loss_gap`` (tokens of the
    text without a probability).
    """
    import torch

    tokenizer, chosen = model.loaded().tokenizer, inputs.prompts(prompts)
    z = torch.from_numpy(prompt_logits(model, prompts)).double()
    blank = torch.from_numpy(prompt_logits(model, prompts, " ")).double().softmax(-1)
    p, warm = z.softmax(-1), (z / 2).softmax(-1)
    ordered = p.sort(descending=True).values
    ahead, first = ordered.cumsum(-1) - ordered, ordered[:, :HIDDEN_K]
    wide = ahead < WIDE
    left = ahead[:, :HIDDEN_K] < WIDE * first.sum(-1, keepdim=True)  # top-p comes after top-k
    halved = (p / 2) / (p / 2).sum(-1, keepdim=True)
    columns = {
        "top_prob": ordered[:, 0],
        "top_ten": ordered[:, :10].sum(-1),
        "log_sum_exp": z.logsumexp(-1),
        "moved_by_division": (halved - warm).abs().sum(-1) / 2,
        "moved_by_blank": (blank - p).abs().sum(-1) / 2,
        "first_changes": ((z / 0.1).argmax(-1) != z.argmax(-1)) | (warm.argmax(-1) != z.argmax(-1)),
        "nucleus_mass": (ordered * (ahead < NUCLEUS)).sum(-1),
        "hidden_lost": (ordered * wide).sum(-1) - (first * left).sum(-1),
        "hidden_left": left.sum(-1) / wide.sum(-1),
        "same_order": _nucleus(warm) == _nucleus(p),
    }
    table = pd.DataFrame({name: column.numpy() for name, column in columns.items()})
    texts = [prompt.text for prompt in chosen]
    plain = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    whole = [len(prompt_ids(tokenizer, text)) for text in texts]
    table["loss_gap"] = np.array(plain) - (np.array(whole) - 1)
    return table.assign(prompt=[prompt.id for prompt in chosen])


def _nucleus(p: Tensor) -> Tensor:
    """Number of tokens in the smallest set that holds :data:`NUCLEUS` of ``(prompt, vocab)``."""
    return (p.sort(descending=True).values.cumsum(-1) < NUCLEUS).sum(-1) + 1


@measurement(files=[HELD_OUT])
def in_documents(model: ModelHandle) -> pd.DataFrame:
    """Attention and states over windows of held-out text, and what common mistakes say of them

    One row a document. Columns: ``narrowest`` (entropy of the most focused head, as a share of an
    even look), ``middle_cosine`` (of unrelated tokens in the middle layer), ``early_choice`` (share
    of positions at which one layer before the end the first choice is already the final one; NaN
    where earlier layers cannot be read).
    """
    import torch

    loaded = model.loaded()
    ids = _windows(loaded)
    with torch.inference_mode(), eager_attention(loaded.model):
        out = loaded.model(ids, use_cache=False, output_hidden_states=True, output_attentions=True)
    half = ids.shape[1] // 2
    even = np.log2(np.arange(half, ids.shape[1]) + 1.0)
    shares = []
    for weights in out.attentions:  # (document, head, seq, seq)
        late = weights[:, :, half:].float()
        entropy = -(late * late.clamp_min(1e-30).log2()).sum(-1).cpu().numpy()
        shares.append((entropy / even).mean(-1))
    share = np.concatenate(shares, axis=1)  # (document, layer · head)
    # The head is chosen on the other documents: none must win by its luck in this one.
    rest = share.sum(0) - share
    documents = np.arange(len(share))
    middle = out.hidden_states[len(out.hidden_states) // 2][:, 1:].float()
    unit = middle / middle.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    cosine = (unit * unit.roll(1, 0).flip(1)).sum(-1).mean(-1)
    return pd.DataFrame(
        {
            "narrowest": share[documents, rest.argmin(1)],
            "middle_cosine": cosine.cpu().numpy(),
            "early_choice": _early_choice(loaded, out),
        }
    )


def _early_choice(loaded: LoadedModel, out: Any) -> np.ndarray:
    norm, head = families.final_norm(loaded.model), families.unembedding(loaded.model)
    state = out.hidden_states[-2]
    if norm is None or loaded.facts.n_layers < 2 or state.shape[-1] != head.weight.shape[1]:
        return np.full(len(state), math.nan)
    early = head(norm(state.to(head.weight.dtype))).argmax(-1)
    return np.asarray((early == out.logits.argmax(-1)).float().mean(-1).cpu().numpy())


@measurement(files=[HELD_OUT])
def invariances(model: ModelHandle) -> dict[str, float]:
    """What a logit does when something is changed that a causal model cannot see

    ``batch``: other sentences in the batch; ``future``: another second half of the text;
    ``twice``: the same pass again; ``last_norm``: head on the last hidden state as the library
    returns it (NaN where there is no such head). Largest absolute changes. ``entries``: hidden
    states that the library returns.
    """
    import torch

    loaded = model.loaded()
    ids = _windows(loaded)
    if len(ids) < 5:
        raise NotApplicable("there are too few documents of this length")
    half = ids.shape[1] // 2

    def logits(rows: Tensor) -> Tensor:
        with torch.inference_mode():
            return loaded.model(rows, use_cache=False).logits.float()

    changed = ids[:1].clone()
    changed[:, half:] = ids[1:2, half:]
    first = logits(ids[:1])
    with torch.inference_mode():
        out = loaded.model(ids[:1], use_cache=False, output_hidden_states=True)
    head, last, gap = families.unembedding(loaded.model), out.hidden_states[-1], math.nan
    if loaded.facts.has_final_norm and last.shape[-1] == head.weight.shape[1]:
        own = head(last.to(head.weight.dtype)).float()
        cap = loaded.facts.logit_softcap
        own = cap * (own / cap).tanh() if cap else own
        gap = float((own - out.logits.float()).abs().max())
    return {
        "batch": float((logits(ids[[0, 1, 2]])[0] - logits(ids[[0, 3, 4]])[0]).abs().max()),
        "future": float((logits(changed)[0, :half] - first[0, :half]).abs().max()),
        "twice": float((logits(ids[:1]) - first).abs().max()),
        "last_norm": gap,
        "entries": float(len(out.hidden_states)),
        "positions": float(ids.shape[1]),
    }


def _windows(loaded: LoadedModel) -> Tensor:
    wanted = max(5, effort.units(loaded.facts, DOCUMENTS, least=8))
    return windows(loaded, wanted, window_length(loaded, SEQ))
