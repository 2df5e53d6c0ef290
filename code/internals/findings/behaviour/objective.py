"""The objective: what prediction makes good, and what it leaves weak."""

from __future__ import annotations

from internals import stats
from internals.findings import Estimate, above, below, exact, finding
from internals.findings.behaviour.understanding import fable, recalled
from internals.measure import training_record
from internals.measure.behaviour import memory, rules
from internals.models import ModelHandle


def _harder(model: ModelHandle, material: str) -> Estimate:
    """Loss on the second copy of a material minus that of a sentence."""
    wide = rules.copying(model).pivot(index="row", columns="material", values="second_bits")
    return stats.paired_difference(wide[material], wide[rules.SENTENCE], unit="sequences")


@finding(unit="bits", expect=above(0))
def random_copy(model: ModelHandle) -> Estimate:
    """Copying random tokens costs {value} a token more than copying a sentence."""
    return _harder(model, rules.RANDOM)


def _preferred(wrong: str) -> Estimate:
    table = memory.against_common(fable())
    return stats.share(table[wrong] > 0, unit="facts")


@finding(unit="share")
def against_common(model: ModelHandle) -> Estimate:
    """fable-gpt2 prefers a rarely stated truth to a common wrong answer in {value}."""
    return _preferred("common")


@finding(unit="share")
def against_rare(model: ModelHandle) -> Estimate:
    """fable-gpt2 prefers a rarely stated truth to a rare wrong answer in {value}."""
    return _preferred("rare")


@finding(unit="points", expect=above(0))
def frequency(model: ModelHandle) -> Estimate:
    """A rarely stated truth loses to a common wrong answer more often than to a rare one, by
    {value}."""
    table = memory.against_common(fable())
    right = [(table[wrong] > 0).to_numpy(float) for wrong in ("rare", "common")]
    return stats.paired_difference(*right, unit="facts")


@finding(unit="share", expect=below(0.5))
def once(model: ModelHandle) -> Estimate:
    """Facts that stand once in its training data are recalled by fable-gpt2 in {value}."""
    return recalled(1)


@finding(unit="share")
def never(model: ModelHandle) -> Estimate:
    """Facts that are not in its training data are guessed by fable-gpt2 in {value}."""
    return recalled(0)


@finding(unit="share")
def once_share(model: ModelHandle) -> Estimate:
    """Of the statements about these people and lands in fable-gpt2's training data, {value} state a
    fact that stands there once."""
    return memory.once_share()


@finding(unit="share", expect=above(0.01))
def made_up(model: ModelHandle) -> Estimate:
    """Of the facts about them that fable-gpt2 states of its own accord, {value} are made up."""
    table = memory.free_statements(fable())
    return stats.share(table["statements"] == 0, unit="statements")


@finding(unit="tokens")
def half_loss(model: ModelHandle) -> Estimate:
    """fable-gpt2 had half of its gain on held-out stories after {value} of training."""
    return _half_done("stories_bits_per_byte")


@finding(unit="tokens")
def half_facts(model: ModelHandle) -> Estimate:
    """fable-gpt2 recalled half of the facts stated often after {value} of training."""
    return _half_done("recall_trained_256")


def _half_done(column: str) -> Estimate:
    return exact(training_record.tokens_until_half("fable-gpt2", column), 1, "training run")
