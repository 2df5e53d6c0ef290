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

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

PARTS = ("token embedding", "position embedding", "attention", "MLP", "norm", "head", "other")
"""Kinds of modules, in the order of the data."""
BATCH, SEQ = 3, 7
"""Size of the input whose shapes are recorded."""


@measurement
def printed(model: ModelHandle) -> str:
    """The model as `print(model)` shows it"""
    return str(model.loaded().model)


@measurement
def module_table(model: ModelHandle) -> pd.DataFrame:
    """Modules that hold parameters

    Columns: ``module`` (path; ``*`` stands for the number of a block), ``kind`` (class),
    ``weights`` (names and shapes), ``parameters`` (of one such module), ``times`` (how many there
    are), ``total`` (shared storage counts 0), ``shared_with`` (path of the module that owns it).
    """
    network = model.loaded().model
    rows: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    owners: dict[int, str] = {}
    for path, module in network.named_modules(remove_duplicate=False):
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        first = owners.setdefault(next(iter(own.values())).data_ptr(), path)
        general, owner = _star(path), "" if first == path else _star(first)
        weights = ", ".join(f"{name} {_by(tensor.shape)}" for name, tensor in own.items())
        weights += f" (that of {owner})" if owner else ""
        size = sum(tensor.numel() for tensor in own.values())
        key = (general, type(module).__name__, weights, owner)
        row = rows.setdefault(key, {"parameters": size, "times": 0, "total": 0})
        row["times"] += 1
        row["total"] += 0 if owner else size
    names = ("module", "kind", "weights", "shared_with")
    table = pd.DataFrame(
        [{**dict(zip(names, key, strict=True)), **row} for key, row in rows.items()]
    )
    return table[["module", "kind", "weights", "parameters", "times", "total", "shared_with"]]


def _star(path: str) -> str:
    """``transformer.h.0.attn`` to ``transformer.h.*.attn``."""
    return re.sub(r"\.\d+(?=\.|$)", ".*", path)


def _by(shape: Sequence[int]) -> str:
    return " × ".join(f"{size:,}" for size in shape)


@measurement
def ledger(model: ModelHandle) -> pd.DataFrame:
    """Parameters by kind of module

    Columns: ``part`` (see `PARTS`; only those that occur), ``parameters``, ``share`` (of all), and
    ``tensors`` (distinct ones). A head that shares the embedding's storage has none of its own.
    """
    from internals.models.ledger import parameter_ledger

    table = parameter_ledger(model.loaded().model)
    kept = [part for part in PARTS if part in set(table["part"])]
    own = table[table["shared_with"] == ""]
    counts = [own.loc[own["part"] == part, "parameters"] for part in kept]
    summed = pd.DataFrame(
        {
            "part": kept,
            "parameters": [int(count.sum()) for count in counts],
            "tensors": [len(count) for count in counts],
        }
    )
    summed.insert(2, "share", summed["parameters"] / summed["parameters"].sum())
    return summed


@dataclass(frozen=True)
class BlockCheck:
    """The closed form of a block against the count of its tensors."""

    terms: pd.DataFrame
    """``part``, ``formula`` and ``parameters`` of each term."""
    predicted: int
    counted: tuple[int, ...]
    """Parameters of each block, in order."""
    numel: int
    """Sum of `numel()` over all tensors of the model, shared storage once."""
    ledger_total: int
    widths: dict[str, int]
    """The letters of the formulas: d, q, k, m, h."""

    @property
    def equal_blocks(self) -> int:
        """Blocks whose count is the predicted one."""
        return sum(count == self.predicted for count in self.counted)


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
    terms["formula"] = times + terms["formula"]
    numel = {p.data_ptr(): p.numel() for p in loaded.model.parameters()}
    return BlockCheck(
        terms=terms,
        predicted=int(terms["parameters"].sum()),
        counted=tuple(books.block_parameters(loaded.model, i) for i in range(facts.n_layers)),
        numel=sum(numel.values()),
        ledger_total=int(books.parameter_ledger(loaded.model)["parameters"].sum()),
        widths={
            "d": facts.d_model,
            "q": facts.n_heads * facts.d_head,
            "k": facts.n_kv_heads * facts.d_head,
            "m": facts.d_mlp,
            "h": facts.d_head,
        },
    )


@dataclass(frozen=True)
class DataFlow:
    """Everything a diagram of the model needs; shapes as they were in a forward pass."""

    shapes: dict[str, str]
    """Shape on each edge, batch and seq as words: ``ids``, ``embedding``, ``stream``, ``query``,
    ``key``, ``pattern``, ``attention``, ``inner``, ``head_input``, ``logits``; ``position`` with
    learned positions."""
    n_layers: int
    vocab: int
    d_model: int
    d_embedding: int
    context_length: int
    n_heads: int
    n_kv_heads: int
    placement: str
    block_norms: int
    """Norms in one block."""
    norm_kind: str
    norms_on_heads: bool
    """Whether queries and keys are normalised head by head."""
    position_scheme: str
    gated: bool
    activation: str
    has_final_norm: bool
    tied: bool
    scaled_embedding: bool
    logit_softcap: float | None


@measurement
def data_flow(model: ModelHandle) -> DataFlow:
    """Shapes on every edge, by hooks in one forward pass"""
    loaded = model.loaded()
    facts = loaded.facts
    return DataFlow(
        shapes=_shapes(loaded),
        n_layers=facts.n_layers,
        vocab=facts.vocab_size_embedding,
        d_model=facts.d_model,
        d_embedding=facts.d_embedding,
        context_length=facts.context_length,
        n_heads=facts.n_heads,
        n_kv_heads=facts.n_kv_heads,
        placement=facts.norm_placement,
        block_norms=(facts.n_norms - facts.has_final_norm) // facts.n_layers,
        norm_kind=facts.norm_kind,
        norms_on_heads=_norms_on_heads(loaded),
        position_scheme=facts.position_scheme,
        gated=facts.mlp_kind == "gated",
        activation=facts.activation,
        has_final_norm=facts.has_final_norm,
        tied=facts.tied_embeddings,
        scaled_embedding=facts.scaled_embedding,
        logit_softcap=facts.logit_softcap,
    )


def _shapes(loaded: LoadedModel) -> dict[str, str]:
    """Run ``(BATCH, SEQ)`` ids and name the axes of what passes; a wrong shape is an error."""
    import torch

    from internals.models import eager_attention, families

    network = loaded.model
    block = families.blocks(network)[0]
    seen: dict[str, tuple[int, ...]] = {}
    inner = [m for part in families.mlp(network, block) for m in part.modules() if _is_matrix(m)]
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


def _is_matrix(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    return weight is not None and weight.ndim == 2


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


def _norms_on_heads(loaded: LoadedModel) -> bool:
    """Whether the attention module holds norms of its own (Qwen3, Gemma 3, some Phi)."""
    from internals.models import families

    network = loaded.model
    attention = families.attention(network, families.blocks(network)[0])
    return any("norm" in name for name, _ in attention.named_parameters())
