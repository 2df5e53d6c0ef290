"""Sampling rules against the library's processors, closed forms and their own frequencies."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from internals.generation import sampling as s
from tiny_models import build

LOGITS = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)) * 3
rows = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=30).map(
    lambda values: torch.tensor([values])
)
shares = st.floats(0.001, 1)


def kept(logits: torch.Tensor) -> torch.Tensor:
    return logits > -math.inf


@pytest.mark.parametrize("t", [0.1, 0.7, 1.0, 2.0])
def test_temperature_is_that_of_the_library(t):
    assert torch.equal(s.temperature(t)(LOGITS), TemperatureLogitsWarper(float(t))(None, LOGITS))


@pytest.mark.parametrize("k", [1, 2, 5, 39, 40, 1000])
def test_top_k_is_that_of_the_library(k):
    assert torch.equal(s.top_k(k)(LOGITS), TopKLogitsWarper(k)(None, LOGITS))


@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.95, 0.999, 1.0])
def test_top_p_is_that_of_the_library(p):
    assert torch.equal(s.top_p(p)(LOGITS), TopPLogitsWarper(p)(None, LOGITS))


@given(rows, shares)
def test_the_nucleus_is_the_smallest_set_with_enough_mass(logits, p):
    """Checked by the definition: enough mass, and not enough without its smallest member."""
    probs = logits.double().softmax(-1)[0]
    inside = probs[kept(s.top_p(p)(logits))[0]]
    slack = 1e-5  # the rule adds up in float32
    assert inside.sum() >= p - slack
    assert inside.sum() - inside.min() < p + slack


@given(rows, st.integers(1, 40))
def test_top_k_keeps_exactly_k_unless_the_kth_is_tied(logits, k):
    n = int(kept(s.top_k(k)(logits)).sum())
    kth = logits[0].sort(descending=True).values[min(k, logits.shape[1]) - 1]
    assert n == int((logits >= kth).sum()) >= min(k, logits.shape[1])


@given(rows, st.floats(0.01, 100))
def test_temperature_never_changes_the_order(logits, t):
    order = s.temperature(t)(logits.double())[0].argsort(stable=True)
    assert torch.equal(order, logits.double()[0].argsort(stable=True))


@given(rows, shares)
def test_rules_never_write_to_their_input(logits, p):
    before = logits.clone()
    for rule in (s.temperature(p), s.top_k(1), s.top_p(p)):
        rule(logits)
        assert torch.equal(logits, before)


def test_tiny_p_keeps_one_token_even_where_all_are_equal():
    assert kept(s.top_p(1e-9)(torch.zeros(1, 10))).tolist() == [[True] + [False] * 9]


def test_all_mass_on_one_token_keeps_it():
    logits = torch.full((1, 5), -math.inf)
    logits[0, 3] = 1.0
    for rule in (s.temperature(0.1), s.top_k(2), s.top_p(0.5)):
        assert s.draw(rule(logits)).tolist() == [3]


def test_temperature_changes_the_nucleus_so_the_order_of_the_rules_matters():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    hot_first = s.Sampler("hot", temperature=3, top_p=0.8).rule()(logits)
    hot_last = s.temperature(3)(s.top_p(0.8)(logits))
    assert kept(hot_first).sum() > kept(hot_last).sum()


@pytest.mark.parametrize(
    "sampler",
    [
        s.Sampler("plain"),
        s.Sampler("hot", temperature=1.3),
        s.Sampler("k", top_k=5),
        s.Sampler("p", top_p=0.9),
        s.Sampler("all", temperature=0.7, top_k=20, top_p=0.95),
    ],
    ids=lambda sampler: sampler.name,
)
def test_draws_have_the_frequencies_of_their_probabilities(sampler):
    """Chi-squared over 20,000 draws; the seed is fixed, so the test never fails by chance."""
    logits = LOGITS[:1].float()
    probs = sampler.rule()(logits).softmax(-1)[0].double()
    n = 20_000
    drawn = sampler.choose(logits.expand(n, -1), torch.Generator().manual_seed(1))
    counts = torch.bincount(drawn, minlength=40).double()
    assert counts[probs == 0].sum() == 0
    expected = probs * n
    # Pool rare tokens: the chi-squared distribution needs about five expected draws in a cell.
    big = expected >= 5
    observed = [*counts[big].tolist(), counts[~big].sum().item()]
    wanted = [*expected[big].tolist(), expected[~big].sum().item()]
    cells = [(o, w) for o, w in zip(observed, wanted, strict=True) if w > 0]
    result = stats.chisquare(*map(list, zip(*cells, strict=True)), sum_check=False)
    assert result.pvalue > 0.001


def test_all_rules_together_act_in_the_order_of_the_library():
    """The library's `generate` hands out its logits before and after all its processors."""
    settings_of = {"temperature": 1.3, "top_k": 12, "top_p": 0.9}
    made = build("gpt2").generate(
        torch.tensor([[5, 6, 7], [9, 1, 2]]),
        attention_mask=torch.ones(2, 3, dtype=torch.long),
        do_sample=True,
        max_new_tokens=1,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
        pad_token_id=0,
        **settings_of,
    )
    ours = s.Sampler("all", **settings_of).rule()(made.logits[0].float())
    assert kept(ours).sum() < 2 * 12, "the rules remove something"
    torch.testing.assert_close(ours, made.scores[0].float())


def test_each_row_is_drawn_from_its_own_distribution():
    logits = torch.full((3, 4), -math.inf)
    logits[[0, 1, 2], [2, 0, 3]] = 0.0
    assert s.draw(logits).tolist() == [2, 0, 3]


def test_greedy_takes_the_lowest_of_equal_ids():
    assert s.Sampler("greedy", greedy=True).choose(torch.tensor([[0.0, 2.0, 2.0]])).tolist() == [1]


def test_a_low_temperature_is_greedy():
    drawn = s.Sampler("cold", temperature=1e-4).choose(LOGITS, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, LOGITS.argmax(-1))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: s.temperature(0), "must be a positive number, but is 0; for T = 0 use greedy"),
        (lambda: s.temperature(math.nan), "must be a positive number, but is nan"),
        (lambda: s.top_k(0), "at least 1, but is 0"),
        (lambda: s.top_k(2.5), "at least 1, but is 2.5"),
        (lambda: s.top_k(math.nan), "at least 1, but is nan"),
        (lambda: s.top_k(math.inf), "at least 1, but is inf"),
        (lambda: s.top_p(math.nan), "above 0 and at most at 1, but is nan"),
        (lambda: s.Sampler("cold", temperature=0), "for T = 0 use greedy"),
        (lambda: s.Sampler("none", top_k=0), "at least 1, but is 0"),
        (lambda: s.Sampler("all", top_p=1.5), "but is 1.5"),
        (lambda: s.argmax(torch.tensor([[math.nan, 1.0]])), "not numbers"),
        (lambda: s.draw(torch.tensor([[0.0, math.inf]])), "not numbers"),
        (lambda: s.top_p(0), "above 0 and at most at 1, but is 0"),
        (lambda: s.top_p(1.2), "above 0 and at most at 1, but is 1.2"),
        (lambda: s.draw(torch.tensor([[0.0, math.nan]])), "not numbers"),
        (lambda: s.draw(torch.full((1, 3), -math.inf)), "Every token was removed"),
    ],
)
def test_parameters_out_of_range_get_one_sentence(make, sentence):
    with pytest.raises(s.SamplingError, match=sentence):
        make()


@given(rows)
@settings(max_examples=30)
def test_rules_that_keep_everything_change_nothing(logits):
    rule = s.Sampler("all", temperature=1, top_k=10_000, top_p=1).rule()
    assert torch.equal(rule(logits), logits)
