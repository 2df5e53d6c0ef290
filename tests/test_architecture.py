"""Chapter 1: tables against the loaded modules, the bottleneck and norms against closed forms."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch

from internals.book.tables import printout
from internals.figures import architecture as figures
from internals.figures import data_flow, style
from internals.measure.architecture import bottleneck, norm_outputs, normalisation
from internals.measure.architecture import components as architecture
from internals.models import families, open_model, summary
from tiny_models import FAMILIES, build


@pytest.fixture(params=FAMILIES)
def handle(request, tiny_folder):
    return open_model(str(tiny_folder(request.param)))


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def evaluated(formula: str, widths: dict[str, int]) -> int:
    """``2 · 2d`` or ``q + 2k`` in numbers: factors side by side are multiplied."""
    parts = (re.findall(r"[0-9]+|[a-z]", part) for part in formula.split("+"))
    return sum(math.prod(widths[f] if f in widths else int(f) for f in part) for part in parts)


def test_every_family_is_counted_and_drawn(handle):
    network = handle.loaded().model
    numel = {p.data_ptr(): p.numel() for p in network.parameters()}
    modules, ledger = architecture.module_table(handle), architecture.ledger(handle)
    assert modules["total"].sum() == ledger["parameters"].sum() == sum(numel.values())
    assert ledger["share"].sum() == pytest.approx(1)
    assert ledger["tensors"].sum() == len(numel), "a tied tensor counts once"
    check = architecture.block_check(handle)
    for row in check.terms.itertuples():
        assert evaluated(row.formula, check.widths) == row.parameters
    assert check.equal_blocks == len(check.counted) == 2
    flow = architecture.data_flow(handle)
    assert flow.shapes["logits"] == f"batch × seq × {flow.vocab:,}"
    assert flow.shapes["pattern"] == "batch × 4 heads × seq × seq"
    assert flow.shapes["stream"] == "batch × seq × 32"
    assert ("position" in flow.shapes) == (flow.position_scheme == "learned")
    svg = style.render(data_flow.data_flow, flow).svg
    assert svg.startswith("<svg")


def test_the_diagram_names_what_the_model_has(tiny_folder):
    flow = architecture.data_flow(open_model(str(tiny_folder("gemma2"))))
    figure = data_flow.data_flow(flow)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert sum(word == "RMSNorm" for word in words) == 4, "two before and two after"
    assert any("2 key-value heads" in word for word in words)
    assert any("capped" in word for word in words)


def test_the_output_of_the_printout_is_that_of_print(tiny_folder):
    handle = open_model(str(tiny_folder("gpt2")))
    text = str(handle.loaded().model)
    assert architecture.printed(handle) == text
    assert text in str(printout(text, "Title"))
    assert "callout" not in str(printout(text, "Title"))
    long = str(printout("line ```` x\n" * 100, 'A "title"'))
    assert long.startswith('::: {.callout-note collapse="true"')
    assert "`````" in long, "a fence longer than any run inside"


def test_the_summary_says_what_is_there_and_leaves_out_what_is_not(handle):
    table = summary(handle.facts).set_index("fact")["value"]
    f = handle.facts
    assert table["family"].startswith(f.family)
    assert table["parameters"] == f"{f.n_parameters:,}"
    assert ("window of some layers" in table) == (f.sliding_window is not None)
    assert ("for keys and values" in table["attention heads"]) == (f.n_kv_heads < f.n_heads)
    assert (table["embedding and head"] == "one tensor") == f.tied_embeddings
    assert "licence" not in table
    assert "revision" not in table


# --- bottleneck -------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 5, 20])
def test_the_numerical_rank_of_a_product_is_that_of_its_factors(rank):
    rng = np.random.default_rng(0)
    table = (rng.normal(size=(60, rank)).astype(np.float32).astype(float)) @ rng.normal(
        size=(rank, 80)
    )
    assert bottleneck.numerical_rank(bottleneck.singular_values(table), table.shape) == rank


def test_the_rank_of_logits_is_bound_by_the_width(tiny_folder):
    result = bottleneck.logit_rank(open_model(str(tiny_folder("llama"))))
    assert (result.ranks["rank"] <= result.ranks["bound"]).all()
    own = result.ranks.set_index(["source", "matrix"])["rank"]
    assert own["model", "logits"] == 32
    assert own["model", "log-probabilities"] == 33
    assert result.cliff > 1e3


def test_random_spectra_are_those_of_random_matrices():
    """The shortcut through the triangular factor against matrices that were really drawn."""
    rows, columns, draws = 300, 24, 60
    quick = np.array(bottleneck.random_spectra(rows, columns, draws, seed=1))
    rng = np.random.default_rng(2)
    real = np.array(
        [
            bottleneck.scaled_spectrum(torch.from_numpy(rng.normal(size=(rows, columns))))
            for _ in range(draws)
        ]
    )
    error = np.sqrt(quick.var(0) / draws + real.var(0) / draws)
    assert (np.abs(quick.mean(0) - real.mean(0)) < 4.5 * error).all()


def test_effective_rank_of_known_spectra():
    assert bottleneck.effective_rank(np.ones(7)) == pytest.approx(7)
    assert bottleneck.effective_rank(np.array([1, 1e-9, 1e-9])) == pytest.approx(1, abs=1e-6)


def test_truncation_keeps_everything_at_full_width(tiny_folder):
    network = open_model(str(tiny_folder("gpt2"))).loaded().model
    ids = torch.arange(1, 61).reshape(2, 30)
    states = bottleneck.head_inputs(network, ids)
    weight, bias = bottleneck._weights(network)
    (basis, inverse), centre = bottleneck._leading(states, weight)
    whole = (states - centre) @ basis @ inverse + centre
    change = bottleneck._log_probs(whole, weight, bias) - bottleneck._log_probs(
        states, weight, bias
    )
    assert change.abs().max() < 1e-3


# --- norms ------------------------------------------------------------------------------------


def test_batch_statistics_are_those_of_batch_normalisation():
    """The exchanged norm against torch's own batch normalisation with the same gain and shift."""
    network = build("gpt2")
    ids = torch.arange(1, 61).reshape(3, 20)
    known = normalisation.moments(network, ids)
    name, norm = next(iter(families.all_norms(network).items()))
    caught = {}
    network.transformer.h[0].ln_1.register_forward_pre_hook(
        lambda _m, args: caught.update(x=args[0].detach())
    )
    with normalisation.exchanged(network, "batch", known):
        handle = norm.register_forward_hook(lambda _m, _a, out: caught.update(y=out.detach()))
        network(ids)
        handle.remove()
    reference = torch.nn.BatchNorm1d(32)
    with torch.no_grad():
        reference.weight.copy_(known[name].std_out)
        reference.bias.copy_(known[name].mean_out)
    expected = reference(caught["x"].reshape(-1, 32)).reshape(caught["y"].shape)
    assert torch.allclose(caught["y"], expected, atol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "opt-post", "gemma2", "phi"])
def test_a_norm_of_one_token_leaks_nothing_and_batch_statistics_leak(family, tiny_folder):
    result = normalisation.swap(open_model(str(tiny_folder(family))), documents=6, batch=3)
    table = result.dependence.set_index(["network", "kind", "of"]).sort_index()
    for of in ("mates", "future"):
        assert table.loc[("model", "own", of), "largest_change"].max() == 0
        assert (table.loc[("model", "batch", of), "kl_bits"] > 0).all()
        assert table.loc[("model", "running", of), "largest_change"].max() == 0
    assert table.loc[("model", "own", "shape"), "largest_change"].max() < 1e-3
    assert set(result.loss["kind"]) == set(normalisation.KINDS)


def test_the_network_is_whole_again_after_the_exchange():
    network = build("llama")
    ids = torch.arange(1, 41).reshape(2, 20)
    before = network(ids).logits
    with normalisation.exchanged(network, "batch", normalisation.moments(network, ids)):
        assert not torch.allclose(network(ids).logits, before)
    assert torch.equal(network(ids).logits, before)


def test_one_token_loses_everything_to_batch_statistics(tiny_folder):
    result = normalisation.one_token(open_model(str(tiny_folder("gpt2"))), tokens=10)
    assert result.batch_change == 0
    assert result.own_change > 0.1


@pytest.mark.parametrize("family", ["gpt2", "gemma", "opt-post", "qwen3"])
def test_norm_outputs_agree_with_torch(family, tiny_folder):
    loaded = open_model(str(tiny_folder(family))).loaded()
    facts = loaded.facts
    x = torch.randn(50, 32, generator=torch.Generator().manual_seed(0)) + 0.3
    unit = norm_outputs.normalised(x, facts.norm_kind, facts.norm_eps)
    reference = (
        torch.nn.functional.layer_norm(x, (32,), eps=facts.norm_eps)
        if facts.norm_kind == "LayerNorm"
        else torch.nn.functional.rms_norm(x, (32,), eps=facts.norm_eps)
    )
    assert torch.allclose(unit, reference, atol=1e-5)
    outputs = norm_outputs.norm_outputs(open_model(str(tiny_folder(family))), documents=4)
    assert outputs.features.groupby("network")["norm"].nunique().eq(facts.n_norms).all()
    assert outputs.tokens["largest_rms_off"].max() < 0.05
    if facts.norm_kind == "LayerNorm":
        assert outputs.tokens["largest_mean"].max() < 1e-5


def test_the_gain_is_found_whatever_the_family_stores(tiny_folder):
    """Gemma stores the gain minus one; the regression reads it off the outputs."""
    outputs = norm_outputs.norm_outputs(open_model(str(tiny_folder("gemma"))), documents=4)
    norm = next(iter(families.all_norms(build("gemma")).values()))
    first = outputs.features[
        (outputs.features["network"] == "model") & (outputs.features["order"] == 0)
    ]
    assert np.allclose(first["gain"], 1 + norm.weight.detach().numpy(), atol=1e-4)


# --- figures ----------------------------------------------------------------------------------


def test_figures_are_drawn_from_tables_alone():
    index = np.arange(1, 9)
    curve = pd.concat(
        pd.DataFrame({"source": s, "index": index, "singular_value": 1 / index, "matrix": "m"})
        for s in ("model", "random twin", "random matrix")
    )
    documents = pd.DataFrame(
        [(d, k, k / 8, 0.1 / k, 0.2 / k) for d in range(4) for k in (2, 4)],
        columns=["document", "k", "share", "moved_share", "extra_bits"],
    )
    losses = pd.DataFrame(
        [(kind, d, 1.0 + d / 10) for kind in ("own", "batch") for d in range(4)],
        columns=["kind", "document", "bits_per_byte"],
    )
    for draw, tables in (
        (figures.logit_spectrum, (curve, 4)),
        (figures.matrix_spectra, (curve, (0.8, 1.2))),
        (figures.truncation_curves, (documents,)),
        (figures.swap_losses, (losses, {"own": "own", "batch": "batch"})),
    ):
        light, dark = (style.render(draw, *tables, mode=mode).svg for mode in style.MODES)
        assert light != dark


def test_parallel_blocks_are_drawn_with_one_and_two_norms(tiny_folder):
    flow = architecture.data_flow(open_model(str(tiny_folder("phi"))))
    for norms in (1, 2):
        figure = data_flow.data_flow(dataclasses.replace(flow, block_norms=norms))
        words = [text.get_text() for text in figure.axes[0].texts]
        assert sum(word == "LayerNorm" for word in words) == norms
