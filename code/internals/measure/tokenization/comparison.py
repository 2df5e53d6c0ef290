"""Tokenizers on the same text: how they cut it, how long it gets, what it costs in other languages.

Documents and articles are resampled for intervals, never tokens.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

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
TOKENIZERS = "REPORT_TOKENIZERS"
"""Variable with further tokenizers to compare: Hub ids or folders, separated by commas."""


def _halves() -> tuple[list[str], list[str]]:
    """Held-out documents: one half to train on, the other to compare on."""
    texts = documents()
    return texts[0::2], texts[1::2]


def all_rivals(model: ModelHandle) -> list[Rival]:
    """The model's own tokenizer first, those of real models, then kinds that are trained here."""
    train, _ = _halves()
    asked = [s.strip() for s in os.environ.get(TOKENIZERS, "").split(",") if s.strip()]
    files = [MODELS / "fable-gpt2" / "tokenizer.json", *map(tokenizer_file, asked)]
    found = [
        rivals.from_transformers(model.name, model.loaded().tokenizer),
        rivals.from_shipped("gpt2"),
        rivals.from_shipped("cl100k_base"),
        *map(rivals.from_file, files),
        *(rivals.train(kind, train, SIZE) for kind in rivals.TRAINED),
    ]
    return list({rival.name: rival for rival in reversed(found)}.values())[::-1]


def further() -> str:
    """What the environment adds to the comparison: part of the key of each measurement."""
    return os.environ.get(TOKENIZERS, "").strip()


@measurement(files=[HELD_OUT])
def cuts(model: ModelHandle, more: str = "") -> pd.DataFrame:
    """One sentence cut by every tokenizer

    Columns: ``text`` (name), ``tokenizer``, ``tokens``, ``pieces`` (bars between them).
    """
    rows = [
        (name, rival.name, len(rival.encode(text)), " | ".join(rival.pieces(text)))
        for name, text in SENTENCES.items()
        for rival in all_rivals(model)
    ]
    return pd.DataFrame(rows, columns=["text", "tokenizer", "tokens", "pieces"])


def side_by_side(cuts: pd.DataFrame) -> pd.DataFrame:
    """``tokenizer``, a column of token counts for each text, and ``pieces`` of the first text."""
    order = names(cuts)
    counts = cuts.pivot(index="tokenizer", columns="text", values="tokens").loc[order]
    first = cuts[cuts["text"] == cuts["text"].iloc[0]].set_index("tokenizer")["pieces"]
    return counts[list(SENTENCES)].assign(pieces=first).reset_index()


@measurement(files=[HELD_OUT])
def rates(model: ModelHandle, more: str = "") -> pd.DataFrame:
    """Length and coverage of each tokenizer on held-out English

    Columns: ``tokenizer``, ``entries``, ``tokens_per_word``, ``bytes_per_token`` with ``low`` and
    ``high`` (bootstrap over documents), ``unknown`` (share of the tokens), ``returned`` (share of
    the documents that come back byte for byte), ``documents``.
    """
    _, texts = _halves()
    n_bytes = np.array([len(text.encode()) for text in texts])
    n_words = np.array([len(re.findall(r"\S+", text)) for text in texts])
    rows = []
    for rival in all_rivals(model):
        ids = [rival.encode(text) for text in texts]
        tokens = np.array([len(row) for row in ids])
        found = stats.bootstrap_ci(
            np.column_stack([n_bytes, tokens]), _ratio, method="percentile", unit="documents"
        )
        unknown = sum(row.count(rival.unknown) for row in ids) if rival.unknown is not None else 0
        back = np.mean([rival.decode(row) == text for row, text in zip(ids, texts, strict=True)])
        rows.append(
            {
                "tokenizer": rival.name,
                "entries": rival.n_vocab,
                "tokens_per_word": tokens.sum() / n_words.sum(),
                "bytes_per_token": found.value,
                "low": found.low,
                "high": found.high,
                "unknown": unknown / tokens.sum(),
                "returned": float(back),
                "documents": len(texts),
            }
        )
    return pd.DataFrame(rows)


@measurement(files=[PARALLEL])
def premiums(model: ModelHandle) -> pd.DataFrame:
    """Tokens of other languages for the same text (Petrov et al. 2023)

    Columns: ``tokenizer`` (own, GPT-2's, cl100k), ``language``, ``script``, ``value`` (tokens over
    tokens of English for the same articles), ``low``, ``high`` (bootstrap over articles),
    ``articles``, ``bytes_ratio`` (bytes over bytes of English: what single bytes would cost).
    """
    parallel = pd.read_csv(DATA / "parallel" / "udhr.tsv", sep="\t", keep_default_na=False)
    own = rivals.from_transformers(model.name, model.loaded().tokenizer)
    chosen = [own, rivals.from_shipped("gpt2"), rivals.from_shipped("cl100k_base")]
    texts = {key: part.set_index("article")["text"] for key, part in parallel.groupby("language")}
    scripts = parallel.groupby("language")["script"].first()
    english = texts.pop("English")
    rows = []
    for rival in chosen:
        for language, foreign in texts.items():
            shared = [article for article in english.index if article in foreign.index]
            pairs = [(rival.encode(foreign[a]), rival.encode(english[a])) for a in shared]
            counts = np.array([[len(first), len(second)] for first, second in pairs])
            found = stats.bootstrap_ci(counts, _ratio, method="percentile", unit="articles")
            n_bytes = [sum(len(t[a].encode()) for a in shared) for t in (foreign, english)]
            rows.append(
                {
                    "tokenizer": rival.name,
                    "language": language,
                    "script": scripts[language],
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "articles": found.n,
                    "bytes_ratio": n_bytes[0] / n_bytes[1],
                }
            )
    return pd.DataFrame(rows)


def _ratio(rows: np.ndarray) -> float:
    """Sum of column 0 over sum of column 1."""
    return float(rows[:, 0].sum() / max(rows[:, 1].sum(), 1))


def own(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the model's own tokenizer, which come first."""
    return table[table["tokenizer"] == table["tokenizer"].iloc[0]]


def names(table: pd.DataFrame) -> Sequence[str]:
    """Tokenizers of a table, in its order."""
    return list(dict.fromkeys(table["tokenizer"]))
