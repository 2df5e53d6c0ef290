"""Scores agree with the library's own loss and with plain enumeration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from internals.measure import scoring
from tiny_models import build


@pytest.fixture(scope="module", params=["gpt2", "llama", "opt"])
def model(request):
    return build(request.param)


SEQUENCES = [[1, 5, 9], [3, 3, 200, 40, 7, 8, 9, 10], [2, 4], [9] * 12]


@pytest.mark.parametrize("budget", [1, 16, 4096])
def test_log_probs_are_the_library_s_loss_in_any_batching(model, budget):
    found = scoring.token_log_probs(model, SEQUENCES, budget)
    for ids, log_prob in zip(SEQUENCES, found, strict=True):
        with torch.no_grad():
            loss = model(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
        assert -log_prob.mean() == pytest.approx(loss, rel=1e-4)
        assert len(log_prob) == len(ids) - 1


def test_the_mean_of_a_tail_is_that_of_its_tokens(model):
    full = scoring.token_log_probs(model, SEQUENCES)
    heads, tails = [s[:2] for s in SEQUENCES], [s[2:] for s in SEQUENCES]
    means = scoring.mean_surprisal(model, heads, tails, budget=16)
    wanted = [-row[1:].mean() if len(row) > 1 else np.nan for row in full]
    np.testing.assert_allclose(means, wanted, rtol=1e-4)


def test_batches_take_every_sequence_once_and_keep_to_the_budget():
    lengths = [3, 50, 7, 7, 20, 1]
    groups = list(scoring.batches(lengths, 40))
    assert sorted(i for g in groups for i in g) == list(range(6))
    assert all(len(g) == 1 or len(g) * max(lengths[i] for i in g) <= 40 for g in groups)
