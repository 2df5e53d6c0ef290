"""A linear probe: least squares with a ridge penalty, fitted many times to the same states."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PENALTIES = np.logspace(-3, 3, 13)


class Ridge:
    """Least squares with a ridge penalty to one-hot labels; the penalty by leave-one-out error.

    The error has a closed form (Golub, Heath and Wahba 1979), and the decomposition of the states
    serves any number of labelings.
    """

    def __init__(self, states: Floats) -> None:
        self._centre, self._scale = states.mean(0), states.std(0) + 1e-8
        self._parts = _svd(self._standard(states))

    def _standard(self, states: Floats) -> Floats:
        return np.asarray((states - self._centre) / self._scale)

    def fit(self, labels: Ints) -> Callable[[Floats], Ints]:
        """A function from states ``(n, width)`` to labels."""
        u, s, vt = self._parts
        classes, index = np.unique(labels, return_inverse=True)
        target = np.eye(len(classes))[index]
        mean = target.mean(0)
        projected = u.T @ (target - mean)
        best, weights = np.inf, np.zeros((vt.shape[1], len(classes)))
        for penalty in PENALTIES * len(labels):
            shrink = s**2 / (s**2 + penalty)
            # 1/n is the leverage of the mean itself.
            leverage = (u**2 * shrink).sum(1) + 1 / len(labels)
            left = (target - mean - u @ (shrink[:, None] * projected)) / (1 - leverage)[:, None]
            if (error := float((left**2).sum())) < best:
                best = error
                weights = vt.T @ ((s / (s**2 + penalty))[:, None] * projected)
        return lambda new: np.asarray(classes[(self._standard(new) @ weights + mean).argmax(1)])


def _svd(x: Floats) -> tuple[Floats, Floats, Floats]:
    """``u, s, vt`` of ``x`` without its null space, from the smaller Gram matrix.

    Several times faster than a direct decomposition; small singular values lose digits, which the
    penalty drowns.
    """
    wide = x.shape[0] < x.shape[1]
    values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = values > max(values.max(), 0.0) * 1e-10
    s, vectors = np.sqrt(values[kept]), vectors[:, kept]
    if wide:
        return vectors, s, (vectors.T @ x) / s[:, None]
    return (x @ vectors) / s, s, vectors.T
