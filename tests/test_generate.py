"""Our generation equals the library's: with and without a cache, alone and in a padded batch."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from internals.generation import generate as module
from internals.generation.generate import GenerationError, generate, next_logits, pad_left
from internals.generation.sampling import Sampler

VOCAB = 53


def _gpt2():
    return GPT2LMHeadModel(
        GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=VOCAB, n_positions=40)
    )


def _llama():
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=VOCAB,
            max_position_embeddings=40,
        )
    )


def _neox():
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            vocab_size=VOCAB,
            max_position_embeddings=40,
        )
    )


def _opt():
    return OPTForCausalLM(
        OPTConfig(
            hidden_size=16,
            word_embed_proj_dim=16,
            ffn_dim=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            vocab_size=VOCAB,
            max_position_embeddings=40,
        )
    )


def _mistral():
    """Layers that look at the last six tokens only, so that the cache drops the others."""
    return MistralForCausalLM(
        MistralConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=VOCAB,
            max_position_embeddings=40,
            sliding_window=6,
        )
    )


@pytest.fixture(scope="module", params=[_gpt2, _llama, _neox, _opt, _mistral])
def model(request):
    torch.manual_seed(0)
    model = request.param().eval()
    with torch.no_grad():  # random models repeat one token; larger weights make them lively
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


PROMPTS = [[7, 3, 9], [11, 2, 40, 41, 5, 6, 30], [52]]


def library(model, prompt, n_new):
    return tuple(
        model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=n_new,
            do_sample=False,
            eos_token_id=-1,  # never drawn: `min_new_tokens` would forbid a real token
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
    )


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("cached", [True, False])
def test_greedy_tokens_are_those_of_the_library(model, prompt, cached):
    assert generate(model, [prompt], 12, cached=cached).ids == (library(model, prompt, 12),)


@pytest.mark.parametrize("cached", [True, False])
def test_a_left_padded_batch_gives_what_each_prompt_gives_alone(model, cached):
    alone = tuple(generate(model, [p], 10).ids[0] for p in PROMPTS)
    assert generate(model, PROMPTS, 10, cached=cached).ids == alone


@pytest.mark.parametrize("cached", [True, False])
def test_copies_are_what_each_prompt_repeated_gives(model, cached):
    hot = Sampler("hot", temperature=3.0)
    repeated = [p for p in PROMPTS for _ in range(3)]
    long = generate(model, repeated, 8, sampler=hot, seed=1, cached=cached)
    short = generate(model, PROMPTS, 8, sampler=hot, seed=1, cached=cached, copies=3)
    assert short.ids == long.ids
    assert len(set(short.ids[:3])) > 1


def test_the_same_seed_gives_the_same_text_and_another_seed_another(model):
    hot = Sampler("hot", temperature=5.0)
    one, again, other = (
        generate(model, PROMPTS, 12, sampler=hot, seed=seed).ids for seed in (1, 1, 2)
    )
    assert one == again != other


@pytest.mark.parametrize("cached", [True, False])
def test_a_cache_saves_token_passes_and_copies_share_a_prefill(model, cached, monkeypatch):
    fed = []
    monkeypatch.setattr(
        module, "next_logits", lambda m, ids, *rest: fed.append(ids.numel()) or plain(m, ids, *rest)
    )
    plain = next_logits
    generate(model, [[1, 2, 3, 4]], 5, cached=cached, copies=3)
    assert fed == ([4, 3, 3, 3, 3] if cached else [4, 15, 18, 21, 24])


def test_padding_is_on_the_left():
    ids, mask = pad_left([[5, 6], [7, 8, 9]])
    assert ids.tolist() == [[0, 5, 6], [7, 8, 9]]
    assert mask.tolist() == [[0, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize(
    ("prompts", "n_new", "sentence"),
    [
        ([[]], 3, "has no tokens"),
        ([], 3, "has no tokens"),
        ([[1] * 38], 3, "38 tokens and 3 more are asked for, but the model's context holds 40"),
        ([[1]], 0, "At least one new token must be asked for, not 0"),
    ],
)
def test_impossible_requests_get_one_sentence(model, prompts, n_new, sentence):
    with pytest.raises(GenerationError, match=sentence):
        generate(model, prompts, n_new)
