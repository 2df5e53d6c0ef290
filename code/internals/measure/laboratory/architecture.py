"""Wrong sentences about the parts of a model: norms, positions, heads, parameters."""

from __future__ import annotations

import copy

from internals.measure.architecture.norm_outputs import norm_outputs
from internals.measure.laboratory.lab import Lab
from internals.measure.laboratory.record import (
    Finding,
    does_not_apply,
    exact,
    more_than,
    refutation,
)

ROUNDING = 1e-5
"""What enters the first block may differ by so much and count as the same."""


@refutation
def a_sentence_sees_its_batch(lab: Lab) -> Finding:
    """Wrong: The norms use the statistics of the batch, so a sentence's result depends on the
    others.

    Truth: A layer norm takes mean and spread over the features of one token. Batch normalisation
    would mix sentences.
    """
    ids = lab.windows
    with_some = lab.logits(ids[[0, 1, 2]])[0]
    with_others = lab.logits(ids[[0, 3, 4]])[0]
    change = (with_some - with_others).abs().max().item()
    outcome = "With other sentences in the batch a logit changes by at most {value} ({n})."
    return exact(change, more_than(0.01), outcome, n=ids.shape[1], n_unit="positions")


@refutation
def later_words_change_earlier_ones(lab: Lab) -> Finding:
    """Wrong: The model reads the whole sentence at once, so later words change what it predicts
    earlier.

    Truth: A causal mask hides everything to the right; all positions run at once, but each sees
    only its past.
    """
    half = lab.windows.shape[1] // 2
    text, other = lab.windows[:1].clone(), lab.windows[1:2]
    before = lab.logits(text)[0, :half]
    text[:, half:] = other[:, half:]
    change = (lab.logits(text)[0, :half] - before).abs().max().item()
    outcome = (
        "With another second half, a logit of the first half changes by at most {value} ({n})."
    )
    return exact(change, more_than(0.01), outcome, n=half, n_unit="positions")


@refutation
def norms_give_standard_normals(lab: Lab) -> Finding:
    """Wrong: After a layer norm every feature has mean zero and variance one.

    Truth: That holds for the features of one token before gain and shift. One feature over many
    tokens can have any mean and spread, and a few are far larger than all others.
    """
    if lab.facts.norm_kind != "LayerNorm":
        return does_not_apply("This model has no layer norm; its norm does not even centre.")
    table = lab.measured(norm_outputs).features
    own = table[table["network"] == "model"]
    standard = (own["mean"].abs() < 0.1) & ((own["std"] - 1).abs() < 0.1)
    outcome = (
        "{value} of {n} have a mean within a tenth of zero and a spread within a tenth of one."
    )
    n = len(own)
    return exact(float(standard.mean()), (0.9, 1.0), outcome, n=n, n_unit="features", unit="share")


@refutation
def positions_are_sines(lab: Lab) -> Finding:
    """Wrong: Positions are sines and cosines that are added to the embeddings, as in the first
    transformer.

    Truth: GPT-2 and OPT learn a table of positions; most newer models rotate queries and keys
    and add nothing.
    """
    added = _added_by_position(lab)
    largest, n = added.abs().max().item(), len(added)
    if largest <= ROUNDING:  # the direction of nothing says nothing
        outcome = "Nothing is added for the position: what enters the first block differs between "
        outcome += "positions by at most {value} ({n})."
        return exact(largest, more_than(ROUNDING), outcome, n=n, n_unit="positions")
    waves = _sines(*added.shape)
    cosine = float((added * waves).sum() / (added.norm() * waves.norm()))
    outcome = "What is added for the position has a cosine of {value} with the sines ({n})."
    return exact(min(cosine, 1.0), (0.9, 1.0), outcome, n=n, n_unit="positions")


def _sines(n: int, d: int):  # type: ignore[no-untyped-def]
    """``(position, d_model)``: the waves of the first transformer, mean taken off."""
    import torch

    angle = torch.arange(n)[:, None] / 10_000 ** (torch.arange(0, d, 2) / d)
    waves = torch.stack([angle.sin(), angle.cos()], -1).reshape(n, -1)[:, :d]
    return waves - waves.mean(0)


@refutation
def rotations_are_added(lab: Lab) -> Finding:
    """Wrong: Rotary positions are added to the embeddings.

    Truth: They rotate queries and keys inside every attention layer; what enters the first block
    is the same at every position.
    """
    if "rotary" not in lab.facts.position_scheme:
        return does_not_apply("This model learns a table of positions and rotates nothing.")
    added = _added_by_position(lab)
    outcome = "What enters the first block differs between positions by at most {value} ({n})."
    largest = added.abs().max().item()
    return exact(largest, more_than(ROUNDING), outcome, n=len(added), n_unit="positions")


def _added_by_position(lab: Lab):  # type: ignore[no-untyped-def]
    """``(position, d_model)``: input of the first block for one token repeated, mean taken off."""
    import torch

    token = int(lab.windows[0, 1])
    ids = lab.row([token] * lab.windows.shape[1])
    with torch.inference_mode():
        states = lab.model(ids, use_cache=False, output_hidden_states=True).hidden_states
    entering = states[0][0].float().cpu()
    return entering - entering.mean(0)


@refutation
def the_model_is_random(lab: Lab) -> Finding:
    """Wrong: Ask twice and the model gives other probabilities.

    Truth: With dropout off, as in evaluation mode, or in a model without dropout, the probabilities
    are a function of the ids, up to rounding that depends on the shape of the batch. What is random
    is the drawing of a token.
    """
    first, second = lab.logits(lab.windows[:2]), lab.logits(lab.windows[:2])
    change = (first - second).abs().max().item()
    outcome = "The same pass made twice differs by at most {value} in a logit ({n})."
    return exact(
        change, more_than(0.001), outcome, n=first[0, :, 0].numel() * 2, n_unit="positions"
    )


@refutation
def one_prediction_for_a_text(lab: Lab) -> Finding:
    """Wrong: A forward pass predicts one token, the next one.

    Truth: It predicts the next token at every position. That is why training is fast and a prompt
    is read in one pass.
    """
    found = lab.logits(lab.windows[:1]).shape[1]
    outcome = "One pass gives {value} predictions for a text of {n}."
    return exact(found, 1, outcome, n=lab.windows.shape[1], n_unit="tokens")


@refutation
def the_head_adds_parameters(lab: Lab) -> Finding:
    """Wrong: The output head adds a vocabulary times width of parameters.

    Truth: Where head and embedding are tied, they are one matrix and count once.
    """
    from internals.models import families

    head = families.unembedding(lab.model).weight
    shared = head.data_ptr() == families.embedding(lab.model).weight.data_ptr()
    added = 0 if shared else head.numel()
    outcome = "The head's matrix has {n}, of which {value} are not the embedding's."
    return exact(added, head.numel(), outcome, n=head.numel(), n_unit="numbers")


@refutation
def more_heads_more_parameters(lab: Lab) -> Finding:
    """Wrong: More attention heads mean more parameters.

    Truth: As a rule the heads share the width among them: twice as many are half as wide. Only a
    model with a fixed width of heads grows.
    """
    config, heads = copy.deepcopy(lab.model.config), lab.facts.n_heads
    if heads % 2 or lab.facts.n_kv_heads % 2:
        return does_not_apply("The number of heads of this model cannot be halved.")
    config.num_attention_heads = heads // 2
    if hasattr(config, "num_key_value_heads"):
        config.num_key_value_heads = lab.facts.n_kv_heads // 2
    if getattr(config, "head_dim", None) == lab.facts.d_model // heads:
        config.head_dim = (
            2 * config.head_dim
        )  # the width divided by the heads: no choice of its own
    saved = lab.facts.n_parameters - _parameters(config)
    outcome = "With half of {n} the model has {value} parameters fewer."
    return exact(saved, more_than(0), outcome, n=heads, n_unit="heads")


def _parameters(config: object) -> int:
    """Parameters of a model of this configuration, made without memory for its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in made.parameters())


@refutation
def attention_holds_most(lab: Lab) -> Finding:
    """Wrong: Attention is all you need, so most parameters are in the attention.

    Truth: The MLPs hold more, as a rule two to four times as many; in a small model the embedding
    can hold as much as the MLPs.
    """
    from internals.models.ledger import parameter_ledger

    table = parameter_ledger(lab.model)
    total = int(table["parameters"].sum())
    share = table.loc[table["part"] == "attention", "parameters"].sum() / total
    outcome = "Attention holds {value} of {n}."
    return exact(float(share), (0.5, 1.0), outcome, n=total, n_unit="parameters", unit="share")


@refutation
def any_distribution_is_possible(lab: Lab) -> Finding:
    """Wrong: The model can give any distribution over its vocabulary.

    Truth: The logits are a linear function of a vector of the model's width, so they lie in a
    space of that many dimensions (the softmax bottleneck).
    """
    import torch

    from internals.models import families

    head = families.unembedding(lab.model).weight.detach().double().cpu()
    squares = torch.linalg.eigvalsh(head.T @ head)
    rank = int((squares > squares.max() * 1e-12).sum())
    outcome = "The logits of {n} vary in at most {value} dimensions."
    return exact(rank, len(head), outcome, n=len(head), n_unit="tokens")
