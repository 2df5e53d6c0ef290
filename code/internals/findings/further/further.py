"""Words drawn by lot, greedy decoding, a hidden top-k, vocabularies of several sizes."""

from __future__ import annotations

from internals import stats
from internals.findings import Estimate, above, below, exact, finding
from internals.measure import bench
from internals.measure import further as measured
from internals.measure.probabilities.capitals import capitals
from internals.models import ModelHandle


@finding(unit="points", expect=above(0))
def likeliest(model: ModelHandle) -> Estimate:
    """fable-gpt2 gives the likeliest outcome of a lot more than its true probability, by
    {value}."""
    return _more_than("true")


@finding(unit="points", expect=above(0))
def other_model(model: ModelHandle) -> Estimate:
    """fable-llama, which read the same sentences, gives the likeliest outcome less than fable-gpt2
    does, by {value}."""
    return _more_than("fable-llama")


def _more_than(other: str) -> Estimate:
    """What fable-gpt2 gives the truly likeliest outcome beyond what ``other`` says."""
    table = measured.known_truth()
    top = table.loc[table.groupby("context")["true"].idxmax()]
    return stats.paired_difference(top["fable-gpt2"], top[other], unit="contexts")


@finding(expect=below(4))
def nearer(model: ModelHandle) -> Estimate:
    """fable-gpt2 is nearer to the true probabilities than the frequencies in its data were in
    {value} of the contexts."""
    table = measured.known_truth()
    off = table.sub(table["true"], axis=0).abs().groupby("context").sum()
    distance = off + 1 - table.groupby("context").sum()  # any other word is one more outcome
    return exact((distance["fable-gpt2"] < distance["data"]).sum(), len(distance), "contexts")


@finding(unit="points", expect=above(0))
def greedy(model: ModelHandle) -> Estimate:
    """The likeliest token begins the name of the capital more often than a drawn one does, by
    {value}."""
    table = capitals(model)
    right, labels = table["correct"].astype(float), table["country"]
    return stats.paired_difference(right, table["right"], clusters=labels, unit="countries")


@finding(unit="share", expect=above(1 - bench.WIDE))
def hidden(model: ModelHandle) -> Estimate:
    """A top-k of fifty takes another {value} of the probability away from a nucleus of 0.95."""
    return stats.bootstrap_ci(bench.after_prompts(model)["hidden_lost"], unit="prompts")


@finding(unit="points", expect=above(0))
def less(model: ModelHandle) -> Estimate:
    """The last doubling of a vocabulary saves a smaller share of the tokens of new text than the
    first, by {value}."""
    tokens = measured.growth().query("text == 'new'")[[*measured.SIZES]]
    return stats.bootstrap_ci(
        tokens,
        lambda x: x[:, -1].sum() / x[:, -2].sum() - x[:, 1].sum() / x[:, 0].sum(),
        unit="documents",
    )
