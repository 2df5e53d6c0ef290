"""Chapter 7: identities of the stream, lenses and likeness against independent code, patched passes
against plain ones, findings in planted worlds."""

from __future__ import annotations

import dataclasses
import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from chapter_cells import run_cells
from internals.book import Report
from internals.book.source import read_chapter
from internals.errors import NotApplicable
from internals.figures import layers as figures
from internals.figures import style
from internals.findings import evaluate, findings_of, sections
from internals.findings.layers.lens import half_way
from internals.measure.layers import facts, geometry, lens, patching, probes, stream
from internals.models import families, open_model
from internals.paths import ROOT
from odd_models import ODD
from tiny_models import FAMILIES, build


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def some_ids(batch=4, seq=8, vocab=200):
    return torch.randint(1, vocab, (batch, seq), generator=torch.manual_seed(0))


# --- the stream -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_a_trace_holds_the_librarys_states_and_the_last_one_gives_the_logits(name):
    model, ids = build(name), some_ids()
    out = model(ids, output_hidden_states=True)
    seen = stream.trace(model, ids)
    assert len(seen.states) == 3
    for state, own in zip(seen.states[:-1], out.hidden_states, strict=False):
        assert torch.equal(state, own), "the library's last entry is normed, the others are not"
    try:
        norm, head = stream.reader(model)
    except NotApplicable:
        assert name == "opt-post"
        return
    assert torch.allclose(head(norm(seen.states[-1])), out.logits, atol=1e-5)
    assert torch.allclose(stream.last_logits(model, ids), out.logits[:, -1], atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt", "phi", "gpt_neox"])
def test_what_attention_does_not_add_is_the_mlps(name):
    model, ids, added = build(name), some_ids(), []
    for block in families.blocks(model):
        last = families.mlp(model, block)[-1]
        last.register_forward_hook(lambda _module, _args, out: added.append(out))
    seen = stream.trace(model, ids)
    for one, own in zip(seen.mlp, added, strict=True):
        assert torch.allclose(one, own.view_as(one), atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "opt-post"])
def test_hooks_and_skipped_blocks_are_undone_also_after_an_error(name):
    model, ids = build(name), some_ids()
    before = model(ids).logits
    state = stream.trace(model, ids).states[1]

    def fail(*_args):
        raise ZeroDivisionError

    broken = families.final_norm(model) or families.unembedding(model)
    handle = broken.register_forward_pre_hook(fail)
    for scope in (stream.watched(model), stream.started_at(model, 1, state)):
        with pytest.raises(ZeroDivisionError), scope:
            model(ids)
    handle.remove()
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert "forward" not in vars(module)
    assert torch.equal(model(ids).logits, before)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_pass_that_starts_in_the_middle_ends_like_the_whole_one(name):
    model, ids = build(name), some_ids()
    states = stream.trace(model, ids).states
    with stream.started_at(model, 1, states[1]):
        assert torch.allclose(model(0 * ids).logits, model(0 * ids).logits)
        found = model(0 * ids).logits
    assert torch.allclose(found, model(ids).logits, atol=1e-5), "tokens no longer matter"


# --- lenses -----------------------------------------------------------------------------------


def test_the_translator_is_ridge_regression_towards_the_identity():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)) * [1, 2, 3, 4, 5] + 1, rng.normal(size=(60, 5))
    inner = x - x.mean(0)
    penalty = 0.5 * np.diag(inner.T @ inner).mean() + 1e-6
    # The same by plain least squares on data with rows that stand for the penalty.
    step = (y - x) - (y - x).mean(0)
    rows = np.vstack([inner, math.sqrt(penalty) * np.eye(5)])
    weight = np.linalg.lstsq(rows, np.vstack([step, np.zeros((5, 5))]), rcond=None)[0]
    own = lens.translator(torch.tensor(x), torch.tensor(y), 0.5)(torch.tensor(x))
    assert np.allclose(own, x + inner @ weight + (y - x).mean(0), atol=1e-4)
    far = lens.translator(torch.tensor(x), torch.tensor(y), 1e9)(torch.tensor(x))
    assert np.allclose(far, x + (y - x).mean(0), atol=1e-4)


def test_a_planted_affine_map_is_found_on_other_positions():
    rng = torch.manual_seed(0)
    turn, shift = torch.randn(6, 6, generator=rng), torch.randn(6, generator=rng)
    x, new = torch.randn(80, 6, generator=rng), torch.randn(10, 6, generator=rng)
    found = lens.translator(x, x @ turn + shift, 1e-7)(new)
    assert torch.allclose(found, new @ turn + shift, atol=1e-3)


def test_numbers_of_a_lens_are_those_of_the_definitions():
    rng = np.random.default_rng(1)
    logits, final = rng.normal(size=(6, 9)) * 3, rng.normal(size=(6, 9))
    final = final - np.log(np.exp(final).sum(1, keepdims=True))
    values = lens._compared(torch.tensor(logits), torch.tensor(final))
    table = lens._by_document(values, documents=2)
    q = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    p = np.exp(final)
    kl, entropy = (p * np.log2(p / q)).sum(1), -(q * np.log2(q)).sum(1)
    rank = [1 + (row > row[best]).sum() for row, best in zip(logits, p.argmax(1), strict=True)]
    assert np.allclose(table["kl_bits"], kl.reshape(2, 3).mean(1))
    assert np.allclose(table["entropy_bits"], entropy.reshape(2, 3).mean(1))
    assert np.allclose(table["rank"], np.exp(np.log(np.reshape(rank, (2, 3))).mean(1)))


def test_depths_are_few_and_hold_both_ends():
    for n in (1, 2, 15, 16, 30, 80):
        depths = lens.chosen(n)
        assert depths[0] == 0
        assert depths[-1] == n
        assert len(depths) <= 17


def test_the_lens_of_the_last_depth_is_the_model(tiny_folder):
    table = lens.by_depth.uncached(open_model(str(tiny_folder("llama"))))
    end = table[table["depth"] == 2]
    assert end["kl_bits"].abs().max() < 1e-4
    assert end["rank"].eq(1).all()
    assert end["entropy_bits"].std() > 0


def test_half_of_the_way_is_where_the_mean_curve_is_half_as_high():
    shares = np.array([0, 0.5, 1])
    assert half_way(shares, np.array([[8.0, 4, 0], [8, 4, 0]])) == pytest.approx(0.5)
    assert half_way(shares, np.array([[8.0, 6, 0], [8, 6, 0]])) == pytest.approx(0.5 + 1 / 6)
    assert half_way(shares, np.array([[8.0, 9, 0]])) == pytest.approx(0.75), "rises at first"


# --- geometry ---------------------------------------------------------------------------------


def unbiased_hsic(k, m):
    """Song et al. 2012, equation 5, as it is printed."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    whole = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (whole - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def test_likeness_is_the_unbiased_alignment():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 6))
    y = x @ rng.normal(size=(6, 9)) + 0.5 * rng.normal(size=(30, 9))
    k, m = x @ x.T, y @ y.T
    own = (geometry.centred_gram(x) * geometry.centred_gram(y)).mean()
    reference = unbiased_hsic(k, m) / math.sqrt(unbiased_hsic(k, k) * unbiased_hsic(m, m))
    assert own == pytest.approx(reference, rel=1e-9)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    turned = geometry.centred_gram(3 * x @ turn + 1)
    assert (geometry.centred_gram(x) * turned).mean() == pytest.approx(1)
    grams = [geometry.centred_gram(rng.normal(size=(30, 200))) for _ in range(80)]
    noise = [(a * b).mean() for a, b in zip(grams[::2], grams[1::2], strict=True)]
    assert abs(np.mean(noise)) < 0.03, "the plain estimate would be near 0.9"


def test_cosines_are_those_of_all_pairs_and_a_shared_vector_is_found():
    rng = torch.manual_seed(1)
    states = torch.randn(2, 6, 5, 16, generator=rng)
    states[1] += 3 * torch.ones(16)  # every state of depth 1 holds one vector
    table = geometry.cosines_of(states)
    mean = table.groupby(["what", "depth"])["cosine"].mean()
    assert mean[geometry.RAW, 1] > 0.7
    assert abs(mean[geometry.CENTRED, 1]) < 0.2
    assert abs(mean[geometry.RAW, 0]) < 0.2
    unit = torch.nn.functional.normalize(states[1, ::2], dim=-1)
    pairs = torch.einsum("aid,bjd->abij", unit, unit).mean((-1, -2))
    own = (pairs.sum(1) - pairs.diagonal()) / 2
    rows = table[(table["what"] == geometry.RAW) & (table["depth"] == 1)].set_index("document")
    assert np.allclose(rows["cosine"].loc[[0, 2, 4]], own, atol=1e-5)


def test_sizes_keep_the_first_token_apart(tiny_folder):
    handle = open_model(str(tiny_folder("gpt2")))
    table = geometry.geometry.uncached(handle)["sizes"]
    assert set(table["depth"]) == {0, 1, 2}
    assert (table.groupby(["where", "part", "depth"]).size() == table["document"].nunique()).all()
    state = torch.zeros(2, 3, 4)
    state[0, 0, 0], state[0, 1, 1], state[0, 2, 1] = 100, 3, 5
    seen = stream.Trace([state, state], [0 * state])
    own = geometry.sizes_of(seen, document=7).set_index(["document", "depth", "part", "where"])
    assert own.loc[(7, 0, "stream", "first token"), "size"] == 100
    assert own.loc[(7, 0, "stream", "later tokens"), "size"] == 3
    assert own.loc[(8, 1, "MLP", "later tokens"), "size"] == 0


# --- facts, attribution, patching -------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_parts_sum_to_the_difference_of_two_logits(name):
    model, ids = build(name), some_ids()
    answers = torch.tensor([[3, 7], [7, 3], [20, 50], [50, 20]])
    try:
        parts, values, whole = facts.lead(model, ids, answers)
    except NotApplicable:
        assert name in {"opt-post", "gemma2"}, "a norm on the stream, a cap on the logits"
        return
    logits = model(ids).logits[:, -1].gather(-1, answers)
    assert torch.allclose(whole, logits[:, 0] - logits[:, 1], atol=1e-4)
    assert torch.allclose(values.sum(0), whole, atol=1e-3)
    assert parts[0] == (0, "embedding")
    assert len(parts) == len(values) == 5


def test_a_part_is_worth_what_its_formula_says():
    model, ids = build("llama"), some_ids(1)
    _, values, _ = facts.lead(model, ids, torch.tensor([[3, 7]]))
    seen, norm = stream.trace(model, ids), model.model.norm
    size = (seen.states[-1][0, -1].square().mean() + norm.variance_epsilon).sqrt()
    part = norm.weight * seen.attention[1][0, -1] / size
    matrix = model.lm_head.weight
    assert values[3, 0] == pytest.approx(float(part @ (matrix[3] - matrix[7])), abs=1e-5)


def prompts(model, batch=4, seq=8, place=3):
    """Random prompts in pairs that differ at one place."""
    ids = some_ids(1, seq).expand(batch, -1).clone()
    ids[:, place] = torch.arange(30, 30 + batch)
    answers = torch.tensor([[3, 7], [7, 3]]).repeat(batch // 2, 1)
    return facts.Prompts(["a"] * batch, ids, answers, place)


@pytest.mark.parametrize("name", [n for n in FAMILIES if n != "opt-post"])
def test_patched_passes_are_those_of_plain_hooks(name):
    model = build(name)
    asked = prompts(model)
    passes = patching.Passes(model, asked)

    def lead(**options):
        z = model(asked.ids, **options).logits[:, -1].gather(-1, asked.answers)
        return z[:, 0] - z[:, 1]

    own, states = lead(), stream.trace(model, asked.ids).states
    partner = torch.tensor([1, 0, 3, 2])
    for depth in (0, 1):
        for place in (3, 5, 7):

            def swap(_module, args, depth=depth, place=place):
                x = args[0].clone()
                x[:, place] = states[depth][partner, place]
                return (x, *args[1:])

            with families.blocks(model)[depth].register_forward_pre_hook(swap):
                plain = (lead() - own) / (-own[partner] - own)
            assert torch.allclose(passes.effect(depth, place), plain, atol=1e-3)
    assert torch.allclose(passes.effect(0, 3), torch.ones(4), atol=1e-3), "the other prompt"
    assert torch.allclose(lead(), own), "and everything is as it was"


def test_pairs_are_known_disjoint_and_differ_in_one_token():
    handle = open_model("fable-gpt2")
    loaded = handle.loaded()
    asked = facts.known_pairs(loaded, 8)
    assert len(asked.countries) == len(set(asked.countries)) == 16
    differ = (asked.ids[::2] != asked.ids[1::2]).sum(1)
    assert differ.eq(1).all()
    assert (asked.ids[::2, asked.place] != asked.ids[1::2, asked.place]).all()
    assert torch.equal(asked.answers[::2], asked.answers[1::2].flip(1))
    logits = loaded.model(asked.ids).logits[:, -1].gather(-1, asked.answers)
    assert (logits[:, 0] > logits[:, 1]).all()
    table = facts.contributions(handle)
    assert table["error"].abs().max() < 1e-3
    found = patching.effects(handle)
    start = found[(found["depth"] == 0) & (found["place"] == 0)]
    assert np.allclose(start["effect"], 1, atol=1e-3)
    assert found[(found["depth"] == 0) & (found["place"] > 0)]["effect"].abs().max() < 1e-3
    for draw, data in ((figures.contributions, table), (figures.patches, found)):
        assert style.render(draw, data, mode="dark").svg.startswith("<svg")


def test_a_model_that_knows_no_capitals_does_not_apply(tiny_folder):
    with pytest.raises(NotApplicable, match="one token"):
        facts.known_pairs(open_model(str(tiny_folder("llama"))).loaded())


# --- probes -----------------------------------------------------------------------------------


def probed(states, labels):
    """Mean share right of states ``(country, d)``, seen three times with a little noise."""
    rng = np.random.default_rng(3)
    frames = np.stack([states + 0.01 * rng.normal(size=states.shape) for _ in range(3)])
    tasks = rng.permuted(np.tile(labels, (5, 1)), axis=1)
    fold = rng.permutation(len(labels)) % probes.FOLDS
    return {what: v.mean() for what, v in probes.read(frames, labels, tasks, fold).items()}


def test_a_probe_finds_a_planted_label_and_the_control_task_tells_it_from_a_name():
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], 20)
    name = np.eye(60)
    label = 3 * np.eye(3)[labels] + 0.3 * rng.normal(size=(60, 3))
    found = probed(label, labels)
    assert found[probes.NEW] > 0.95
    assert found[probes.SEEN] > 0.95
    assert found[probes.RANDOM] < 0.6, "three numbers cannot hold sixty labels"
    found = probed(name, labels)
    assert found[probes.NEW] < 0.5, "nothing but names"
    assert found[probes.SEEN] > 0.95
    assert found[probes.RANDOM] > 0.95, "learnt by heart"
    found = probed(np.ones((60, 8)), labels)
    assert all(value < 0.5 for value in found.values())


def test_probes_read_one_token_at_the_country_and_the_last_one(monkeypatch):
    monkeypatch.setattr(probes, "COUNTRIES", probes.LEAST)
    monkeypatch.setattr(probes, "LABELINGS", 1)
    handle = open_model("fable-gpt2")
    table = probes.continents.uncached(handle)
    assert table["country"].nunique() == probes.LEAST
    assert table["right"].between(0, 1).all()
    loaded = handle.loaded()
    names = list(table["country"].unique()[:3])
    states = probes._states(loaded, names, [0, 2])
    ids = loaded.tokenizer("Well, the capital of " + names[1] + " is the city of").input_ids
    own = loaded.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0]
    assert np.allclose(states[probes.LAST][1, 1, 1], own[-1], atol=1e-4)
    at = ids.index(loaded.tokenizer(" " + names[1], add_special_tokens=False).input_ids[0])
    assert np.allclose(states[probes.COUNTRY][1, 1, 1], own[at], atol=1e-4)


# --- findings ---------------------------------------------------------------------------------

RNG = np.random.default_rng(0)


def lens_table(good):
    rows = []
    for document in range(12):
        for depth in range(9):
            late = 6.0 if depth < 6 else 8.0 - depth
            tuned = (late if good else (6.0 if depth == 0 else 0.2)) + RNG.normal(0, 0.02)
            raw = tuned + (4 if good else -4) + RNG.normal(0, 0.1)
            sure = {"raw": 1.0 if good else 5.0, "tuned": 5.0 if good else 1.0}
            for name, kl in (("raw", raw), ("tuned", tuned)):
                entropy = (3.0 if depth == 8 else sure[name]) + RNG.normal(0, 0.02)
                rows.append((name, depth, document, 9, kl, entropy, 3.0))
    columns = ["lens", "depth", "document", "positions", "kl_bits", "entropy_bits", "rank"]
    return pd.DataFrame(rows, columns=columns)


def geometry_tables(good):
    sizes, cosines, likeness = [], [], []
    for document in range(12):
        noise = 1 + RNG.normal(0, 0.01)
        for depth in range(5):
            giant = 900 if good and depth in (2, 3) else 40
            first = {"stream": giant, "attention": 3, "MLP": 4 if not good else giant}
            if not good:
                first["attention"] = 9
            later = {"stream": 10 * (depth + 1 if good else 1), "attention": 1, "MLP": 1}
            for where, parts in (("first token", first), ("later tokens", later)):
                rows = [(document, depth, part, where, size * noise)
                        for part, size in parts.items() if depth or part == "stream"]  # fmt: skip
                sizes += rows
            for what, value in ((geometry.NEXT, 0.95 if good else 0.3),
                                (geometry.RAW, 0.6 if good else 0.05),
                                (geometry.CENTRED, 0.05 if good else 0.5)):  # fmt: skip
                cosines.append((document, depth, what, value * noise))
    for group in range(8):
        for a in range(5):
            for b in range(5):
                value = 1 - abs(a - b) * (0.2 if good else 0.02) + RNG.normal(0, 0.01)
                likeness.append((a, b, group, 90, value))
    return {
        "sizes": pd.DataFrame(sizes, columns=["document", "depth", "part", "where", "size"]),
        "cosines": pd.DataFrame(cosines, columns=["document", "depth", "what", "cosine"]),
        "likeness": pd.DataFrame(likeness, columns=["depth", "other", "group", "tokens", "cka"]),
    }


def added_table(good):
    """Attention of block 3 adds half of the lead and MLPs the rest, or the first blocks do all."""
    rows = []
    for pair in range(10):
        for depth in range(1, 5):
            if good:
                shares = {"attention": 2.0 * (depth == 3), "MLP": 3.0 * (depth > 2)}
            else:
                shares = {"attention": 0.6, "MLP": 1.0 if depth == 1 else 0.1}
            rows += [(pair, f"c{pair}", depth, part, value * (1 + RNG.normal(0, 0.01)), 0.0)
                     for part, value in shares.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["pair", "country", "depth", "part", "logit", "error"])


def effect_table(good):
    """The last token takes over after block 3, or everything lies between from the start."""
    rows = []
    for row in range(20):
        for depth in range(4):
            own = {0: float(depth < 3), 1: 0.0, 2: float(depth == 3)}
            values = own if good else {0: 0.1, 1: 0.9, 2: 0.3}
            rows += [(row // 2, row, depth, place, f"t{place}", value + RNG.normal(0, 0.01))
                     for place, value in values.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["pair", "row", "depth", "place", "token", "effect"])


def probe_table(good):
    """Continents and names can be read everywhere; or continents only late, and names nowhere."""
    rows = []
    for country in range(24):
        for depth in range(5):
            if good:
                new = {probes.COUNTRY: 0.9, probes.LAST: 0.9}
                names = {probes.COUNTRY: 0.9, probes.LAST: 0.9}
            else:
                new = {probes.COUNTRY: 0.4 if depth else 0.1, probes.LAST: 0.3}
                names = {probes.COUNTRY: 0.2, probes.LAST: 0.4}
            for place in new:
                values = {probes.NEW: new[place], probes.SEEN: 0.95, probes.RANDOM: names[place]}
                rows += [(f"c{country}", value + RNG.normal(0, 0.03), what, place, depth, 0.3)
                         for what, value in values.items()]  # fmt: skip
    columns = ["country", "right", "what", "place", "depth", "largest"]
    return pd.DataFrame(rows, columns=columns)


WORLDS = {
    "lens": [(lens, "by_depth", lens_table)],
    "residual": [(geometry, "geometry", geometry_tables)],
    "attribution": [(facts, "contributions", added_table)],
    "patching": [(patching, "effects", effect_table), (facts, "contributions", added_table)],
    "probes": [(probes, "continents", probe_table)],
}
FINDINGS = {f.id: f for m in sections("layers") for f in findings_of(m).values()}
RULES = [id for id, f in FINDINGS.items() if f.expect is not None]
MODEL = SimpleNamespace(name="m", fingerprint="m", facts=SimpleNamespace(n_layers=4))


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("id", FINDINGS)
def test_each_finding_comes_out_both_ways(monkeypatch, id, good):
    for module, name, world in WORLDS[id.partition("-")[0]]:
        table = world(good)
        monkeypatch.setattr(module, name, lambda *_, table=table: table)
    found = dataclasses.replace(FINDINGS[id], estimate=FINDINGS[id].estimate.uncached)
    (result,) = evaluate([found], MODEL).values()
    verdicts = {True: "supported", False: "not supported"} if id in RULES else {}
    assert result.verdict == verdicts.get(good, "reported"), result.estimate


def test_the_strongest_attention_is_where_it_was_planted(monkeypatch):
    monkeypatch.setattr(facts, "contributions", lambda _: added_table(True))
    assert FINDINGS["attribution-strongest"].estimate.uncached(MODEL).value == 3


def test_figures_of_planted_tables_can_be_drawn():
    tables = geometry_tables(True)
    tables["cosines"] = pd.concat([tables["cosines"]] * 2)
    for draw, *data in (
        (figures.lenses, lens_table(True)),
        (figures.sizes, tables["sizes"]),
        (figures.directions, tables["cosines"], tables["likeness"]),
        (figures.probed, probe_table(True)),
    ):
        assert style.render(draw, *data, mode="dark").svg.startswith("<svg")


# --- the chapter, and odd models --------------------------------------------------------------

CELLS = [cell.code for cell in read_chapter(ROOT / "report" / "07-layers.qmd", ROOT).cells]


@pytest.mark.parametrize("name", [*ODD, *(f"family {f}" for f in FAMILIES if f not in ODD)])
def test_every_cell_runs_on_every_kind_of_model(name, odd_folder, tiny_folder, monkeypatch):
    """A cell that does not apply binds names that say so."""
    folder = odd_folder(name) if name in ODD else tiny_folder(name.removeprefix("family "))
    report = Report("layers", open_model(str(folder)), {})
    monkeypatch.setenv("REPORT_EFFORT", "0.1")
    draw = style.render if name == "characters" else lambda *_: None  # drawing takes longest
    monkeypatch.setattr(style, "show", draw)
    _, printed, missed = run_cells(CELLS[1:], report, figures)
    if name == "opt-post":
        assert "stream.reader" in missed[0], "its head does not read the stream"
        return
    if name == "overflowing":
        return
    assert all(re.search("facts|contributions|patch|prob", code) for code in missed), missed
    leads, parts = re.search(r"by (-?[\d.]+); the parts sum to (-?[\d.]+)", printed).groups()
    assert float(leads) == pytest.approx(float(parts), abs=1e-3)


@pytest.mark.parametrize("name", ODD)
def test_every_measurement_of_an_odd_model_has_finite_numbers_or_does_not_apply(odd_folder, name):
    model = open_model(str(odd_folder(name)))
    measurements = (lens.by_depth, geometry.geometry, facts.contributions, patching.effects,
                    probes.continents)  # fmt: skip
    for measurement in measurements:
        try:
            found = measurement.uncached(model)
        except NotApplicable:
            continue
        for table in found.values() if isinstance(found, dict) else [found]:
            assert len(table)
            finite = np.isfinite(table.select_dtypes("number")).all().all()
            # A model whose squares overflow has no norms.
            assert finite or name == "overflowing", measurement.name
