"""Wrong sentences about logits, probabilities, confidence and temperature."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from internals import stats
from internals.book import wording
from internals.measure.laboratory.lab import Lab
from internals.measure.laboratory.record import (
    Finding,
    does_not_apply,
    estimated,
    exact,
    more_than,
    refutation,
)
from internals.measure.probabilities import (
    answers_by_exposure,
    one_prompt,
    positions,
    surprisal,
    temperature,
)
from internals.measure.tokenization import measured
from internals.stats.calibration import null_band

SURE = 0.9
"""From this probability on, among all continuations, an answer counts as sure."""


@refutation
def only_softmax_sums_to_one(lab: Lab) -> Finding:
    """Wrong: Softmax is used because the probabilities have to add up to one.

    Truth: Other rules add up to one as well. Softmax also ignores a common shift, gives no token
    exactly nothing, and has the simple gradient “probability minus truth”.
    """
    table = lab.measured(one_prompt.map_properties)
    others = table[table["map"] != "softmax"]
    works = int((others["undefined"] == 0).sum())
    outcome = "{value} of {n} give a distribution after every prompt."
    return exact(works, 0, outcome, n=len(others), n_unit="other rules")


@refutation
def temperature_divides_probabilities(lab: Lab) -> Finding:
    """Wrong: Temperature divides the probabilities.

    Truth: It divides the logits. Probabilities that are all divided by the same number are, once
    they add up to one again, the old ones.
    """
    old = lab.prompt_logits.softmax(-1)
    divided = (old / 2) / (old / 2).sum(-1, keepdim=True)
    real = lab.temperature(2.0)(lab.prompt_logits).softmax(-1)
    moved = 0.5 * (divided - real).abs().sum(-1)
    found = stats.bootstrap_ci(moved.numpy(), unit="prompts")
    outcome = "Divided probabilities differ from temperature two in {value} of the mass ({n})."
    return estimated(found, (0.0, 0.001), outcome, unit="share")


@refutation
def temperature_changes_the_first_choice(lab: Lab) -> Finding:
    """Wrong: Another temperature makes another token the most likely one.

    Truth: Division by a positive number keeps the order of all logits; only the distances change.
    """
    first = lab.temperature(1.0)(lab.prompt_logits).argmax(-1)
    changed = sum(
        lab.temperature(t)(lab.prompt_logits).argmax(-1) != first for t in temperature.ASKED
    )
    share = float((changed > 0).double().mean())  # type: ignore[union-attr]
    outcome = "The first choice changes after {value} of {n}."
    n = len(first)
    return exact(share, more_than(0), outcome, n=n, n_unit="prompts", unit="share")


@refutation
def a_low_temperature_is_random(lab: Lab) -> Finding:
    """Wrong: A low temperature makes the output more random.

    Truth: Below one it sharpens the distribution, above one it flattens it.
    """
    sweep = lab.measured(temperature.sweep)
    bits = sweep.pivot(index="prompt", columns="temperature", values="entropy_bits")
    change = stats.paired_difference(bits[0.1], bits[1.0], unit="prompts")
    outcome = "From temperature one to one tenth the entropy changes by {value} (mean of {n})."
    return estimated(change, more_than(0), outcome, unit="bits")


@refutation
def logits_are_log_probabilities(lab: Lab) -> Finding:
    """Wrong: A logit is the logarithm of a probability.

    Truth: It is one up to a constant that differs from prompt to prompt, the log-sum-exp of all
    logits.
    """
    constant = lab.prompt_logits.logsumexp(-1).abs()
    found = stats.bootstrap_ci(constant.numpy(), unit="prompts")
    outcome = "Logit and log-probability differ by {value} on average ({n})."
    return estimated(found, (0.0, 0.001), outcome, unit="nats")


@refutation
def a_shift_makes_tokens_likelier(lab: Lab) -> Finding:
    """Wrong: If all logits grow, all tokens become more likely.

    Truth: Only differences of logits count; the same number added to all of them changes nothing.
    """
    table = lab.measured(one_prompt.map_properties).set_index("map")
    change = float(table.loc["softmax", "shift_change"])
    n = int(table.loc["softmax", "prompts"])
    outcome = "The largest change of a probability is {value} ({n})."
    return exact(change, more_than(0.001), outcome, n=n, n_unit="prompts")


@refutation
def ten_tokens_are_all(lab: Lab) -> Finding:
    """Wrong: The ten most likely tokens are the distribution, so their shares may be scaled to one
    hundred percent.

    Truth: The rest of the vocabulary holds probability too, and how much depends on the prompt.
    """
    best = lab.prompt_logits.softmax(-1).topk(10, -1).values.sum(-1)
    found = stats.bootstrap_ci(1 - best.numpy(), unit="prompts")
    outcome = "All other tokens hold {value} of the probability (mean of {n})."
    return estimated(found, (0.0, 0.01), outcome, unit="share")


@refutation
def sure_means_true(lab: Lab) -> Finding:
    """Wrong: What the model gives a high probability is true.

    Truth: A probability says what text comes next. On facts that it has not learned a model can be
    sure and wrong.
    """
    table = lab.measured(answers_by_exposure.answers)
    # The share among the candidates can be high where all of them together are unlikely.
    sure = table[table["confidence"] * table["mass"] >= SURE]
    least, facts = wording.percent(SURE, digits=0), sure["fact_id"].to_numpy()
    known, asked = (wording.count(t["fact_id"].nunique()) for t in (sure, table))
    if len(set(facts)) < 5:
        reason = f"an answer has a probability of at least {least} for {known} of {asked} facts."
        return does_not_apply(f"This model is hardly ever sure of a fact: {reason}")
    found = stats.bootstrap_ci(sure["correct"].to_numpy(float), clusters=facts, unit="facts")
    outcome = f"Of the answers with a probability of at least {least}, {{value}} are right ({{n}})"
    return estimated(found, 1.0, f"{outcome}{_by_statements(sure)}.", unit="share")


def _by_statements(sure: pd.DataFrame) -> str:
    """Right answers by how often the training data state the fact, where that is known."""
    known = sure[sure["level"] >= 0]
    parts = [
        f"{wording.count(int(part.sum()))} of {wording.count(len(part))} ({wording.count(level)})"
        for level, part in known.groupby("level")["correct"]
    ]
    told = "; by the number of statements in the training data, in parentheses, right are "
    return told + wording.listing(parts) if parts else ""


@refutation
def any_calibration_error_counts(lab: Lab) -> Finding:
    """Wrong: A calibration error above zero shows that the model is miscalibrated.

    Truth: The estimate is biased upwards: on a finite sample a perfectly calibrated model has one
    too.
    """
    sample = lab.measured(positions.positions)["top_prob"].to_numpy()
    chosen = sample[:: max(1, len(sample) // 100)][:100]
    mean, _, high = null_band(chosen, draws=500, level=0.9)
    outcome = "In 500 simulations in which each of {n} of the model is exactly right, the error is "
    outcome += f"{{value}} on average, and above {wording.number(high)} in one of twenty."
    return exact(mean, 0, outcome, n=len(chosen), n_unit="confidences")


@refutation
def a_word_is_the_product_of_its_pieces(lab: Lab) -> Finding:
    """Wrong: The probability of a word is the product of the probabilities of its pieces.

    Truth: The plain product leaves out that the word ends, and charges it with the end of the word
    before.
    """
    change = lab.measured(surprisal.by_document)["correction_bits"].dropna()
    if len(change) < 3:
        return does_not_apply("The tokens of this vocabulary do not begin with the blank.")
    found = stats.bootstrap_ci(change.to_numpy(), unit="documents")
    outcome = "The boundaries after and before it change a word's surprisal by {value}, up or down "
    outcome += "(mean absolute change, {n})."
    return estimated(found, 0.0, outcome, unit="bits")


@refutation
def every_token_has_a_probability(lab: Lab) -> Finding:
    """Wrong: The loss of a text runs over all of its tokens.

    Truth: A model gives the next token; the first one has a probability only if something, a start
    token, stands before it.
    """
    missing = [len(lab.ids(t)) - (len(lab.tokenizer(t)["input_ids"]) - 1) for t in lab.prompts]
    outcome = "{value} of a text's tokens has no probability, as the tokenizer encodes it ({n})."
    n = len(missing)
    return exact(float(np.mean(missing)), 0, outcome, n=n, n_unit="prompts")


@refutation
def perplexity_compares_tokenizers(lab: Lab) -> Finding:
    """Wrong: The model with the lower perplexity is the better one.

    Truth: Perplexity is per token, so a tokenizer of longer tokens is punished. Over different
    tokenizers compare bits per byte.
    """
    bits = lab.measured(measured.rival_bits)
    kept = bits.groupby("tokenizer").filter(lambda part: part["unknown"].sum() == 0)
    rates = lab.measured(measured.rival_rates)
    length = rates[rates["rate"] == "bytes per token"].set_index("tokenizer")["value"]
    per_byte = kept.groupby("tokenizer")["bits_per_byte"].mean()
    both = pd.DataFrame({"byte": per_byte, "token": per_byte * length}).dropna()
    pairs = [(a - b) for i, a in enumerate(both.to_numpy()) for b in both.to_numpy()[:i]]
    swapped, known = sum(math.prod(pair) < 0 for pair in pairs), wording.listing(list(both.index))
    outcome = f"Unigram models of one text under the {wording.count(len(both))} tokenizers without "
    outcome += f"an unknown token ({known}): by perplexity per token {{value}} of {{n}} are ranked "
    outcome += "the other way than by bits per byte."
    return exact(swapped, 0, outcome, n=len(pairs), n_unit="pairs")
