"""The NumPy transformer computes what the library computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig

from internals.generation import numpy_gpt2 as small


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def pair(request, tmp_path_factory):
    """A GPT-2 with weights far from their initial values, and the same read by NumPy."""
    torch.manual_seed(0)
    config = GPT2Config(n_layer=3, n_head=4, n_embd=32, vocab_size=61, n_positions=24)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("a gpt2")
    model.to(getattr(torch, request.param)).save_pretrained(folder)
    reference = GPT2LMHeadModel.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    return reference, small.load_weights(folder)


def _tensor(output):
    """A block's hidden states; some versions of the library wrap them in a tuple."""
    return output[0] if isinstance(output, tuple) else output


IDS = [5, 60, 1, 1, 17, 33, 2, 9, 40]


@torch.no_grad()
def test_every_layer_agrees_with_the_library(pair):
    model, weights = pair
    states: list[torch.Tensor] = []
    hooks = [
        block.register_forward_hook(
            lambda _m, _i, out: states.append(out[0] if isinstance(out, tuple) else out)
        )
        for block in model.transformer.h
    ]
    expected = model(torch.tensor([IDS])).logits[0].numpy()
    for hook in hooks:
        hook.remove()
    logits, stream = small.forward(IDS, weights)
    assert len(stream) == len(states) + 1
    for ours, theirs in zip(stream[1:], states, strict=True):
        np.testing.assert_allclose(ours, theirs.reshape(ours.shape).numpy(), atol=1e-3)
    np.testing.assert_allclose(logits, expected, atol=1e-3)


def test_the_other_name_of_its_activation_means_the_same(tmp_path):
    torch.manual_seed(1)
    other = GPT2Config(
        vocab_size=64,
        n_positions=24,
        n_embd=32,
        n_layer=1,
        n_head=4,
        activation_function="gelu_pytorch_tanh",
    )
    model = GPT2LMHeadModel(other).eval()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0].numpy()
    logits, _ = small.forward(IDS, small.load_weights(tmp_path))
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_cache_changes_nothing_but_the_work(pair, cut):
    _, weights = pair
    whole, _ = small.forward(IDS, weights)
    cache = small.Cache()
    first, _ = small.forward(IDS[:cut], weights, cache)
    rest, _ = small.forward(IDS[cut:], weights, cache)
    np.testing.assert_allclose(np.concatenate([first, rest]), whole, atol=1e-4)
    assert cache.length == len(IDS)


def test_greedy_tokens_are_those_of_generate(pair):
    model, weights = pair
    theirs = model.generate(
        torch.tensor([IDS]),
        attention_mask=torch.ones(1, len(IDS), dtype=torch.long),
        max_new_tokens=10,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )[0, len(IDS) :].tolist()
    assert small.greedy(IDS, weights, 10) == theirs
    assert small.greedy(IDS, weights, 10, cached=False) == theirs


def test_the_cache_holds_two_arrays_for_each_layer_head_and_token(pair):
    _, weights = pair
    cache = small.Cache()
    small.forward(IDS, weights, cache)
    assert cache.n_bytes == 2 * weights.n_layers * len(IDS) * 32 * 4


def test_too_many_tokens_and_none_are_refused(pair):
    _, weights = pair
    with pytest.raises(ValueError, match="expected 1 to 24 new tokens, got 25"):
        small.forward([1] * 25, weights)
    with pytest.raises(ValueError, match="got 0"):
        small.forward([], weights)


def test_another_architecture_is_refused(tmp_path):
    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(small.NotGPT2Error, match="is a llama model"):
        small.load_weights(tmp_path)


@pytest.mark.parametrize(
    ("variant", "sentence"),
    [
        ({"activation_function": "relu"}, "uses relu for activation_function"),
        ({"scale_attn_weights": False}, "uses False for scale_attn_weights"),
        ({"scale_attn_by_inverse_layer_idx": True}, "uses True for scale_attn_by_inverse"),
    ],
)
def test_variants_of_the_architecture_are_refused(tmp_path, variant, sentence):
    GPT2Config(**variant).save_pretrained(tmp_path)
    with pytest.raises(small.NotGPT2Error, match=sentence):
        small.load_weights(tmp_path)


def test_it_is_short_enough_to_be_read():
    from pathlib import Path

    assert len(Path(small.__file__).read_text("utf-8").splitlines()) <= 200
