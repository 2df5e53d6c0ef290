"""Which heads look at what: their scores on random tokens that are said twice."""

from __future__ import annotations

from internals import stats
from internals.errors import NotApplicable
from internals.findings import Estimate, above, exact, finding
from internals.measure.attention import heads
from internals.measure.attention.heads import STRONG
from internals.models import ModelHandle


@finding(unit="share", expect=above(STRONG))
def previous(model: ModelHandle) -> Estimate:
    """The strongest previous-token head gives {value} of its attention to the token before."""
    return _strongest(model, "previous token")


@finding(unit="share", expect=above(STRONG))
def induction(model: ModelHandle) -> Estimate:
    """The strongest induction head gives {value} to the token after the earlier copy."""
    return _strongest(model, "induction")


@finding(unit="layers", expect=above(0))
def order(model: ModelHandle) -> Estimate:
    """The first strong induction head stands {value} above the first strong previous-token head."""
    strong = heads.ranked(model).query("strong").groupby("kind")["layer"].min()
    if not {"induction", "previous token"} <= set(strong.index):
        raise NotApplicable("in one of the two kinds no head of the model is strong")
    return exact(strong["induction"] - strong["previous token"], model.facts.n_layers, "layers")


def _strongest(model: ModelHandle, kind: str) -> Estimate:
    """Score of the head that is best on one half of the texts, taken from the other half."""
    own = heads.scores(model).query("kind == @kind")
    half = own["row"] % 2 == 0
    best = own[half].groupby(["layer", "head"])["score"].mean().idxmax()
    rest = own[~half].set_index(["layer", "head"]).sort_index()
    return stats.bootstrap_ci(rest.loc[best, "score"].to_numpy(), unit="texts")
