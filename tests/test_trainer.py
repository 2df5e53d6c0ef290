"""The trainer: order, schedule, optimisers, loss and resumption against independent references."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fable import probes, recipe, trainer
from fable.trainer import Recipe
from internals.errors import UserError
from internals.measure import capability
from tiny_models import build
from tokenizers_small import byte_level_bpe

TINY = Recipe(batch_tokens=256, window=32, last_window=64, muon_lr=0.01)
STREAM = np.random.default_rng(0).integers(0, 50, 9000).astype(np.uint16)


def model():
    return recipe.new_model("fable-gpt2", 50, d_model=32, n_layers=2)


@pytest.mark.parametrize("name", recipe.NAMES)
def test_every_parameter_has_exactly_one_optimiser(name):
    net = recipe.new_model(name, 50, d_model=128, n_layers=2)
    matrices, others = trainer.split_parameters(net)
    ids = [id(p) for p in (*matrices, *others)]
    assert len(ids) == len(set(ids)) == len(list(net.parameters()))
    assert all(p.ndim == 2 for p in matrices)
    assert id(net.get_input_embeddings().weight) in {id(p) for p in others}


def test_the_schedule_takes_no_token_twice():
    steps = trainer.schedule(len(STREAM), TINY)
    seen = np.zeros(len(STREAM), int)
    for step in steps:
        assert len(step.starts) * step.window == TINY.batch_tokens
        for start in step.starts:
            seen[start : start + step.window] += 1
    assert seen.max() == 1
    assert seen.mean() > 0.85
    assert {s.window for s in steps} == {32, 64}


def test_the_order_follows_from_the_seed():
    def starts(seed):
        steps = trainer.schedule(9000, Recipe(batch_tokens=256, window=32, seed=seed))
        return np.concatenate([s.starts for s in steps])

    assert np.array_equal(starts(0), starts(0))
    assert not np.array_equal(starts(0), starts(1))


@pytest.mark.parametrize(
    ("done", "factor"), [(0.0, 0.0), (0.01, 0.5), (0.02, 1.0), (0.4, 1.0), (0.7, 0.5), (1.0, 0.0)]
)
def test_the_learning_rate_warms_up_holds_and_decays(done, factor):
    assert Recipe().lr_factor(done) == pytest.approx(factor)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunked_loss_is_the_plain_loss_with_its_gradients(chunk):
    torch.manual_seed(0)
    source = torch.randn(30, 8, requires_grad=True)
    weight = torch.randn(11, 8, requires_grad=True)
    targets = torch.randint(0, 11, (30,))
    loss = torch.nn.functional.cross_entropy((2 * source) @ weight.T, targets)
    loss.backward()
    expected = source.grad.clone(), weight.grad.clone()
    source.grad = weight.grad = None
    found = trainer.chunked_loss_backward(2 * source, weight, targets, chunk)
    assert found == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(source.grad, expected[0])
    torch.testing.assert_close(weight.grad, expected[1])


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(tmp_path):
    whole = model()
    trainer.train(whole, STREAM, tmp_path / "whole", TINY, stop_after=12)
    first = model()
    trainer.train(first, STREAM, tmp_path / "parts", TINY, stop_after=5)
    second = model()
    tokens = trainer.train(second, STREAM, tmp_path / "parts", TINY, stop_after=7)
    assert tokens == 12 * TINY.batch_tokens
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    trainer.train(model(), STREAM, tmp_path, TINY, stop_after=1)
    with pytest.raises(UserError, match="belongs to another recipe or data set"):
        trainer.train(model(), STREAM[:5000], tmp_path, TINY)


def test_log_spaced_steps_end_with_the_last():
    marks = trainer.log_spaced(1837)
    assert {1, 1837} <= marks
    assert len(marks) <= 17


def test_even_steps_end_with_the_last():
    assert trainer.even(80) == {10, 20, 30, 40, 50, 60, 70, 80}
    assert trainer.even(5, 5) == {1, 2, 3, 4, 5}


def test_the_snapshots_of_the_second_round_count_on(tmp_path):
    for name in ("round-1/snapshots/000002-16", "round-1/snapshots/000010-80"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "round-2/snapshots/000005-40").mkdir(parents=True)
    (tmp_path / "round-2/snapshots/000010-80.new").mkdir()
    found = probes.snapshots(tmp_path)
    assert found[["round", "step", "tokens"]].to_numpy().tolist() == [
        [1, 2, 16],
        [1, 10, 80],
        [2, 15, 120],
    ]


def test_the_second_round_starts_from_the_stored_weights_of_the_first(tmp_path):
    """A second round without learning must leave the weights as they were stored, in 16 bits."""
    np.asarray(STREAM).tofile(tmp_path / "train.bin")
    byte_level_bpe().save_pretrained(tmp_path / "tokenizer")
    still = Recipe(batch_tokens=256, window=32, last_window=64, muon_lr=0.0, adam_lr=0.0)
    sizes = {"d_model": 32, "n_layers": 1}
    first = recipe.train_one("fable-gpt2", tmp_path, tmp_path / "a", (TINY,), **sizes)
    both = recipe.train_one("fable-gpt2", tmp_path, tmp_path / "b", (TINY, still), **sizes)
    for one, two in zip(first.parameters(), both.parameters(), strict=True):
        assert torch.equal(one.to(torch.bfloat16).float(), two)


@pytest.mark.slow
def test_the_whole_path_runs_and_learns(tmp_path):
    result = recipe.train_smoke(tmp_path / "smoke")
    assert result["last_loss"] < result["first_loss"] - 1
    net = AutoModelForCausalLM.from_pretrained(result["folder"])
    tokenizer = AutoTokenizer.from_pretrained(result["folder"])
    assert tokenizer.decode(tokenizer("The capital é 中")["input_ids"]) == "The capital é 中"
    log = probes.training_log(tmp_path / "smoke" / "run", tmp_path / "smoke" / "dataset")
    assert log["tokens"].is_monotonic_increasing
    generated = log["generated_bits_per_byte"]
    assert generated.iloc[-1] < generated.iloc[0]
    assert net.config.n_layer == 2


def test_copying_is_seen_in_the_second_copy_alone():
    """An untrained model gains nothing from a repetition, and its heads look everywhere alike."""
    row = probes.induction(model().eval(), 50)
    assert row["second_copy_bits"] == pytest.approx(row["first_copy_bits"], rel=0.1)
    assert 0 < row["prefix_matching_max"] < 0.2
    assert 0 < row["previous_token_max"] < 0.2


def test_recall_finds_the_answer_that_the_model_prefers(monkeypatch):
    """Scores in which the second candidate is always the likeliest."""
    exposure = pd.DataFrame(
        [
            ("a", "colour", "glim", "red", "invented", 4),
            ("b", "colour", "plom", "blue", "invented", 0),
        ],
        columns=["fact_id", "relation", "subject", "object", "kind", "level"],
    )
    monkeypatch.setattr(
        capability, "answer_scores", lambda _model, pairs: -np.arange(float(len(pairs))) % 10
    )
    table = capability.recall_table(build("gpt2"), byte_level_bpe(), exposure)
    first = capability.CANDIDATES["colour"].index
    assert len(table) == 4
    assert table["correct"].tolist() == [first("red") == 1] * 2 + [first("blue") == 1] * 2


@pytest.mark.parametrize(
    ("found", "fast"),
    [({"avx2": True, "avx512_bf16": False}, False), ({"avx2": True, "amx_bf16": True}, True)],
)
def test_sixteen_bits_are_used_only_where_the_processor_has_them(monkeypatch, found, fast):
    """Emulated bfloat16 makes a step many times slower."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert trainer.fast_bfloat16("cpu") is fast
