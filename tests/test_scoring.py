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
def test_token_scores_are_the_library_s_loss_in_any_batching(model, budget):
    for ids, scores in zip(SEQUENCES, scoring.score_tokens(model, SEQUENCES, budget), strict=True):
        with torch.no_grad():
            loss = model(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
        assert -scores.log_prob.mean() == pytest.approx(loss, rel=1e-4)
        assert len(scores.log_prob) == len(ids) - 1


def test_first_choices_are_those_of_the_full_scores(model):
    quick = scoring.first_choices(model, SEQUENCES, budget=16)
    for (log_prob, hits), full in zip(quick, scoring.score_tokens(model, SEQUENCES), strict=True):
        np.testing.assert_allclose(log_prob, full.log_prob, rtol=1e-4, atol=1e-5)
        assert hits.tolist() == (full.rank == 0).tolist()


def test_rank_entropy_and_top_probability_by_definition(model):
    scores = scoring.score_tokens(model, SEQUENCES[1:2])[0]
    with torch.no_grad():
        probs = model(torch.tensor(SEQUENCES[1:2])).logits[0, :-1].double().softmax(-1)
    for i, token in enumerate(SEQUENCES[1][1:]):
        order = probs[i].argsort(descending=True).tolist()
        assert scores.rank[i] == order.index(token)
        assert scores.top_prob[i] == pytest.approx(probs[i].max().item(), rel=1e-4)
    dist = torch.distributions.Categorical(probs=probs)
    np.testing.assert_allclose(scores.entropy, dist.entropy().numpy(), rtol=1e-4)


def test_batches_take_every_sequence_once_and_keep_to_the_budget():
    lengths = [3, 50, 7, 7, 20, 1]
    groups = list(scoring.batches(lengths, 40))
    assert sorted(i for g in groups for i in g) == list(range(6))
    assert all(len(g) == 1 or len(g) * max(lengths[i] for i in g) <= 40 for g in groups)
