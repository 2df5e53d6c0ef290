"""Ambiguous words: what becomes of both readings while the context grows word by word.

Each reading has a continuation that fits it alone; their log-odds say which reading prevails.
Control: the contexts of another word, which should move nothing. Unit: the ambiguous word.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import questions, stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.capability import start_ids

if TYPE_CHECKING:
    from internals.models import ModelHandle

OWN, OTHER = "own contexts", "contexts of another word"


@measurement
def readings(model: ModelHandle, items: Path = questions.AMBIGUITY) -> pd.DataFrame:
    """Readings of ambiguous words as context accumulates

    Columns: ``id``, ``contexts`` (own contexts, contexts of another word), ``leads_to`` (first,
    second: the reading for which the context was written), ``words`` (of the context so far),
    ``word`` (the last of them), ``log_odds`` (bits, first reading over second), ``first`` (share of
    the first reading of the two). Words whose longest beginning does not fit into the model's
    context are left out; the larger the model, the fewer words are asked.
    """
    from internals.measure.answers import answer_scores

    loaded = model.loaded()
    start = start_ids(loaded)

    def ids(text: str) -> list[int]:
        return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])

    rows, pairs = [], []
    chosen = questions.ambiguous_words(items)
    chosen = chosen[: effort.units(loaded.facts, len(chosen), least=12)]
    for row, text, continuations in _beginnings(chosen):
        head = [*start, *ids(text)]
        both = [(head, ids(f" {continuation}")) for continuation in continuations]
        fits = max(len(h) + len(c) for h, c in both) <= loaded.facts.context_length
        rows.append({**row, "fits": fits})
        pairs += both if fits else []
    frame = pd.DataFrame(rows)
    frame["log_odds"] = np.nan
    if pairs:
        scores = answer_scores(loaded.model, pairs)["log_prob"].to_numpy().reshape(-1, 2)
        frame.loc[frame["fits"], "log_odds"] = (scores[:, 0] - scores[:, 1]) / math.log(2)
    frame = frame[frame.groupby("id")["fits"].transform("all")].drop(columns="fits")
    # Bits beyond thirty either way are certainty; the limit keeps the power from overflowing.
    frame["first"] = 1 / (1 + 2.0 ** -frame["log_odds"].clip(-30, 30))
    return frame.reset_index(drop=True)


def _beginnings(
    items: list[questions.AmbiguousWord],
) -> Iterator[tuple[dict[str, object], str, tuple[str, str]]]:
    """Row, text and continuations for each word, each context and each number of words."""
    for number, item in enumerate(items):
        other = items[(number + 1) % len(items)]
        for contexts, source in ((OWN, item), (OTHER, other)):
            for leads_to, context in zip(("first", "second"), source.contexts, strict=True):
                for k in range(len(context) + 1):
                    said = f"{' '.join(context[:k])}. " if k else ""
                    row = {
                        "id": item.id,
                        "contexts": contexts,
                        "leads_to": leads_to,
                        "words": k,
                        "word": context[k - 1] if k else "",
                    }
                    yield row, said + item.question, item.continuations


def pull(table: pd.DataFrame) -> pd.DataFrame:
    """Per ambiguous word: ``id``, ``contexts``, ``words``, ``bits`` by which the contexts pull
    towards the reading for which they were written.

    Half the difference of the log-odds after both contexts: what the model thinks of the two
    continuations by themselves cancels, and without context the pull is zero.
    """
    wide = table.pivot_table(
        index=["id", "contexts", "words"], columns="leads_to", values="log_odds", sort=False
    )
    bits = (wide["first"] - wide["second"]) / 2
    return bits.rename("bits").reset_index()


def example(table: pd.DataFrame, items: Path = questions.AMBIGUITY) -> pd.DataFrame:
    """The rows of the first ambiguous word in its own contexts, to be drawn in full: as `readings`,
    and ``reading_first`` and ``reading_second`` (the continuations)."""
    own = table[table["contexts"] == OWN]
    one = own[own["id"] == own["id"].iloc[0]] if len(own) else own
    words = {item.id: item.continuations for item in questions.ambiguous_words(items)}
    first, second = words[one["id"].iloc[0]] if len(one) else ("", "")
    return one.assign(reading_first=first, reading_second=second)


def mean_pull(table: pd.DataFrame) -> pd.DataFrame:
    """``contexts``, ``words``, ``value``, ``low``, ``high``, ``n``: `pull` with intervals over
    ambiguous words."""
    rows = []
    for (contexts, words), part in pull(table).groupby(["contexts", "words"], sort=False):
        found = stats.bootstrap_ci(part["bits"].to_numpy(), unit="words")
        rows.append((contexts, int(words), found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=["contexts", "words", "value", "low", "high", "n"])


def first_certain(means: pd.DataFrame) -> int | None:
    """Words of context from which on the pull of the own contexts stays clearly above zero."""
    own = means[means["contexts"] == OWN].sort_values("words", ascending=False)
    certain = None
    for row in own.itertuples():
        if not row.low > 0:
            break
        certain = int(row.words)
    return certain


def intended(table: pd.DataFrame) -> pd.DataFrame:
    """Per ambiguous word at the end of its own contexts: ``id``, ``intended`` (share of its two
    contexts after which the reading meant is the likelier one), ``before`` and ``after`` (entropy
    in bits of the two readings without and with the whole context)."""
    own = table[table["contexts"] == OWN]
    sign = np.where(own["leads_to"] == "first", 1.0, -1.0)
    share = own["first"].to_numpy()
    own = own.assign(right=own["log_odds"] * sign > 0, entropy=_binary_entropy(share))
    end = own[own["words"] == own["words"].max()].groupby("id", sort=False)
    begin = own[own["words"] == 0].groupby("id", sort=False)
    return pd.DataFrame(
        {
            "intended": end["right"].mean(),
            "before": begin["entropy"].mean(),
            "after": end["entropy"].mean(),
        }
    ).reset_index()


def _binary_entropy(p: np.ndarray) -> np.ndarray:
    q = 1 - p
    return -(p * np.log2(np.maximum(p, 1e-300)) + q * np.log2(np.maximum(q, 1e-300)))
