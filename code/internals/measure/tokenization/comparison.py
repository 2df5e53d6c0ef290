"""Tokenizers on the same text: how they cut it, how long it gets, what it costs in other languages.

Documents and articles are resampled for intervals, never tokens.
"""

from __future__ import annotations

import os

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure.tokenization import rivals
from internals.measure.tokenization.rivals import Rival
from internals.measure.windows import HELD_OUT, documents
from internals.models import ModelHandle
from internals.models.resolve import tokenizer_file
from internals.paths import DATA, MODELS

PARALLEL = "data/parallel/udhr.tsv"
SENTENCES = {
    "English": "Nobody had expected the unhappiness of the kingfisher.",
    "Hindi": "सभी मनुष्य जन्म से स्वतन्त्र हैं।",
    "Python": "def area(r):\n    return 3.14159 * r ** 2",
}
"""The texts that are cut by every tokenizer, side by side."""
SIZE = 4096
"""Entries of the tokenizers that are trained here: what the shipped text can fill."""
FURTHER = os.environ.get("REPORT_TOKENIZERS", "").strip()
"""Further tokenizers to compare, Hub ids or folders with commas between: part of every key."""


def _halves() -> tuple[list[str], list[str]]:
    """Held-out documents: one half to train on, the other to compare on."""
    texts = documents()
    return texts[0::2], texts[1::2]


def all_rivals(model: ModelHandle, more: str) -> list[Rival]:
    """The model's own tokenizer first, those of real models, then kinds that are trained here."""
    from transformers import AutoTokenizer

    asked = [tokenizer_file(name.strip()).parent for name in more.split(",") if name.strip()]
    folders = [MODELS / "fable-gpt2", *asked]
    found = [
        rivals.from_transformers(model.name, model.loaded().tokenizer),
        *map(rivals.from_shipped, ("gpt2", "cl100k_base")),
        *(rivals.from_transformers(f.name, AutoTokenizer.from_pretrained(f)) for f in folders),
        *(rivals.train(kind, _halves()[0], SIZE) for kind in rivals.TRAINED),
    ]
    return list({rival.name: rival for rival in reversed(found)}.values())[::-1]


@measurement(files=[HELD_OUT])
def cuts(model: ModelHandle, more: str = FURTHER) -> pd.DataFrame:
    """The same texts under every tokenizer

    Columns: ``tokenizer``, a number of tokens for each of `SENTENCES`, ``pieces`` of the first
    (bars between them).
    """
    rows = [
        {
            "tokenizer": rival.name,
            **{name: len(rival.encode(text)) for name, text in SENTENCES.items()},
            "pieces": " | ".join(rival.pieces(SENTENCES["English"])),
        }
        for rival in all_rivals(model, more)
    ]
    return pd.DataFrame(rows)


@measurement(files=[HELD_OUT])
def rates(model: ModelHandle, more: str = FURTHER) -> pd.DataFrame:
    """Length and coverage of each tokenizer on held-out English

    Columns: ``tokenizer``, ``entries``, ``words`` (between blanks), ``bytes``, ``tokens``,
    ``unknown`` (tokens), ``returned`` (byte for byte); a row for each tokenizer and document.
    """
    rows = []
    for rival in all_rivals(model, more):
        for text in _halves()[1]:
            ids = rival.encode(text)
            counts = (
                len(text.split()),
                len(text.encode()),
                len(ids),
                sum(i == rival.unknown for i in ids),
            )
            rows.append((rival.name, rival.n_vocab, *counts, rival.decode(ids) == text))
    columns = ["tokenizer", "entries", "words", "bytes", "tokens", "unknown", "returned"]
    return pd.DataFrame(rows, columns=columns)


def summary(rates: pd.DataFrame) -> pd.DataFrame:
    """Over all documents: ``tokenizer``, ``entries``, ``tokens_per_word``, ``bytes_per_token``,
    ``unknown`` (share of the tokens), ``returned`` (share of the documents)."""
    by_tokenizer = rates.groupby(["tokenizer", "entries"], sort=False)
    total = by_tokenizer.sum()
    columns = {
        "tokens_per_word": total["tokens"] / total["words"],
        "bytes_per_token": total["bytes"] / total["tokens"],
        "unknown": total["unknown"] / total["tokens"],
        "returned": by_tokenizer["returned"].mean(),
    }
    return pd.DataFrame(columns).reset_index()


@measurement(files=[PARALLEL])
def premiums(model: ModelHandle) -> pd.DataFrame:
    """Tokens of other languages for the same text (Petrov et al. 2023)

    Columns: ``tokenizer`` (own, GPT-2's, cl100k), ``language``, ``value`` (tokens over tokens of
    English for the same articles), ``low``, ``high`` (bootstrap over articles), ``articles``,
    ``bytes_ratio`` (bytes over bytes of English: what single bytes would cost).
    """
    parallel = pd.read_csv(DATA / "parallel" / "udhr.tsv", sep="\t", keep_default_na=False)
    texts = parallel.pivot(index="article", columns="language", values="text")
    own = rivals.from_transformers(model.name, model.loaded().tokenizer)
    rows = []
    for rival in (own, *map(rivals.from_shipped, ("gpt2", "cl100k_base"))):
        for language in texts.columns.drop("English"):
            shared = texts[[language, "English"]].dropna()
            counts = shared.map(lambda text: len(rival.encode(text))).to_numpy()  # noqa: B023
            found = stats.bootstrap_ci(counts, ratio, method="percentile", unit="articles")
            n_bytes = shared.map(lambda text: len(text.encode())).to_numpy()
            interval = (found.value, found.low, found.high, found.n)
            rows.append((rival.name, language, *interval, ratio(n_bytes)))
    columns = ["tokenizer", "language", "value", "low", "high", "articles", "bytes_ratio"]
    return pd.DataFrame(rows, columns=columns)


def ratio(rows: np.ndarray) -> float:
    """Sum of column 0 over sum of column 1."""
    return float(rows[:, 0].sum() / max(rows[:, 1].sum(), 1))


def own(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the model's own tokenizer, which come first."""
    return table[table["tokenizer"] == table["tokenizer"].iloc[0]]
