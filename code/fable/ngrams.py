"""The 5-gram model of the training text: `data/training/ngrams.xz` and what pruning cost it.

The training text is not shipped, so a simple model of it is: with it a report can tell what of a
transformer's success follows from runs of five tokens. N-grams of three and more tokens that occur
once are left out; the table beside it says what that costs.

    python -m fable.ngrams DATASET
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from fable import ngram, probes
from fable.corpus import SEPARATOR
from internals.paths import DATA

ORDER = 5
LEAST = (1, 2, 2, 2)
"""Smallest counts that are shipped, of two to five tokens."""


def write_ngrams(dataset: Path, folder: Path, least: tuple[int, ...] = LEAST) -> None:
    """Write ``ngrams.xz`` and ``ngrams.csv`` about a data set into ``folder``.

    The table has one row a length: ``length``, ``kept`` and ``all`` n-grams, and for each kind of
    held-out text the bits per byte of the model up to that length, pruned and unpruned.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(dataset / "tokenizer" / "tokenizer.json"))
    stream = np.fromfile(dataset / "train.bin", np.uint16)
    end = tokenizer.token_to_id(SEPARATOR)
    held_out = probes.held_out_documents(dataset / "heldout.jsonl")
    rows = []
    for order in range(1, ORDER + 1):
        full, pruned = (
            ngram.train(stream, tokenizer.get_vocab_size(), order, boundary=end, least=kept)
            for kept in (None, least[: order - 1])
        )
        row: dict[str, float] = {"length": order, "all": len(full.levels[-1].keys)}
        for kind, part in held_out.groupby("kind"):
            for name, model in (("all", full), ("kept", pruned)):
                bits = bits_per_byte(model, tokenizer, part["text"].tolist(), end)
                row[f"{kind}_bits_per_byte_{name}"] = bits
        rows.append(row)
    ngram.save(pruned, folder / "ngrams.xz")
    table = pd.DataFrame(rows)
    table.insert(1, "kept", [len(level.keys) for level in pruned.levels])
    table.to_csv(folder / "ngrams.csv", index=False, float_format="%.4f")


def bits_per_byte(
    model: ngram.NGrams, tokenizer: object, texts: list[str], end: int | None
) -> float:
    """Total surprisal of whole documents in bits over their UTF-8 bytes."""
    bits, size = 0.0, 0
    for text in texts:
        ids = tokenizer.encode(text).ids  # type: ignore[attr-defined]
        bits -= float(model.log_probs(np.array([end, *ids], np.int64)).sum()) / np.log(2)
        size += len(text.encode())
    return bits / size


if __name__ == "__main__":
    write_ngrams(Path(sys.argv[1]), DATA / "training")
