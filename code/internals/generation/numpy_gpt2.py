"""GPT-2 in plain arrays, with its own key-value cache: chapters 1 and 4 in one file.

Shapes: T new tokens, S all tokens so far, D the width, H heads of width K = D / H, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Cache = dict[str, tuple[Array, Array]]


class GPT2:
    """The model, from its weights under the library's names without `transformer.`"""

    def __init__(self, weights: Mapping[str, Array], n_heads: int) -> None:
        self.w, self.n_heads = weights, n_heads
        self.n_layers = sum(name.endswith("ln_1.bias") for name in weights)

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def layer_norm(self, x: Array, name: str) -> Array:
        """Centre and scale each token over its own features: (T, D) -> (T, D)"""
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        return centred / scale * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def attention(self, x: Array, name: str, cache: Cache) -> Array:
        """T new tokens look at themselves and at all before them: (T, D) -> (T, D)

        The only place where tokens meet, and the only one that uses the cache.
        """
        new = len(x)
        q, k, v = (  # each (T, D) -> (H, T, K)
            part.reshape(new, self.n_heads, -1).transpose(1, 0, 2)
            for part in np.split(self.linear(x, f"{name}.c_attn"), 3, axis=-1)
        )
        if name in cache:  # keys and values of the tokens before: (H, S, K)
            k = np.concatenate([cache[name][0], k], axis=1)
            v = np.concatenate([cache[name][1], v], axis=1)
        cache[name] = k, v
        scores = q @ k.transpose(0, 2, 1) / k.shape[-1] ** 0.5  # (H, T, S)
        seen = k.shape[1]
        future = np.triu(np.ones((new, seen), dtype=bool), k=seen - new + 1)
        weights = softmax(np.where(future, -np.inf, scores))  # rows sum to 1
        mixed = (weights @ v).transpose(1, 0, 2).reshape(new, -1)  # heads side by side
        return self.linear(mixed, f"{name}.c_proj")

    def mlp(self, x: Array, name: str) -> Array:
        """Each token for itself, through four times the width"""
        return self.linear(gelu(self.linear(x, f"{name}.c_fc")), f"{name}.c_proj")

    def forward(self, ids: Sequence[int], cache: Cache) -> tuple[Array, list[Array]]:
        """Logits of the new tokens (T, V), and the stream (T, D) before each block"""
        past = next(iter(cache.values()))[0].shape[1] if cache else 0
        x = self.w["wte.weight"][list(ids)]  # embeddings of tokens and of places
        x = x + self.w["wpe.weight"][past : past + len(ids)]
        stream = []
        for i in range(self.n_layers):  # each part adds to the residual stream
            stream.append(x)
            seen = self.layer_norm(x, f"h.{i}.ln_1")
            x = x + self.attention(seen, f"h.{i}.attn", cache)
            x = x + self.mlp(self.layer_norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp")
        head = self.w["wte.weight"].T  # tied
        return self.layer_norm(x, "ln_f") @ head, stream

    def greedy(self, ids: Sequence[int], n_new: int, cached: bool) -> list[int]:
        """The text and its continuation"""
        text, fed, cache = list(ids), list(ids), Cache()
        for _ in range(n_new):
            text.append(int(self.forward(fed, cache)[0][-1].argmax()))
            fed, cache = (text[-1:], cache) if cached else (text, Cache())
        return text


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))  # shifted: exp must not overflow
    return e / e.sum(axis=-1, keepdims=True)


def gelu(x: Array) -> Array:
    """In the tanh form that GPT-2 was trained with"""
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))
