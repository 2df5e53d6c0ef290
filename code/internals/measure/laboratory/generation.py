"""Wrong sentences about generation, the key-value cache and what they cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from internals import stats
from internals.book import wording
from internals.measure.generation import equality, memory, operations
from internals.measure.laboratory.lab import Lab
from internals.measure.laboratory.record import (
    Finding,
    does_not_apply,
    estimated,
    exact,
    refutation,
)

if TYPE_CHECKING:
    import pandas as pd

BATCH = 32
"""Texts served at the same time, for the question whether a cache is free."""


@refutation
def the_cache_holds_queries(lab: Lab) -> Finding:
    """Wrong: The cache keeps queries, keys and values.

    Truth: Keys and values only. A query is used once, at its own step.
    """
    held, facts = lab.measured(memory.held), lab.facts
    one = facts.n_layers * facts.n_kv_heads * facts.d_head * held.value_bytes
    # Where layers drop old tokens, a short text shows most of what is kept for one.
    vectors = (held.table["bytes"] / held.table["tokens"]).max() / one
    outcome = "For each token, layer and key head the cache holds at most {value} vectors ({n})."
    n = len(held.table)
    return exact(float(vectors), (2.9, 3.1), outcome, n=n, n_unit="text lengths")


@refutation
def a_cached_step_costs_the_same(lab: Lab) -> Finding:
    """Wrong: With a cache each new token costs the same, however long the text is.

    Truth: The new token still looks at all old ones, so its attention grows with the text; a whole
    text stays quadratic.
    """
    facts, longest = lab.facts, min(48, lab.facts.context_length - 1)
    half = longest // 2
    short, long = (_step_operations(lab, n) for n in (half, longest))
    # Scores and weighted values are linear in the text, so two lengths give the line.
    full = max(longest, min(facts.context_length, facts.sliding_window or facts.context_length))
    growth = (long - short) / (longest - half) * (full - half) / short
    limit = "window" if facts.sliding_window else "context"
    outcome = (
        f"From {{n}} of text to a full {limit} of {wording.count(full)} a step needs {{value}} "
    )
    outcome += f"more operations (counted up to {wording.count(longest)}, then a straight line)."
    return exact(growth, (0.0, 0.01), outcome, n=half, n_unit="tokens", unit="share")


def _step_operations(lab: Lab, tokens: int) -> int:
    """Counted operations of one new token after ``tokens`` cached ones."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import DynamicCache

    from internals.models import eager_attention

    cache = DynamicCache(config=lab.model.config)
    ids = lab.row([i % lab.facts.vocab_size_tokenizer for i in range(tokens)])
    with torch.no_grad(), eager_attention(lab.model):
        lab.model(ids, past_key_values=cache, use_cache=True)
        with FlopCounterMode(display=False) as counter:
            lab.model(ids[:, -1:], past_key_values=cache, use_cache=True)
    return int(counter.get_total_flops())


@refutation
def the_cache_approximates(lab: Lab) -> Finding:
    """Wrong: The cache is an approximation: even in single precision it changes most texts.

    Truth: Old keys and values cannot change, since attention is causal, so in exact arithmetic the
    text is the same; rounding can turn a near-tie.
    """
    table = lab.measured(equality.equality)
    single, half = (table[table["dtype"] == d] for d in ("float32", "bfloat16"))
    share = stats.wilson(int((single["flips"] > 0).sum()), len(single), unit="texts")
    outcome = "A greedy token changes in {value} of {n} in single precision "
    outcome += f"({_flips(single)}) and in {wording.count(int((half['flips'] > 0).sum()))} of "
    outcome += f"{wording.count(len(half))} in sixteen bits ({_flips(half)})."
    return estimated(share, (0.5, 1.0), outcome, unit="share")


def _flips(table: pd.DataFrame) -> str:
    """Changed steps of all steps."""
    changed, steps = (wording.count(int(table[column].sum())) for column in ("flips", "steps"))
    return f"{changed} of {steps} steps"


@refutation
def the_cache_is_exact_to_the_bit(lab: Lab) -> Finding:
    """Wrong: With and without a cache every bit is the same.

    Truth: The sums are taken in another order, so they round differently, and in sixteen bits a
    near-tie can flip.
    """
    table = lab.measured(equality.equality)
    single, half = (table[table["dtype"] == d] for d in ("float32", "bfloat16"))
    outcome = "The logits differ by up to {value} in single precision ({n}) and by up to "
    outcome += f"{wording.number(float(half['largest'].max()))} in sixteen bits."
    largest, n = float(single["largest"].max()), int(single["steps"].sum())
    return exact(largest, 0, outcome, n=n, n_unit="steps")


@refutation
def the_cache_is_free(lab: Lab) -> Finding:
    """Wrong: Caching costs nothing.

    Truth: Between the steps it holds two vectors for each token, layer and key head, for every text
    that is served. Without it nothing is held, but a pass needs the activations of the whole text.
    """
    held, facts = lab.measured(memory.held), lab.facts
    tokens = min(facts.context_length, facts.sliding_window or facts.context_length)
    per_token = (held.table["bytes"] / held.table["tokens"]).max()
    one = float(tokens * per_token / facts.weight_bytes)
    outcome = (
        f"For {wording.count(BATCH)} texts of {{n}} it takes {{value}} times the weights' bytes, "
    )
    outcome += f"for one of them {wording.number(one)} times."
    return exact(BATCH * one, (0.0, 0.01), outcome, n=tokens, n_unit="tokens")


@refutation
def twice_the_text_four_times_the_work(lab: Lab) -> Finding:
    """Wrong: A text of twice the length takes four times the work, since attention is quadratic.

    Truth: Only scores and weighted values are quadratic. The matrices are linear in the length and
    cost more until the text is several widths long.
    """
    table = lab.measured(operations.counted)
    if len(table) < 2:
        return does_not_apply("The context of this model is too short to compare two lengths.")
    first, last = table.iloc[0], table.iloc[-1]
    power = math.log(last["counter"] / first["counter"]) / math.log(last["n"] / first["n"])
    outcome = "Up to {n} the counted operations grow with the power {value} of the length."
    return exact(power, (1.9, 2.1), outcome, n=int(last["n"]), n_unit="tokens")


@refutation
def the_padding_side_does_not_matter(lab: Lab) -> Finding:
    """Wrong: It does not matter on which side a batch of prompts is padded.

    Truth: A decoder continues at the last column. Padding on the right puts a pad token there;
    pad on the left, with mask and positions.
    """
    import torch

    from internals.measure.scoring import padded

    ids = [list(lab.tokenizer(text)["input_ids"]) for text in lab.prompts]
    width = max(map(len, ids))
    short = [row for row in ids if len(row) < width] or ids
    mask = torch.tensor([[i < len(row) for i in range(width)] for row in short]).long()
    batch = padded([*short, [0] * width], lab.model.device)[:-1]
    wrong = lab.logits(batch, attention_mask=mask.to(batch.device))[:, -1].argmax(-1)
    right = [lab.logits(lab.row(row))[0, -1].argmax().item() for row in short]
    changed = sum(a != b for a, b in zip(wrong.tolist(), right, strict=True))
    share = stats.wilson(changed, len(short), unit="prompts")
    outcome = "Padded on the right, {value} of {n} get another first choice at the last column."
    return estimated(share, 0.0, outcome, unit="share")
