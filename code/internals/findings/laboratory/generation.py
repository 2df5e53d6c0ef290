"""Wrong sentences about the cache and about choosing the next token."""

from __future__ import annotations

import math

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, exact
from internals.findings.mistakes import mistake
from internals.measure import bench
from internals.measure.generation import choices, operations, speed
from internals.models import ModelHandle


@mistake(
    "The cache is an approximation: it changes most texts.",
    "Old keys and values cannot change, since attention is causal; rounding can turn a near-tie.",
    predicts=(0.5, 1.0),
    unit="share",
)
def the_cache_approximates(model: ModelHandle) -> Estimate:
    """In single precision a greedy token changes in {value} of the texts."""
    table = speed.parted(model)
    single = table[table["dtype"] == "float32"]
    return stats.share(single["flips"] > 0, unit="texts")


@mistake(
    "A text of twice the length takes four times the work, since attention is quadratic.",
    "Only scores and weighted values are quadratic; the matrices cost more until the text is long.",
    predicts=(1.9, 2.1),
)
def twice_the_text_four_times_the_work(model: ModelHandle) -> Estimate:
    """For short texts the counted operations grow with the power {value} of the length."""
    table = operations.counted(model)
    if len(table) < 2:
        raise NotApplicable("its context is too short to compare two lengths")
    first, last = table.iloc[0], table.iloc[-1]
    power = math.log(last["counter"] / first["counter"]) / math.log(last["n"] / first["n"])
    return exact(power, int(last["n"]), "tokens")


@mistake(
    "I set only `top_p`, so only the nucleus is used.",
    "The library's default also keeps only the fifty most likely tokens, unless `top_k` is zero.",
    predicts=(0.0, 0.0),
    unit="share",
)
def top_p_runs_alone(model: ModelHandle) -> Estimate:
    """The default leaves fewer tokens than top-p alone after {value} of the prompts."""
    table = choices.nuclei(model)
    cut = table["by_default"] < table["switched_off"]
    return stats.share(cut, unit="prompts")


@mistake(
    "Top-p keeps the tokens whose probabilities add up to at most p.",
    "It keeps the smallest set that reaches p: the token that crosses the line stays.",
    predicts=(0.0, bench.NUCLEUS - 1e-9),
)
def the_nucleus_stops_before_p(model: ModelHandle) -> Estimate:
    """The kept tokens hold {value} of the probability at least."""
    mass = bench.after_prompts(model)["nucleus_mass"]
    return exact(mass.min(), len(mass), "prompts")


@mistake(
    "Whether temperature or top-p comes first makes no difference.",
    "Temperature changes the probabilities and with them the nucleus.",
    predicts=(1.0, 1.0),
    unit="share",
)
def the_order_of_rules_is_free(model: ModelHandle) -> Estimate:
    """At temperature two both orders keep equally many tokens after {value} of the prompts."""
    same = bench.after_prompts(model)["same_order"]
    return stats.share(same, unit="prompts")


@mistake(
    "Greedy decoding finds the most likely text.",
    "It takes the most likely token each time; a beam search often finds a likelier text.",
    predicts=(0.0, 0.0),
    unit="share",
)
def greedy_is_most_likely(model: ModelHandle) -> Estimate:
    """A beam search finds a likelier text after {value} of the openings."""
    table = choices.beams(model)
    return stats.share(table["beam_bits"] < table["greedy_bits"] - 0.01, unit="openings")


@mistake(
    "When it samples, the model nearly always takes its most likely token.",
    "It takes it as often as its probability says.",
    predicts=(0.9, 1.0),
    unit="share",
)
def sampling_takes_the_favourite(model: ModelHandle) -> Estimate:
    """The favourite is drawn in {value} of the cases."""
    return stats.bootstrap_ci(bench.after_prompts(model)["top_prob"], unit="prompts")
