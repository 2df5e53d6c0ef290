"""Wrong sentences about choosing the next token."""

from __future__ import annotations

import math

import numpy as np

from internals import stats
from internals.evidence import wording
from internals.generation import sampling as rules
from internals.measure.capability import start_ids
from internals.measure.decoding import choices, metrics
from internals.measure.laboratory.lab import Lab
from internals.measure.laboratory.record import (
    Finding,
    does_not_apply,
    estimated,
    exact,
    refutation,
)

NUCLEUS = 0.9


@refutation
def temperature_zero_is_a_setting(lab: Lab) -> Finding:
    """Wrong: Temperature zero is a setting like any other.

    Truth: It would divide by zero. The limit is the most likely token; programs treat it as a case
    of its own or refuse it.
    """
    p = lab.temperature(0.0)(lab.prompt_logits).softmax(-1)
    defined = int(p.isfinite().all(-1).sum())
    outcome = "The formula gives a distribution after {value} of {n}."
    n = len(p)
    return exact(defined / n, 1, outcome, n=n, n_unit="prompts", unit="share")


@refutation
def top_p_runs_alone(lab: Lab) -> Finding:
    """Wrong: I set only `top_p`, so only the nucleus is used.

    Truth: The library's default also keeps only the most likely tokens, unless `top_k` is set to
    zero, and so it cuts nuclei.
    """
    from transformers import GenerationConfig

    k = GenerationConfig._get_default_generation_params().get("top_k")
    if not k:
        return does_not_apply("The library's default of today has no top-k.")
    table = lab.measured(choices.nuclei)
    cut = table["by_default"] < table["switched_off"]
    share = stats.wilson(int(cut.sum()), len(cut), unit="prompts")
    outcome = f"The default top-k of {wording.count(k)} leaves fewer tokens than top-p alone after "
    outcome += "{value} of {n}."
    return estimated(share, 0.0, outcome, unit="share")


@refutation
def the_nucleus_stops_before_p(lab: Lab) -> Finding:
    """Wrong: Top-p keeps the tokens whose probabilities add up to at most p.

    Truth: It keeps the smallest set that reaches p: the token that crosses the line stays.
    """
    kept = lab.top_p(NUCLEUS)(lab.prompt_logits) > -math.inf
    mass = (lab.prompt_logits.softmax(-1) * kept).sum(-1)
    below = int((mass < NUCLEUS - 1e-9).sum())
    outcome = "The kept tokens hold less than p after {value} of {n}."
    n = len(mass)
    return exact(below / n, (0.5, 1.0), outcome, n=n, n_unit="prompts", unit="share")


@refutation
def top_k_keeps_a_fixed_share(lab: Lab) -> Finding:
    """Wrong: Top-k cuts off the same part of the distribution everywhere.

    Truth: It keeps a fixed number of tokens. How much probability they hold depends on how sure
    the model is.
    """
    mass = lab.prompt_logits.softmax(-1).topk(10, -1).values.sum(-1)
    outcome = "Ten tokens hold {value} more after the surest than after the least sure of {n}."
    spread = float(mass.max() - mass.min())
    return exact(spread, (0.0, 0.01), outcome, n=len(mass), n_unit="prompts", unit="points")


@refutation
def the_order_of_rules_is_free(lab: Lab) -> Finding:
    """Wrong: Whether temperature or top-p comes first makes no difference.

    Truth: Temperature changes the probabilities and with them the nucleus.
    """
    z = lab.prompt_logits
    warm_first = rules.top_p(NUCLEUS)(z / 2) > -math.inf
    cut_first = rules.top_p(NUCLEUS)(z) / 2 > -math.inf
    same = int((warm_first == cut_first).all(-1).sum())
    share = stats.wilson(same, len(z), unit="prompts")
    outcome = "At temperature two both orders keep the same tokens after {value} of {n}."
    return estimated(share, 1.0, outcome, unit="share")


@refutation
def greedy_is_most_likely(lab: Lab) -> Finding:
    """Wrong: Greedy decoding finds the most likely text.

    Truth: It takes the most likely token each time, which can lead away from the most likely text;
    a beam search often finds a likelier one.
    """
    table = lab.measured(choices.beams)
    better = int((table["beam_bits"] < table["greedy_bits"] - 0.01).sum())
    share = stats.wilson(better, len(table), unit="openings")
    outcome = "A beam search finds a likelier text after {value} of {n}."
    return estimated(share, 0.0, outcome, unit="share")


@refutation
def the_best_tokens_make_the_best_text(lab: Lab) -> Finding:
    """Wrong: Always taking the best token gives the best text.

    Truth: It gives likely text, and very likely text tends to repeat itself.
    """
    table = lab.measured(choices.beams)
    share = stats.wilson(int(table["greedy_loops"].sum()), len(table), unit="openings")
    outcome = f"Greedy text repeats a sequence of {wording.count(metrics.LOOP)} tokens after "
    outcome += "{value} of {n}."
    return estimated(share, 0.0, outcome, unit="share")


@refutation
def a_seed_fixes_the_text(lab: Lab) -> Finding:
    """Wrong: With a fixed seed the sampled text is fixed.

    Truth: The seed fixes the random numbers, not who gets them: another batch, library or machine
    hands them out in another order.
    """
    from internals.generation.generate import generate

    heads = [[*start_ids(lab), *lab.ids(text)] for text in lab.prompts[:6]]  # type: ignore[arg-type]
    options = {"sampler": lab.sampler, "seed": 1}
    alone = [generate(lab.model, [head], 8, **options).ids[0] for head in heads]  # type: ignore[arg-type]
    together = generate(lab.model, heads, 8, **options).ids  # type: ignore[arg-type]
    same = sum(a == b for a, b in zip(alone, together, strict=True))
    share = stats.wilson(same, len(heads), unit="prompts")
    outcome = "Alone and in a batch, the same seed gives the same text for {value} of {n}."
    return estimated(share, 1.0, outcome, unit="share")


@refutation
def sampling_takes_the_favourite(lab: Lab) -> Finding:
    """Wrong: When it samples, the model nearly always takes its most likely token.

    Truth: It takes it as often as its probability says.
    """
    others = 1 - lab.prompt_logits.softmax(-1).max(-1).values.numpy()
    found = stats.bootstrap_ci(np.asarray(others), unit="prompts")
    outcome = "Another token than the favourite is drawn in {value} of the cases ({n})."
    return estimated(found, (0.0, 0.1), outcome, unit="share")
