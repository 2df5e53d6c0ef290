"""Every family loads, and its facts and ledger agree with what is really there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from internals.models import eager_attention, families, inspect_table, load, open_model
from internals.models.ledger import block_formula, block_parameters, parameter_ledger
from tiny_models import FAMILIES, build
from tokenizers_small import byte_level_bpe

EXPECTED = {
    # family, norm, placement, positions, mlp, tied, kv heads, attention bias
    "gpt2": ("GPT-2", "LayerNorm", "pre", "learned", "plain", True, 4, True),
    "gpt_neox": ("GPT-NeoX", "LayerNorm", "parallel", "partial rotary", "plain", False, 4, True),
    "opt": ("OPT", "LayerNorm", "pre", "learned", "plain", True, 4, True),
    "opt-post": ("OPT", "LayerNorm", "post", "learned", "plain", True, 4, True),
    "llama": ("Llama", "RMSNorm", "pre", "rotary", "gated", False, 2, False),
    "mistral": ("Mistral", "RMSNorm", "pre", "rotary", "gated", False, 2, False),
    "qwen2": ("Qwen2", "RMSNorm", "pre", "rotary", "gated", False, 2, True),
    "qwen3": ("Qwen3", "RMSNorm", "pre", "rotary", "gated", False, 2, False),
    "gemma": ("Gemma", "RMSNorm", "pre", "rotary", "gated", True, 2, False),
    "gemma2": ("Gemma 2", "RMSNorm", "pre+post", "rotary", "gated", True, 2, False),
    "gemma3_text": ("Gemma 3", "RMSNorm", "pre+post", "rotary", "gated", True, 2, False),
    "phi": ("Phi", "LayerNorm", "parallel", "partial rotary", "plain", False, 4, True),
    "phi3": ("Phi-3", "RMSNorm", "pre", "rotary", "gated", False, 2, False),
}


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request, tiny_folder):
    return request.param, load(str(tiny_folder(request.param)))


def test_facts_are_those_of_the_architecture(loaded):
    name, model = loaded
    f = model.facts
    assert (
        f.family,
        f.norm_kind,
        f.norm_placement,
        f.position_scheme,
        f.mlp_kind,
        f.tied_embeddings,
        f.n_kv_heads,
        f.attention_bias,
    ) == EXPECTED[name]
    assert (f.n_layers, f.n_heads, f.d_model, f.d_head) == (2, 4, 32, 8)
    assert f.context_length == 64
    assert f.vocab_size_tokenizer == f.vocab_size_embedding
    assert f.d_embedding == (16 if name == "opt-post" else 32)
    assert f.has_final_norm == (name != "opt-post")
    assert f.sliding_window == (16 if name in {"mistral", "gemma2", "gemma3_text"} else None)
    assert f.bos_behaviour == "not added"


def test_the_ledger_counts_every_parameter_once(loaded):
    _, model = loaded
    ledger = parameter_ledger(model.model)
    assert ledger["parameters"].sum() == sum(p.numel() for p in model.model.parameters())
    assert ledger["parameters"].sum() == model.facts.n_parameters
    assert set(ledger.loc[ledger["part"] == "other", "tensor"]) <= {
        "model.decoder.project_in.weight",
        "model.decoder.project_out.weight",
    }
    assert set(ledger["block"]) == {-1, 0, 1}
    assert (ledger["shared_with"] != "").any() == model.facts.tied_embeddings


def test_the_closed_form_of_a_block_is_its_count(loaded):
    _, model = loaded
    formula = block_formula(model.model)
    assert formula["parameters"].sum() == block_parameters(model.model)
    ledger = parameter_ledger(model.model)
    counted = ledger[ledger["block"] == 0].groupby("part")["parameters"].sum()
    assert formula.groupby("part")["parameters"].sum().to_dict() == counted.to_dict()


def test_the_model_is_the_one_that_the_library_loads(loaded, tiny_folder):
    name, model = loaded
    plain = AutoModelForCausalLM.from_pretrained(tiny_folder(name)).eval()
    ids = torch.tensor([[5, 9, 200, 3]])
    with torch.no_grad():
        torch.testing.assert_close(model.model(ids).logits, plain(ids).logits)


def test_the_random_twin_has_the_shapes_but_not_the_weights(loaded):
    _, model = loaded
    twin = model.random_twin(seed=1)
    again = model.random_twin(seed=1)
    ours = model.model.state_dict()
    for name, tensor in twin.state_dict().items():
        assert tensor.shape == ours[name].shape
        assert torch.equal(tensor, again.state_dict()[name])
    embedding = families.embedding(twin).weight
    assert not torch.equal(embedding, families.embedding(model.model).weight)


def test_attention_weights_are_there_in_the_scope_and_the_kind_returns(loaded):
    _, model = loaded
    before = model.model.config._attn_implementation
    ids = torch.tensor([[5, 9, 200, 3]])
    with eager_attention(model.model), torch.no_grad():
        weights = model.model(ids, output_attentions=True).attentions
    assert len(weights) == 2
    for layer in weights:
        assert layer.shape == (1, 4, 4, 4)
        torch.testing.assert_close(layer.sum(-1), torch.ones(1, 4, 4))
        assert torch.equal(layer.triu(1), torch.zeros_like(layer))
    assert model.model.config._attn_implementation == before


def test_norms_are_met_in_the_order_of_their_names(loaded):
    """Hooks note which norm fires when; parallel blocks read both from the same stream."""
    _, model = loaded
    order: list[str] = []
    hooks = [
        norm.register_forward_hook(lambda *_, name=name: order.append(name))
        for name, norm in families.all_norms(model.model).items()
    ]
    with torch.no_grad():
        model.model(torch.tensor([[1, 2]]))
    for hook in hooks:
        hook.remove()
    assert order == list(families.all_norms(model.model))


def test_a_handle_costs_no_torch_and_remembers_facts(tiny_folder):
    folder = tiny_folder("llama")
    open_model(str(folder)).facts  # noqa: B018 - stores the facts
    code = (
        "import sys; from internals import open_model;"
        f"h = open_model({str(folder)!r}); f = h.facts;"
        "print(f.family, h.fingerprint, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["Llama", open_model(str(folder)).fingerprint, "False", "False"]


def test_a_model_is_loaded_once_in_a_process(tiny_folder):
    handle = open_model(str(tiny_folder("gpt2")))
    again = open_model(str(tiny_folder("gpt2"))).loaded()
    assert handle.loaded().model is again.model


def test_the_fingerprint_changes_with_weights_config_and_tokenizer(tiny_folder, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(tiny_folder("gpt2"), folder)
    marks = {open_model(str(folder)).fingerprint}
    assert marks == {open_model(str(tiny_folder("gpt2"))).fingerprint}, "the same files elsewhere"
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text((folder / name).read_text() + "\n")
        marks.add(open_model(str(folder)).fingerprint)
    build("gpt2", seed=5).save_pretrained(folder)
    marks.add(open_model(str(folder)).fingerprint)
    assert len(marks) == 4
    (folder / "notes.txt").write_text("x")
    assert open_model(str(folder)).fingerprint in marks


def test_damaged_facts_are_made_again(tiny_folder):
    from internals.paths import CACHE

    handle = open_model(str(tiny_folder("gpt2")))
    facts = handle.facts
    file = CACHE / "facts" / f"{handle.fingerprint}.json"
    for content in ("{", "[]", json.dumps({"name": "x"})):
        file.write_text(content)
        assert open_model(str(tiny_folder("gpt2"))).facts == facts


def test_the_licence_comes_from_the_model_card(tiny_folder, tmp_path):
    from internals.models.facts import read_licence

    assert read_licence(tiny_folder("gpt2")) is None
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Card\n")
    assert read_licence(tmp_path) == "cc-by-4.0"
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")
    assert read_licence(tmp_path) is None


def test_inspect_lists_every_fact_that_is_known(tiny_folder):
    table = inspect_table(open_model(str(tiny_folder("mistral")))).set_index("fact")["value"]
    assert table["family"] == "Mistral"
    assert table["sliding window"] == "16"
    assert "licence" not in table


def test_the_tokenizer_of_a_folder_is_found_without_weights(tiny_folder, tmp_path):
    from internals.errors import ModelError
    from internals.models.resolve import tokenizer_file

    assert tokenizer_file("fable-gpt2").is_file()
    folder = tmp_path / "only a tokenizer"
    byte_level_bpe().save_pretrained(folder)
    assert tokenizer_file(str(folder)) == folder / "tokenizer.json"
    with pytest.raises(ModelError, match="There is no folder"):
        tokenizer_file(str(tmp_path / "nowhere"))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer\.json"):
        tokenizer_file(str(folder))


def test_a_text_longer_than_a_table_of_positions_is_told_in_words(tiny_folder):
    from internals.errors import NotApplicable

    ids = torch.zeros((1, 65), dtype=torch.long)
    for family in ("gpt2", "opt"):
        model = open_model(str(tiny_folder(family))).loaded().model
        cache = model(ids[:, :60], use_cache=True).past_key_values
        with pytest.raises(
            NotApplicable, match="a text of 65 tokens is longer than the context of 64"
        ):
            model(ids)
        with pytest.raises(NotApplicable, match="longer"):
            model(ids[:, :5], past_key_values=cache)
        assert model(ids[:, :64]).logits.shape[1] == 64
    assert open_model(str(tiny_folder("llama"))).loaded().model(ids).logits.shape[1] == 65
