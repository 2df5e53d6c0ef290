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

PARTS = ("token embedding", "position embedding", "attention", "MLP", "norm", "head", "other")
"""Kinds of modules, in the order of the data."""
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

    Columns: ``part`` (see `PARTS`; only those that occur), ``parameters`` (a head that shares the
    embedding's storage has none of its own), ``share`` (of all).
    """
    from internals.models.ledger import parameter_ledger

    size = parameter_ledger(model.loaded().model).groupby("part")["parameters"].sum()
    table = size.reindex([part for part in PARTS if part in size]).reset_index()
    return table.assign(share=table["parameters"] / table["parameters"].sum())


@dataclass(frozen=True)
class BlockCheck:
    """The closed form of a block against the count of its tensors."""

    terms: pd.DataFrame
    """``part``, ``formula``, ``numbers`` (the same with the widths in it), ``parameters``."""
    counted: tuple[int, ...]
    """Parameters of each block, in order."""

    @property
    def predicted(self) -> int:
        """Parameters of a block by the closed form."""
        return int(self.terms["parameters"].sum())


@measurement
def block_check(model: ModelHandle) -> BlockCheck:
    """Closed form of a block against its tensors"""
    from internals.models import ledger as books

    loaded = model.loaded()
    facts = loaded.facts
    single = books.block_formula(loaded.model)  # one row for each norm of the block
    grouped = single.groupby(["part", "formula"], sort=False)["parameters"]
    terms = grouped.agg(["sum", "size"]).reset_index().rename(columns={"sum": "parameters"})
    times = terms.pop("size").map(lambda n: f"{n} · " if n > 1 else "")
    heads, keys = facts.n_heads * facts.d_head, facts.n_kv_heads * facts.d_head
    widths = {"d": facts.d_model, "q": heads, "k": keys, "m": facts.d_mlp, "h": facts.d_head}
    terms["numbers"] = times + terms["formula"].map(lambda formula: _in_numbers(formula, widths))
    terms["formula"] = times + terms["formula"]
    blocks = range(facts.n_layers)
    counted = tuple(books.block_parameters(loaded.model, i) for i in blocks)
    return BlockCheck(terms[["part", "formula", "numbers", "parameters"]], counted)


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
    facts, columns = model.facts, ["name", "parameters_billion", "vocab", "d_model", "tied"]
    tied = "yes" if facts.tied_embeddings else "no"
    billion, vocab = facts.n_parameters / 1e9, facts.vocab_size_embedding
    own = pd.DataFrame([[facts.name, billion, vocab, facts.d_embedding, tied]], columns=columns)
    table = pd.concat([published[columns], own], ignore_index=True)
    matrices = table["tied"].map({"yes": 1, "no": 2})
    numbers = table["parameters_billion"] * 1e9
    return pd.DataFrame(
        {
            "name": table["name"],
            "parameters": numbers,
            "share": matrices * table["vocab"] * table["d_model"] / numbers,
            "ratio": table["vocab"] / table["d_model"],
            "head": matrices.map({1: "tied to the embedding", 2: "a matrix of its own"}),
            "this": table.index == len(table) - 1,
        }
    )


@dataclass(frozen=True)
class DataFlow:
    """Everything a diagram of the model needs; shapes as they were in a forward pass."""

    shapes: dict[str, str]
    """Shape on each edge, batch and seq as words: ``ids``, ``embedding``, ``stream``, ``query``,
    ``key``, ``pattern``, ``attention``, ``inner``, ``head_input``, ``logits``; ``position`` with
    learned positions."""
    facts: ModelFacts
    norms_on_heads: bool
    """Whether queries and keys are normalised head by head (Qwen3, Gemma 3, some Phi)."""


@measurement
def data_flow(model: ModelHandle) -> DataFlow:
    """Shapes on every edge, by hooks in one forward pass"""
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
    block = families.blocks(network)[0]
    seen: dict[str, tuple[int, ...]] = {}
    parts = [module for part in families.mlp(network, block) for module in part.modules()]
    inner = [m for m in parts if getattr(getattr(m, "weight", None), "ndim", 0) == 2]
    taps: dict[str, tuple[Any, bool]] = {
        "embedding": (families.embedding(network), False),
        "stream": (block, True),
        "attention": (families.attention(network, block), False),
        "inner": (inner[-1], True),
        "head_input": (families.unembedding(network), True),
    }
    if (position := families.position_embedding(network)) is not None:
        taps["position"] = (position, False)
    handles = [_tap(module, name, seen, before) for name, (module, before) in taps.items()]
    ids = torch.zeros((BATCH, SEQ), dtype=torch.long, device=network.device)
    try:
        with torch.inference_mode(), eager_attention(network):
            out = network(ids, use_cache=True, output_attentions=True)
    finally:
        for handle in handles:
            handle.remove()
    key, pattern = out.past_key_values.layers[0].keys.shape, out.attentions[0].shape
    seen |= {"key": key, "pattern": pattern, "logits": out.logits.shape, "ids": ids.shape}
    seen["query"] = (*pattern[:3], key[-1])
    return {name: _named(name, shape) for name, shape in seen.items()}


def _tap(module: Any, name: str, seen: dict[str, tuple[int, ...]], before: bool) -> Any:
    """Record the shape of what enters (``before``) or leaves a module."""

    def note(tensor: Any) -> None:
        tensor = tensor[0] if isinstance(tensor, tuple) else tensor
        seen.setdefault(name, tuple(tensor.shape))

    if before:
        return module.register_forward_pre_hook(lambda _m, args: note(args[0]))
    return module.register_forward_hook(lambda _m, _args, result: note(result))


def _named(name: str, shape: Sequence[int]) -> str:
    """``(3, 7, 256)`` to "batch × seq × 256"; heads keep their name beside their number."""
    sizes = list(shape)
    if name == "position" and sizes[0] == 1:  # one row of positions serves the whole batch
        sizes[0] = BATCH
    if sizes[0] == BATCH * SEQ:  # OPT flattens both axes for its MLP
        sizes[:1] = [BATCH, SEQ]
    heads = len(sizes) == 4
    if sizes[0] != BATCH or sizes[2 if heads else 1] != SEQ:
        raise AssertionError(f"the edge {name} has the shape {tuple(shape)}, which has no batch")
    words = ["batch", *((f"{sizes[1]} heads", "seq") if heads else ("seq",))]
    words += ["seq" if name == "pattern" else f"{size:,}" for size in sizes[len(words) :]]
    return " × ".join(words)
