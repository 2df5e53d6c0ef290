"""Where the parameters of the model are."""

from __future__ import annotations

from internals.findings import Estimate, above, exact, exactly, finding
from internals.measure.architecture import components
from internals.models import ModelHandle


@finding(unit="share", expect=exactly(1))
def formula(model: ModelHandle) -> Estimate:
    """The closed form, from widths alone, gives the exact number of parameters of {value} of the
    blocks."""
    sizes = components.block_sizes(model)
    predicted = components.block_terms(model)["parameters"].sum()
    return exact(sizes.count(predicted) / len(sizes), len(sizes), "blocks")


@finding(unit="share")
def embedding(model: ModelHandle) -> Estimate:
    """Embeddings and head hold {value} of all parameters."""
    table = components.ledger(model)
    part = table["part"].isin(["token embedding", "position embedding", "head"])
    return exact(table.loc[part, "share"].sum(), int(table["parameters"].sum()), "parameters")


@finding(expect=above(1))
def mlp(model: ModelHandle) -> Estimate:
    """The MLPs hold {value} times as many parameters as attention."""
    size = components.ledger(model).set_index("part")["parameters"]
    return exact(size["MLP"] / size["attention"], int(size.sum()), "parameters")
