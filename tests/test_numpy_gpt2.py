"""GPT-2 in NumPy computes what the library computes, also on other weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from internals.generation.numpy_gpt2 import GPT2

IDS = [5, 60, 1, 1, 17, 33, 2, 9, 40]


@pytest.fixture(scope="module")
def pair():
    """The library's random GPT-2 with large weights, and ours."""
    torch.manual_seed(0)
    config = GPT2Config(n_layer=3, n_head=4, n_embd=32, vocab_size=61, n_positions=24)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    weights = {n.removeprefix("transformer."): p.detach() for n, p in model.named_parameters()}
    return model, GPT2({name: p.numpy() for name, p in weights.items()}, n_heads=4)


def test_every_layer_and_logit_agree_with_the_library(pair):
    with torch.no_grad():
        out = pair[0](torch.tensor([IDS]), output_hidden_states=True)
    logits, stream = pair[1].forward(IDS, {})
    for theirs, ours in zip(out.hidden_states, stream, strict=False):
        np.testing.assert_allclose(ours, theirs[0].numpy(), atol=1e-3)
    np.testing.assert_allclose(logits, out.logits[0].numpy(), atol=1e-3)


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_cache_changes_nothing_but_the_work(pair, cut):
    whole, _ = pair[1].forward(IDS, {})
    cache: dict = {}
    parts = [pair[1].forward(part, cache)[0] for part in (IDS[:cut], IDS[cut:])]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-4)
    assert sum(a.nbytes for pair in cache.values() for a in pair) == 2 * 3 * len(IDS) * 32 * 4


@pytest.mark.parametrize("cached", [True, False])
def test_greedy_text_is_that_of_the_library(pair, cached):
    theirs = pair[0].generate(
        torch.tensor([IDS]), max_new_tokens=10, do_sample=False, eos_token_id=None, pad_token_id=0,
        attention_mask=torch.ones(1, len(IDS), dtype=torch.long),
    )  # fmt: skip
    assert pair[1].greedy(IDS, 10, cached) == theirs[0].tolist()
