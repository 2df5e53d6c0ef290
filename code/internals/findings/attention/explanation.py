"""Whether the tokens that get attention are the tokens that matter."""

from __future__ import annotations

from internals import stats
from internals.findings import Estimate, above, below, finding
from internals.measure.attention import explanation
from internals.models import ModelHandle, open_model


@finding(expect=above(0))
def weights(model: ModelHandle) -> Estimate:
    """Attention weights go with the effect of hiding a token: rank correlation {value}."""
    return _against(model, "weights")


@finding(expect=above(0))
def weights_better(model: ModelHandle) -> Estimate:
    """Attention weights go better with the effect than nearness alone, by {value}."""
    return _against(model, "weights", "nearness")


@finding(expect=above(0))
def norms_better(model: ModelHandle) -> Estimate:
    """Value-weighted norms go better with the effect than the weights, by {value}."""
    return _against(model, "norms", "weights")


@finding(expect=below(0))
def rollout(model: ModelHandle) -> Estimate:
    """Attention rollout goes with the effect of hiding a token: rank correlation {value}."""
    return _against(model, "rollout")


@finding(expect=above(0))
def fable_better(model: ModelHandle) -> Estimate:
    """In fable-gpt2 attention weights go better with the effect than nearness alone, by {value}."""
    return _against(open_model("fable-gpt2"), "weights", "nearness")


def _against(model: ModelHandle, measure: str, other: str | None = None) -> Estimate:
    """Mean correlation over sentences of a measure, or how much better it is than another's."""
    table = explanation.agreement(explanation.importance(model))
    by_sentence = table.pivot(index="sentence", columns="measure", values="correlation")
    if other is None:
        return stats.bootstrap_ci(by_sentence[measure], unit="sentences")
    return stats.paired_difference(by_sentence[measure], by_sentence[other], unit="sentences")
