"""Tokenizers side by side, and the price of other languages."""

from __future__ import annotations

import pandas as pd

from internals import stats
from internals.findings import Estimate, above, exact, exactly, finding
from internals.measure.tokenization import comparison
from internals.models import ModelHandle


@finding(unit="share", expect=above(0.05))
def word_level_unknown(model: ModelHandle) -> Estimate:
    """A vocabulary of whole words, trained on half of the documents, has no entry for {value} of
    the words of the other half."""
    row = _rates(model).loc["words"]
    return exact(row["unknown"], row["documents"], "documents")


@finding(unit="bytes")
def own_length(model: ModelHandle) -> Estimate:
    """This tokenizer's tokens hold {value} of English on average."""
    row = _rates(model).loc[model.name]
    return Estimate(
        row["bytes_per_token"], row["low"], row["high"], int(row["documents"]), "documents",
        "percentile bootstrap",
    )  # fmt: skip


@finding()
def amharic(model: ModelHandle) -> Estimate:
    """The same articles cost {value} times as many tokens in Amharic as in English."""
    return premium(model, "Amharic")


@finding()
def hindi(model: ModelHandle) -> Estimate:
    """The same articles cost {value} times as many tokens in Hindi as in English."""
    return premium(model, "Hindi")


@finding()
def spanish(model: ModelHandle) -> Estimate:
    """The same articles cost {value} times as many tokens in Spanish as in English."""
    return premium(model, "Spanish")


@finding(expect=exactly(1))
def amharic_first(model: ModelHandle) -> Estimate:
    """Among all languages, Amharic takes place {value} in cost."""
    own = comparison.own(comparison.premiums(model))
    place = int((own["value"] > own.set_index("language").loc["Amharic", "value"]).sum()) + 1
    return exact(place, len(own), "languages")


@finding(expect=above(0))
def follows_bytes(model: ModelHandle) -> Estimate:
    """The more bytes a language needs in UTF-8, the more tokens it costs (rank correlation
    {value})."""
    own = comparison.own(comparison.premiums(model))
    return stats.correlation(own["bytes_ratio"], own["value"], unit="languages")


@finding(unit="share", expect=above(0.5))
def newer_is_cheaper(model: ModelHandle) -> Estimate:
    """The larger cl100k vocabulary costs less than this one in {value} of the languages."""
    table = comparison.premiums(model)
    wide = table.pivot(index="language", columns="tokenizer", values="value")
    newer = wide.filter(like="cl100k").iloc[:, 0]
    return stats.wilson(int((newer < wide[model.name]).sum()), len(wide), unit="languages")


def premium(model: ModelHandle, language: str) -> Estimate:
    """Tokens of a language over tokens of English, under the model's own tokenizer."""
    row = comparison.own(comparison.premiums(model)).set_index("language").loc[language]
    return Estimate(
        row["value"], row["low"], row["high"], int(row["articles"]), "articles",
        "percentile bootstrap",
    )  # fmt: skip


def _rates(model: ModelHandle) -> pd.DataFrame:
    return comparison.rates(model, comparison.further()).set_index("tokenizer")
