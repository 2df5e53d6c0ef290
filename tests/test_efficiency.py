"""Timing, counting and memory of chapter 4 against a fake clock, counters and real tensors."""

from __future__ import annotations

import gc
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from internals.measure.generation import (
    clock,
    equality,
    memory,
    operations,
    prediction,
    scaling,
    speed,
    stores,
    summary,
    watched,
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


def test_the_prediction_is_the_roofline_plus_the_fixed_cost(handle):
    """With a slow memory the limit is bytes over bandwidth; the step that gave the fixed cost is no
    test, so it has no error."""
    facts = handle.facts
    steps = pd.DataFrame(
        {
            "mode": ["cache", "cache", "no cache"],
            "length": [8, 64, 64],
            "median": [1000.0, 2000.0, 3000.0],
        }
    )
    slow = operations.Machine(operations=1e30, bandwidth=1e3, threads=1)
    found = prediction.predict(facts, steps, slow, 4)
    assert found.table["limit"].to_numpy() == pytest.approx(found.table["bytes"] / 1e3)
    assert set(found.table["bound"]) == {"bytes"}
    first = found.table.iloc[0]
    assert first["expected"] == pytest.approx(first["median"])
    assert found.table["error"].isna().tolist() == [True, False, False]
    weights = sum(
        p.numel()
        for n, p in build("llama").named_parameters()
        if p.ndim == 2 and "embed" not in n and "lm_head" not in n
    )
    head = facts.vocab_size_embedding * facts.d_model
    cache = 8 * memory.bytes_per_token(facts, 4)
    assert first["bytes"] == 4 * (weights + head) + cache
    fast = operations.Machine(operations=1e3, bandwidth=1e30, threads=1)
    bound = prediction.predict(facts, steps, fast, 4).table
    cost = operations.cost_of(facts)
    assert bound["limit"].iloc[2] == pytest.approx(cost.full(64) / 1e3)
    assert set(bound["bound"]) == {"operations"}


def test_a_batch_shares_the_weights_and_nothing_else(handle):
    one = prediction.limit_of(handle.facts, operations.Machine(1.0, 1.0, 1), 4, "cache", 32)
    four = prediction.limit_of(handle.facts, operations.Machine(1.0, 1.0, 1), 4, "cache", 32, 4)
    assert four[0] == 4 * one[0]
    assert four[1] - one[1] == 3 * 32 * memory.bytes_per_token(handle.facts, 4)


# --- whole texts from steps ---------------------------------------------------------------------

STEPS = pd.DataFrame(
    {
        "mode": ["no cache"] * 2 + ["cache"] * 2,
        "length": [10, 20] * 2,
        "median": [10.0, 20.0, 1.0, 1.0],
    }
)


def test_whole_texts_are_predicted_by_adding_steps():
    assert prediction.text_seconds(STEPS, "no cache", 10, 3) == pytest.approx(10 + 11 + 12)
    assert prediction.text_seconds(STEPS, "cache", 10, 3) == pytest.approx(10 + 1 + 1)
    prefill = pd.DataFrame({"mode": ["prefill"] * 2, "length": [10, 20], "median": [30.0, 60.0]})
    both = pd.concat([STEPS, prefill])
    assert prediction.text_seconds(both, "cache", 10, 3) == pytest.approx(30 + 1 + 1)


def test_the_speed_up_curve_of_steps_that_cost_their_length():
    """A step without a cache costs its length and one with a cache costs one: the speed-up of T new
    tokens after p is the ratio of token passes, but for the prefill."""
    lengths = range(8, 73)
    rows = [
        (m, n, r, float(n if m == "no cache" else 1))
        for m in ("no cache", "cache")
        for n in lengths
        for r in range(3)
    ]
    repeats = pd.DataFrame(rows, columns=["mode", "length", "repeat", "seconds"])
    table = repeats.rename(columns={"seconds": "expected"}).query("repeat == 0")
    cost = operations.Cost(linear=1, attention=0, head=0)
    curve = prediction.speed_up_curve(repeats, prediction.Prediction(table, 0.0), cost)
    assert curve["new"].tolist() == [16, 32, 64]
    assert curve["measured"].to_numpy() == pytest.approx(curve["passes"])
    assert curve["operations"].to_numpy() == pytest.approx(curve["passes"])
    assert curve["error"].to_numpy() == pytest.approx(0)
    assert curve["passes"].iloc[0] == sum(range(8, 24)) / 23


def test_subtraction_finds_the_first_and_the_further_token():
    """Prefill of five seconds, a second for each further token."""
    steps = pd.DataFrame(
        {
            "mode": ["no cache"] * 2 + ["cache"] * 2,
            "length": [8, 128] * 2,
            "median": [5.0, 5.0, 1.0, 1.0],
        }
    )
    texts = pd.DataFrame(
        {
            "mode": ["cache"] * 3,
            "prompt": [8, 8, 32],
            "new": [16, 32, 16],
            "median": [20.0, 36.0, 20.0],
        }
    )
    found = summary.cross_check(texts, steps).set_index("quantity")
    assert found.loc["a further token", "by_subtraction"] == 1
    assert found.loc["a further token", "by_steps"] == 1
    assert found.loc["the first token", "by_subtraction"] == 5
    assert found["error"].tolist() == [0, 0]


def test_own_loop_without_cache_and_library_give_the_same_text(handle):
    table = speed.texts.uncached(handle, repeats=1)
    assert table["same"].all()
    assert set(table["mode"]) == {"cache", "no cache", "library"}
    repeats = speed.steps.uncached(handle, repeats=1)
    assert set(repeats["mode"]) == {"cache", "no cache", "prefill"}
    steps = clock.spread(repeats, ["mode", "length"])
    ups = summary.speed_ups(table, steps, operations.cost_of(handle.facts))
    row = ups[(ups["prompt"] == 8) & (ups["new"] == 16)].iloc[0]
    assert row["passes"] == pytest.approx(sum(range(8, 24)) / 23)
    assert row["measured"] == pytest.approx(row["plain_s"] / row["measured_s"])


def test_subtraction_takes_whole_texts_alone():
    """Texts of which each token costs twice what a single step does, after the same prefill."""
    steps = pd.DataFrame({"mode": ["no cache", "cache"], "length": [8, 8], "median": [5.0, 1.0]})
    texts = pd.DataFrame(
        {"mode": "cache", "prompt": [8, 8, 8], "new": [4, 8, 12], "median": [11.0, 19.0, 27.0]}
    )
    found = summary.cross_check(texts, steps).set_index("quantity")
    assert found["by_subtraction"].to_dict() == {"a further token": 2.0, "the first token": 5.0}
    assert found["by_steps"].to_dict() == {"a further token": 1.0, "the first token": 5.0}


def test_a_large_model_is_timed_at_doubling_lengths_only():
    def facts(parameters, context):
        return SimpleNamespace(n_parameters=parameters, context_length=context)

    assert speed.lengths(facts(10**8, 2048)) == [8, 16, 32, 64, 128, 256, 512, 1024]
    assert set(speed.lengths(facts(10**8, 2048))) < set(speed.lengths(facts(10**7, 2048)))
    assert speed.lengths(facts(10**7, 100))[-1] == 100
    assert max(new for _, new in speed.timed_texts(facts(10**8, 1024))) == 24
    assert clock.rounds(facts(10**7, 1024)) == clock.REPEATS
    assert clock.rounds(facts(10**9, 1024)) == 5


@pytest.mark.parametrize("context", [24, 64, 1024, 100_000])
def test_timed_texts_fit_the_context_and_reach_an_eighth_of_it(context):
    texts = speed.timed_texts(SimpleNamespace(n_parameters=10**7, context_length=context))
    assert all(p + new <= context and new >= 1 for p, new in texts)
    assert max(p for p, _ in texts) == max(8, min(context, speed.LONGEST) // 8)


def test_batches_time_both_ways(handle):
    table = speed.batches.uncached(handle, repeats=1)
    assert set(zip(table["mode"], table["batch"], strict=True)) == {
        (mode, n) for mode in ("cache", "no cache") for n in speed.BATCHES
    }
    assert (table["tokens_per_second"] * table["median"]).to_numpy() == pytest.approx(
        table["batch"].to_numpy()
    )


def test_a_step_with_a_cache_computes_what_a_whole_pass_does(handle):
    """The timed step leaves its cache as it found it, so it can be timed again."""
    tasks = speed.step_tasks(handle.loaded(), 12)
    whole = tasks["no cache"]()
    assert torch.allclose(tasks["prefill"](), whole, atol=1e-4)
    for _ in range(3):
        assert torch.allclose(tasks["cache"](), whole, atol=1e-4)


# --- equality -----------------------------------------------------------------------------------


def random_texts(n: int, low: int, high: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(low, high, (n,), generator=generator).tolist()
    return [torch.randint(1, 200, (k,), generator=generator).tolist() for k in lengths]


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "gemma2", "opt"])
def test_a_cache_changes_nothing_in_float32(family):
    for steps, largest, flips, _ in equality.compare(build(family), random_texts(3, 20, 30), 14):
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
    ((_, largest, _, _),) = equality.compare(build("llama"), [list(range(5, 25))], 14)
    assert largest > 1e-3


def test_every_flip_is_a_near_tie():
    """In a coarse type of numbers tokens flip, and only where a near-tie was counted."""
    model = equality.in_type(build("gpt2"), torch.bfloat16)
    found = equality.compare(model, random_texts(12, 30, 50), 24)
    flips, ties = (sum(row[k] for row in found) for k in (2, 3))
    assert ties > 0
    assert flips <= ties


def test_the_interval_of_flips_is_over_prompts():
    rows = [("bfloat16", f"p{i}", 17, int(i == 0) * 4) for i in range(16)]
    rows += [("float32", f"p{i}", 17, 0) for i in range(16)]
    table = pd.DataFrame(rows, columns=["dtype", "prompt", "steps", "flips"])
    found = equality.same_token(table, "bfloat16")
    assert found.value == pytest.approx(1 - 4 / (16 * 17))
    assert found.low < found.value < found.high
    never = equality.same_token(table, "float32")
    assert (never.value, never.high) == (1, 1)
    assert never.low < 0.9
    assert (found.n, never.n) == (16, 16)


def test_sixteen_bits_on_a_processor_round_as_native_products_do():
    """Only matrix products differ from the plain conversion, by rounding; the original stays."""
    model = build("llama")
    before = {name: p.clone() for name, p in model.named_parameters()}
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        exact = model(ids).logits
        ours = equality.in_type(model, torch.bfloat16)(ids).logits.float()
        native = build("llama").to(torch.bfloat16)(ids).logits.float()
    assert (ours - exact).abs().mean() <= 1.5 * (native - exact).abs().mean()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_later_tokens_never_change_earlier_keys(handle):
    grown = equality.unchanged.uncached(handle)
    assert grown.largest < 1e-5 * max(1.0, grown.typical)
    assert (grown.kept, grown.after) == (8, 24)


def test_a_model_that_looks_ahead_would_change_them(handle, monkeypatch):
    """Negative control: keys that depend on the length of the text."""
    from transformers import DynamicCache

    whole = DynamicCache.update
    monkeypatch.setattr(
        DynamicCache,
        "update",
        lambda self, k, v, *a, **m: whole(self, k * k.shape[-2], v, *a, **m),
    )
    grown = equality.unchanged.uncached(handle)
    assert grown.largest > 0.1 * grown.typical


def test_all_prompts_at_once_give_the_text_of_the_library(handle):
    table = equality.same_as_library.uncached(handle)
    assert len(table) >= 50
    assert table["same"].all()


# --- scaling ------------------------------------------------------------------------------------


def test_plain_and_fused_attention_agree():
    q, k, v = (torch.randn(1, 2, 33, 8, generator=torch.Generator().manual_seed(i)) for i in b"123")
    assert torch.allclose(scaling.plain(q, k, v), scaling.fused(q, k, v), atol=1e-5)


@pytest.mark.parametrize("power", [1, 2])
def test_slopes_find_the_power(power):
    rows = [("part", r, n, n**power * (1 + 0.01 * r)) for n in (64, 128, 256) for r in range(5)]
    table = pd.DataFrame(rows, columns=["part", "repeat", "length", "seconds"]).assign(heads=4)
    found = scaling.slopes(table)
    assert found["slope"].tolist() == pytest.approx([power] * 2)
    assert (found["low"] <= power + 1e-9).all()
    assert summary.local_slope(table).value == pytest.approx(power)
    fewer = table.assign(heads=np.where(table["length"] < 128, 4, 2))
    assert scaling.slopes(fewer)["length"].tolist() == pytest.approx([math.sqrt(128 * 256)])


def test_the_expected_slope_lies_between_linear_and_quadratic():
    cost = operations.Cost(linear=100, attention=1, head=0)
    assert summary.expected_slope(cost, 2, 1) == pytest.approx(1, abs=0.05)
    assert summary.expected_slope(cost, 200_000, 100_000) == pytest.approx(2, abs=0.01)
    at = (100 + 2 * 100) / (100 + 100)  # (linear + 2 attention n) / (linear + attention n)
    assert summary.expected_slope(cost, 101, 99) == pytest.approx(at, abs=1e-3)


@pytest.mark.parametrize(("crossover", "longest"), [(10, 512), (1536, 4096), (10**6, 8192)])
def test_lengths_reach_beyond_the_crossover_within_a_limit(crossover, longest):
    assert scaling.lengths(crossover)[-1] == longest


def test_every_part_is_timed_and_fewer_heads_are_scaled_up(handle, monkeypatch):
    monkeypatch.setattr(scaling, "HELD", 4 * 512 * 512)  # one head of the longest length
    heads = []
    whole = scaling.plain
    monkeypatch.setattr(
        scaling, "plain", lambda q, k, v: heads.append(q.shape[1:3]) or whole(q, k, v)
    )
    table = scaling.scaling.uncached(handle, repeats=1)
    assert set(table["part"]) == {
        "scores and values, plain",
        "scores and values, fused",
        "one new token",
        "MLP",
        "whole block",
    }
    assert (1, 512) in heads
    assert (4, 64) in heads
    plain = table[table["part"] == "scores and values, plain"].set_index("length")["heads"]
    assert (plain[64], plain[512]) == (4, 1)
    assert (table.loc[table["part"] == "MLP", "heads"] == 4).all()
    assert (table["seconds"] > 0).all()


def test_long_texts_are_all_timed_with_one_number_of_heads():
    lengths = (64, 256, 512, 1024, 2048, 4096)
    assert [scaling.heads_timed(8, n, 4096) for n in lengths] == [8, 8, 2, 2, 2, 2]
    assert [scaling.heads_timed(8, n, 1024) for n in (512, 1024)] == [8, 8]
    assert [scaling.heads_timed(1, n, 8192) for n in (512, 8192)] == [1, 1]
    assert scaling.heads_timed(12, 8192, 8192) == 1


def test_totals_add_up_steps_of_a_known_power():
    """Steps of t and t² give sums of t² / 2 and t³ / 3; their exponents are found."""
    lengths = (64, 128, 256, 512, 1024)
    parts = pd.DataFrame(
        [
            (part, n, r, float(n**power))
            for part, power in (("scores and values, plain", 2), ("one new token", 1))
            for n in lengths
            for r in range(3)
        ],
        columns=["part", "length", "repeat", "seconds"],
    )
    steps = pd.DataFrame(
        [
            (mode, n, r, float(n**power))
            for mode, power in (("no cache", 1), ("cache", 0))
            for n in (8, 16, 256)
            for r in range(3)
        ],
        columns=["mode", "length", "repeat", "seconds"],
    )
    total = summary.totals(steps, parts)
    found = summary.exponents(total, operations.Cost(linear=1, attention=0, head=0))
    found = found.set_index(["what", "mode"])
    expected = {
        (summary.SCORES, "no cache"): 3,
        (summary.SCORES, "cache"): 2,
        (summary.WHOLE, "no cache"): 2,
        (summary.WHOLE, "cache"): 1,
    }
    for key, power in expected.items():
        assert found.loc[key, "measured"] == pytest.approx(power, abs=0.1)
        assert found.loc[key, "counted"] == pytest.approx(found.loc[key, "measured"], abs=0.02)


def test_the_plain_form_needs_memory_for_its_scores(handle):
    table = scaling.peak_memory.uncached(handle, lengths=(512, 1024)).set_index(["form", "length"])
    plain, fused = table.loc[("plain", 1024)], table.loc[("fused", 1024)]
    assert plain["peak_mib"] > 0.9 * plain["matrix_mib"]
    assert fused["peak_mib"] < 0.5 * plain["peak_mib"]
    assert plain["matrix_mib"] == 4 * table.loc[("plain", 512), "matrix_mib"]


# --- memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*FIVE, "mistral", "gemma2"])
def test_the_cache_has_the_bytes_of_the_formula(family, tiny_folder):
    """Mistral and Gemma 2 have layers with a window of sixteen tokens, which keep fewer."""
    handle = open_model(str(tiny_folder(family)))
    found = memory.held.uncached(handle)
    assert (found.table["bytes"] == found.table["formula"]).all()
    assert len(found.table) == 3
    windowed = {"mistral": (15, 15), "gemma2": (15, None)}.get(family, (None, None))
    assert found.windows == windowed
    grown = memory.growth(handle.facts, 4, found.windows).iloc[0]
    kept = sum(64 if w is None else w for w in windowed)
    per_layer = memory.bytes_per_token(handle.facts, 4) / 2
    assert grown["cache_mib"] * 2**20 == pytest.approx(kept * per_layer)


def test_gpt2_small_takes_36_kib_a_token_in_16_bits():
    """72 KiB in 32 bits is the usual number; half of it in 16."""
    table = memory.public_models().set_index("name")
    assert table.loc["GPT-2 small", "kib_per_token"] == 36
    assert table.loc["GPT-2 small", "crossover"] == pytest.approx(0.124e9 / (12 * 2 * 768), abs=1)
    assert table.loc["Llama 3 8B", "saved"] == 4
    assert table.loc["Llama 3 8B", "gib_at_context"] == 1.0


@pytest.mark.parametrize(("bits", "worst"), [(8, 1 / 254), (4, 1 / 14)])
@pytest.mark.parametrize("width", [16, 7])
def test_integers_round_by_at_most_half_a_step(bits, worst, width):
    x = torch.randn(3, 2, 5, width, generator=torch.Generator().manual_seed(0))
    held = stores.to_integers(x, bits)
    y = stores.from_integers(held, bits, width)
    top = x.abs().amax(-1, keepdim=True)
    assert y.shape == x.shape
    assert ((x - y).abs() <= worst * top + 1e-6).all()
    assert held[0].dtype == torch.int8
    assert held[0].shape[-1] == (width if bits == 8 else (width + 1) // 2)


def test_four_bits_keep_every_integer_in_its_place():
    x = torch.tensor([[[[-7.0, 7.0, 0.0, -1.0, 3.0, -4.0]]]])
    assert torch.equal(stores.from_integers(stores.to_integers(x, 4), 4, 6), x)


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt", "gemma2"])
def test_an_unchanged_cache_continues_as_one_pass_would(family):
    model = build(family)
    ids = torch.randint(1, 200, (24,), generator=torch.Generator().manual_seed(1))
    (found,) = stores.continued_bits(model, ids[None], stores.stores(8)[0])
    with torch.no_grad():
        lp = model(ids[None]).logits[0, 11:-1].double().log_softmax(-1)
    expected = -lp.gather(-1, ids[12:, None]).sum().item() / math.log(2)
    assert found == pytest.approx(expected, abs=1e-3)


def test_storing_less_is_compared_with_storing_all(handle):
    losses = stores.losses.uncached(handle, documents=4)
    costs = stores.costs.uncached(handle, repeats=1)
    table = stores.tradeoff(costs, losses).set_index("stored")
    full, eight = table.loc["all in full"], table.loc["8-bit integers"]
    assert full["extra_bits"] == 0
    assert full["mib"] * 2**20 == (64 - 1) * memory.bytes_per_token(handle.facts, 4)
    # A byte for each number, and a scale of four bytes for each head of eight numbers.
    assert eight["mib"] / full["mib"] == pytest.approx((8 + 4) / (4 * 8))
    assert table.loc["16 bits", "mib"] == full["mib"] / 2
    assert table.loc["last quarter only", "mib"] == pytest.approx(full["mib"] / 4, rel=0.02)
    assert table.loc[stores.NOTHING, "mib"] == 0
    assert np.isfinite(table["extra_bits"]).all()
    assert abs(eight["extra_bits"]) < 0.05


def test_memory_is_measured_in_a_process_of_its_own(handle):
    table = memory.resident.uncached(handle, batch=2, chunk=16).set_index("mode")
    held = 2 * 64 * memory.bytes_per_token(handle.facts, 4) / 2**20
    assert table.loc["cache", "cache_mib"] == pytest.approx(held)
    assert table.loc["no cache", "cache_mib"] == 0
    assert (table["peak_mib"] >= 0).all()


def test_memory_is_measured_without_a_second_load_of_the_weights(handle, tmp_path):
    """Configuration alone is enough."""
    (tmp_path / "config.json").write_bytes((handle.folder / "config.json").read_bytes())
    bare = SimpleNamespace(facts=handle.facts, folder=tmp_path)
    table = memory.resident.uncached(bare, batch=2, chunk=16)
    assert set(table["tokens"]) == {handle.facts.context_length}


class Gpus:
    """Two devices whose allocators count what `work` takes and gives back."""

    def __init__(self) -> None:
        self.held, self.most = [100, 10], [900, 10]

    def device_count(self) -> int:
        return 2

    def synchronize(self, gpu: int) -> None:
        assert gpu in {0, 1}

    def memory_allocated(self, gpu: int) -> int:
        return self.held[gpu]

    def reset_peak_memory_stats(self, gpu: int) -> None:
        self.most[gpu] = self.held[gpu]

    def max_memory_allocated(self, gpu: int) -> int:
        return self.most[gpu]

    def work(self) -> str:
        self.most = [170, 35]
        return "done"


def test_the_memory_of_gpus_is_what_their_allocators_counted(monkeypatch):
    gpus = Gpus()
    for name in ("device_count", "synchronize", "memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, getattr(gpus, name))
    for name in ("reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, getattr(gpus, name))
    assert watched.rise_of_device(gpus.work) == (70 + 25, "done")


@pytest.mark.parametrize(
    ("tokens", "no_cache", "cache", "differ"),
    [
        (512, 75.8, 31.5, True),
        (512, 31.5, 75.8, True),
        (512, 0.4, 0.8, False),  # less than an allocator may take
        (512, 1000.0, 1040.0, False),  # a small part of both
        (64, 75.8, 31.5, False),  # one piece: both ways run the same pass
    ],
)
def test_peaks_differ_only_beyond_the_allocators_noise(tokens, no_cache, cache, differ):
    table = pd.DataFrame({"mode": ["no cache", "cache"], "peak_mib": [no_cache, cache]})
    assert memory.peaks_differ(table.assign(tokens=tokens)) is differ


def test_looking_inside_is_timed_against_a_bare_pass(handle):
    from internals.measure.generation import overhead

    before = handle.loaded().model.config._attn_implementation
    table = overhead.overhead.uncached(handle, repeats=2)
    assert table["what"].tolist() == ["bare pass", "hidden states", "attention weights"]
    assert table["ratio"].iloc[0] == 1
    assert handle.loaded().model.config._attn_implementation == before
