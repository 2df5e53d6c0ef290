"""Wrong sentences about attention weights and hidden states."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from internals import stats
from internals.book import wording
from internals.measure.laboratory.lab import Lab
from internals.measure.laboratory.record import (
    Finding,
    does_not_apply,
    estimated,
    exact,
    more_than,
    refutation,
)
from internals.measure.tokenization import contexts, measured

if TYPE_CHECKING:
    from torch import Tensor


@refutation
def attention_explains(lab: Lab) -> Finding:
    """Wrong: The attention weights show which words the prediction rests on.

    Truth: Weights say where a head looks, not what it takes from there or what later layers make
    of it. Blanking the word is a second view, and not the truth either.
    """
    from scipy.stats import spearmanr

    varied = [a for a in lab.attributions if np.ptp(a.attention) > 0 and np.ptp(a.effect) > 0]
    if len(varied) < 3:
        return does_not_apply("The attention of this model does not vary, or blanks do nothing.")
    found = [float(spearmanr(a.attention, a.effect).statistic) for a in varied]
    agreement = stats.bootstrap_ci(np.array(found), unit="prompts")
    outcome = "Attention (mean of all heads and layers, from the last position) and the effect of "
    outcome += "blanking a token on the gap of the two best logits have a rank correlation of "
    return estimated(agreement, (0.9, 1.0), outcome + "{value} (mean of {n}).")


@refutation
def the_first_token_matters_most(lab: Lab) -> Finding:
    """Wrong: The first token gets most attention because it matters most.

    Truth: Softmax must put its weight somewhere; in many models heads with nothing to look for park
    it on the first token (an attention sink).
    """
    pairs = [(a.attention[0], a.effect[0], 1 / len(a.effect)) for a in lab.attributions]
    if len(pairs) < 3:
        return does_not_apply(
            "There are too few prompts in which a blanked token changes anything."
        )
    weight, effect, even = np.array(pairs).T
    seen, fair = (wording.percent(float(part.mean())) for part in (weight, even))
    over_even = stats.paired_difference(weight, even)
    if not over_even.low > 0:
        return does_not_apply(_no_sink(len(pairs), seen, fair, less=over_even.high < 0))
    excess = stats.paired_difference(weight, effect, unit="prompts")
    outcome = f"It gets {seen} of the attention, where an even look gives {fair}; its share of the "
    outcome += "attention less its share of the effects is {value} (mean of {n})."
    return estimated(excess, (-1.0, 0.0), outcome, unit="points")


def _no_sink(prompts: int, seen: str, fair: str, *, less: bool) -> str:
    """Why the sentence about the first token does not apply."""
    return (
        f"From the last position of {wording.count(prompts)} prompts the first token gets {seen} "
        f"of the attention, where an even look gives {fair}; in prompts this short and over all "
        f"heads {'it gets less' if less else 'it is not shown to get more'}, though a single head "
        "may still park its weight there."
    )


@refutation
def asking_for_attention_is_enough(lab: Lab) -> Finding:
    """Wrong: With `output_attentions=True` the model returns its attention weights.

    Truth: The fast kernels never form them, and the library may return nothing without an error.
    Load with `attn_implementation="eager"` and count what comes back.
    """
    import torch

    layers = lab.facts.n_layers
    with torch.inference_mode():
        out = lab.model(lab.windows[:1], use_cache=False, output_attentions=True)
    returned = sum(weights is not None for weights in out.attentions or ())
    kind = lab.model.config._attn_implementation
    outcome = f"With the kernel “{kind}” {{value}} of {{n}} return weights."
    return exact(returned, layers, outcome, n=layers, n_unit="layers")


@refutation
def the_last_state_needs_the_norm(lab: Lab) -> Finding:
    """Wrong: Apply the final norm to `hidden_states[-1]` before the head.

    Truth: In this library the last entry is already normed; the norm would be applied twice.
    """
    from internals.models import families

    head, last = families.unembedding(lab.model), lab.run.states[-1]
    if not lab.facts.has_final_norm or last.shape[-1] != head.weight.shape[1]:
        return does_not_apply("This model has no final norm right before its head.")
    logits = head(last.to(head.weight.dtype)).float()
    if cap := lab.facts.logit_softcap:
        logits = cap * (logits / cap).tanh()
    gap = (logits - lab.run.logits).abs().max().item()
    outcome = (
        "The logits of head and last entry alone differ from the model's by at most {value} ({n})."
    )
    return exact(gap, more_than(0.01), outcome, n=last[..., 0].numel(), n_unit="positions")


@refutation
def one_state_for_each_layer(lab: Lab) -> Finding:
    """Wrong: `hidden_states[i]` is the output of layer i, counted from zero.

    Truth: There is one entry more than layers: the first is the input of the first layer.
    """
    layers = lab.facts.n_layers
    outcome = "The model returns {value} entries for {n}."
    return exact(len(lab.run.states), layers, outcome, n=layers, n_unit="layers")


@refutation
def similar_vectors_mean_the_same(lab: Lab) -> Finding:
    """Wrong: Unrelated words have a cosine near zero, so a high cosine shows the same meaning.

    Truth: States point into a narrow cone (anisotropy) and a few features dominate the product.
    Compare with random pairs first.
    """
    state = lab.run.states[len(lab.run.states) // 2][:, 1:]
    unit = state / state.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    cosines = (unit * unit.roll(1, 0).flip(1)).sum(-1).mean(-1)
    found = stats.bootstrap_ci(cosines.cpu().numpy(), unit="documents")
    outcome = "In the middle layer unrelated tokens have a cosine of {value} (mean of {n})."
    return estimated(found, (-0.1, 0.1), outcome)


@refutation
def one_vector_for_each_word(lab: Lab) -> Finding:
    """Wrong: Inside the model a word is one vector.

    Truth: Only in the embedding table. Where learned positions are added, it differs from place to
    place even before the first block; from there on it depends on everything before it.
    """
    table = contexts.sense_sentences()
    table = table[table["word"].isin(table["word"].unique()[:10])]
    states = measured.last_token_states(lab.model, lab.tokenizer, table["text"].tolist())[:, -1]
    unit = states / np.linalg.norm(states, axis=-1, keepdims=True).clip(1e-12)
    parts = [unit[(table["word"] == word).to_numpy()] for word in table["word"].unique()]
    cosines = [float((p @ p.T)[np.triu_indices(len(p), 1)].mean()) for p in parts]
    found = stats.bootstrap_ci(np.minimum(cosines, 1.0), unit="words")
    outcome = "In the last layer a word in different sentences has a cosine of {value} with itself "
    outcome += "(raw vectors, not centred; {n})."
    return estimated(found, (0.999, 1.0), outcome)


@refutation
def only_the_last_layer_knows(lab: Lab) -> Finding:
    """Wrong: The prediction is made in the last layer.

    Truth: All layers add to one stream, and the head can read a prediction off each of them (the
    logit lens); part of the choices is made before the last one.
    """
    from internals.models import families

    norm, head = families.final_norm(lab.model), families.unembedding(lab.model)
    state = lab.run.states[-2]
    if norm is None or lab.facts.n_layers < 2 or state.shape[-1] != head.weight.shape[1]:
        return does_not_apply("This model has no final norm through which to read earlier layers.")
    early = head(norm(state.to(head.weight.dtype))).argmax(-1)
    final = lab.run.logits.argmax(-1)
    same = (early == final).float().mean(-1)
    found, chance = stats.bootstrap_ci(same.cpu().numpy(), unit="documents"), _agree(early, final)
    outcome = "One layer earlier the first choice is already the final one at {value} of the "
    outcome += f"positions ({{n}}); with positions shuffled it is at {wording.percent(chance)}."
    return estimated(found, (0.0, min(1.0, round(0.05 + chance, 3))), outcome, unit="share")


def _agree(early: Tensor, final: Tensor) -> float:
    """Share of equal tokens, mean over all ways to shuffle the positions of one of them: a model
    with a few favourites agrees with itself by chance."""
    size = 1 + int(max(early.max(), final.max()))
    shares = [t.flatten().bincount(minlength=size).double() / t.numel() for t in (early, final)]
    return float(shares[0] @ shares[1])


@refutation
def every_head_looks_everywhere(lab: Lab) -> Finding:
    """Wrong: Every head looks at all words of the text.

    Truth: Heads can differ: one may look at a single token, another at many. The entropy of the
    weights tells how many.
    """
    seq = lab.run.attentions[0].shape[-1]
    limit, spread = np.log2(np.arange(seq // 2, seq) + 1.0), []
    for weights in lab.run.attentions:
        entropy = -(weights * weights.clamp_min(1e-30).log2()).sum(-1)[..., seq // 2 :]
        spread.append((entropy.cpu().numpy() / limit).mean(-1).clip(max=1.0))
    share = np.concatenate(spread, 1)  # (document, layer · head)
    # Chosen on the other documents: a head must not be the lowest by its luck in this one.
    lowest = (share.sum(0) - share).argmin(1)
    found = stats.bootstrap_ci(share[np.arange(len(share)), lowest], unit="documents")
    outcome = f"Of {wording.count(share.shape[1])} heads the most focused one has {{value}} of the "
    outcome += "entropy of an even look (mean of {n}), the least focused one "
    outcome += f"{wording.percent(float(share.mean(0).max()))}."
    return estimated(found, (0.95, 1.0), outcome, unit="share")


@refutation
def a_significant_head_is_a_finding(lab: Lab) -> Finding:
    """Wrong: A head whose score correlates with something at the five percent level is a finding.

    Truth: Test many heads and some are significant by chance. Correct for the number of tests.
    """
    from scipy.stats import t as student

    scores = np.stack([a[:, :, 1:, 0].mean(-1).cpu().numpy() for a in lab.run.attentions], 1)
    flat = scores.reshape(len(scores), -1)  # (document, layer · head)
    noise = np.random.default_rng(0).normal(size=(len(flat), 40))
    x, y = flat - flat.mean(0), noise - noise.mean(0)
    size = np.linalg.norm(x, axis=0)[:, None] * np.linalg.norm(y, axis=0)
    r = np.divide(x.T @ y, size, out=np.zeros_like(size), where=size > 1e-9)
    limit = float(student.ppf(0.975, len(flat) - 2))
    limit /= math.sqrt(len(flat) - 2 + limit**2)
    # Heads share documents and numbers, so a draw of the numbers is the unit.
    share = stats.bootstrap_ci((np.abs(r) > limit).mean(0), unit="draws")
    outcome = "Correlated with random numbers, {value} of the "
    outcome += f"{wording.count(len(r))} heads are “significant” (mean of {{n}})."
    return estimated(share, 0.0, outcome, unit="share")
