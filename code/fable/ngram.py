"""An n-gram model with interpolated modified Kneser–Ney smoothing (Chen and Goodman 1999).

Counts lie in a trie, one sorted array of keys for each length, so that a text is scored by a few
binary searches. Rare n-grams may be left out; what they held is kept as a residual of their
context, so that every conditional distribution still sums to one.
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """All n-grams of one length that are kept, in lexicographic order."""

    keys: Ints
    """``(entries,)``: number of the prefix among the entries one shorter, times the vocabulary,
    plus the last token."""
    values: Ints
    """``(entries,)``: occurrences for the longest n-grams; for shorter ones the number of different
    tokens that stand before them (occurrences where a text begins with them)."""
    residual: Ints
    """``(entries one shorter,)``: sum of the values that were left out after each prefix."""


@dataclass(frozen=True)
class NGrams:
    """A smoothed n-gram model over token ids ``0 .. vocab - 1``."""

    vocab: int
    levels: tuple[Level, ...]
    discounts: Floats
    """``(order, 3)``: what is taken off values of 1, 2 and 3 or more."""
    counts: Ints
    """``(vocab,)``: occurrences of each token in the training text."""
    _context: tuple[tuple[Floats, Floats], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found = tuple(self._contexts(n) for n in range(self.order))
        object.__setattr__(self, "_context", found)

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.levels)

    def _discount(self, n: int, values: Ints) -> Floats:
        """What is taken off ``values`` of level ``n`` (0 is the unigrams); nothing off zero."""
        table = np.concatenate([[0.0], self.discounts[n]])
        return table[np.minimum(values, 3)]

    def _contexts(self, n: int) -> tuple[Floats, Floats]:
        """For every prefix of level ``n``: the total of its values, and the weight of the shorter
        context. Without values the total is 1 and the weight 1."""
        level = self.levels[n]
        parents, size = level.keys // self.vocab, len(level.residual)
        total: Floats = np.bincount(parents, level.values, size).astype(float) + level.residual
        kept = np.bincount(parents, level.values - self._discount(n, level.values), size)
        total[total == 0] = 1
        return total, 1 - kept / total

    def nodes(self, ids: Ints) -> Ints:
        """``(order + 1, seq)``: entry of the n-gram that ends at each place, -1 if it is not kept.

        Row 0 is the empty n-gram. ``ids``: ``(seq,)``, one text.
        """
        ids = np.asarray(ids, np.int64)
        found = np.full((self.order + 1, len(ids)), -1, np.int64)
        found[0] = 0
        for n, level in enumerate(self.levels, start=1):
            prefix = np.concatenate([[-1], found[n - 1, :-1]]) if n > 1 else found[0]
            found[n] = _find(level.keys, prefix, ids, self.vocab)
        return found

    def log_probs(self, ids: Ints) -> Floats:
        """Natural log-probability of every token but the first, ``(seq - 1,)``."""
        nodes = self.nodes(ids)
        p = np.full(len(ids) - 1, 1 / self.vocab)
        for n, level in enumerate(self.levels):
            context, entry = nodes[n, :-1], nodes[n + 1, 1:]
            total, weight = (part[np.maximum(context, 0)] for part in self._context[n])
            value = np.where(entry >= 0, level.values[np.maximum(entry, 0)], 0)
            longer = (value - self._discount(n, value)) / total + weight * p
            p = np.where(context >= 0, longer, p)
        return np.log(p)

    def contexts(self, ids: Ints) -> tuple[Ints, Floats]:
        """The longest context before each token that the counts know with some continuation.

        Returns its length in tokens (0 to order - 1) and the total of the values after it (for the
        longest contexts: how often it was read), ``(seq - 1,)`` each.
        """
        nodes = self.nodes(ids)[:-1, :-1]
        length, total = np.zeros(len(ids) - 1, np.int64), np.zeros(len(ids) - 1)
        for n, (totals, weights) in enumerate(self._context):
            place = np.maximum(nodes[n], 0)
            known = (nodes[n] >= 0) & (weights[place] < 1)
            length, total = np.where(known, n, length), np.where(known, totals[place], total)
        return length, total

    def distribution(self, context: Ints) -> Floats:
        """``(vocab,)`` probabilities of the token after ``context`` (at least one token)."""
        p = np.full(self.vocab, 1 / self.vocab)
        for n, node in enumerate(self.nodes(context)[:-1, -1].tolist()):
            if node < 0:
                continue
            level, (total, weight) = self.levels[n], (part[node] for part in self._context[n])
            bounds = np.searchsorted(level.keys, [node * self.vocab, (node + 1) * self.vocab])
            here = slice(*bounds.tolist())
            values = level.values[here]
            p = weight * p
            p[level.keys[here] % self.vocab] += (values - self._discount(n, values)) / total
        return p


def _find(keys: Ints, prefix: Ints, tokens: Ints, vocab: int) -> Ints:
    """Places of (prefix, token) in ``keys``; -1 where there is none."""
    wanted = prefix * vocab + tokens
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((prefix >= 0) & (keys[place] == wanted), place, -1)


def train(
    stream: NDArray[np.integer],
    vocab: int,
    order: int = 5,
    *,
    boundary: int | None = None,
    least: tuple[int, ...] | None = None,
) -> NGrams:
    """Count a stream of tokens.

    Args:
        stream: ``(tokens,)`` ids, texts one after the other.
        vocab: number of ids.
        order: length of the longest n-grams.
        boundary: the token between texts; no n-gram goes over it.
        least: smallest value that is kept, for each length from 2 on; by default all are.
    """
    ids = np.asarray(stream, np.int64)
    levels = _all_levels(ids, vocab, order, boundary)
    discounts = np.array([_discounts(values) for _, values in levels])
    least = (1,) * (order - 1) if least is None else least
    kept = _pruned(levels, vocab, (1, *least))
    return NGrams(vocab, kept, discounts, np.bincount(ids, minlength=vocab))


def _all_levels(ids: Ints, vocab: int, order: int, boundary: int | None) -> list[tuple[Ints, Ints]]:
    """Keys and values of all n-grams, shortest first."""
    edge = np.zeros(len(ids), bool) if boundary is None else ids == boundary
    gram = ids.copy()  # number of the n-gram that ends at each place; -1 where it is broken
    keys = [np.arange(vocab)]
    times = np.bincount(ids, minlength=vocab)
    values: list[Ints] = []
    for n in range(2, order + 1):
        longer = np.full(len(ids), -1, np.int64)
        # The prefix ends at the place before, where no text may end unless it begins there.
        inside = (gram[:-1] >= 0) & (~edge[:-1] if n > 2 else True)
        places = np.flatnonzero(inside) + 1
        found, first, number, count = np.unique(
            gram[places - 1] * vocab + ids[places],
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        longer[places] = number
        # Different tokens before each shorter n-gram: one for each longer one that ends with it.
        before = np.bincount(gram[places[first]], minlength=len(keys[-1]))
        values.append(np.where(before > 0, before, _starting(times, keys, vocab, boundary)))
        keys.append(found)
        gram, times = longer, count
    values.append(times)
    return list(zip(keys, values, strict=True))


def _starting(counts: Ints, keys: list[Ints], vocab: int, boundary: int | None) -> Ints:
    """Occurrences of n-grams with which a text begins, else 0: nothing stands before these."""
    if boundary is None:
        return np.zeros_like(counts)
    first = np.arange(vocab)
    for level in keys[1:]:
        first = first[level // vocab]
    return np.where(first == boundary, counts, 0)


def _discounts(values: Ints) -> tuple[float, float, float]:
    """Chen and Goodman's three discounts; one half where a count of counts is zero."""
    n1, n2, n3, n4 = (int((values == k).sum()) for k in (1, 2, 3, 4))
    if not min(n1, n2, n3, n4):
        return 0.5, 0.5, 0.5
    y = n1 / (n1 + 2 * n2)
    raw = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    one, two, three = (min(max(d, 0.0), float(k)) for k, d in enumerate(raw, start=1))
    return one, two, three


def _pruned(
    levels: list[tuple[Ints, Ints]], vocab: int, least: tuple[int, ...]
) -> tuple[Level, ...]:
    """Leave out small values; a prefix of what is kept is kept, and unigrams are."""
    keep = [values >= smallest for (_, values), smallest in zip(levels, least, strict=True)]
    keep[0][:] = True
    for n in range(len(levels) - 1, 0, -1):
        keep[n - 1][levels[n][0][keep[n]] // vocab] = True
    found, renumbered = [], np.zeros(1, np.int64)
    parents = np.ones(1, bool)
    for (keys, values), kept in zip(levels, keep, strict=True):
        left = np.bincount(keys[~kept] // vocab, values[~kept], len(parents)).astype(np.int64)
        new = renumbered[keys[kept] // vocab] * vocab + keys[kept] % vocab
        found.append(Level(new, values[kept], left[parents]))
        renumbered, parents = np.cumsum(kept) - 1, kept
    return tuple(found)


def save(model: NGrams, path: Path) -> None:
    """Write a model to one file, small enough to ship.

    An xz stream of the sizes and, for each level, four arrays: children of each prefix, steps
    between the tokens of one prefix, values, residuals; the four bytes of the numbers apart, since
    most of the upper ones are zero.
    """
    sizes = [model.vocab, model.order, *(len(level.keys) for level in model.levels)]
    parts = [struct.pack(f"<{len(sizes)}I", *sizes), model.discounts.astype("<f8").tobytes()]
    for level in model.levels:
        parents, tokens = np.divmod(level.keys, model.vocab)
        steps = np.diff(tokens, prepend=0)
        first = np.diff(parents, prepend=-1) > 0
        steps[first] = tokens[first]
        children = np.bincount(parents, minlength=len(level.residual))
        parts += map(_planes, (children, steps, level.values, level.residual))
    parts.append(_planes(model.counts))
    path.write_bytes(lzma.compress(b"".join(parts), preset=9))


def load(path: Path) -> NGrams:
    """Read what :func:`save` wrote."""
    data = lzma.decompress(path.read_bytes())
    vocab, order = struct.unpack_from("<2I", data)
    entries = struct.unpack_from(f"<{order}I", data, 8)
    place = 8 + 4 * order
    discounts = np.frombuffer(data, "<f8", 3 * order, place).reshape(order, 3)
    lengths = [n for a, b in pairwise((1, *entries)) for n in (a, b, b, a)]
    numbers = _numbers(data, [*lengths, vocab], place + 24 * order)
    levels, shorter = [], 1
    for size in entries:
        children, steps, values, residual = (next(numbers) for _ in range(4))
        ends = np.cumsum(children)
        run = np.cumsum(steps)
        before = np.concatenate([[0], run])[ends - children]  # what ran up to each prefix
        tokens = run - np.repeat(before, children)
        keys = np.repeat(np.arange(shorter), children) * vocab + tokens
        levels.append(Level(keys, values, residual))
        shorter = size
    return NGrams(vocab, tuple(levels), discounts, next(numbers))


def _planes(numbers: Ints) -> bytes:
    """The lowest bytes of all numbers, then the next ones …"""
    return numbers.astype("<u4").view(np.uint8).reshape(-1, 4).T.tobytes()


def _numbers(data: bytes, lengths: list[int], place: int) -> Iterator[Ints]:
    """Arrays of given lengths, one after the other, put together from their bytes."""
    for n in lengths:
        planes = np.frombuffer(data, np.uint8, 4 * n, place).reshape(4, n)
        yield np.ascontiguousarray(planes.T).view("<u4").ravel().astype(np.int64)
        place += 4 * n
