"""Facts about a loaded model, read from its modules where a configuration could mislead.

Ties are told by storage, counts by tensors, BOS behaviour by encoding a text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from internals.models import families
from internals.models.convert import ORIGIN

if TYPE_CHECKING:
    from internals.models.resolve import Source

UNSTATED_CONTEXT = 2048
"""Tokens of context where a model states none, or a number that cannot be meant."""


@dataclass(frozen=True)
class ModelFacts:
    """What every chapter may ask about the model of the run; plain values only."""

    name: str
    spec: str
    fingerprint: str
    revision: str | None
    """Commit on the Hub; None for local folders."""
    licence: str | None
    """From the model card's front matter."""
    original_name: str | None
    """What a GGUF file calls the model; None for other folders."""
    quantisation: str | None
    """Types of the file's tensors with their shares: ``Q4_1 (79 %), Q8_0 (21 %)``."""
    family: str
    """``GPT-2``, ``Llama`` …"""
    model_type: str
    """The library's name of the architecture."""
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    d_embedding: int
    """Width of the embedding table; differs from ``d_model`` in some OPT models."""
    context_length: int
    """Tokens; of a table of positions where there is one, else as the configuration says."""
    sliding_window: int | None
    vocab_size_tokenizer: int
    vocab_size_embedding: int
    tied_embeddings: bool
    """Whether head and embedding share their storage."""
    norm_kind: str
    """``LayerNorm`` or ``RMSNorm``."""
    norm_placement: str
    """``pre``, ``post``, ``pre+post`` or ``parallel``."""
    n_norms: int
    """Norms of the residual stream, the final one included."""
    norm_eps: float
    has_final_norm: bool
    position_scheme: str
    """``learned``, ``rotary`` or ``partial rotary``."""
    rotary_share: float | None
    mlp_kind: str
    """``gated`` (three matrices) or ``plain`` (two)."""
    activation: str
    attention_bias: bool
    scaled_embedding: bool
    logit_softcap: float | None
    bos_behaviour: str
    """``none`` (no BOS token), ``not added`` or ``added``."""
    bos_id: int | None
    eos_id: int | None
    """The tokenizer's; else the first that the configuration names, which may name several."""
    chat_template: bool
    """Whether a form for chats comes with the tokenizer; it is never applied here."""
    shipped_settings: str | None
    """Settings for `generate` that came with the model and were taken off."""
    n_parameters: int
    weight_bytes: int
    """Bytes in memory, shared tensors once."""
    dtype: str
    stored_dtype: str
    """Type of the weights in the file."""
    device: str

    @property
    def grouped_query(self) -> bool:
        """Whether several query heads share a key and value head (Ainslie et al. 2023)."""
        return self.n_kv_heads < self.n_heads

    @property
    def padded_vocabulary(self) -> bool:
        """Whether the embedding has rows that belong to no token."""
        return self.vocab_size_embedding > self.vocab_size_tokenizer


def read_facts(
    model: Any, tokenizer: Any, source: Source, fingerprint: str, stored: str, shipped: str | None
) -> ModelFacts:
    """All facts about a loaded model, whose weights were ``stored`` in this type of numbers and
    ``shipped`` with these settings for ``generate``."""
    config = model.config
    family = families.family_of(model)
    norms = list(families.all_norms(model).values())
    heads = int(config.num_attention_heads)
    embedding = families.embedding(model).weight
    origin = read_origin(source.folder)
    parameters = unique_parameters(model)
    return ModelFacts(
        name=source.name,
        spec=source.spec,
        fingerprint=fingerprint,
        revision=source.revision,
        licence=read_licence(source.folder),
        original_name=origin.get("name"),
        quantisation=origin.get("quantisation"),
        family=family.title,
        model_type=config.model_type,
        n_layers=len(families.blocks(model)),
        n_heads=heads,
        n_kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        d_model=int(config.hidden_size),
        d_head=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        d_mlp=int(
            _first(config, "intermediate_size", "ffn_dim", "n_inner") or 4 * config.hidden_size
        ),
        d_embedding=int(embedding.shape[1]),
        context_length=families.context_length(model) or UNSTATED_CONTEXT,
        sliding_window=_sliding_window(config),
        vocab_size_tokenizer=len(tokenizer),
        vocab_size_embedding=int(embedding.shape[0]),
        tied_embeddings=families.unembedding(model).weight.data_ptr() == embedding.data_ptr(),
        norm_kind=norm_kind(norms[0]),
        norm_placement=families.placement(model),
        n_norms=len(norms),
        norm_eps=norm_eps(norms[0]),
        has_final_norm=families.final_norm(model) is not None,
        position_scheme=_positions(model),
        rotary_share=families.rotary_share(model),
        mlp_kind="gated" if family.gated else "plain",
        activation=str(
            _first(config, "hidden_activation", "hidden_act", "activation_function") or "unknown"
        ),
        attention_bias=_attention_bias(model),
        scaled_embedding=family.scaled_embedding,
        logit_softcap=getattr(config, "final_logit_softcapping", None),
        bos_behaviour=bos_behaviour(tokenizer),
        bos_id=tokenizer.bos_token_id,
        eos_id=end_id(model, tokenizer),
        chat_template=bool(getattr(tokenizer, "chat_template", None)),
        shipped_settings=shipped,
        n_parameters=sum(p.numel() for p in parameters),
        weight_bytes=sum(p.numel() * p.element_size() for p in parameters),
        dtype=str(model.dtype).removeprefix("torch."),
        stored_dtype=stored,
        device=model.device.type,
    )


def unique_parameters(model: Any) -> list[Any]:
    """Every parameter once, whatever names it has: shared storage counts once."""
    return list({p.data_ptr(): p for p in model.parameters()}.values())


def norm_kind(norm: Any) -> str:
    """``RMSNorm`` or ``LayerNorm``, by the library's name of the module."""
    return "RMSNorm" if "RMS" in type(norm).__name__ else "LayerNorm"


def norm_eps(norm: Any) -> float:
    """The small number under the root."""
    return float(_first(norm, "eps", "variance_epsilon") or 0.0)


def _first(config: Any, *names: str) -> Any:
    """The first of these settings that has a value."""
    return next((value for name in names if (value := getattr(config, name, None))), None)


def _sliding_window(config: Any) -> int | None:
    """Tokens that a windowed layer looks back; None if every layer sees the whole context."""
    if getattr(config, "use_sliding_window", True) is False:
        return None
    window = getattr(config, "sliding_window", None)
    return int(window) if window else None


def _positions(model: Any) -> str:
    scheme = families.family_of(model).position
    share = families.rotary_share(model)
    return scheme if share is None else ("rotary" if share == 1 else "partial rotary")


def _attention_bias(model: Any) -> bool:
    module = families.attention(model, families.blocks(model)[0])
    first = families.get(module, families.family_of(model).qkv[0])
    return getattr(first, "bias", None) is not None


def bos_behaviour(tokenizer: Any) -> str:
    """Measured: does encoding a text put a BOS token in front of it?"""
    if tokenizer.bos_token_id is None:
        return "none"
    ids = tokenizer("a")["input_ids"]
    return "added" if ids and ids[0] == tokenizer.bos_token_id else "not added"


def end_id(model: Any, tokenizer: Any) -> int | None:
    """The token that ends a text: the tokenizer's, else the first that the model names."""
    if tokenizer.eos_token_id is not None:
        return int(tokenizer.eos_token_id)
    for place in (model.generation_config, model.config):
        named = getattr(place, "eos_token_id", None)
        first = named[0] if isinstance(named, list | tuple) and named else named
        if isinstance(first, int):
            return first
    return None


def read_origin(folder: Path) -> dict[str, str]:
    """What a folder that was converted from a GGUF file says of that file; empty for others."""
    try:
        content = json.loads((folder / ORIGIN).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in content.items()} if isinstance(content, dict) else {}


def read_licence(folder: Path) -> str | None:
    """The licence named in the front matter of the model card, if there is one."""
    try:
        text = (folder / "README.md").read_text("utf-8", errors="replace")
        front = yaml.safe_load(text.split("---", 2)[1]) if text.startswith("---") else None
    except (OSError, IndexError, yaml.YAMLError):
        return None
    licence = front.get("license") if isinstance(front, dict) else None
    return str(licence) if licence else None
