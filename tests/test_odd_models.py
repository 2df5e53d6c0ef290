"""Models as people ship them: adapters, penalties, several end tokens, odd contexts, tokenizers
that end a text, weights that are not finite."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors
from transformers import GenerationConfig, PreTrainedTokenizerFast

from internals.errors import ModelError
from internals.generation.generate import generate
from internals.models import checks, load, open_model
from internals.models.facts import UNSTATED_CONTEXT
from internals.models.families import context_length
from internals.tokens import display, pieces, prompt_ids, start_ids
from tiny_models import FAMILIES, build
from tokenizers_small import ALL, byte_fallback_bpe, byte_level_bpe, wordpiece


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A copy of a good model folder, to be changed."""
    copy = tmp_path / "odd"
    shutil.copytree(tiny_folder("llama"), copy)
    return copy


def change(file, **values):
    content = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**content, **values}), "utf-8")


# Adapters.


@pytest.mark.parametrize(
    ("config", "base"),
    [
        ({"base_model_name_or_path": "org/base"}, "org/base"),
        ({}, "a model that it does not name"),
        ([], "a model that it does not name"),
    ],
)
@pytest.mark.parametrize("with_config", [True, False])
def test_an_adapter_is_called_one_with_its_model_and_a_remedy(folder, config, base, with_config):
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    if not with_config:
        (folder / "config.json").unlink()
    with pytest.raises(ModelError, match="merge_and_unload") as caught:
        open_model(str(folder))
    assert f"odd is a PEFT adapter of {base}, not a model" in str(caught.value)
    assert "save_pretrained" in str(caught.value)


def test_a_whole_model_with_an_adapter_beside_it_is_a_model(folder):
    (folder / "adapter_config.json").write_text("{}")
    assert open_model(str(folder)).name == "odd"


# Names with the markup of the terminal library.


@pytest.mark.parametrize("name", ["a [red] model", "x [/bold] y", "[link=z]"])
def test_inspect_shows_a_name_as_it_is(folder, name, capsys, monkeypatch):
    from internals.run import cli

    monkeypatch.setenv("COLUMNS", "400")
    place = folder.parent / name  # with the slash of the markup it is a folder in a folder
    place.parent.mkdir(exist_ok=True)
    folder.rename(place)
    cli.inspect(str(place))
    shown = "".join(capsys.readouterr().out.split())  # a title may run over two lines
    assert shown.count("".join(name.split())) >= 2, "in the title and among the facts"


# Weights that are not finite.


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight"])
def test_weights_that_are_not_finite_are_refused_by_name(folder, value, name):
    file = folder / "model.safetensors"
    state = load_file(file)
    state[name].view(-1)[-1] = value
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"The tensor {name} of odd holds numbers that"):
        load(str(folder))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_finite_weights_of_every_type_pass(dtype):
    model = build("llama").to(dtype).requires_grad_(False)
    checks.refuse_unfinite("x", model)
    largest = torch.finfo(dtype).max
    model.model.norm.weight[0] = largest
    checks.refuse_unfinite("x", model)


# End tokens.


@pytest.mark.parametrize(("named", "found"), [([7, 5], 7), ((), None), ([], None), (5, 5)])
@pytest.mark.parametrize("place", ["config.json", "generation_config.json"])
def test_the_end_token_of_a_model_that_names_several(folder, named, found, place):
    change(folder / "tokenizer_config.json", eos_token=None)
    for name in ("config.json", "generation_config.json"):
        change(folder / name, eos_token_id=None)
    change(folder / place, eos_token_id=list(named) if isinstance(named, tuple) else named)
    facts = load(str(folder)).facts
    assert facts.eos_id == found


def test_the_tokenizers_end_token_comes_first(folder):
    change(folder / "generation_config.json", eos_token_id=[7, 5])
    loaded = load(str(folder))
    assert loaded.facts.eos_id == loaded.tokenizer.eos_token_id == 0
    assert loaded.model.generation_config.eos_token_id == [7, 5], "ids are no setting"


# Settings for `generate` that came with the model.

SHIPPED = {
    "do_sample": True,
    "temperature": 0.3,
    "top_k": 3,
    "top_p": 0.5,
    "repetition_penalty": 5.0,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": list(range(60, 320)),
    "num_beams": 3,
    "min_new_tokens": 9,
    "max_new_tokens": 2,
}
PROMPT = [40, 41, 42, 43]


def library_greedy(model, n_new):
    """What the library calls greedy, with as few words as a user would write."""
    ids = torch.tensor([PROMPT])
    made = model.generate(ids, do_sample=False, max_new_tokens=n_new, eos_token_id=None)
    return made[:, ids.shape[1] :].tolist()


def _sampled(model, **settings):
    torch.manual_seed(0)
    ids = torch.tensor([PROMPT])
    made = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        max_new_tokens=1,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
        **settings,
    )
    return made.scores[0]


def test_greedy_is_greedy_whatever_was_shipped(folder, tiny_folder):
    change(folder / "generation_config.json", **SHIPPED)
    plain, odd = load(str(tiny_folder("llama"))), load(str(folder))
    greedy = library_greedy(plain.model, 12)
    assert library_greedy(odd.model, 12) == greedy
    for model in (plain.model, odd.model):
        assert [list(row) for row in generate(model, [PROMPT], 12).ids] == greedy
    for settings in ({"top_k": 7}, {"top_p": 0.6}, {"temperature": 2.0, "top_k": 0}, {}):
        assert torch.equal(_sampled(plain.model, **settings), _sampled(odd.model, **settings))


def test_what_was_shipped_stays_a_fact(folder, tiny_folder):
    change(folder / "generation_config.json", **SHIPPED)
    shipped = load(str(folder)).facts.shipped_settings
    for word in ("repetition_penalty 5.0", "do_sample True", "top_k 3", "temperature 0.3"):
        assert word in shipped
    assert load(str(tiny_folder("llama"))).facts.shipped_settings is None
    assert load(str(tiny_folder("gpt2"))).facts.shipped_settings is None


def test_the_planted_fault_shipped_settings_would_change_greedy():
    """Without the neutral settings the same call gives other text, so the test above can fail."""
    model = build("llama")
    greedy = library_greedy(model, 12)
    model.generation_config = GenerationConfig(repetition_penalty=5.0, no_repeat_ngram_size=1)
    assert library_greedy(model, 12) != greedy
    assert "repetition_penalty 5.0" in checks.take_settings_off(model)
    assert library_greedy(model, 12) == greedy


def test_a_random_twin_has_no_settings_either(folder):
    change(folder / "generation_config.json", **SHIPPED)
    twin = load(str(folder)).random_twin()
    assert checks.take_settings_off(twin) is None


def test_settings_that_contradict_each_other_do_not_stop_the_report(folder):
    change(folder / "generation_config.json", do_sample=False, temperature=0.7, top_p=0.9)
    assert "temperature 0.7" in load(str(folder)).facts.shipped_settings


# Lengths of the context.


@pytest.mark.parametrize("stated", [10**30, 2**31, 0, -5])
def test_a_context_that_cannot_be_meant_is_not_believed(folder, stated):
    change(folder / "config.json", max_position_embeddings=stated)
    loaded = load(str(folder))
    assert loaded.facts.context_length == UNSTATED_CONTEXT
    assert context_length(loaded.model) is None
    assert len(generate(loaded.model, [PROMPT], 3).ids[0]) == 3


def test_a_context_that_is_missing_or_short(folder):
    content = json.loads((folder / "config.json").read_text())
    del content["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(content))
    assert load(str(folder)).facts.context_length == 2048, "the library's own default"
    change(folder / "config.json", max_position_embeddings=3)
    assert load(str(folder)).facts.context_length == 3


@pytest.mark.parametrize("name", FAMILIES)
def test_a_table_of_positions_says_how_long_a_context_is(name):
    model = build(name)
    assert context_length(model) == 64
    model.config.max_position_embeddings = 10**9
    learned = name in {"gpt2", "opt", "opt-post"}
    assert context_length(model) == (64 if learned else None)
    if learned:
        with torch.no_grad():
            model(torch.zeros((1, 64), dtype=torch.long))
        with pytest.raises(IndexError):
            model(torch.zeros((1, 65), dtype=torch.long))


# Ids of a prompt.


def with_template(make, single, **special):
    """A fresh tokenizer that puts tokens around a text."""
    tokenizer = make.__wrapped__()
    tokenizer.add_special_tokens(special)
    names = [part.split(":")[0] for part in single.split() if part[0] != "$"]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single,
        special_tokens=[(n, tokenizer.convert_tokens_to_ids(n)) for n in dict.fromkeys(names)],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, **special)


BERT = {"cls_token": "[CLS]", "sep_token": "[SEP]"}
TEXTS = ("The capital of France is", " a", "x  y\n", "中文", "")


@pytest.mark.parametrize("make", ALL)
def test_a_tokenizer_that_adds_nothing_gives_its_own_ids(make):
    tokenizer = make()
    for text in TEXTS:
        assert prompt_ids(tokenizer, text) == tokenizer(text)["input_ids"]
    assert start_ids(tokenizer) == (
        [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    )


@pytest.mark.parametrize("make", [wordpiece, byte_level_bpe, byte_fallback_bpe])
@pytest.mark.parametrize(
    ("single", "n_before"),
    [("[CLS] $A [SEP]", 1), ("$A [SEP]", 0), ("[CLS] $A", 1), ("[CLS] [SEP] $A [SEP] [SEP]", 2)],
)
def test_a_prompt_does_not_end_with_what_the_tokenizer_puts_there(make, single, n_before):
    tokenizer = with_template(make, single, **BERT)
    for text in TEXTS:
        whole = tokenizer(text)["input_ids"]
        bare = tokenizer(text, add_special_tokens=False)["input_ids"]
        found = prompt_ids(tokenizer, text)
        assert found == [*whole[:n_before], *bare]
        assert whole[: len(found)] == found
    if n_before:
        assert start_ids(tokenizer) == tokenizer("a")["input_ids"][:n_before]


def test_a_special_token_in_the_text_itself_stays():
    tokenizer = with_template(wordpiece, "[CLS] $A [SEP]", **BERT)
    end = tokenizer.convert_tokens_to_ids("[SEP]")
    assert prompt_ids(tokenizer, "the cat [SEP]")[-1] == end
    assert prompt_ids(tokenizer, "the cat [SEP]").count(end) == 1


def test_a_document_begins_after_the_separator_and_not_after_the_end_of_a_turn():
    tokenizer = byte_level_bpe.__wrapped__()
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "bos_token": "<|im_start|>"})
    separator = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert tokenizer.eos_token_id != separator
    assert start_ids(tokenizer) == [separator]
    assert prompt_ids(tokenizer, "a cat") == tokenizer("a cat")["input_ids"]


def test_a_chat_template_changes_no_prompt():
    tokenizer = byte_level_bpe.__wrapped__()
    plain = prompt_ids(tokenizer, "hello")
    templated = byte_level_bpe.__wrapped__()
    templated.chat_template = "{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}"
    assert prompt_ids(templated, "hello") == plain


def test_a_token_that_is_only_marked_as_special_is_shown_by_its_name():
    """Many real vocabularies mark tokens that have no role, such as ``<repo_name>``."""
    from tokenizers import AddedToken

    tokenizer = byte_level_bpe.__wrapped__()
    backend = tokenizer.backend_tokenizer
    backend.add_special_tokens([AddedToken("<repo_name>", special=True, normalized=False)])
    own = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")
    number = own.convert_tokens_to_ids("<repo_name>")
    assert number not in own.all_special_ids
    assert display(own, number) == "<repo_name>"
    assert [p.special for p in pieces(own, "a<repo_name>")] == [False, True]
