"""The parameter ledger: where a model's parameters are, by module kind and by block.

Every parameter is counted once, however many names it has; the closed form for one block is
derived from widths alone and compared with the count.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from internals.models import families


def parameter_ledger(model: Any) -> pd.DataFrame:
    """One row for each tensor.

    Columns: ``tensor`` (name), ``shape`` (tuple), ``parameters``, ``part`` (token embedding,
    position embedding, attention, MLP, norm, head, other), ``block`` (number, -1 outside blocks),
    ``shared_with`` (name of the tensor whose storage it uses; its parameters then count 0).
    """
    seen: dict[int, str] = {}
    places = _places(model)
    rows = []
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owner = seen.setdefault(parameter.data_ptr(), name)
        part, block = next(
            (place for prefix, place in places if name.startswith(prefix)), ("other", -1)
        )
        rows.append(
            {
                "tensor": name,
                "shape": tuple(parameter.shape),
                "parameters": parameter.numel() if owner == name else 0,
                "part": part,
                "block": block,
                "shared_with": "" if owner == name else owner,
            }
        )
    return pd.DataFrame(rows)


def _places(model: Any) -> list[tuple[str, tuple[str, int]]]:
    """Prefixes of parameter names with the part and block they belong to, longest first."""
    names = {id(module): name for name, module in model.named_modules()}
    found: dict[str, tuple[str, int]] = {}
    for i, block in enumerate(families.blocks(model)):
        found[names[id(families.attention(model, block))]] = ("attention", i)
        for module in families.mlp(model, block):
            found[names[id(module)]] = ("MLP", i)
        for norm in families.norms(model, block):
            found[names[id(norm)]] = ("norm", i)
        # Norms inside attention (Qwen3, Gemma 3) belong to it; other tensors to the block.
        found.setdefault(names[id(block)], ("other", i))
    last = families.final_norm(model)
    if last is not None:
        found[names[id(last)]] = ("norm", -1)
    found[names[id(families.embedding(model))]] = ("token embedding", -1)
    found[names[id(families.unembedding(model))]] = ("head", -1)
    positions = families.position_embedding(model)
    if positions is not None:
        found[names[id(positions)]] = ("position embedding", -1)
    return sorted(((f"{k}.", v) for k, v in found.items()), key=lambda item: -len(item[0]))


def block_formula(model: Any) -> pd.DataFrame:
    """Parameters of one block from the widths alone, term by term.

    Columns: ``part``, ``formula`` (in d, k, q, m, h), ``parameters``. The symbols: d = d_model,
    q = query width (heads × d_head), k = key width (kv heads × d_head), m = MLP width,
    h = d_head.
    """
    config = model.config
    block = families.blocks(model)[0]
    family = families.family_of(model)
    heads = config.num_attention_heads
    d = config.hidden_size
    h = getattr(config, "head_dim", None) or d // heads
    q = heads * h
    k = (getattr(config, "num_key_value_heads", None) or heads) * h
    attention = families.attention(model, block)
    mlp_modules = families.mlp(model, block)
    m = _inner_width(mlp_modules, d)
    in_bias = _has_bias(families.get(attention, family.qkv[0]))
    out_bias = _has_bias(families.get(attention, family.output))
    rows = [("attention", "2dq + 2dk", 2 * d * q + 2 * d * k)]
    if in_bias:
        rows.append(("attention", "q + 2k", q + 2 * k))
    if out_bias:
        rows.append(("attention", "d", d))
    inner = sum(p.numel() for n, p in attention.named_parameters() if "norm" in n.lower())
    if inner:
        rows.append(("attention", "2h", inner))
    matrices = 3 if family.gated else 2
    rows.append(("MLP", f"{matrices}dm", matrices * d * m))
    if _mlp_bias(mlp_modules):
        rows.append(("MLP", "m + d", m + d))
    for norm in families.norms(model, block):
        both = getattr(norm, "bias", None) is not None
        rows.append(("norm", "2d" if both else "d", 2 * d if both else d))
    return pd.DataFrame(rows, columns=["part", "formula", "parameters"])


def _has_bias(module: Any) -> bool:
    return getattr(module, "bias", None) is not None


def _inner_width(modules: list[Any], d_model: int) -> int:
    """Width of the MLP's last projection on its input side."""
    last = [p for module in modules for p in module.parameters() if p.ndim == 2][-1]
    return next((size for size in last.shape if size != d_model), d_model)


def _mlp_bias(modules: list[Any]) -> bool:
    return any(p.ndim == 1 for module in modules for p in module.parameters())


def block_parameters(model: Any, block: int = 0) -> int:
    """Parameters of a block by counting its tensors."""
    return sum(p.numel() for p in families.blocks(model)[block].parameters())
