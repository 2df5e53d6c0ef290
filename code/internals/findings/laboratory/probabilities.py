"""Wrong sentences about logits, probabilities and temperature."""

from __future__ import annotations

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, exact
from internals.findings.mistakes import mistake
from internals.measure import bench
from internals.measure.probabilities import capitals, positions
from internals.models import ModelHandle
from internals.stats.calibration import null_error

SURE = 0.5
"""From this probability on, over all continuations, an answer counts as sure."""


@mistake(
    "Temperature divides the probabilities.",
    "It divides the logits; divided probabilities are the old ones once they add up to one again.",
    predicts=(0.0, 0.001),
    unit="share",
)
def temperature_divides_probabilities(model: ModelHandle) -> Estimate:
    """Divided probabilities differ from temperature two in {value} of the mass."""
    return stats.bootstrap_ci(bench.after_prompts(model)["moved_by_division"], unit="prompts")


@mistake(
    "Another temperature makes another token the most likely one.",
    "Division by a positive number keeps the order of all logits.",
    predicts=(0.001, 1.0),
    unit="share",
)
def temperature_changes_the_first(model: ModelHandle) -> Estimate:
    """The first choice changes with the temperature for {value} of the prompts."""
    changed = bench.after_prompts(model)["first_changes"]
    return exact(changed.mean(), len(changed), "prompts")


@mistake(
    "A logit is the logarithm of a probability.",
    "It is one up to a constant that differs from prompt to prompt, the log-sum-exp of all logits.",
    predicts=(0.0, 0.001),
    unit="nats",
)
def logits_are_log_probabilities(model: ModelHandle) -> Estimate:
    """Logit and log-probability differ by {value} on average."""
    return stats.bootstrap_ci(bench.after_prompts(model)["log_sum_exp"].abs(), unit="prompts")


@mistake(
    "The ten most likely tokens are the distribution, so their shares may be scaled to one.",
    "The rest of the vocabulary holds probability too; how much depends on the prompt.",
    predicts=(0.0, 0.01),
    unit="share",
)
def ten_tokens_are_all(model: ModelHandle) -> Estimate:
    """All other tokens hold {value} of the probability."""
    return stats.bootstrap_ci(1 - bench.after_prompts(model)["top_ten"], unit="prompts")


@mistake(
    "What the model gives a high probability is true.",
    "A probability says what text comes next; a model can be sure and wrong.",
    predicts=(1.0, 1.0),
    unit="share",
)
def sure_means_true(model: ModelHandle) -> Estimate:
    """Of the capitals named with a probability of at least one half, {value} are right."""
    table = capitals.capitals(model)
    sure = table[table["confidence"] >= SURE]
    if sure["country"].nunique() < 5:
        raise NotApplicable("it is hardly ever sure of a capital")
    return stats.bootstrap_ci(
        sure["correct"].astype(float), clusters=sure["country"], unit="countries"
    )


@mistake(
    "A calibration error above zero shows that the model is miscalibrated.",
    "The estimate is biased upwards: in a finite sample a perfect model has an error too.",
    predicts=(0.0, 0.0),
    unit="share",
)
def any_calibration_error_counts(model: ModelHandle) -> Estimate:
    """Simulated so that each of a hundred confidences is exactly right, the error is {value} on
    average."""
    sample = positions.positions(model)["top_prob"].to_numpy()
    chosen = sample[:: max(1, len(sample) // 100)][:100]
    return exact(null_error(chosen).mean(), len(chosen), "confidences")


@mistake(
    "The loss of a text runs over all of its tokens.",
    "The first token has a probability only if something stands before it.",
    predicts=(0.0, 0.0),
)
def every_token_has_a_probability(model: ModelHandle) -> Estimate:
    """As the tokenizer encodes a text, {value} of its tokens have no probability."""
    gap = bench.after_prompts(model)["loss_gap"]
    return exact(gap.mean(), len(gap), "prompts")
