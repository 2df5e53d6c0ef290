"""Tokenizers side by side, and the price of other languages."""

from __future__ import annotations

from internals import stats
from internals.findings import Estimate, above, finding
from internals.measure.tokenization import comparison
from internals.models import ModelHandle


@finding(unit="share", expect=above(0.05))
def word_level_unknown(model: ModelHandle) -> Estimate:
    """A vocabulary of whole words, trained on half of the documents, has no entry for {value} of
    the words and marks of the other half."""
    return _rate(model, "words", "unknown", "tokens")


@finding(unit="bytes")
def own_length(model: ModelHandle) -> Estimate:
    """This tokenizer's tokens hold {value} of English on average."""
    return _rate(model, model.name, "bytes", "tokens")


@finding(expect=above(1))
def hindi(model: ModelHandle) -> Estimate:
    """The same articles cost {value} times as many tokens in Hindi as in English."""
    return _premium(model, "Hindi")


@finding(expect=above(1))
def spanish(model: ModelHandle) -> Estimate:
    """The same articles cost {value} times as many tokens in Spanish as in English."""
    return _premium(model, "Spanish")


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


def _rate(model: ModelHandle, tokenizer: str, part: str, whole: str) -> Estimate:
    """One count over another, documents resampled."""
    table = comparison.rates(model)
    counts = table.loc[table["tokenizer"] == tokenizer, [part, whole]].to_numpy()
    return stats.bootstrap_ci(counts, comparison.ratio, method="percentile", unit="documents")


def _premium(model: ModelHandle, language: str) -> Estimate:
    """Tokens of a language over tokens of English, under the model's own tokenizer."""
    row = comparison.own(comparison.premiums(model)).set_index("language").loc[language]
    interval = (row["value"], row["low"], row["high"])
    return Estimate(*interval, int(row["articles"]), "articles", "percentile bootstrap")
