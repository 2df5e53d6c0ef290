"""Wrong sentences about generation, the key-value cache and what they cost."""

from __future__ import annotations

import math

from internals import stats
from internals.evidence import wording
from internals.measure.efficiency import equality, memory, operations
from internals.measure.laboratory.lab import Lab
from internals.measure.laboratory.record import (
    Finding,
    does_not_apply,
    estimated,
    exact,
    more_than,
    refutation,
)

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
    longest = min(48, lab.facts.context_length - 1)
    short, long = (_step_operations(lab, n) for n in (longest // 2, longest))
    outcome = "From {n} of text to twice as many, a step needs {value} more operations."
    n = longest // 2
    return exact(long - short, 0, outcome, n=n, n_unit="tokens")


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
    """Wrong: The cache is an approximation and changes the text.

    Truth: Old keys and values cannot change, since attention is causal; storing them is the same
    calculation.
    """
    table = lab.measured(equality.equality)
    single = table[table["dtype"] == "float32"]
    steps = int(single["steps"].sum())
    share = float(single["flips"].sum()) / max(steps, 1)
    outcome = "In single precision the greedy token changes in {value} of {n}."
    return exact(share, more_than(0), outcome, n=steps, n_unit="steps", unit="share")


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

    Truth: It buys time with memory: two vectors for each token, layer and key head, for every text
    that is served.
    """
    held, facts = lab.measured(memory.held), lab.facts
    tokens = min(facts.context_length, facts.sliding_window or facts.context_length)
    per_token = (held.table["bytes"] / held.table["tokens"]).max()
    share = BATCH * tokens * per_token / facts.weight_bytes
    outcome = (
        f"For {wording.count(BATCH)} texts of {{n}} it takes {{value}} times the weights' bytes."
    )
    return exact(float(share), (0.0, 0.01), outcome, n=tokens, n_unit="tokens")


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
