"""Wrong sentences about what a measurement shows."""

from __future__ import annotations

import numpy as np

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, exact
from internals.findings.mistakes import mistake
from internals.measure import bench
from internals.measure.probabilities import capitals, positions
from internals.models import ModelHandle

FAR = 0.1
"""By so much a prompt may differ from the mean and still show the same behaviour."""


@mistake(
    "I tried it with a prompt, and this is how the model behaves.",
    "Prompts differ; one of them is an anecdote. Take many and give the interval.",
    predicts=(0.0, 0.1),
    unit="share",
)
def one_prompt_shows_it(model: ModelHandle) -> Estimate:
    """After {value} of the prompts the probability of the first choice is more than ten points from
    its mean."""
    best = bench.after_prompts(model)["top_prob"]
    far = int(((best - best.mean()).abs() > FAR).sum())
    return stats.wilson(far, len(best), unit="prompts")


@mistake(
    "I scored thousands of tokens, and each counts as an independent observation.",
    "Tokens of one document go up and down together; the unit is the document.",
    predicts=(0.9, 1.1),
)
def tokens_are_independent(model: ModelHandle) -> Estimate:
    """Mean losses of documents spread {value} times as much as after a shuffle of all tokens."""
    table = positions.positions(model)
    loss, document = -table["log_prob"].to_numpy(), table["document"].to_numpy()
    rng = np.random.default_rng(0)
    shuffled = np.mean([_spread(rng.permutation(loss), document) for _ in range(200)])
    ratio = _spread(loss, document) / max(float(shuffled), 1e-12)
    return exact(ratio, table["document"].nunique(), "documents")


@mistake(
    "Twenty questions are enough to say how good the model is.",
    "Two tests of twenty questions can give quite different scores to the same model.",
    predicts=(0.0, 0.1),
    unit="points",
)
def twenty_questions_are_enough(model: ModelHandle) -> Estimate:
    """Nineteen of twenty random tests of twenty capitals lie within {value}."""
    right = capitals.capitals(model).groupby("country")["correct"].first().to_numpy(float)
    if len(right) < 40:
        raise NotApplicable("there are not enough questions to draw different tests from")
    rng = np.random.default_rng(0)
    scores = [rng.choice(right, 20, replace=False).mean() for _ in range(1000)]
    low, high = np.quantile(scores, [0.025, 0.975])
    return exact(high - low, len(right), "countries")


@mistake(
    "The perplexity of a collection is the mean of its documents' perplexities.",
    "Average the losses and take the exponential once; the mean of exponentials is larger.",
    predicts=(0.99, 1.01),
)
def perplexities_are_averaged(model: ModelHandle) -> Estimate:
    """The mean of perplexities is {value} times the perplexity of all documents."""
    table = positions.positions(model)
    losses = -table.groupby("document")["log_prob"].mean().to_numpy()
    pooled = float(-table["log_prob"].mean())
    return exact(float(np.exp(losses - pooled).mean()), len(losses), "documents")


def _spread(values: np.ndarray, groups: np.ndarray) -> float:
    """Standard deviation of the means of groups."""
    codes = np.unique(groups, return_inverse=True)[1]
    return float((np.bincount(codes, values) / np.bincount(codes)).std())
