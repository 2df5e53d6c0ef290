"""From a finished run to a folder that anyone can load: weights, tokenizer, card, log, exposure.

The folder needs none of this project's code: `AutoModelForCausalLM.from_pretrained(folder)`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from internals.paths import DATA, MODELS
from internals.training.recipe import ROUNDS, save_half

HELD_OUT_BYTES = {"stories": 240_000, "expository": 60_000, "generated": 60_000}
"""How much held-out text of each kind is shipped."""
SHARED = ("exposure.csv", "true_distributions.csv", "sources.csv", "credits.csv", "meta.json")
"""Tables of the data set that ship in `data/training/`."""


def export(model: Any, name: str, dataset: Path, log: pd.DataFrame, cost: dict[str, Any]) -> Path:
    """Write ``data/models/<name>``; an earlier version is replaced as a whole.

    Args:
        model: the trained model.
        name: folder name.
        dataset: folder of :func:`internals.training.dataset.build_dataset`.
        log: table of :func:`internals.training.probes.training_log`.
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
    from internals.training.audit import write_audit
    from internals.training.ngrams import write_ngrams

    (DATA / "training").mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        shutil.copy(dataset / name, DATA / "training" / name)
    write_audit(dataset, DATA / "training")
    write_ngrams(dataset, DATA / "training")
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
    with (dataset / "heldout.jsonl").open(encoding="utf-8") as lines:
        table = pd.DataFrame([json.loads(line) for line in lines])
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


def _rows(rows: Iterable[Iterable[object]]) -> str:
    """Lines of a Markdown table."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def card(
    name: str, model: Any, meta: dict[str, Any], log: pd.DataFrame, cost: dict[str, Any]
) -> str:
    """The model card: front matter, data, recipe, cost, evaluation, limits."""
    last = log.iloc[-1]
    by_kind = meta["train"]["by_kind"].items()
    kinds = _rows((kind, f"{row['tokens']:,}", f"{row['bytes']:,}") for kind, row in by_kind)
    losses = {kind: f"{kind}_bits_per_byte" for kind in meta["heldout"]["by_kind"]}
    held = _rows((kind, f"{last[c]:.3f}") for kind, c in losses.items() if c in last)
    levels = sorted(
        int(c.rsplit("_", 1)[1]) for c in log.columns if c.startswith("recall_trained_")
    )
    wordings = ("trained", "heldout")
    recall = _rows((n, *(f"{last[f'recall_{w}_{n}']:.2f}" for w in wordings)) for n in levels)
    rounds = ROUNDS[: int(log["round"].max())]
    passes = "once" if len(rounds) == 1 else f"{len(rounds)} times, in another order each time"
    recipes = _rows(
        (i, r.muon_lr, r.adam_lr, f"{r.last_share:.0%}") for i, r in enumerate(rounds, start=1)
    )
    n = sum(p.numel() for p in model.parameters())
    return f"""---
license: cc-by-4.0
language: en
pipeline_tag: text-generation
library_name: transformers
tags: [interpretability, education, controlled-exposure]
---

# {name}

A small causal language model ({model.config.model_type}, {n:,} parameters) whose training data is
known fact by fact.
It is made for the study of language models, not for use.

## Data

{meta["train"]["tokens"]:,} tokens, read {passes}; seeds fix the orders. About a tenth of the
documents (of the free text and of the general generated text) was held out and never trained on.

| kind | training tokens | bytes |
| --- | ---: | ---: |
{kinds}

Stories and expository text are in the public domain, CC0 or CC-BY; every work with its author,
licence and source is in `data/training/sources.csv`, illustrators and translators are in
`data/training/credits.csv`: the attribution that CC-BY asks for.
Generated text is made by `internals.training` from tables in `data/facts/`.
`data/training/exposure.csv` lists every designed fact with the number of times it was stated.

## Recipe

Muon for the matrices of the blocks, AdamW for the rest; {rounds[0].batch_tokens} tokens a step;
bfloat16 autocast where the processor has it. Windows of {rounds[0].window} tokens at random
positions, then of {rounds[0].last_window}. Every round is one pass with a linear warm-up and
decay to zero, and starts from the weights that the round before it stored in bfloat16:

| round | peak rate, Muon | peak rate, AdamW | share of the pass with long windows |
| ---: | ---: | ---: | ---: |
{recipes}

Tokens seen: {cost["tokens"]:,}. Cost: {cost["hours"]:.1f} hours on {cost["machine"]}.
Weights are stored in bfloat16.

## Evaluation

| held-out text | bits per byte |
| --- | ---: |
{held}

Share of invented facts whose answer is ranked first among the candidates (ten for each fact), by
the number of times the data state the fact:

| statements | wording seen in training | wording never seen |
| ---: | ---: | ---: |
{recall}

## Limits

It knows a few tables and a few hundred old books; period attitudes of those books are in it.
It states falsehoods fluently. It must not be used to inform or advise anyone.
"""
