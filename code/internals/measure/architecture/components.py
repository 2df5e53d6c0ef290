"""What a model is made of: its modules, its parameters, and the shape of what flows between them.

Counts come from tensors, shapes from hooks during a forward pass; the closed form of a block comes
from widths alone and is compared with the count. Axes: ``batch``, ``seq``, ``head``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals.cache import measurement
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelFacts, ModelHandle

BATCH, SEQ = 3, 7
"""Size of the input whose shapes are recorded."""
_DOES = {
    "embed_tokens|wte|embed_in": "a vector for each token",
    "wpe|embed_positions": "a vector for each position",
    "project_in|project_out": "between the width of the embedding and that of the stream",
    "q_proj": "queries: what a token looks for",
    "k_proj": "keys: by what a token is found",
    "v_proj": "values: what a token hands over",
    "c_attn|qkv_proj|query_key_value": "queries, keys and values in one matrix",
    "o_proj|out_proj|attn.c_proj|self_attn.dense|attention.dense": "joins the heads' results",
    "gate_proj": "how much of each inner number passes",
    "gate_up_proj": "gate and inner numbers in one matrix",
    "up_proj|mlp.c_fc|fc1|dense_h_to_4h": "from the stream to inner numbers",
    "down_proj|mlp.c_proj|fc2|dense_4h_to_h": "from inner numbers to the stream",
    "lm_head|embed_out": "a logit for each token",
    "norm|layernorm|layer_norm|ln_1|ln_2|ln_f": "gives a token's vector a fixed size",
}
"""What a module does, by the end of its path; the first that fits."""


@measurement
def modules(model: ModelHandle) -> pd.DataFrame:
    """Modules that hold parameters

    Columns: ``module`` (path, within its block if it is in one), ``shape`` (of its tensors),
    ``parameters`` (of one such module; those that another module owns count 0), ``times`` (how many
    there are), ``does``.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    owners: dict[int, str] = {}
    for path, module in model.loaded().model.named_modules(remove_duplicate=False):
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        for tensor in own.values():
            owners.setdefault(tensor.data_ptr(), path)
        first = owners[next(iter(own.values())).data_ptr()]
        general = re.sub(r"^.*\.\d+\.", "", path)
        shape = ", ".join(("bias " if n == "bias" else "") + _by(t.shape) for n, t in own.items())
        size = sum(t.numel() for t in own.values() if owners[t.data_ptr()] == path)
        does = next((text for ends, text in _DOES.items() if re.search(f"({ends})$", general)), "")
        does += "" if first == path else " (shared)"
        new = {"parameters": size, "times": 0, "does": does}
        rows.setdefault((general, shape), new)["times"] += 1
    return pd.DataFrame([{"module": m, "shape": s, **row} for (m, s), row in rows.items()])


def _by(shape: Sequence[int]) -> str:
    return " × ".join(f"{size:,}" for size in shape)


@measurement
def ledger(model: ModelHandle) -> pd.DataFrame:
    """Parameters by kind of module

    Columns: ``part``, ``parameters`` (a head that shares the embedding's storage has none of its
    own), ``share`` (of all).
    """
    from internals.models.ledger import parameter_ledger

    by_part = parameter_ledger(model.loaded().model).groupby("part", sort=False)["parameters"]
    table = by_part.sum().reset_index()
    return table.assign(share=table["parameters"] / table["parameters"].sum())


@measurement
def block_terms(model: ModelHandle) -> pd.DataFrame:
    """Parameters of a block in closed form

    Columns: ``part``, ``formula``, ``numbers`` (the same with the widths in it), ``parameters``.
    """
    from internals.models.ledger import block_formula

    facts = model.facts
    single = block_formula(model.loaded().model)  # one row for each norm of the block
    grouped = single.groupby(["part", "formula"], sort=False)["parameters"]
    terms = grouped.agg(["sum", "size"]).reset_index()
    times = terms["size"].map(lambda n: f"{n} · " if n > 1 else "")
    heads, keys = facts.n_heads * facts.d_head, facts.n_kv_heads * facts.d_head
    widths = {"d": facts.d_model, "q": heads, "k": keys, "m": facts.d_mlp, "h": facts.d_head}
    numbers = times + terms["formula"].map(lambda formula: _in_numbers(formula, widths))
    terms = terms.assign(formula=times + terms["formula"], numbers=numbers, parameters=terms["sum"])
    return terms[["part", "formula", "numbers", "parameters"]]


@measurement
def block_sizes(model: ModelHandle) -> tuple[int, ...]:
    """Parameters of each block, counted"""
    from internals.models.ledger import block_parameters

    return tuple(block_parameters(model.loaded().model, i) for i in range(model.facts.n_layers))


def _in_numbers(formula: str, widths: dict[str, int]) -> str:
    """``2dq + k`` to "2 · 576 · 576 + 192": letters side by side are multiplied."""
    terms = (re.findall(r"\d+|[a-z]", term) for term in formula.split("+"))
    return " + ".join(" · ".join(f"{widths.get(f, f)}" for f in term) for term in terms)


def embedding_shares(model: ModelHandle) -> pd.DataFrame:
    """Share of token embedding and head in public models of many sizes, and in this one.

    Columns: ``name``, ``parameters``, ``share``, ``ratio`` (entries over width), ``head`` (tied, or
    its own), ``this`` (model of the run). Published models whose tie is not known are left out.
    """
    published = pd.read_csv(DATA / "facts" / "architectures.csv").dropna(subset="tied")
    facts, columns = model.facts, ["name", "parameters", "vocab", "d_model", "tied"]
    published = published.assign(parameters=published["parameters_billion"] * 1e9)
    tied, vocab = "yes" if facts.tied_embeddings else "no", facts.vocab_size_embedding
    own = [facts.name, facts.n_parameters, vocab, facts.d_embedding, tied]
    table = pd.concat([published[columns], pd.DataFrame([own], columns=columns)], ignore_index=True)
    size = table["vocab"] * table["d_model"] * table["tied"].map({"yes": 1, "no": 2})
    return table.assign(
        share=size / table["parameters"],
        ratio=table["vocab"] / table["d_model"],
        head=table["tied"].map({"yes": "tied to the embedding", "no": "a matrix of its own"}),
        this=table.index == len(table) - 1,
    )


@dataclass(frozen=True)
class DataFlow:
    """Everything a diagram of the model needs; shapes as they were in a forward pass."""

    shapes: dict[str, str]
    """Shape on each edge, batch and seq as words: ``ids``, ``embedding``, ``stream``, ``query``,
    ``key``, ``pattern``, ``inner``, ``head_input``, ``logits``; ``position`` if it is learned."""
    facts: ModelFacts
    norms_on_heads: bool
    """Whether queries and keys are normalised head by head (Qwen3, Gemma 3, some Phi)."""


@measurement
def data_flow(model: ModelHandle) -> DataFlow:
    """Shapes on every edge, in one forward pass"""
    from internals.models import families

    loaded = model.loaded()
    network = loaded.model
    attention = families.attention(network, families.blocks(network)[0])
    norms = any("norm" in name for name, _ in attention.named_parameters())
    return DataFlow(_shapes(loaded), loaded.facts, norms)


def _shapes(loaded: LoadedModel) -> dict[str, str]:
    """Run ``(BATCH, SEQ)`` ids and name the axes of what passes; a wrong shape is an error."""
    import torch

    from internals.models import eager_attention, families

    network = loaded.model
    parts = families.mlp(network, families.blocks(network)[0])
    matrices = [m for part in parts for m in part.modules() if _is_matrix(m)]
    inner: list[Any] = []
    hook = matrices[-1].register_forward_pre_hook(lambda _m, args: inner.append(args[0].shape))
    ids = torch.zeros((BATCH, SEQ), dtype=torch.long, device=network.device)
    wanted = {"use_cache": True, "output_attentions": True, "output_hidden_states": True}
    try:
        with torch.inference_mode(), eager_attention(network):
            out = network(ids, **wanted)
            embedding = families.embedding(network)(ids).shape
    finally:
        hook.remove()
    key, pattern = out.past_key_values.layers[0].keys.shape, out.attentions[0].shape
    seen = {"ids": ids.shape, "embedding": embedding, "stream": out.hidden_states[0].shape}
    seen |= {"key": key, "query": (*pattern[:3], key[-1]), "pattern": pattern, "inner": inner[0]}
    seen |= {"head_input": (BATCH, SEQ, families.unembedding(network).weight.shape[-1])}
    seen |= {"logits": out.logits.shape}
    if (position := families.position_embedding(network)) is not None:
        seen["position"] = (BATCH, SEQ, next(position.parameters()).shape[-1])
    return {name: _named(name, shape) for name, shape in seen.items()}


def _is_matrix(module: Any) -> bool:
    return getattr(getattr(module, "weight", None), "ndim", 0) == 2


def _named(name: str, shape: Sequence[int]) -> str:
    """``(3, 7, 256)`` to "batch × seq × 256"; heads keep their name beside their number."""
    sizes = list(shape)
    if sizes[0] == BATCH * SEQ:  # OPT flattens both axes for its MLP
        sizes[:1] = [BATCH, SEQ]
    heads = len(sizes) == 4
    if sizes[0] != BATCH or sizes[2 if heads else 1] != SEQ:
        raise AssertionError(f"the edge {name} has the shape {tuple(shape)}, which has no batch")
    words = ["batch", *((f"{sizes[1]} heads", "seq") if heads else ("seq",))]
    words += ["seq" if name == "pattern" else f"{size:,}" for size in sizes[len(words) :]]
    return " × ".join(words)
