"""Small experiments that no question of the assignment asks for."""

from __future__ import annotations

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.measure.answers import answer_scores
from internals.measure.windows import HELD_OUT, documents
from internals.models import ModelHandle, open_model
from internals.paths import DATA
from internals.tokens import start_ids, word_ids

LOTS = "data/training/true_distributions.csv"
SIZES = (512, 1024, 2048, 4096, 8192)
"""Entries of the vocabularies; the text that they are built from has too few words for more."""


@measurement(files=[LOTS])
def given(model: ModelHandle) -> list[float]:
    """What the model gives to outcomes drawn by lot"""
    loaded, table = model.loaded(), pd.read_csv(DATA / "training/true_distributions.csv")
    heads = loaded.tokenizer(table["context"].tolist(), add_special_tokens=False)["input_ids"]
    answers = [word_ids(loaded.tokenizer, word) for word in table["continuation"]]
    start = start_ids(loaded.tokenizer)
    pairs = [([*start, *head], answer) for head, answer in zip(heads, answers, strict=True)]
    return list(np.exp(answer_scores(loaded.model, pairs)))


def known_truth() -> pd.DataFrame:
    """Probabilities of outcomes drawn by lot, indexed by ``context`` and ``continuation``:
    ``true``, ``data`` (frequency in training), and what the embedded models give, by their names.
    """
    table = pd.read_csv(DATA / "training/true_distributions.csv").set_index(
        ["context", "continuation"]
    )
    found = {"true": table["probability"], "data": table["count"] / table["exposures"]}
    found |= {name: given(open_model(name)) for name in ("fable-gpt2", "fable-llama")}
    return pd.DataFrame(found, index=table.index)


@measurement(files=[HELD_OUT])
def growth() -> pd.DataFrame:
    """Vocabularies of several sizes, built from half of the texts

    Byte-level BPE. A row a document: ``text`` (new, read), ``bytes``, tokens with each of `SIZES`.
    """
    from tokenizers import ByteLevelBPETokenizer

    table = pd.DataFrame({"full": documents()})
    table["text"] = np.where(table.index // 2 % 2, "new", "read")  # kinds come in turn
    table["bytes"] = [len(text.encode()) for text in table["full"]]
    for size in SIZES:
        bpe, read = ByteLevelBPETokenizer(), table.query("text == 'read'")["full"]
        bpe.train_from_iterator(read, size, min_frequency=1, show_progress=False)
        table[size] = [len(bpe.encode(text).ids) for text in table["full"]]
    return table.drop(columns="full")
