"""Wrong sentences about what a measurement shows."""

from __future__ import annotations

import numpy as np

from internals import stats
from internals.book import wording
from internals.measure.laboratory.lab import Lab
from internals.measure.laboratory.record import (
    Finding,
    does_not_apply,
    estimated,
    exact,
    refutation,
)
from internals.measure.probabilities import answers_by_exposure, positions

FAR = 0.1
"""By so much a prompt may differ from the mean and still show the same behaviour."""


@refutation
def one_prompt_shows_it(lab: Lab) -> Finding:
    """Wrong: I tried it with a prompt, and this is how the model behaves.

    Truth: Prompts differ. One of them is an anecdote; take many and give the interval.
    """
    best = lab.prompt_logits.softmax(-1).max(-1).values
    far = int(((best - best.mean()).abs() > FAR).sum())
    share = stats.wilson(far, len(best), unit="prompts")
    points = wording.number(FAR, unit="points", digits=0)
    outcome = f"The most likely token has {wording.percent(float(best.mean()))} of the probability "
    outcome += f"on average; after {{value}} of {{n}} it is more than {points} away from that."
    return estimated(share, (0.0, 0.1), outcome, unit="share")


@refutation
def tokens_are_independent(lab: Lab) -> Finding:
    """Wrong: I scored thousands of tokens, and each counts as an independent observation.

    Truth: Tokens of one document go up and down together. The unit is the document, and the honest
    error is larger.
    """
    table = lab.measured(positions.positions)
    loss, document = -table["log_prob"].to_numpy(), table["document"].to_numpy()
    rng = np.random.default_rng(0)
    shuffled = [_spread(rng.permutation(loss), document) for _ in range(400)]
    chance = max(float(np.mean(shuffled)), 1e-12)
    ratio = _spread(loss, document) / chance
    low, high = np.quantile(shuffled, [0.025, 0.975]) / chance
    outcome = (
        "The mean losses of {n} spread {value} times as much as after a shuffle of all tokens "
    )
    outcome += f"(mean of 400){_worth(len(loss), ratio) if ratio > high else ''}."
    n = int(table["document"].nunique())
    return exact(ratio, (float(low), float(high)), outcome, n=n, n_unit="documents")


def _spread(values: np.ndarray, groups: np.ndarray) -> float:
    """Standard deviation of the means of groups."""
    counts = np.bincount(groups)
    means = np.bincount(groups, values)[counts > 0] / counts[counts > 0]
    return float(means.std())


def _worth(tokens: int, ratio: float) -> str:
    """How many independent tokens would give means of documents that spread so much."""
    alone = float(f"{tokens / ratio**2:.2g}")
    return f", so the {wording.count(tokens)} tokens count as about {wording.count(round(alone))}"


@refutation
def twenty_questions_are_enough(lab: Lab) -> Finding:
    """Wrong: Twenty questions are enough to say how good the model is.

    Truth: Two tests of twenty questions can give quite different scores to the same model.
    """
    table = lab.measured(answers_by_exposure.answers)
    right = table.groupby("fact_id")["correct"].first().to_numpy(float)
    if len(right) < 40:
        return does_not_apply("There are not enough questions to draw different tests from.")
    rng = np.random.default_rng(0)
    scores = [rng.choice(right, 20, replace=False).mean() for _ in range(1000)]
    low, high = np.quantile(scores, [0.025, 0.975])
    outcome = "1,000 random tests of twenty were drawn from {n}; nineteen of twenty scores lie "
    outcome += "within {value}."
    spread, n = float(high - low), len(right)
    return exact(spread, (0.0, 0.1), outcome, n=n, n_unit="facts", unit="points")


@refutation
def perplexities_are_averaged(lab: Lab) -> Finding:
    """Wrong: The perplexity of a collection is the mean of its documents' perplexities.

    Truth: Average the losses and take the exponential once. The mean of exponentials is larger, and
    a few hard documents can rule it.
    """
    table = lab.measured(positions.positions)
    losses = -table.groupby("document")["log_prob"].mean().to_numpy()
    pooled = float(-table["log_prob"].mean())
    ratio = float(np.exp(losses - pooled).mean())
    outcome = "The mean of perplexities is {value} times the perplexity of all {n}."
    return exact(ratio, (0.99, 1.01), outcome, n=len(losses), n_unit="documents")
