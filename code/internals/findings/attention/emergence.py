"""When heads appear, from the training logs of the project's models."""

from __future__ import annotations

from internals.findings import Estimate, below, exact, finding
from internals.measure.training_record import logs
from internals.models import ModelHandle


@finding(unit="share", expect=below(0.3))
def matching(model: ModelHandle) -> Estimate:
    """At the end of training the best induction score of the project's models is {value}."""
    last = logs().groupby("model")["prefix_matching_max"].last()
    return exact(last.max(), len(last), "models")
