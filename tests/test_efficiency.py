"""Timing, counting and memory of chapter 4 against a fake clock, counters and real tensors."""

from __future__ import annotations

import gc
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch

from internals.measure.efficiency import (
    clock,
    equality,
    memory,
    operations,
    scaling,
    speed,
    summary,
)
from internals.models import open_model
from tiny_models import build

FIVE = ("gpt2", "llama", "gpt_neox", "qwen3", "phi3")


@pytest.fixture(scope="module")
def handle(tiny_folder):
    return open_model(str(tiny_folder("llama")))


# --- the clock ----------------------------------------------------------------------------------


def test_tasks_are_interleaved_and_warm_up_is_dropped():
    order = []
    ticks = itertools.count()
    table = clock.interleaved(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")},
        repeats=2,
        warm_up=1,
        clock=lambda: float(next(ticks)),
    )
    assert order == ["a", "b"] * 3
    assert table["task"].tolist() == ["a", "b"] * 2
    assert table["repeat"].tolist() == [0, 0, 1, 1]
    assert set(table["seconds"]) == {1.0}


def test_the_garbage_collector_rests_and_comes_back_even_after_an_error():
    seen = []
    with pytest.raises(ZeroDivisionError):
        clock.interleaved({"a": lambda: seen.append(gc.isenabled()) or 1 / 0})
    assert seen == [False]
    assert gc.isenabled()


def test_the_spread_is_median_and_quartiles():
    table = pd.DataFrame({"task": ["a"] * 5, "seconds": [1.0, 2.0, 3.0, 4.0, 100.0]})
    row = clock.spread(table).iloc[0]
    assert (row["low"], row["median"], row["high"], row["n"]) == (2, 3, 4, 5)


# --- operations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FIVE)
def test_the_closed_form_is_what_the_counter_counts(family, tiny_folder):
    table = operations.counted.uncached(open_model(str(tiny_folder(family))))
    assert len(table) == 3
    assert table["difference"].abs().max() < 1e-12


def test_the_closed_form_of_gpt2_is_24nd2_plus_4n2d():
    facts = open_model("fable-gpt2").facts
    cost = operations.cost_of(facts)
    d, n = facts.d_model, 100
    block = 24 * n * d**2 + 4 * n**2 * d
    assert cost.full(n, logits=0) == facts.n_layers * block
    assert cost.crossover == 6 * d


def test_totals_are_sums_over_steps():
    cost = operations.Cost(linear=10, attention=1, head=5)
    assert cost.without_cache(2, 3) == sum(n * 10 + n * n + 5 for n in (2, 3, 4))
    assert cost.with_cache(2, 3) == (20 + 4 + 5) + (10 + 3 + 5) + (10 + 4 + 5)
    assert cost.with_cache(2, 1) == cost.without_cache(2, 1)


def test_the_counted_exponents_are_those_of_the_sums():
    """Without a cache T² and T³, with one T and T² (matrices and scores)."""
    cost = operations.Cost(linear=10**9, attention=1, head=0)
    powers = summary.exponents(summary.totals(cost, 2048)).set_index("mode")
    assert powers.loc["no cache", "operations"] == pytest.approx(2, abs=0.05)
    assert powers.loc["cache", "operations"] == pytest.approx(1, abs=0.05)
    assert powers.loc["no cache", "attention"] == pytest.approx(3, abs=0.05)
    assert powers.loc["cache", "attention"] == pytest.approx(2, abs=0.05)


def test_the_prediction_is_the_roofline_plus_the_fixed_cost(handle):
    """With a slow memory the limit is bytes over bandwidth; the shortest step fits exactly."""
    facts = handle.facts
    steps = pd.DataFrame(
        {
            "mode": ["cache", "cache", "no cache"],
            "length": [8, 64, 64],
            "median": [1.0, 1.0, 2.0],
        }
    )
    slow = operations.Machine(operations=1e30, bandwidth=1e3, threads=1)
    found = speed.predict(facts, steps, slow, 4)
    assert found.table["limit"].to_numpy() == pytest.approx(found.table["bytes"] / 1e3)
    first = found.table.iloc[0]
    assert first["expected"] == pytest.approx(max(first["median"], first["limit"]))
    weights = sum(
        p.numel()
        for n, p in build("llama").named_parameters()
        if p.ndim == 2 and "embed" not in n and "lm_head" not in n
    )
    head = facts.vocab_size_embedding * facts.d_model
    cache = 8 * memory.bytes_per_token(facts, 4)
    assert first["bytes"] == 4 * (weights + head) + cache


# --- whole texts from steps ---------------------------------------------------------------------


def test_whole_texts_are_predicted_by_adding_steps():
    steps = pd.DataFrame(
        {
            "mode": ["no cache"] * 2 + ["cache"] * 2,
            "length": [10, 20] * 2,
            "median": [10.0, 20.0, 1.0, 1.0],
        }
    )
    assert speed.predicted_text(steps, "no cache", 10, 3) == pytest.approx(10 + 11 + 12)
    assert speed.predicted_text(steps, "cache", 10, 3) == pytest.approx(10 + 1 + 1)


def test_subtraction_cancels_the_prefill():
    steps = pd.DataFrame(
        {
            "mode": ["no cache"] * 2 + ["cache"] * 2,
            "length": [8, 64] * 2,
            "median": [5.0, 5.0, 1.0, 1.0],
        }
    )
    texts = pd.DataFrame(
        {"mode": ["cache"] * 2, "prompt": [8, 8], "new": [16, 32], "median": [20.0, 36.0]}
    )
    assert summary.decode_check(texts, steps) == {"by_difference": 1.0, "single": 1.0}


def test_own_loop_without_cache_and_library_give_the_same_text(handle):
    table = speed.texts.uncached(handle, repeats=1)
    assert table["same"].all()
    assert set(table["mode"]) == {"cache", "no cache", "library"}
    ups = summary.speed_ups(
        table, speed.steps.uncached(handle, repeats=1), operations.cost_of(handle.facts)
    )
    row = ups[ups["new"] == 16].iloc[0]
    assert row["passes"] == pytest.approx(sum(range(8, 24)) / 23)


def test_a_step_with_a_cache_computes_what_a_whole_pass_does(handle):
    """The timed step leaves its cache as it found it, so it can be timed again."""
    tasks = speed.step_tasks(handle.loaded(), 12)
    for _ in range(3):
        tasks["cache"]()
    tasks["no cache"]()


# --- equality -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "gemma2"])
def test_a_cache_changes_nothing_in_float32(family):
    model = build(family)
    ids = torch.randint(1, 200, (20,), generator=torch.Generator().manual_seed(0)).tolist()
    steps, largest, flips, _ = equality.compare(model, ids, 6)
    assert steps == 15
    assert largest < 1e-4
    assert flips == 0


def test_a_broken_cache_would_be_noticed(monkeypatch):
    """Negative control: a cache that forgets must not pass as equal."""
    from transformers import DynamicCache

    whole = DynamicCache.update

    def forgetful(self, keys, values, layer, *rest, **more):
        k, v = whole(self, keys, values, layer, *rest, **more)
        return k * 0.5, v

    monkeypatch.setattr(DynamicCache, "update", forgetful)
    _, largest, _, _ = equality.compare(build("llama"), list(range(5, 25)), 6)
    assert largest > 1e-3


# --- scaling ------------------------------------------------------------------------------------


def test_plain_and_fused_attention_agree():
    q, k, v = (torch.randn(1, 2, 33, 8, generator=torch.Generator().manual_seed(i)) for i in b"123")
    assert torch.allclose(scaling.plain(q, k, v), scaling.fused(q, k, v), atol=1e-5)


@pytest.mark.parametrize("power", [1, 2])
def test_slopes_find_the_power(power):
    rows = [("part", r, n, n**power * (1 + 0.01 * r)) for n in (64, 128, 256) for r in range(5)]
    table = pd.DataFrame(rows, columns=["part", "repeat", "length", "seconds"])
    found = scaling.slopes(table)
    assert found["slope"].tolist() == pytest.approx([power] * 2)
    assert (found["low"] <= power + 1e-9).all()


def test_the_plain_form_needs_memory_for_its_scores(handle):
    table = scaling.peak_memory.uncached(handle, length=1024).set_index("form")
    assert table.loc["plain", "peak_mib"] > 0.9 * table.loc["plain", "matrix_mib"]
    assert table.loc["fused", "peak_mib"] < 0.5 * table.loc["plain", "peak_mib"]


# --- memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FIVE)
def test_the_cache_has_the_bytes_of_the_formula(family, tiny_folder):
    found = memory.held.uncached(open_model(str(tiny_folder(family))))
    assert (found.table["bytes"] == found.table["formula"]).all()
    assert len(found.table) == 3


def test_gpt2_small_takes_36_kib_a_token_in_16_bits():
    """72 KiB in 32 bits is the usual number; half of it in 16."""
    table = memory.public_models().set_index("name")
    assert table.loc["GPT-2 small", "kib_per_token"] == 36
    assert table.loc["GPT-2 small", "crossover"] == pytest.approx(0.124e9 / (12 * 2 * 768), abs=1)
    assert table.loc["Llama 3 8B", "saved"] == 4
    assert table.loc["Llama 3 8B", "gib_at_context"] == 1.0


@pytest.mark.parametrize(("bits", "worst"), [(8, 1 / 254), (4, 1 / 14)])
def test_integers_round_by_at_most_half_a_step(bits, worst):
    x = torch.randn(3, 2, 5, 16, generator=torch.Generator().manual_seed(0))
    y = memory.as_integers(bits)(x)
    top = x.abs().amax(-1, keepdim=True)
    assert ((x - y).abs() <= worst * top + 1e-6).all()
    assert y.unique().numel() <= 2**bits * 30


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt", "gemma2"])
def test_an_unchanged_cache_continues_as_one_pass_would(family):
    model = build(family)
    ids = torch.randint(1, 200, (24,), generator=torch.Generator().manual_seed(1))
    found = memory._continued_loss(model, ids, memory.kept, 1.0)
    with torch.no_grad():
        lp = model(ids[None]).logits[0, 11:-1].double().log_softmax(-1)
    expected = -lp.gather(-1, ids[12:, None]).mean().item() / math.log(2)
    assert found == pytest.approx(expected, abs=1e-4)


def test_storing_less_is_compared_with_storing_all(handle):
    table = memory.stored.uncached(handle, documents=4).set_index("stored")
    assert table.loc["full precision", "extra_bits"] == 0
    assert (
        table.loc["8-bit integers", "bytes_per_token"] * 4
        == table.loc["full precision", "bytes_per_token"]
    )
    assert np.isfinite(table["extra_bits"]).all()
    assert abs(table.loc["8-bit integers", "extra_bits"]) < 0.05


def test_looking_inside_is_timed_against_a_bare_pass(handle):
    from internals.measure.efficiency import overhead

    before = handle.loaded().model.config._attn_implementation
    table = overhead.overhead.uncached(handle, repeats=2)
    assert table["what"].tolist() == ["bare pass", "hidden states", "attention weights"]
    assert table["ratio"].iloc[0] == 1
    assert handle.loaded().model.config._attn_implementation == before


def test_the_bench_of_generation_names_every_rival(tiny_folder, monkeypatch):
    from internals import bench

    rows = bench.bench_generation(str(tiny_folder("llama")))
    names = " ".join(row["what"] for row in rows)
    for part in ("own loop, cache", "generate()", "no cache", "batch 16", "limit", "hidden states"):
        assert part in names
    assert all(row["low"] <= row["median"] <= row["high"] for row in rows)
