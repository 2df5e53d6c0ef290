"""Wrong sentences about attention weights and hidden states."""

from __future__ import annotations

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, exact
from internals.findings.mistakes import mistake
from internals.measure import bench
from internals.measure.tokenization import contexts
from internals.models import ModelHandle


@mistake(
    "Every head looks at all words of the text.",
    "Heads differ: one looks at a single token, another at many.",
    predicts=(0.95, 1.0),
    unit="share",
)
def every_head_looks_everywhere(model: ModelHandle) -> Estimate:
    """The most focused head has {value} of the entropy of an even look."""
    return stats.bootstrap_ci(bench.in_documents(model)["narrowest"], unit="documents")


@mistake(
    "Apply the final norm to `hidden_states[-1]` before the head.",
    "In this library the last entry is already normed; the norm would be applied twice.",
    predicts=(0.01, float("inf")),
)
def the_last_state_needs_the_norm(model: ModelHandle) -> Estimate:
    """The logits of head and last entry alone differ from the model's by at most {value}."""
    found = bench.invariances(model)
    return exact(found["last_norm"], int(found["positions"]), "positions")


@mistake(
    "`hidden_states[i]` is the output of layer i, counted from zero.",
    "There is one entry more than layers: the first is the input of the first layer.",
    predicts=(0.0, 0.0),
)
def one_state_for_each_layer(model: ModelHandle) -> Estimate:
    """The library returns {value} more than there are layers."""
    extra = bench.invariances(model)["entries"] - model.facts.n_layers
    return exact(extra, model.facts.n_layers, "layers")


@mistake(
    "Unrelated words have a cosine near zero, so a high cosine shows the same meaning.",
    "States point into a narrow cone (anisotropy); compare with random pairs first.",
    predicts=(-0.1, 0.1),
)
def similar_vectors_mean_the_same(model: ModelHandle) -> Estimate:
    """In the middle layer unrelated tokens have a mean cosine of {value}."""
    return stats.bootstrap_ci(bench.in_documents(model)["middle_cosine"], unit="documents")


@mistake(
    "Inside the model a word is one vector.",
    "Only in the embedding table; from the first block on it depends on what stands before it.",
    predicts=(0.999, 1.0),
)
def one_vector_for_each_word(model: ModelHandle) -> Estimate:
    """In the last layer a word has a mean cosine of {value} with itself in other sentences."""
    table = contexts.similarity(model)
    last = table[table["layer"] == table["layer"].max()]
    return stats.bootstrap_ci(last["same"], unit="words")


@mistake(
    "The prediction is made in the last layer.",
    "All layers add to one stream, and the head can read a prediction off each of them.",
    predicts=(0.0, 0.05),
    unit="share",
)
def only_the_last_layer_knows(model: ModelHandle) -> Estimate:
    """One layer earlier the first choice is already the final one at {value} of the positions."""
    early = bench.in_documents(model)["early_choice"]
    if early.isna().any():
        raise NotApplicable("earlier layers cannot be read through its head")
    return stats.bootstrap_ci(early, unit="documents")
