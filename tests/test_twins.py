"""The paired runs: twins differ in one part only, and each part is what its name says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from fable import twins
from fable.dataset import build_dataset
from internals.errors import UserError
from internals.models import families
from internals.paths import DATA

SMALL = twins.TwinRecipe(
    d_model=32,
    seq=32,
    batch=4,
    steps=12,
    learning_rates=(0.01,),
    seeds=(0,),
    records=3,
    evaluation_rows=8,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twins") / "dataset"
    build_dataset(None, folder, target_tokens=30_000, vocab_size=500, scale=0.02)
    return folder


def test_norm_twins_share_weights_and_data_and_learn(dataset):
    table = twins.train_norm_twins(dataset, SMALL)
    assert set(table["variant"]) == set(twins.NORMS)
    wide = table.pivot_table(index=["variant", "step"], columns="mode", values="bits_per_token")
    for variant in ("LayerNorm", "RMSNorm"):
        own = wide.loc[variant]
        assert np.allclose(own["training"], own["evaluation"]), "one mode only"
    batch = wide.loc["batch normalisation"]
    assert not np.allclose(batch["training"], batch["evaluation"])
    last = table[table["step"] == SMALL.steps]
    first = table[table["step"] == 1]
    assert (last["bits_per_token"].min()) < first["bits_per_token"].min() - 0.5


def test_the_same_run_twice_gives_the_same_curve(dataset):
    once, again = (twins.train_norm_twins(dataset, SMALL) for _ in range(2))
    pd.testing.assert_frame_equal(once, again)


def test_head_twins_are_scored_with_their_own_distribution(dataset):
    table = twins.train_head_twins(dataset, SMALL).set_index(["variant", "step"])
    assert (table.loc["softmax", "zero_share"] == 0).all()
    assert (table.loc["sparsemax", "zero_share"] > 0).any()
    ceiling = -np.log2(twins.SMOOTHING / 500) + 1e-6
    assert (table["bits_per_token"] <= ceiling).all()


@pytest.mark.parametrize("variant", twins.NORMS)
def test_every_norm_is_exchanged_and_nothing_else(variant):
    model = twins._new(100, SMALL, seed=0)
    before = {n: p.clone() for n, p in model.named_parameters() if "ln_" not in n}
    twins.exchange_norms(model, variant)
    kinds = {
        "LayerNorm": torch.nn.LayerNorm,
        "RMSNorm": torch.nn.RMSNorm,
        "batch normalisation": torch.nn.BatchNorm1d,
    }
    norms = families.all_norms(model).values()
    assert len(norms) == 5
    assert all(isinstance(norm, kinds[variant]) for norm in norms)
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("variant", twins.HEADS)
def test_the_loss_of_a_head_pulls_towards_its_distribution(variant):
    """Sparsemax and softmax losses have the gradient p - y; the sigmoid's is taken by autograd."""
    loss, distribution = twins.head(variant)
    logits = torch.randn(3, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits.requires_grad_()
    targets = torch.tensor([4, 250, 0])
    (gradient,) = torch.autograd.grad(loss(logits, targets), logits)
    p = distribution(logits).detach()
    assert torch.allclose(p.sum(-1), torch.ones(3, dtype=p.dtype))
    y = torch.nn.functional.one_hot(targets, 300)
    if variant == "normalised sigmoid":
        log_p = -torch.log(p.gather(-1, targets[:, None])).mean()
        assert loss(logits, targets).item() == pytest.approx(log_p.item())
    else:
        assert torch.allclose(gradient, (p - y) / 3, atol=1e-9)


def test_a_missing_data_set_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="is no data set"):
        twins.train_norm_twins(tmp_path, SMALL)


@pytest.mark.parametrize("name", ["norms", "heads"])
def test_the_shipped_curves_are_complete(name):
    table = pd.read_csv(DATA / "twins" / f"{name}.csv")
    recipe = twins.NORM_RECIPE if name == "norms" else twins.HEAD_RECIPE
    variants = twins.NORMS if name == "norms" else twins.HEADS
    assert set(table["variant"]) == set(variants)
    assert set(table["learning_rate"]) == set(recipe.learning_rates)
    assert set(table["seed"]) == set(recipe.seeds)
    assert table["step"].max() == recipe.steps
    assert table.groupby(["variant", "learning_rate", "seed"]).size().nunique() == 1
