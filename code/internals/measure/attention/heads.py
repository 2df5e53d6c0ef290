"""What each head looks at, in random tokens that are said twice (Olsson et al. 2022).

The period differs from text to text, so that a head which always looks equally far back is not
taken for one that finds repetitions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr

from internals import stats
from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import effort
from internals.measure.attention.watch import watched
from internals.models import LoadedModel, ModelHandle

KINDS = ("previous token", "duplicate", "induction", "first token")
SPREAD = "spread"  # entropy of the weights over that of uniform weights, mean over queries
STRONG = 0.3  # share of its attention from which a head is strong (Gu et al. 2025, for sinks)
SEQ, LEAST = 40, 12  # tokens of a text, and fewest in which something can be repeated


class Repeated(NamedTuple):
    """Random tokens ``ids`` ``(row, seq)``, repeated after ``periods`` ``(row,)`` of them, behind
    ``start`` (0 or 1) start tokens."""

    ids: np.ndarray
    periods: np.ndarray
    start: int

    def places(self, kind: str, row: int) -> tuple[np.ndarray, np.ndarray]:
        """The queries that a kind is about, and the key at which each would look."""
        period = int(self.periods[row])
        back = {"previous token": 1, "duplicate": period, "induction": period - 1}.get(kind)
        first = period if kind in {"duplicate", "induction"} else 1
        query = np.arange(self.start + first, self.ids.shape[1])
        return query, query - back if back else np.zeros_like(query)


def repeated(loaded: LoadedModel, rows: int, seed: int) -> Repeated:
    """Random texts for a model; in a copy no token occurs twice if the vocabulary allows it.

    Raises:
        NotApplicable: context or vocabulary are too small.
    """
    facts, special = loaded.facts, set(loaded.tokenizer.all_special_ids)
    usable = [i for i in range(facts.vocab_size_tokenizer) if i not in special]
    start = [facts.bos_id] if facts.bos_behaviour == "added" else []
    seq = min(SEQ, facts.context_length) - len(start)
    if min(seq, len(usable)) < LEAST:
        raise NotApplicable("the model's context or vocabulary is too small to repeat a text in it")
    rng = np.random.default_rng(seed)
    periods = rng.integers(seq // 2, seq * 2 // 3 + 1, rows)
    copies = [rng.choice(usable, period, replace=len(usable) < period) for period in periods]
    return Repeated(np.array([[*start, *np.resize(c, seq)] for c in copies]), periods, len(start))


@measurement
def scores(model: ModelHandle, twin: bool = False, rows: int = 48, seed: int = 0) -> pd.DataFrame:
    """Attention of every head on repeated random tokens

    ``twin``: with random weights. Columns: ``row``, ``layer``, ``head``, ``kind`` (or `SPREAD`),
    ``score`` (mean weight from its queries to their keys), ``uniform`` (if all were alike).
    """
    import torch

    from internals.models import families

    loaded = model.loaded()
    texts = repeated(loaded, effort.units(loaded.facts, rows, least=20), seed)
    network = loaded.random_twin(seed) if twin else loaded.model
    found: dict[int, np.ndarray] = {}

    def see(layer: int, weights: Any, *_: Any) -> None:
        found[layer] = _reduced(weights.float().cpu().numpy(), texts)

    with torch.inference_mode(), watched(network, see):
        families.body(network)(torch.as_tensor(texts.ids, device=network.device), use_cache=False)
    values = np.stack([found[layer] for layer in sorted(found)], axis=1)  # row, layer, head, kind
    if not np.isfinite(values).all():
        raise NotApplicable("the attention weights of this model are not finite")
    alike = np.tril(np.ones((seq := texts.ids.shape[1], seq))) / np.arange(1, seq + 1)[:, None]
    uniform = _reduced(np.broadcast_to(alike, (len(texts.ids), 1, seq, seq)), texts)[:, None]
    axes = [*map(range, values.shape[:3]), [*KINDS, SPREAD]]
    index = pd.MultiIndex.from_product(axes, names=["row", "layer", "head", "kind"])
    columns = {"score": values.ravel(), "uniform": np.broadcast_to(uniform, values.shape).ravel()}
    return pd.DataFrame(columns, index).reset_index()


def _reduced(weights: np.ndarray, texts: Repeated) -> np.ndarray:
    """``(row, head, kind)`` from the weights of a layer, ``(row, head, query, key)``."""
    rows = []
    for row, own in enumerate(weights):
        at = [own[:, q, k].mean(-1) for q, k in (texts.places(kind, row) for kind in KINDS)]
        query = np.arange(texts.start + 1, own.shape[-1])
        entropy = -(own[:, query] * np.log(np.fmax(own[:, query], 1e-30))).sum(-1)
        rows.append(np.stack([*at, (entropy / np.log(query + 1)).mean(-1)], axis=-1))
    return np.stack(rows)


@measurement
def ranked(model: ModelHandle) -> pd.DataFrame:
    """Heads by kind, strongest first within each

    Columns: ``kind``, ``layer``, ``head``, ``score`` (mean over texts), ``uniform``, ``random``
    (best random head), ``above`` (more than both: one-sided t-test over texts, false discovery rate
    5 % over all heads and kinds), ``strong`` (above and at least `STRONG`).
    """
    by_head = scores(model).groupby(["kind", "layer", "head"])
    found = by_head.agg(score=("score", "mean"), error=("score", "sem"), n=("score", "size"),
                        uniform=("uniform", "mean")).drop(SPREAD).reset_index()  # fmt: skip
    twin = scores(model, twin=True).groupby(["kind", "layer", "head"])["score"].mean()
    found["random"] = found["kind"].map(twin.groupby("kind").max())
    excess = found["score"] - found[["uniform", "random"]].max(axis=1)
    p = stdtr(found["n"] - 1, -excess / found["error"].clip(lower=1e-9))
    found["above"] = stats.benjamini_hochberg(p.tolist()) < 0.05
    found["strong"] = found["above"] & (found["score"] >= STRONG)
    found = found.sort_values("score", ascending=False).drop(columns=["error", "n"])
    return found.sort_values("kind", key=lambda k: k.map(KINDS.index), kind="stable")


def by_kind(ranked: pd.DataFrame) -> pd.DataFrame:
    """`ranked`, a row a kind: ``kind``, ``chance``, ``random`` and ``best`` score, and how many
    heads are ``above`` and ``strong``."""
    columns = {
        "chance": ("uniform", "first"), "random": ("random", "first"), "best": ("score", "max"),
        "above": ("above", "sum"), "strong": ("strong", "sum"),
    }  # fmt: skip
    return ranked.groupby("kind", sort=False).agg(**columns).reset_index()
