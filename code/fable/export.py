"""From a finished run to a folder that anyone can load: weights, tokenizer, card, log, exposure.

The folder needs none of this project's code: `AutoModelForCausalLM.from_pretrained(folder)`.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fable.card import card
from fable.recipe import save_half
from internals.paths import DATA, MODELS

HELD_OUT_BYTES = {"stories": 240_000, "expository": 60_000, "generated": 60_000}
"""How much held-out text of each kind is shipped."""
SHARED = ("exposure.csv", "true_distributions.csv", "sources.csv", "credits.csv", "meta.json")
"""Tables of the data set that ship in `data/training/`."""


def export(model: Any, name: str, dataset: Path, log: pd.DataFrame, cost: dict[str, Any]) -> Path:
    """Write ``data/models/<name>``; an earlier version is replaced as a whole.

    Args:
        model: the trained model.
        name: folder name.
        dataset: folder of :func:`fable.dataset.build_dataset`.
        log: table of :func:`fable.probes.training_log`.
        cost: ``tokens``, ``hours`` and ``machine`` of the run.
    """
    folder = MODELS / name
    new = folder.with_name(name + ".new")
    save_half(model, new)
    for file in (dataset / "tokenizer").iterdir():
        shutil.copy(file, new / file.name)
    log.to_csv(new / "training_log.csv", index=False, float_format="%.6g")
    record = {
        "passes": int(log["round"].max()),
        "exposure": os.path.relpath(DATA / "training" / "exposure.csv", folder),
        "log": "training_log.csv",
        **cost,
    }
    (new / "training.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    meta = json.loads((dataset / "meta.json").read_text("utf-8"))
    (new / "README.md").write_text(card(name, model, meta, log, cost), "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    return folder


def export_tables(dataset: Path) -> None:
    """Write what both models share to `data/training/` and `data/heldout/`."""
    from fable.audit import generated_texts, sums

    (DATA / "training").mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        shutil.copy(dataset / name, DATA / "training" / name)
    sums(generated_texts(dataset)).to_csv(DATA / "training" / "sums.csv", index=False)
    (DATA / "heldout").mkdir(parents=True, exist_ok=True)
    excerpt = held_out_excerpt(dataset)
    excerpt.to_json(
        DATA / "heldout" / "documents.jsonl", orient="records", lines=True, force_ascii=False
    )


def held_out_excerpt(dataset: Path) -> pd.DataFrame:
    """Held-out documents up to the shipped size, as many works as possible.

    Columns: ``kind``, ``source`` (row of ``sources.csv`` or kind of generated text), ``licence``,
    ``text``.
    """
    table = pd.read_json(dataset / "heldout.jsonl", lines=True)
    sources = pd.read_csv(dataset / "sources.csv", dtype=str, keep_default_na=False)
    licences = dict(zip(sources["id"], sources["licence"], strict=True)) if len(sources) else {}
    rng = np.random.default_rng(12)
    table = table.iloc[rng.permutation(len(table))]
    # One document of every work first, then the second of every work …
    table["turn"] = table.groupby("source").cumcount()
    table = table.sort_values("turn", kind="stable")
    parts = []
    for kind, part in table.groupby("kind", sort=True):
        size = part["text"].str.encode("utf-8").str.len().cumsum()
        parts.append(part[size <= HELD_OUT_BYTES[str(kind)]])
    chosen = pd.concat(parts)
    chosen["licence"] = chosen["source"].map(licences).fillna("CC0 (made by this project)")
    return chosen[["kind", "source", "licence", "text"]].reset_index(drop=True)
