"""Wrong sentences about choosing the next token."""

from __future__ import annotations

import math

import numpy as np

from internals import stats
from internals.book import wording
from internals.generation import sampling as rules
from internals.generation.generate import GREEDY
from internals.measure.capability import start_ids
from internals.measure.generation import choices, metrics, samples
from internals.measure.laboratory.lab import Lab
from internals.measure.laboratory.record import (
    Finding,
    does_not_apply,
    estimated,
    exact,
    refutation,
)

NUCLEUS = 0.9
DRAWN = 8
"""Tokens that are drawn twice with the same seed."""


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
def the_best_tokens_read_like_people(lab: Lab) -> Finding:
    """Wrong: Always taking the best token gives text like a person's.

    Truth: It gives likely text, and very likely text tends to repeat itself.
    """
    made, people = lab.measured(samples.samples), lab.measured(samples.human)
    texts = made.loc[made["setting"] == GREEDY.name, "ids"]
    n = len(texts.iloc[0])
    greedy = stats.wilson(sum(map(metrics.loops, texts)), len(texts), unit="openings")
    # One piece of a document, as there is one greedy text of an opening; both are as long.
    pieces = people.drop_duplicates("prompt")["ids"]
    human = stats.wilson(sum(metrics.loops(piece[:n]) for piece in pieces), len(pieces))
    human_share = wording.estimate(human.value, (human.low, human.high), unit="share")
    outcome = (
        f"A sequence of {wording.count(metrics.LOOP)} tokens occurs twice in the greedy text of "
    )
    outcome += f"{wording.count(n)} tokens after {{value}} of {{n}}, and in as much human text in "
    outcome += f"{human_share} of {wording.count(human.n)} documents."
    return estimated(greedy, (0.0, human.high), outcome, unit="share")


@refutation
def a_seed_fixes_the_text(lab: Lab) -> Finding:
    """Wrong: With a fixed seed the sampled text is fixed.

    Truth: The seed fixes the numbers of one generator. Another batch hands them to other texts;
    another device or library draws other numbers or uses them in another way.
    """
    from internals.generation.generate import generate

    heads = [[*start_ids(lab), *lab.ids(text)] for text in lab.prompts[:6]]  # type: ignore[arg-type]
    options = {"sampler": lab.sampler, "seed": 1}
    alone = [generate(lab.model, [head], DRAWN, **options).ids[0] for head in heads]  # type: ignore[arg-type]
    together = generate(lab.model, heads, DRAWN, **options).ids  # type: ignore[arg-type]
    same = sum(a == b for a, b in zip(alone, together, strict=True))
    share = stats.wilson(same, len(heads), unit="prompts")
    outcome = (
        f"Alone and in a batch, the same seed gives the same {wording.count(DRAWN)} tokens for "
    )
    outcome += "{value} of {n}."
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
