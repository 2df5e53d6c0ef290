"""Chapter 1: tables against the loaded modules, the bottleneck and norms against closed forms,
findings in planted worlds, cells and measurements on odd models."""

from __future__ import annotations

import dataclasses
import io
import math
from contextlib import redirect_stdout

import numpy as np
import pandas as pd
import pytest
import torch

from internals.book import Report
from internals.book.source import read_chapter
from internals.errors import NotApplicable
from internals.figures import architecture as figures
from internals.figures import data_flow, style
from internals.findings import evaluate, findings_of, sections
from internals.measure.architecture import bottleneck, components, normalisation
from internals.models import families, open_model
from internals.paths import ROOT
from odd_models import ODD
from tiny_models import FAMILIES, build


@pytest.fixture(params=FAMILIES)
def handle(request, tiny_folder):
    return open_model(str(tiny_folder(request.param)))


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


# --- components -------------------------------------------------------------------------------


def test_every_family_is_counted_and_drawn(handle):
    network = handle.loaded().model
    numel = {p.data_ptr(): p.numel() for p in network.parameters()}
    modules, ledger = components.modules(handle), components.ledger(handle)
    assert (modules["parameters"] * modules["times"]).sum() == sum(numel.values())
    assert ledger["parameters"].sum() == sum(numel.values())
    assert (modules["does"] != "").all()
    terms = components.block_terms(handle)
    written = terms["numbers"].str.replace("·", "*").map(eval)  # our own text
    assert (written == terms["parameters"]).all()
    assert components.block_sizes(handle) == (terms["parameters"].sum(),) * 2
    flow = components.data_flow(handle)
    assert flow.shapes["logits"] == f"batch × seq × {flow.facts.vocab_size_embedding:,}"
    assert flow.shapes["pattern"] == "batch × 4 heads × seq × seq"
    assert flow.shapes["stream"] == "batch × seq × 32"
    assert ("position" in flow.shapes) == (flow.facts.position_scheme == "learned")
    assert flow.shapes["query"] in " ".join(words_of(data_flow.data_flow(flow)))


def words_of(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_diagram_names_what_the_model_has(tiny_folder):
    flow = components.data_flow(open_model(str(tiny_folder("gemma2"))))
    words = words_of(data_flow.data_flow(flow))
    assert words.count("RMSNorm") == 4, "two before and two after"
    assert any("2 key-value heads" in word for word in words)
    assert any("capped" in word for word in words)


def test_parallel_blocks_are_drawn_with_one_and_two_norms(tiny_folder):
    flow = components.data_flow(open_model(str(tiny_folder("phi"))))
    for norms in (1, 2):
        facts = dataclasses.replace(flow.facts, n_norms=1 + norms * flow.facts.n_layers)
        words = words_of(data_flow.data_flow(dataclasses.replace(flow, facts=facts)))
        assert words.count("LayerNorm") == norms


def test_shares_of_embeddings_are_those_of_the_published_widths(handle):
    table = components.embedding_shares(handle)
    gpt2 = table.set_index("name").loc["GPT-2 small"]
    assert gpt2["share"] == pytest.approx(50257 * 768 / 124.44e6, rel=0.01)
    assert table["share"].between(0, 1).all()
    assert gpt2["ratio"] == 50257 / 768
    assert "Falcon 7B" not in set(table["name"]), "whether its head is tied is not known"
    part = components.ledger(handle).set_index("part")["share"]
    own = part["token embedding"] + part["head"]
    bias = getattr(handle.loaded().model.get_output_embeddings(), "bias", None) is not None
    assert table.loc[table["this"], "share"].item() == pytest.approx(
        own, rel=0.02 if bias else 1e-9
    )


# --- bottleneck -------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_the_cut_gives_the_best_logits_of_that_rank(rank):
    """Against the singular value decomposition of the centred logits (Eckart and Young 1936)."""
    random = torch.Generator().manual_seed(rank)
    states = torch.randn(60, 12, generator=random) @ torch.randn(12, 12, generator=random)
    weight = torch.randn(40, 12, generator=random) + 0.5
    basis, inverse, centre = bottleneck.leading(states, weight)
    kept = (states - centre) @ basis[:, :rank] @ inverse[:rank] + centre
    w = weight - weight.mean(0)
    logits, cut = ((x - states.mean(0)).double() @ w.T.double() for x in (states, kept))
    values = torch.linalg.svdvals(logits)
    lost = (logits - cut).square().sum().item()
    assert lost == pytest.approx(values[rank:].square().sum().item(), rel=1e-3)


@pytest.mark.parametrize("family", ["gpt2", "opt-post", "phi"])
def test_without_a_cut_the_loss_is_that_of_the_model(family, tiny_folder, monkeypatch):
    handle = open_model(str(tiny_folder(family)))
    loaded = handle.loaded()
    table = bottleneck.truncation.uncached(handle, documents=3)
    ids = bottleneck.windows(loaded, None, 48)[1::2][:3]
    logits = loaded.model(ids).logits.log_softmax(-1)
    true = -logits[:, 1:-1].gather(-1, ids[:, 2:, None])[..., 0].mean(1) / math.log(2)
    whole = table[table["share"] == 1]
    assert np.allclose(whole["bits"], true, atol=1e-4)
    assert (whole["extra_bits"] == 0).all()


# --- norms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["batch", "frozen"])
def test_exchanged_statistics_are_those_of_batch_normalisation(kind):
    """Against torch's own batch normalisation, in training and in evaluation mode."""
    network = build("gpt2")
    ids, other = torch.arange(1, 61).reshape(3, 20), torch.arange(61, 121).reshape(3, 20)
    known = normalisation.moments(network, other)
    name, norm = next(iter(families.all_norms(network).items()))
    caught = {}
    norm.register_forward_pre_hook(lambda _m, args: caught.update(x=args[0]))
    with normalisation.exchanged(network, kind, known):
        norm.register_forward_hook(lambda _m, _a, out: caught.update(y=out))
        network(ids)
    reference = torch.nn.BatchNorm1d(32).train(kind == "batch")
    known_here = (reference.running_mean, reference.running_var, reference.bias, reference.weight)
    for place, values in zip(known_here, known[name], strict=True):
        place.copy_(values)
    reference.running_var.square_()
    expected = reference(caught["x"].reshape(-1, 32)).reshape(caught["y"].shape)
    assert torch.allclose(caught["y"], expected, atol=1e-4)


def test_the_network_is_whole_again_after_the_exchange():
    network = build("llama")
    ids = torch.arange(1, 41).reshape(2, 20)
    before = network(ids).logits
    with normalisation.exchanged(network, "batch", normalisation.moments(network, ids)):
        assert not torch.allclose(network(ids).logits, before)
    assert torch.equal(network(ids).logits, before)


@pytest.mark.parametrize("family", ["gpt2", "opt-post", "gemma2", "phi"])
def test_a_norm_of_one_token_leaks_nothing_and_batch_statistics_leak(family, tiny_folder):
    table = normalisation.leak.uncached(open_model(str(tiny_folder(family))), documents=6)
    own, batch = (table[table["norm"] == norm] for norm in normalisation.NORMS.values())
    assert own["largest_change"].max() == 0
    assert (batch["kl_bits"] > 0).all()
    assert list(normalisation.leak_means(table)["exchanged"]) == [
        "both", "the other text in the batch", "later tokens",
    ]  # fmt: skip


def test_sizes_are_those_of_the_hidden_states(tiny_folder):
    handle = open_model(str(tiny_folder("llama")))
    table = normalisation.sizes.uncached(handle, documents=4)
    subjects, _ = normalisation._subjects(handle.loaded(), 4)
    states = handle.loaded().model(subjects, output_hidden_states=True).hidden_states
    at = table.set_index(["kind", "series", "block", "document"])["size"]
    assert table["block"].max() == 1, "the last state has passed the final norm"
    x = states[1].abs()
    assert at["own", "first token, largest", 1, 2] == pytest.approx(x[2, 0].max().item(), rel=1e-5)
    assert at["own", "later tokens, largest", 1, 2] == pytest.approx(
        x[2, 1:].max().item(), rel=1e-5
    )


def test_twins_are_read_pair_by_pair():
    pairs = normalisation.twins()
    curves = pd.read_csv(ROOT / "data/twins/norms.csv")
    last = curves[
        (curves["step"] == 500) & (curves["seed"] == 1) & (curves["mode"] == "evaluation")
    ]
    at = last[last["learning_rate"] == 0.03].set_index("variant")["bits_per_token"]
    row = pairs.set_index(["learning_rate", "seed"]).loc[(0.03, 1)]
    assert len(pairs) == 4
    assert (row["layer_norm"], row["rms_norm"]) == (at["LayerNorm"], at["RMSNorm"])
    assert row["batch_norm_running"] == at["batch normalisation"]
    assert (pairs["batch_norm_running"] < pairs["layer_norm"]).all(), "as the chapter says"


# --- planted worlds ---------------------------------------------------------------------------


def ledger_table(mlp):
    parts = {"token embedding": 500, "attention": 100, "MLP": mlp, "head": 0}
    table = pd.DataFrame({"part": parts.keys(), "parameters": parts.values()})
    return table.assign(share=table["parameters"] / table["parameters"].sum())


def cut_table(extra):
    rows = [
        (d, share, 4 + d / 10, (extra + d / 100) * (1 - share))
        for d in range(12)
        for share in bottleneck.PARTS
    ]
    return pd.DataFrame(rows, columns=["document", "share", "bits", "extra_bits"])


def leak_table(own=0.0, changed=0.0):
    rows = [
        (what, own, changed * (0.8 + d / 50))
        for what in (normalisation.BOTH, normalisation.MATE, normalisation.LATER)
        for d in range(16)
    ]
    return pd.DataFrame(rows, columns=["exchanged", "largest_change", "other_first_choice"])


def size_table(giant=1000.0, giant_at=6, burst_at=3):
    """Eight documents: the first token's giant appears at one block, the burst at another."""
    rows = []
    for d in range(8):
        for block in range(9):
            first = giant + d if block >= giant_at + d % 2 else 5.0
            frozen = math.inf if block >= burst_at else 5.0
            values = {"first token, largest": first, "later tokens, largest": 9.0 + d / 10}
            for series, size in values.items():
                rows.append(("own", d, block, series, size))
                rows.append(("frozen", d, block, series, frozen))
    return pd.DataFrame(rows, columns=["kind", "document", "block", "series", "size"])


TERMS = pd.DataFrame({"parameters": [10, 20]})
WORLDS = {
    "ledger-formula": (components, "block_sizes", lambda good: (30, 30 if good else 31)),
    "ledger-mlp": (components, "ledger", lambda good: ledger_table(300 if good else 50)),
    "bottleneck-ratio": (None, "", lambda good: (320 if good else 8, 32)),
    "bottleneck-half": (bottleneck, "truncation", lambda good: cut_table(2 if good else -0.06)),
    "bottleneck-last": (bottleneck, "truncation", lambda good: cut_table(2 if good else -0.06)),
    "norms-own": (normalisation, "leak", lambda good: leak_table(own=0.0 if good else 0.2)),
    "norms-later": (normalisation, "leak", lambda good: leak_table(changed=0.5 if good else 0.01)),
    "norms-mates": (normalisation, "leak", lambda good: leak_table(changed=0.5 if good else 0.01)),
    "norms-massive": (normalisation, "sizes", lambda good: size_table(1000 if good else 20)),
    "norms-overflow": (normalisation, "sizes", lambda good: size_table(burst_at=3 if good else 99)),
    "norms-early": (normalisation, "sizes", lambda good: size_table(
        giant_at=6 if good else 1, burst_at=3)),
}  # fmt: skip
MODULES = sections("architecture")
FINDINGS = {f.id: f for module in MODULES for f in findings_of(module).values()}


class Planted:
    """A model handle with two facts."""

    fingerprint, name = "planted", "m"

    def __init__(self, vocab=320, width=32):
        facts = {"vocab_size_embedding": vocab, "d_embedding": width}
        self.facts = type("Facts", (), facts)


def test_every_rule_of_the_chapter_has_a_planted_world():
    assert {id for id, f in FINDINGS.items() if f.expect is not None} == set(WORLDS)


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("id", WORLDS)
def test_each_finding_comes_out_both_ways(monkeypatch, id, good):
    module, name, world = WORLDS[id]
    model = Planted(*world(good)) if module is None else Planted()
    if module is not None:
        # Some sections import the measurement, others its module.
        for place in (module, *MODULES):
            if hasattr(place, name):
                monkeypatch.setattr(place, name, lambda *_: world(good))
    monkeypatch.setattr(components, "block_terms", lambda *_: TERMS)
    found = dataclasses.replace(FINDINGS[id], estimate=FINDINGS[id].estimate.uncached)
    (result,) = evaluate([found], model).values()
    assert result.verdict == ("supported" if good else "not supported")


def test_where_nothing_overflows_there_is_no_block_of_overflow(monkeypatch):
    monkeypatch.setattr(normalisation, "sizes", lambda *_: size_table(burst_at=99))
    early = dataclasses.replace(
        FINDINGS["norms-early"], estimate=FINDINGS["norms-early"].estimate.uncached
    )
    assert early.measure(Planted()).verdict == "not applicable"


def test_values_that_are_only_reported_are_those_of_the_tables(monkeypatch):
    monkeypatch.setattr(components, "ledger", lambda *_: ledger_table(400))
    monkeypatch.setattr(normalisation, "sizes", lambda *_: size_table())
    uncached = {id: f.estimate.uncached(Planted()).value for id, f in FINDINGS.items()
                if id in ("ledger-embedding", "norms-largest")}  # fmt: skip
    assert uncached == {"ledger-embedding": 0.5, "norms-largest": 1003.5}


# --- the chapter, and odd models --------------------------------------------------------------

CHAPTER = read_chapter(ROOT / "report" / "01-architecture.qmd", ROOT)
CELLS = [cell.code for cell in CHAPTER.cells if not cell.hidden]


@pytest.mark.parametrize("name", [*ODD, *(f"family {f}" for f in FAMILIES if f not in ODD)])
def test_every_visible_cell_runs_on_every_kind_of_model(name, odd_folder, tiny_folder, monkeypatch):
    """Long measurements, which have a test of their own, are left out."""
    folder = odd_folder(name) if name in ODD else tiny_folder(name.removeprefix("family "))
    report = Report("architecture", open_model(str(folder)), {})
    scope = {"report": report}
    printed = io.StringIO()
    with redirect_stdout(printed):
        for code in CELLS:
            if "truncation(" not in code and "leak(" not in code:
                exec(code, scope)
    text = printed.getvalue()
    if name != "overflowing":
        d = scope["d"]
        assert f"rank {d}" in text or f"rank {d + 1}" in text or scope["V"] <= d
        own = next(line for line in text.splitlines() if line.startswith("own norm"))
        before, after = own.rsplit(" ", 2)[1:]
        assert before.rstrip(",") == after


@pytest.mark.parametrize("name", ODD)
def test_measurements_of_an_odd_model_are_finite_or_do_not_apply(name, odd_folder):
    model = open_model(str(odd_folder(name)))
    for measurement, arguments in (
        (components.modules, {}), (components.ledger, {}), (components.data_flow, {}),
        (components.block_terms, {}), (bottleneck.truncation, {"documents": 4}),
        (normalisation.leak, {"documents": 3}), (normalisation.sizes, {"documents": 3}),
    ):  # fmt: skip
        try:
            table = measurement.uncached(model, **arguments)
        except NotApplicable:
            continue
        if isinstance(table, pd.DataFrame):
            assert len(table)
            if "kind" in table and "size" in table:
                table = table[table["kind"] == "own"]  # frozen statistics may overflow
            assert np.isfinite(table.select_dtypes("number")).all(axis=None), measurement.name


def test_figures_are_drawn_from_tables_alone(tiny_folder):
    shares = pd.DataFrame({
        "name": ["a", "b", "$c_1$"], "parameters": [1e8, 1.1e8, 7e9], "share": [0.3, 0.29, 0.04],
        "head": ["tied to the embedding", "tied to the embedding", "a matrix of its own"],
        "this": [False, True, False], "vocab": [50_000, 50_000, 128_000],
    })  # fmt: skip
    cut = cut_table(2).assign(k=lambda t: (t["share"] * 32).astype(int))
    for draw, tables in (
        (figures.embedding_shares, (shares,)), (figures.head_cut, (cut,)),
        (figures.shared_means, ()), (figures.value_sizes, (size_table(),)),
        (data_flow.data_flow, (components.data_flow(open_model(str(tiny_folder("opt-post")))),)),
    ):  # fmt: skip
        assert style.render(draw, *tables, mode="dark").svg.startswith("<svg")


def test_the_picture_of_shared_means_says_who_shares():
    figure = figures.shared_means(positions=4, features=5)
    words = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert words[0] == [""] * 5 + ["shared", "shared", "x", "shared", "shared"] + [""] * 10
    assert words[1] == [""] * 20, "a layer norm asks no other sequence"
    assert words[2][2::5] == ["shared", "x", "later", "later"]
    assert words[3][2::5] == ["other"] * 4
    assert sum(map(bool, words[2] + words[3])) == 8
