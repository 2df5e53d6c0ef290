"""What each family calls its parts: the one module that knows the inside of a model.

A measurement asks here for blocks, norms, attention, MLP, embeddings and positions, and never
looks for them itself. Shapes are those of the library's modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.nn import Module

ENCODERS = frozenset(
    {"bert", "roberta", "distilbert", "albert", "electra", "deberta", "deberta-v2", "xlm-roberta"}
)
"""Types that read text in both directions."""


@dataclass(frozen=True)
class Family:
    """Names and habits of one family."""

    title: str
    body: str
    """Path of the module that holds embedding, blocks and final norm."""
    blocks: str
    """Path of the list of blocks, from ``body``."""
    final_norm: str
    norms: tuple[str, ...]
    """Norms of a block in the order in which a token meets them."""
    attention: str
    mlp: tuple[str, ...]
    """Modules of the MLP; several where the family has no module around them."""
    output: str
    """Projection of the attention's result, from the attention module."""
    qkv: tuple[str, ...]
    """Projections to queries, keys and values, from the attention module."""
    position: str = "rotary"
    """``learned``, ``rotary`` or ``partial rotary``."""
    position_module: str | None = None
    placement: str = "pre"
    """``pre``, ``post``, ``pre+post`` or ``parallel``."""
    gated: bool = True
    scaled_embedding: bool = False
    """Whether embeddings are multiplied by the square root of ``d_model``."""


_LLAMA = {
    "body": "model",
    "blocks": "layers",
    "final_norm": "norm",
    "norms": ("input_layernorm", "post_attention_layernorm"),
    "attention": "self_attn",
    "mlp": ("mlp",),
    "output": "o_proj",
    "qkv": ("q_proj", "k_proj", "v_proj"),
}
_GEMMA_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)


def _llama(title: str, **changes: Any) -> Family:
    return Family(title, **{**_LLAMA, **changes})


FAMILIES: dict[str, Family] = {
    "gpt2": Family(
        "GPT-2",
        body="transformer",
        blocks="h",
        final_norm="ln_f",
        norms=("ln_1", "ln_2"),
        attention="attn",
        mlp=("mlp",),
        output="c_proj",
        qkv=("c_attn",),
        position="learned",
        position_module="wpe",
        gated=False,
    ),
    "gpt_neox": Family(
        "GPT-NeoX",
        body="gpt_neox",
        blocks="layers",
        final_norm="final_layer_norm",
        norms=("input_layernorm", "post_attention_layernorm"),
        attention="attention",
        mlp=("mlp",),
        output="dense",
        qkv=("query_key_value",),
        position="partial rotary",
        gated=False,
    ),
    "opt": Family(
        "OPT",
        body="model.decoder",
        blocks="layers",
        final_norm="final_layer_norm",
        norms=("self_attn_layer_norm", "final_layer_norm"),
        attention="self_attn",
        mlp=("fc1", "fc2"),
        output="out_proj",
        qkv=("q_proj", "k_proj", "v_proj"),
        position="learned",
        position_module="embed_positions",
        gated=False,
    ),
    "llama": _llama("Llama"),
    "mistral": _llama("Mistral"),
    "qwen2": _llama("Qwen2"),
    "qwen3": _llama("Qwen3"),
    "gemma": _llama("Gemma", scaled_embedding=True),
    "gemma2": _llama("Gemma 2", norms=_GEMMA_NORMS, placement="pre+post", scaled_embedding=True),
    "gemma3_text": _llama(
        "Gemma 3", norms=_GEMMA_NORMS, placement="pre+post", scaled_embedding=True
    ),
    "phi": _llama(
        "Phi",
        final_norm="final_layernorm",
        norms=("input_layernorm",),
        output="dense",
        position="partial rotary",
        placement="parallel",
        gated=False,
    ),
    "phi3": _llama("Phi-3", qkv=("qkv_proj",)),
}
"""Families by the ``model_type`` of their configuration."""


def family_of(model: Any) -> Family:
    """The family of a loaded model."""
    return FAMILIES[model.config.model_type]


def get(module: Any, path: str) -> Any:
    """A submodule by its dotted path."""
    for name in path.split("."):
        module = getattr(module, name)
    return module


def body(model: Any) -> Module:
    """Embedding, blocks and final norm, without the head."""
    return get(model, family_of(model).body)


def blocks(model: Any) -> list[Module]:
    """The blocks in order."""
    return list(get(body(model), family_of(model).blocks))


def norms(model: Any, block: Module) -> list[Module]:
    """The norms of a block in the order in which a token meets them."""
    return [get(block, name) for name in family_of(model).norms]


def final_norm(model: Any) -> Module | None:
    """The norm before the head; None where the family member has none (small post-norm OPT)."""
    return getattr(body(model), family_of(model).final_norm, None)


def all_norms(model: Any) -> dict[str, Module]:
    """Every norm of the residual stream by a readable name, in the order of the data."""
    found = {
        f"block {i}, {name}": get(block, name)
        for i, block in enumerate(blocks(model))
        for name in family_of(model).norms
    }
    last = final_norm(model)
    return found if last is None else {**found, "final": last}


def attention(model: Any, block: Module) -> Module:
    """The attention module of a block."""
    return get(block, family_of(model).attention)


def mlp(model: Any, block: Module) -> list[Module]:
    """The modules of the block's MLP."""
    return [get(block, name) for name in family_of(model).mlp]


def embedding(model: Any) -> Any:
    """Token embedding; its weight is ``(vocab, d_embedding)``."""
    return model.get_input_embeddings()


def unembedding(model: Any) -> Any:
    """The head; its weight is ``(vocab, d_embedding)``."""
    return model.get_output_embeddings()


def position_embedding(model: Any) -> Module | None:
    """The table of learned positions; None where positions are rotated into queries and keys."""
    name = family_of(model).position_module
    return None if name is None else get(body(model), name)


LONGEST_CONTEXT = 2**24
"""Tokens; more than any model has, so a configuration that states more states nothing."""


def context_length(model: Any) -> int | None:
    """Most tokens that a model can look at; None where its configuration states no such number.

    A table of learned positions has a row for each, whatever the configuration says.
    """
    table: Any = position_embedding(model) if model.config.model_type in FAMILIES else None
    if table is not None:
        return int(table.weight.shape[0]) - int(getattr(table, "offset", 0))
    config = getattr(model.config, "text_config", None) or model.config
    stated = getattr(config, "max_position_embeddings", None)
    return stated if isinstance(stated, int) and 0 < stated <= LONGEST_CONTEXT else None


def placement(model: Any) -> str:
    """Where the norms stand: ``pre``, ``post``, ``pre+post`` or ``parallel``."""
    config = model.config
    if config.model_type == "gpt_neox":
        return "parallel" if config.use_parallel_residual else "pre"
    if config.model_type == "opt":
        return "pre" if config.do_layer_norm_before else "post"
    return family_of(model).placement


def rotary_share(model: Any) -> float | None:
    """Share of each head's dimensions that is rotated; None without rotary positions."""
    if family_of(model).position == "learned":
        return None
    config = model.config
    parameters = getattr(config, "rope_parameters", None) or {}
    share = parameters.get("partial_rotary_factor") if isinstance(parameters, dict) else None
    if share is None:
        share = getattr(config, "partial_rotary_factor", None)
    return float(share) if share else 1.0
