"""Chapter 4: against counters, closed forms, real tensors, and worlds where a finding fails."""

from __future__ import annotations

import gc
import itertools
import math
import random
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from transformers import DynamicCache, TopKLogitsWarper, TopPLogitsWarper

from internals.errors import NotApplicable
from internals.figures import decoding, efficiency
from internals.findings.generation import cache, cached, sampling
from internals.findings.generation import memory as kept
from internals.findings.generation import quality as judged
from internals.findings.generation import scaling as powers
from internals.generation.sampling import Sampler
from internals.measure.generation import (
    choices,
    clock,
    memory,
    operations,
    quality,
    roofline,
    samples,
    scaling,
    speed,
    steps,
    stores,
)
from internals.models import open_model
from internals.tokens import start_ids
from odd_models import ODD
from tiny_models import build

FIVE = ("gpt2", "llama", "gpt_neox", "qwen3", "mistral")


@pytest.fixture(scope="module")
def handle(tiny_folder):
    return open_model(str(tiny_folder("llama")))


@pytest.fixture(scope="module", autouse=True)
def few():
    """Short timings: what they are worth is no matter of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "LENGTHS", (32, 48))
        patch.setattr(scaling, "LENGTHS", (16, 32, 64))
        patch.setattr(roofline, "machine", lambda _: SLOW)
        patch.setenv("REPORT_EFFORT", "0.3")
        yield


# --- the clock ----------------------------------------------------------------------------------


def test_tasks_are_interleaved_and_warm_up_is_dropped():
    order, ticks = [], itertools.count()
    tasks = {name: lambda name=name: order.append((name, gc.isenabled())) for name in "ab"}
    table = clock.interleaved(tasks, repeats=2, warm_up=1, clock=lambda: float(next(ticks)))
    assert order == [("a", False), ("b", False)] * 3
    assert gc.isenabled()
    assert table["task"].tolist() == ["a", "b"] * 2
    assert table["repeat"].tolist() == [0, 0, 1, 1]
    assert set(table["seconds"]) == {1.0}
    parts = clock.interleaved({("a", 2): lambda: None}, repeats=1, columns=["x", "y"])
    assert parts[["x", "y"]].to_numpy().tolist() == [["a", 2]]


def test_the_garbage_collector_comes_back_after_an_error():
    with pytest.raises(ZeroDivisionError):
        clock.interleaved({"a": lambda: 1 / 0})
    assert gc.isenabled()


def test_the_spread_is_median_and_quartiles():
    table = pd.DataFrame({"task": ["a"] * 5, "seconds": [1.0, 2.0, 3.0, 4.0, 100.0]})
    row = clock.spread(table, ["task"]).iloc[0]
    assert (row["low"], row["median"], row["high"]) == (2, 3, 4)


# --- operations and the two numbers of the machine ----------------------------------------------


@pytest.mark.parametrize("family", FIVE)
def test_the_closed_form_is_what_the_counter_counts(family, tiny_folder):
    table = operations.counted.uncached(open_model(str(tiny_folder(family))))
    assert len(table) == 3
    assert table["difference"].abs().max() < 1e-12


def test_the_closed_form_of_gpt2_is_24nd2_plus_4n2d():
    facts = open_model("fable-gpt2").facts
    cost, d, n = operations.cost_of(facts), facts.d_model, 100
    assert cost.full(n, logits=0) == facts.n_layers * (24 * n * d**2 + 4 * n**2 * d)
    assert cost.crossover == 6 * d


def test_a_pass_needs_its_operations_and_the_bytes_of_weights_and_cache(handle):
    facts, peak = handle.facts, roofline.Machine(operations=1e6, bandwidth=1e3)
    need = roofline.need_of(facts, peak, fed=5)
    assert need.operations == operations.cost_of(facts).full(5)
    parameters = build("llama").named_parameters()
    matrices = sum(p.numel() for n, p in parameters if p.ndim == 2 and "embed" not in n)
    assert need.bytes == 4 * matrices + 5 * memory.bytes_per_token(facts)
    assert need.seconds == need.operations / 1e6 + need.bytes / 1e3
    one, four = (roofline.need_of(facts, peak, fed=1, cached=31, batch=b) for b in (1, 4))
    assert four.operations == 4 * one.operations
    assert four.bytes - one.bytes == 3 * 32 * memory.bytes_per_token(facts)


def test_the_foretold_gain_lies_between_that_of_pure_reading_and_of_pure_arithmetic(handle):
    slow = {"operations": 1e30, "bandwidth": 1e3}, {"operations": 1e3, "bandwidth": 1e30}
    reading, arithmetic = (
        roofline.foretold(handle.facts, roofline.Machine(**own), 32) for own in slow
    )
    assert reading == pytest.approx(1, abs=0.05), "every pass reads the weights once"
    cost = operations.cost_of(handle.facts)
    whole = sum(cost.full(n) for n in range(8, 40))
    cached = cost.full(8) + sum(cost.linear + n * cost.attention + cost.head for n in range(9, 40))
    assert arithmetic == pytest.approx(whole / cached)


# --- whole texts --------------------------------------------------------------------------------


def test_a_timed_text_is_that_of_the_library_with_and_without_a_cache():
    model, ids = build("llama"), torch.tensor([[5, 6, 7, 8]])
    theirs = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=9, do_sample=False,
        eos_token_id=None, pad_token_id=0,
    )[0, 4:].tolist()  # fmt: skip
    for mode in (False, True):
        ticks = itertools.count()
        made = speed.timed_text(model, ids, 9, cached=mode, clock=lambda t=ticks: next(t))
        assert made == {"token": theirs, "seconds": list(range(1, 10))}


def test_whole_texts_and_their_steps(handle):
    table = speed.texts.uncached(handle)
    assert table.groupby("mode")["new"].max().to_dict() == {"cache": 32, "no cache": 32}
    assert (
        table.pivot(index=["round", "new"], columns="mode", values="token").nunique(axis=1).max()
        == 1
    )
    ups = speed.speed_ups(table)
    assert ups["passes"].iloc[0] == pytest.approx(sum(range(8, 40)) / (8 + 31))
    assert (ups["ratio"] * ups["cache"]).to_numpy() == pytest.approx(ups["no cache"])
    whole = table[(table["mode"] == "cache") & (table["round"] == 0)]["seconds"]
    one = table[table["round"] == 0]
    summed = speed.step_seconds(one).groupby("mode")["median"].sum()
    assert summed["cache"] == pytest.approx(whole.max()), "steps add up to the text"


def test_a_model_that_takes_seconds_for_a_pass_writes_shorter_texts():
    facts = SimpleNamespace(n_parameters=10**9, device="cpu", context_length=2048)
    assert speed.read_at(facts) == [8, 16, 32]
    assert speed.read_at(SimpleNamespace(**{**vars(facts), "device": "cuda"})) == [32, 64, 128]


@pytest.mark.parametrize("family", FIVE)
def test_the_cache_changes_no_first_choice(family, tiny_folder):
    table = speed.parted.uncached(open_model(str(tiny_folder(family))))
    assert table["flips"].sum() == 0


# --- scaling ------------------------------------------------------------------------------------


def test_plain_and_fused_attention_agree_and_reuse_their_memory(handle):
    tasks = scaling.kernels(handle.facts, 24, "cpu")
    torch.testing.assert_close(tasks[scaling.PLAIN](), tasks[scaling.FUSED]())
    assert tasks[scaling.PLAIN]().data_ptr() == tasks[scaling.PLAIN]().data_ptr()


@pytest.mark.parametrize("power", [1.0, 2.0, 2.6])
def test_exponents_of_planted_times(power):
    rows = [
        (p, n, r, (1 + r) * n**power) for p in scaling.POWERS for n in (8, 16, 64) for r in (0, 1)
    ]
    table = pd.DataFrame(rows, columns=["part", "length", "repeat", "seconds"])
    assert scaling.powers(table)["power"].to_numpy() == pytest.approx(power)


def test_shares_are_equal_at_the_crossover(handle):
    facts = SimpleNamespace(**{**vars(handle.facts), "context_length": 10**6})
    table = scaling.shares(facts).set_index("tokens")
    crossover = round(operations.cost_of(facts).crossover)
    assert table.loc[crossover, "share"] == pytest.approx(0.5, abs=0.01)
    assert table["power"].is_monotonic_increasing


# --- memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*FIVE, "gemma2"])
def test_the_formula_is_the_bytes_of_the_tensors(family, tiny_folder):
    table = memory.held.uncached(open_model(str(tiny_folder(family)))).table
    assert table["bytes"].tolist() == table["formula"].tolist()
    assert len(table) == 3


def test_caches_of_public_models():
    table = memory.public_models().set_index("name")
    assert table.loc["Llama 2 7B", "kib_per_token"] == 512
    assert table.loc["Falcon 7B", "saved"] == 71
    mistral = table.loc["Mistral 7B"]
    assert mistral["gib_at_context"] == mistral["kib_per_token"] * 4096 / 2**20, "its window"


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=8, max_size=8))
def test_eight_bits_are_off_by_half_a_step_at_most(values):
    x = torch.tensor(values).view(1, 1, 2, 4)
    held = stores.eight_bits(x)
    assert held[0].dtype == torch.int8
    assert ((stores.product(held) - x).abs() <= 0.501 * held[1] + 1e-12).all()


def test_the_window_keeps_the_latest_tokens():
    x = torch.arange(8.0).view(1, 1, 8, 1)
    assert stores.product(stores.last_quarter(x)).flatten().tolist() == [6, 7]
    assert stores.product(stores.first_and_last_quarter(x)).flatten().tolist() == [0, 7]


def test_a_full_store_gives_the_loss_of_one_pass():
    model, ids = build("gpt2"), torch.randint(0, 200, (3, 40))
    found = stores.continued_bits(model, ids)
    with torch.no_grad():
        lp = model(ids).logits.log_softmax(-1)
    direct = -lp[:, 19:-1].gather(-1, ids[:, 20:, None]).sum((1, 2)) / math.log(2)
    assert found[stores.FULL] == pytest.approx(direct.numpy(), rel=1e-5)
    assert np.abs(found[stores.WINDOW] - found[stores.FULL]).max() > 0.1


def test_a_timed_step_from_a_cache_is_a_step_of_the_model(handle):
    loaded = handle.loaded()
    run, size = steps.cached_step(loaded, 20, stores.everything, rows=2)
    assert size == 2 * 19 * memory.bytes_per_token(loaded.facts)
    with torch.inference_mode():
        assert torch.equal(run(), run()), "running it leaves no trace"
    assert run().shape == (2, 1, loaded.facts.vocab_size_embedding)


# --- texts under many settings ------------------------------------------------------------------


def test_every_strategy_gets_its_own_rows():
    first, second = Sampler("greedy", greedy=True), Sampler("k", top_k=1)
    mixed = samples.Mixed(((first, 1), (second, 2)), never=[0])
    logits = torch.zeros(6, 5)
    logits[:, 0] = 99.0  # never chosen
    logits[range(6), [1, 2, 3, 4, 1, 2]] = 9.0
    assert mixed.choose(logits, torch.Generator()).tolist() == [1, 2, 3, 4, 1, 2]


def test_texts_have_one_length_and_begin_like_the_human_ones(handle):
    made, people = samples.samples.uncached(handle), samples.human.uncached(handle)
    assert set(made["setting"]) == {s.name for s in samples.SETTINGS} | {samples.BEAM}
    assert set(map(len, [*made["ids"], *people["ids"]])) == {samples.NEW_TOKENS}
    special = set(handle.loaded().tokenizer.all_special_ids)
    assert not special & set(itertools.chain(*made["ids"]))
    assert set(made["prompt"]) == set(people["prompt"])
    counts = made.groupby(["setting", "prompt"]).size().unstack("setting").iloc[0]
    assert counts["greedy"] == counts[samples.BEAM] == 1
    assert counts["T 1"] == samples.grid(handle.facts)[1] >= 2
    story, (head, rest) = next(iter(samples.stories(handle.loaded()).items()))
    text = handle.loaded().tokenizer.decode([*head[-samples.HEAD :], *rest])
    own = people.set_index("prompt").loc[story]
    assert own["opening"] + own["text"] == text


def test_beam_search_is_that_of_the_library(handle):
    loaded = handle.loaded()
    heads = [[5, 6, 7], [9, 1, 2]]
    alone = [samples.beam_texts(loaded, [head], 6)[0] for head in heads]
    assert samples.beam_texts(loaded, heads, 6) == alone


def test_survivors_are_those_of_the_library(handle, tmp_path):
    path = tmp_path / "openings.yaml"
    path.write_text("openings: [{id: a, text: the cat}, {id: b, text: a dog sat}]")
    table = choices.survivors.uncached(handle, path, shown=4)
    for text, own in table.groupby("text"):
        loaded = handle.loaded()
        ids = torch.tensor([loaded.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            z = loaded.model(ids).logits[:, -1].double()
        p = z.softmax(-1)
        for rule, warper in (
            (choices.TOP_K, TopKLogitsWarper(choices.K)),
            (choices.TOP_P, TopPLogitsWarper(choices.P)),
        ):
            left = warper(None, z.clone())
            row = own[own["rule"] == rule].iloc[0]
            assert row["kept"] == left.isfinite().sum()
            assert row["mass"] == pytest.approx(p[left.isfinite()].sum().item(), abs=1e-5)
            assert row["probability"] == pytest.approx(left.softmax(-1).max().item(), abs=1e-5)
    shown = choices.narrowest_and_widest(table)
    sizes = shown[shown["rule"] == choices.TOP_P].groupby("prompt", sort=False)["kept"].first()
    assert sizes.iloc[0] <= sizes.iloc[-1]


def test_the_library_hides_a_top_k(handle):
    table = choices.nuclei.uncached(handle)
    assert table["by_default"].max() <= 50
    assert (table["switched_off"] >= table["by_default"]).all()


# --- measures of texts --------------------------------------------------------------------------


def test_diversity_by_hand():
    assert quality.distinct([[1, 2, 1, 2]], 2) == 2 / 3
    assert quality.distinct([[1, 2], [1, 2]], 1) == 0.5
    assert quality.repetition([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 - 4 / 5)
    assert quality.self_bleu(["the cat sat on the mat"] * 2) == pytest.approx(100)
    assert quality.self_bleu(["one two three four", "five six seven eight"]) < 5
    assert math.isnan(quality.self_bleu(["alone"]))


def test_the_judge_counts_bits_for_each_byte(handle):
    loaded = handle.loaded()
    found = quality.bits_per_byte(loaded, ["the cat"], [" sat on it"])
    head = [*start_ids(loaded.tokenizer), *samples.token_ids(loaded, "the cat")]
    tail = samples.token_ids(loaded, " sat on it")
    with torch.no_grad():
        lp = loaded.model(torch.tensor([[*head, *tail]])).logits[0].log_softmax(-1)
    nats = -sum(lp[len(head) - 1 + i, token].item() for i, token in enumerate(tail))
    assert found[0] == pytest.approx(nats / math.log(2) / 10, rel=1e-5)


@given(st.text(alphabet="abc \n", max_size=40))
def test_a_shuffled_text_has_the_same_words(text):
    assert sorted(quality.shuffled(text, random.Random(0)).split()) == sorted(text.split())


def test_settings_are_compared_by_opening():
    rows = [
        ("greedy", "a", 0, (1, 1, 1, 1, 1, 1), "x", 1.0),
        ("T 1", "a", 0, (1, 2, 3, 4, 5, 6), "one two three four", 3.0),
        ("T 1", "a", 1, (1, 2, 3, 4, 5, 6), "one two three four", 5.0),
        ("greedy", "b", 0, (1, 1, 1, 1, 1, 1), "x", 2.0),
        ("T 1", "b", 0, (1, 2, 3, 4, 5, 6), "one two three four", 4.0),
    ]
    table = pd.DataFrame(rows, columns=[*samples.COLUMNS, "judge_bits"])
    own = quality.by_opening(table).set_index(["setting", "prompt"])
    assert own.loc[("greedy", "a"), "distinct_1"] == pytest.approx(1 / 6)
    assert own.loc[("greedy", "a"), "rep_4"] == pytest.approx(2 / 3)
    assert own.loc[("T 1", "a"), ["distinct_2", "judge_bits"]].tolist() == [1, 4]
    assert own.loc[("T 1", "a"), "self_bleu"] == pytest.approx(100)
    both = quality.compared(own.reset_index()).set_index("setting")
    assert both["judge_bits"].to_dict() == {"greedy": 1.5, "T 1": 4}


# --- findings, in worlds where they hold and where they do not ----------------------------------


def texts_with(gain, parted=False):
    """Three texts; with a cache a token takes a second, without one `gain` seconds at the end."""
    rows = []
    for number in range(3):
        for mode in speed.MODES:
            for new in (32, 64, 128):
                seconds = new * (1 if mode == "cache" else 1 + (gain - 1) * new / 128)
                token = 7 if parted and mode == "cache" else 1
                rows.append((number, new, new + 7, True, mode, seconds, token))
    columns = ["round", "new", "length", "read", "mode", "seconds", "token"]
    return pd.DataFrame(rows, columns=columns)


def costs_with(slower, smaller=4.0):
    rows = []
    for stored, seconds, mib in (
        (stores.NOTHING, slower, 0.0),
        (stores.FULL, 1.0, 8.0),
        (stores.EIGHT_BITS, 1.0, 8.0 / smaller),
    ):
        rows += [(stored, 512, mib, repeat, seconds + repeat / 100) for repeat in range(3)]
    return pd.DataFrame(rows, columns=["stored", "tokens", "mib", "repeat", "seconds"])


def batches_with(cost):
    rows = [(n, r, 1 + cost * n) for n in (1, 64) for r in range(3)]
    return pd.DataFrame(rows, columns=["batch", "repeat", "seconds"])


def times_with(plain, known=2.0):
    own = dict(zip(scaling.POWERS, (plain, plain, 1.0, known), strict=True))
    rows = [(p, n, r, n ** own[p]) for p in own for n in (512, 4096) for r in range(3)]
    return pd.DataFrame(rows, columns=["part", "length", "repeat", "seconds"])


def losses_with(eight, window, first=0.0):
    own = dict(zip(stores.STORES, (0.0, eight, window, first), strict=True))
    rows = [(s, d, 1 + d / 10 + x * (1 + d / 50)) for s, x in own.items() for d in range(10)]
    return pd.DataFrame(rows, columns=["stored", "document", "bits"])


def judged_with(greedy=-1.0, pure=1.0, cut=0.0, rep=0.3, distinct=0.5, plainer=0.0):
    """Texts of 12 openings whose judge needs that many bits more than for human text."""
    rows = []
    for i in range(12):
        noise = 0.01 * (i % 3)
        for setting, bits, low, few in (
            (samples.HUMAN, 0.0, 0.0, 0.9),
            ("greedy", greedy, rep, 0.9 - distinct),
            ("T 1", pure, 0.0, 0.9),
            ("p 0.8", cut, 0.0, 0.9),
            ("p 0.95", cut + 0.5, 0.0, 0.9 - plainer),
            (samples.BEAM, greedy, rep, 0.5),
        ):
            rows.append((setting, f"o{i}", few + noise, low + noise, 1 + bits + noise * bits))
    columns = ["setting", "prompt", "distinct_2", "rep_4", "judge_bits"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(distinct_1=table["distinct_2"])


def judge_with(order):
    rows = [
        (f"o{i}", kind, 1 + extra * (1 + i / 20))
        for i in range(12)
        for kind, extra in (
            (quality.AS_WRITTEN, 0.0),
            (quality.SHUFFLED, order),
            (quality.ELSEWHERE, 0.1),
        )
    ]
    return pd.DataFrame(rows, columns=["prompt", "kind", "judge_bits"])


def beams_with(better):
    return pd.DataFrame(
        {"greedy_bits": [9.0] * 20, "beam_bits": [8.0] * better + [9.0] * (20 - better)}
    )


def left_with(small, large, mass):
    rows = [
        (prompt, rule, *own)
        for prompt, own in {"a": (small, 0.9), "b": (large, mass)}.items()
        for rule in (choices.TOP_K, choices.TOP_P)
    ]
    return pd.DataFrame(rows, columns=["prompt", "rule", "kept", "mass"])


def shares_with(mib):
    return pd.DataFrame({"matrix_mib": [0.1, mib]})


def counted_with(difference):
    return pd.DataFrame({"n": [4, 8], "difference": [0.0, difference]})


def held_with(bytes_):
    table = pd.DataFrame({"tokens": [1], "bytes": [bytes_], "formula": [512]})
    return memory.Held(table, (None,))


FAST = roofline.Machine(operations=1e9, bandwidth=1e30)
SLOW = roofline.Machine(operations=1e30, bandwidth=1e9)


def near_fore(factor):
    return pd.DataFrame({"new": [128], "foretold": [3.0 * factor]})


WORLDS = [
    (cache.same, speed, "texts", (texts_with(3), texts_with(3, parted=True))),
    (cache.faster, speed, "texts", (texts_with(3), texts_with(0.9))),
    (cache.dramatic, speed, "texts", (texts_with(30), texts_with(3))),
    (cache.of_count, speed, "texts", (texts_with(3), texts_with(300))),
    (cache.grows, speed, "texts", (texts_with(3), texts_with(1))),
    (cache.beyond, steps, "costs", (costs_with(9), costs_with(0.9))),
    (cached.counted, operations, "counted", (counted_with(0), counted_with(0.1))),
    (cached.decode, roofline, "machine", (SLOW, FAST)),
    (cached.prefill, roofline, "machine", (FAST, SLOW)),
    (cached.fixed, roofline, "batches", (batches_with(1000.0), batches_with(-1.0))),
    (cached.batch, steps, "batches", (batches_with(0.01), batches_with(1000.0))),
    (powers.plain, scaling, "times", (times_with(2.1), times_with(2.62))),
    (powers.fused, scaling, "times", (times_with(1.7), times_with(1.0))),
    (powers.known, scaling, "times", (times_with(2.0), times_with(2.0, known=2.6))),
    (powers.excess, scaling, "times", (times_with(2.1), times_with(2.9))),
    (powers.matrix, scaling, "shares", (shares_with(1), shares_with(0.001))),
    (kept.formula, memory, "held", (held_with(512), held_with(520))),
    (kept.smaller, steps, "costs", (costs_with(9), costs_with(9, smaller=1.5))),
    (kept.eight, stores, "losses", (losses_with(0.001, 1), losses_with(0.1, 1))),
    (kept.window, stores, "losses", (losses_with(0, 0.1), losses_with(0, -0.1))),
    (kept.first, stores, "losses", (losses_with(0, 0.1), losses_with(0, 0.1, 0.2))),
    (sampling.nucleus, choices, "survivors", (left_with(3, 90, 0.2), left_with(9, 9, 0.2))),
    (sampling.mass, choices, "survivors", (left_with(3, 90, 0.2), left_with(3, 90, 0.9))),
    *(
        (finding, judged, "by_opening", (judged_with(), judged_with(**other)))
        for finding, other in (
            (judged.narrow, {"distinct": -0.1}),
            (judged.beyond, {"cut": -2}),
            (judged.pure_loss, {"pure": -1}),
            (judged.cut_loss, {"cut": 2}),
            (judged.repeats, {"rep": -0.1}),
            (judged.beam_repeats, {"rep": -0.1}),
            (judged.diverse, {"distinct": -0.1}),
            (judged.as_diverse, {"plainer": 0.3}),
        )
    ),
    (judged.beam, choices, "beams", (beams_with(18), beams_with(10))),
    (judged.order, quality, "judge_test", (judge_with(1.0), judge_with(-0.1))),
]


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world[0].id)
def test_a_finding_can_come_out_both_ways(world, handle, monkeypatch):
    finding, module, name, (holds, fails) = world
    for table, expected in ((holds, True), (fails, False)):
        monkeypatch.setattr(module, name, lambda *_, table=table: table)
        estimate = finding.estimate.uncached(handle)
        assert finding.expect.holds(estimate) == expected, estimate


def test_every_finding_that_expects_something_has_its_worlds():
    from internals.findings import findings_of, sections

    all_of = [f for module in sections("generation") for f in findings_of(module).values()]
    tested = {f.id for f in all_of if f.expect is not None}
    assert tested - {world[0].id for world in WORLDS} == {"cached-foretold"}


def test_what_is_foretold_is_compared_with_what_was_measured(handle, monkeypatch):
    monkeypatch.setattr(speed, "texts", lambda _: texts_with(3))
    for factor, expected in ((1, True), (4, False)):
        monkeypatch.setattr(roofline, "whole_texts", lambda _, f=factor: near_fore(f))
        assert cached.foretold.expect.holds(cached.foretold.estimate.uncached(handle)) == expected


# --- odd models and figures ---------------------------------------------------------------------

MEASUREMENTS = {
    "texts": speed.texts,
    "parted": speed.parted,
    "costs": steps.costs,
    "batches": steps.batches,
    "times": scaling.times,
    "counted": operations.counted,
    "held": memory.held,
    "losses": stores.losses,
    "samples": samples.samples,
    "human": samples.human,
    "one prompt": samples.on_one_prompt,
    "survivors": choices.survivors,
    "nuclei": choices.nuclei,
    "beams": choices.beams,
}
NAMES = [name for name in ODD if name not in ("gpt_neox", "gemma2", "blank before words")]


@pytest.mark.parametrize("name", NAMES)
def test_odd_models_are_measured_or_refused(name, odd_folder, handle):
    """Finite numbers, or one sentence that says why not."""
    model, judge = open_model(str(odd_folder(name))), handle
    everything = {
        **{key: lambda m, f=f: f.uncached(m) for key, f in MEASUREMENTS.items()},
        "passes": roofline.passes,
        "whole texts": roofline.whole_texts,
        "shares": lambda m: scaling.shares(m.facts),
        "judged": lambda m: quality.judged.uncached(m, judge),
        "judge": lambda m: quality.judge_test.uncached(m, judge),
    }
    refused = []
    for key, measure in everything.items():
        try:
            found = measure(model)
        except NotApplicable as why:
            refused.append((key, str(why)))
            continue
        table = found if isinstance(found, pd.DataFrame) else pd.DataFrame()
        numbers = table.select_dtypes("number")
        assert name == "overflowing" or np.isfinite(numbers.to_numpy(float)).all(), key
    assert all(reason for _, reason in refused)
    most = {"context of 16": 12, "overflowing": 12, "characters": 1}.get(name, 0)
    assert len(refused) <= most, refused


def test_figures_are_drawn(handle):
    texts = speed.step_seconds(speed.texts.uncached(handle))
    assert isinstance(efficiency.step_times(texts, steps.costs.uncached(handle)), Figure)
    times = scaling.times.uncached(handle)
    assert isinstance(efficiency.part_times(times, scaling.powers(times)), Figure)
    left = choices.narrowest_and_widest(choices.survivors.uncached(handle))
    assert isinstance(decoding.survivors(left), Figure)
    made = quality.judged.uncached(handle, handle)
    figure = decoding.frontier(quality.compared(quality.by_opening(made)))
    assert {"greedy", "human"} <= {text.get_text() for text in figure.axes[0].texts}


def test_a_cache_of_the_library_can_be_filled_layer_by_layer():
    """What the timed steps rely on: keys and values may be set, and nothing else is kept."""
    cache, x = DynamicCache(), torch.ones(1, 2, 5, 3)
    cache.update(x, x, 0)
    cache.layers[0].keys = cache.layers[0].values = x[:, :, :4]
    assert cache.get_seq_length() == 4
