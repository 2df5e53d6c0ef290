"""Wrong sentences about the parts of a model."""

from __future__ import annotations

from internals.findings import Estimate, exact
from internals.findings.mistakes import mistake
from internals.measure import bench
from internals.measure.architecture import components
from internals.models import ModelHandle


@mistake(
    "The norms use the statistics of the batch, so a sentence's result depends on the others.",
    "A layer norm takes its statistics over the features of one token.",
    predicts=(0.01, float("inf")),
)
def a_sentence_sees_its_batch(model: ModelHandle) -> Estimate:
    """With other sentences in the batch a logit changes by at most {value}."""
    return _change(model, "batch")


@mistake(
    "The model reads the whole sentence at once, so later words change what it predicts earlier.",
    "A causal mask hides everything to the right: each position sees only its past.",
    predicts=(0.01, float("inf")),
)
def later_words_change_earlier_ones(model: ModelHandle) -> Estimate:
    """With another second half of the text, earlier logits change by at most {value}."""
    return _change(model, "future")


@mistake(
    "The model answers differently each time because it is random.",
    "A forward pass is a fixed function; chance enters where a token is drawn.",
    predicts=(0.001, float("inf")),
)
def the_model_is_random(model: ModelHandle) -> Estimate:
    """The same pass made twice differs by at most {value} in a logit."""
    return _change(model, "twice")


@mistake(
    "Attention is all you need, so most parameters are in the attention.",
    "The MLPs hold more; in a small model the embedding may hold as much.",
    predicts=(0.5, 1.0),
    unit="share",
)
def attention_holds_most(model: ModelHandle) -> Estimate:
    """Attention holds {value} of the parameters."""
    table = components.ledger(model)
    total = int(table["parameters"].sum())
    held = table.loc[table["part"].str.contains("attention"), "parameters"].sum()
    return exact(held / total, total, "parameters")


@mistake(
    "The output head always adds a vocabulary times width of parameters.",
    "Where head and embedding are tied, they are one matrix and count once.",
    predicts=(1.0, 1.0),
)
def the_head_adds_parameters(model: ModelHandle) -> Estimate:
    """The head adds {value} matrices of its own."""
    return exact(float(not model.facts.tied_embeddings), 1, "heads")


def _change(model: ModelHandle, what: str) -> Estimate:
    found = bench.invariances(model)
    return exact(found[what], int(found["positions"]), "positions")
