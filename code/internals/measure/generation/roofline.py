"""What two numbers of this machine foretell of passes and of whole texts.

After the roofline of Williams et al. (2009): a pass has to compute and to read its bytes. If both
went on at once, the longer would count; here they are added, as if neither waited for the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from internals.cache import measurement
from internals.measure.generation.clock import interleaved, spread
from internals.measure.generation.operations import cost_of
from internals.measure.generation.speed import PROMPT, speed_ups, step_seconds, texts
from internals.measure.generation.steps import CONTEXT, batches

if TYPE_CHECKING:
    from internals.models import ModelHandle
    from internals.models.facts import ModelFacts


@dataclass(frozen=True)
class Machine:
    """What this machine reaches at best, measured without the model."""

    operations: float
    """Operations per second of a large matrix product in the model's type."""
    bandwidth: float
    """Bytes per second read by a large matrix times one vector, which uses each number once."""


@measurement(timing=True)
def machine(model: ModelHandle) -> Machine:
    """Peak of matrix products and of reading on this machine"""
    import torch

    network = model.loaded().model
    options = {"device": network.device, "dtype": network.dtype}
    a, b = torch.randn(1024, 1024, **options), torch.randn(1024, 1024, **options)
    large = torch.randn(2**15, 1024, **options)  # larger than any cache of a processor
    tasks = {"product": lambda: a @ b, "read": lambda: a[:1] @ large.T}
    median = spread(interleaved(tasks), ["task"]).set_index("task")["median"]
    return Machine(
        operations=float(2 * 1024**3 / median["product"]),
        bandwidth=float(large.nbytes / median["read"]),
    )


@dataclass(frozen=True)
class Need:
    """What one pass needs."""

    operations: int
    bytes: int
    """The weights of the blocks and the head, once for all texts, and the cache that is read;
    activations are left out."""
    computing: float
    """Seconds of the operations at the peak of matrix products."""
    reading: float
    """Seconds of the bytes at the peak of reading."""

    @property
    def seconds(self) -> float:
        """One after the other."""
        return self.computing + self.reading


def need_of(facts: ModelFacts, peak: Machine, *, fed: int, cached: int = 0, batch: int = 1) -> Need:
    """A pass over ``fed`` new tokens of each of ``batch`` texts, with ``cached`` tokens before."""
    cost, size = cost_of(facts), facts.weight_bytes // facts.n_parameters
    pairs = fed * (cached + fed)  # the whole square among the new tokens, as the plain form has it
    operations = batch * (fed * cost.linear + pairs * cost.attention + cost.head)
    kept = 2 * facts.n_layers * facts.n_kv_heads * facts.d_head * (cached + fed)
    moved = size * ((cost.linear + cost.head) // 2 + batch * kept)
    return Need(operations, moved, operations / peak.operations, moved / peak.bandwidth)


def passes(model: ModelHandle) -> pd.DataFrame:
    """What the machine's two numbers foretell of passes, and what was measured (medians).

    Columns: ``what`` (prefill, decode), ``texts``, ``tokens`` (fed, of each text), ``gflop``,
    ``mb``, ``arithmetic_ms``, ``reading_ms``, ``measured_ms``, ``per_second`` (tokens of all
    texts). A prefill is a pass without a cache, from whole texts.
    """
    facts, peak = model.facts, machine(model)
    prefill = step_seconds(texts(model))
    prefill = prefill[(prefill["mode"] == "no cache") & prefill["length"].isin([8, 32, 128])]
    timed = [("prefill", 1, int(r.length), 0, r.median) for r in prefill.itertuples()]
    for row in spread(batches(model), ["batch"]).itertuples():
        cached = min(CONTEXT, facts.context_length) - 1
        timed.append(("decode", int(row.batch), 1, cached, row.median))
    rows = []
    for what, n, fed, cached, median in timed:
        need = need_of(facts, peak, fed=fed, cached=cached, batch=n)
        times = [1000 * t for t in (need.computing, need.reading, median)]
        counts = (need.operations / 1e9, need.bytes / 1e6)
        rows.append((what, n, fed, *counts, *times, n * fed / median))
    columns = ["what", "texts", "tokens", "gflop", "mb", "arithmetic_ms", "reading_ms"]
    return pd.DataFrame(rows, columns=[*columns, "measured_ms", "per_second"])


def fixed_seconds(model: ModelHandle) -> pd.Series:
    """What a step of one text with a cache takes beyond its need, in each repeat: the small
    operations around the large products, which every pass has."""
    table, cached = batches(model), min(CONTEXT, model.facts.context_length) - 1
    need = need_of(model.facts, machine(model), fed=1, cached=cached)
    return table.loc[table["batch"] == 1, "seconds"] - need.seconds


def foretold(facts: ModelFacts, peak: Machine, new: int, fixed: float = 0.0) -> float:
    """Without over with a cache for a text of ``new`` tokens, if every pass took its need and
    ``fixed`` seconds."""
    at = range(PROMPT, PROMPT + new)
    whole = sum(need_of(facts, peak, fed=n).seconds for n in at)
    steps = sum(need_of(facts, peak, fed=1, cached=n - 1).seconds for n in at[1:])
    prefill = need_of(facts, peak, fed=PROMPT).seconds
    return (whole + new * fixed) / (prefill + steps + new * fixed)


def whole_texts(model: ModelHandle) -> pd.DataFrame:
    """Whole texts side by side: ``new``, ``rounds``, ``no_cache_s``, ``cache_s`` (medians),
    ``ratio``, ``low``, ``high`` (median and quartiles of the ratio), ``foretold`` (by the two
    numbers of the machine and the fixed cost), ``passes`` (ratio of token passes)."""
    facts, peak = model.facts, machine(model)
    fixed = max(0.0, float(fixed_seconds(model).median()))
    rows = []
    for new, own in speed_ups(texts(model)).groupby("new"):
        low, middle, high = own["ratio"].quantile([0.25, 0.5, 0.75])
        medians = [own[mode].median() for mode in ("no cache", "cache")]
        ahead = foretold(facts, peak, int(new), fixed)
        rows.append((new, len(own), *medians, middle, low, high, ahead, own["passes"].iloc[0]))
    columns = ["new", "rounds", "no_cache_s", "cache_s", "ratio", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "foretold", "passes"])
