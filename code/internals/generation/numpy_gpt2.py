"""GPT-2 in NumPy: the whole transformer on two pages, with its own key-value cache.

Reads a GPT-2 folder (config.json, model.safetensors) and computes what the library computes.
It shows the mathematics; it is not fast, and it refuses every other architecture.
Shapes: ``T`` new tokens, ``S`` all tokens so far, ``D`` model width, ``H`` heads, ``K`` = D / H
width of a head, ``V`` vocabulary.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from internals.errors import UserError

Array = NDArray[np.float32]


class NotGPT2Error(UserError):
    """The folder holds another architecture."""


@dataclass(frozen=True)
class Weights:
    """Parameters by the names of the GPT-2 checkpoint, without the ``transformer.`` prefix."""

    tensors: dict[str, Array]
    n_layers: int
    n_heads: int
    context_length: int
    eps: float

    def __getitem__(self, name: str) -> Array:
        return self.tensors[name]


@dataclass
class Cache:
    """Keys and values of the tokens seen so far: two arrays ``(H, S, K)`` for each layer."""

    keys: list[Array] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens seen so far."""
        return self.keys[0].shape[1] if self.keys else 0

    @property
    def n_bytes(self) -> int:
        """Size of all keys and values."""
        return sum(array.nbytes for array in (*self.keys, *self.values))

    def extend(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        """Append new keys and values ``(H, T, K)`` of a layer; return all ``(H, S, K)``."""
        if layer == len(self.keys):
            self.keys.append(k)
            self.values.append(v)
        else:
            self.keys[layer] = np.concatenate([self.keys[layer], k], axis=1)
            self.values[layer] = np.concatenate([self.values[layer], v], axis=1)
        return self.keys[layer], self.values[layer]


_GELU = ("gelu_new", "gelu_pytorch_tanh")  # two names of one function
_USUAL = {"activation_function": _GELU, "scale_attn_weights": (True,)}
_USUAL |= {"scale_attn_by_inverse_layer_idx": (False,)}


def load_weights(folder: Path) -> Weights:
    """Read the weights of a GPT-2 folder as float32.

    Raises:
        NotGPT2Error: if the folder's config names another architecture or a variant of it.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if config.get("model_type") != "gpt2":
        raise NotGPT2Error(
            f"{folder.name} is a {config.get('model_type')} model; the NumPy transformer shows "
            "GPT-2 only."
        )
    for name, usual in _USUAL.items():
        if config.get(name, usual[0]) not in usual:
            what = f"{folder.name} uses {config[name]} for {name}; the NumPy transformer knows"
            raise NotGPT2Error(f"{what} GPT-2's own {usual[0]} only.")
    return Weights(
        tensors=_read_tensors(folder / "model.safetensors"),
        n_layers=config["n_layer"],
        n_heads=config["n_head"],
        context_length=config["n_positions"],
        eps=config.get("layer_norm_epsilon", 1e-5),
    )


def _read_tensors(file: Path) -> dict[str, Array]:
    """All tensors of a safetensors file; bfloat16 is the upper half of a float32."""
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = json.loads(raw[8 : 8 + length])
    kinds = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        part = np.frombuffer(raw[8 + length + first : 8 + length + last], kinds[entry["dtype"]])
        if entry["dtype"] == "BF16":
            part = (part.astype(np.uint32) << 16).view(np.float32)
        tensors[name.removeprefix("transformer.")] = part.astype(np.float32).reshape(entry["shape"])
    return tensors


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """Centre and scale each token over its features (Ba et al. 2016). ``(T, D) -> (T, D)``"""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * weight + bias


def gelu(x: Array) -> Array:
    """GELU in the tanh form that GPT-2 was trained with (Hendrycks & Gimpel 2016)."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x: Array) -> Array:
    """Along the last axis; the maximum is taken out first so that exp cannot overflow."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attention(x: Array, w: Weights, layer: int, cache: Cache) -> Array:
    """Causal self-attention of ``T`` new tokens over all ``S`` (Vaswani et al. 2017)."""
    new, width = x.shape  # (T, D)
    name = f"h.{layer}.attn"
    qkv = x @ w[f"{name}.c_attn.weight"] + w[f"{name}.c_attn.bias"]  # (T, 3D)
    q, k, v = (
        part.reshape(new, w.n_heads, -1).transpose(1, 0, 2)  # (T, D) -> (H, T, K)
        for part in np.split(qkv, 3, axis=-1)
    )
    k, v = cache.extend(layer, k, v)  # (H, S, K)
    scores = q @ k.transpose(0, 2, 1) / math.sqrt(width / w.n_heads)  # (H, T, S)
    seen = k.shape[1]
    # New token i stands at position seen - new + i and may look at itself and to the left.
    future = np.triu(np.ones((new, seen), dtype=bool), k=seen - new + 1)
    weights = softmax(np.where(future, -np.inf, scores).astype(np.float32))  # rows sum to 1
    mixed: Array = (weights @ v).transpose(1, 0, 2).reshape(new, width)  # (H, T, K) -> (T, D)
    return mixed @ w[f"{name}.c_proj.weight"] + w[f"{name}.c_proj.bias"]


def mlp(x: Array, w: Weights, layer: int) -> Array:
    """Two linear maps with a GELU between, each token for itself. ``(T, D) -> (T, D)``"""
    name = f"h.{layer}.mlp"
    inner = gelu(x @ w[f"{name}.c_fc.weight"] + w[f"{name}.c_fc.bias"])  # (T, 4D)
    return inner @ w[f"{name}.c_proj.weight"] + w[f"{name}.c_proj.bias"]


def forward(ids: list[int], w: Weights, cache: Cache | None = None) -> tuple[Array, list[Array]]:
    """Logits ``(T, V)`` of the new tokens, and the residual stream ``(T, D)`` after each layer.

    Args:
        ids: the tokens that are not in the cache yet.
        w: the parameters.
        cache: keys and values of earlier tokens; grows by ``len(ids)``.

    Raises:
        ValueError: if there is no new token, or more tokens than the context holds.
    """
    cache = Cache() if cache is None else cache
    past, total = cache.length, cache.length + len(ids)
    if not ids or total > w.context_length:
        raise ValueError(f"expected 1 to {w.context_length - past} new tokens, got {len(ids)}")
    x = w["wte.weight"][ids] + w["wpe.weight"][past:total]  # (T, D)
    stream = [x]
    for layer in range(w.n_layers):
        for part, norm in ((attention, "ln_1"), (mlp, "ln_2")):
            name = f"h.{layer}.{norm}"
            normed = layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], w.eps)
            extra = (cache,) if part is attention else ()
            x = x + part(normed, w, layer, *extra)  # each part adds to the residual stream
        stream.append(x)
    final = layer_norm(x, w["ln_f.weight"], w["ln_f.bias"], w.eps)
    unembedding = w.tensors.get("lm_head.weight", w["wte.weight"])  # tied in GPT-2
    return final @ unembedding.T, stream


def greedy(ids: list[int], w: Weights, n_new: int, *, cached: bool = True) -> list[int]:
    """The ``n_new`` most likely next tokens, one after the other; ties go to the lower id."""
    cache, text, step = Cache(), list(ids), list(ids)
    for _ in range(n_new):
        logits, _ = forward(step, w, cache)
        text.append(int(logits[-1].argmax()))
        step = text[-1:] if cached else text
        cache = cache if cached else Cache()
    return text[len(ids) :]
