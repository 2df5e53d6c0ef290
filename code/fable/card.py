"""The model card of an embedded model: a text with places, and what is filled in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from fable.recipe import ROUNDS

_TEXT = """---
license: cc-by-4.0
language: en
pipeline_tag: text-generation
library_name: transformers
tags: [interpretability, education, controlled-exposure]
---

# {name}

A small causal language model ({kind}, {n:,} parameters) whose training data is
known fact by fact.
It is made for the study of language models, not for use.

## Data

{stream:,} tokens, read {passes}; seeds fix the orders. About a tenth of the
documents (of the free text and of the general generated text) was held out and never trained on.

| kind | training tokens | bytes |
| --- | ---: | ---: |
{kinds}

Stories and expository text are in the public domain, CC0 or CC-BY; every work with its author,
licence and source is in `data/training/sources.csv`, illustrators and translators are in
`data/training/credits.csv`: the attribution that CC-BY asks for.
Generated text is made by `fable` from tables in `data/facts/`.
`data/training/exposure.csv` lists every designed fact with the number of times it was stated.

## Recipe

Muon for the matrices of the blocks, AdamW for the rest; {batch} tokens a step;
bfloat16 autocast where the processor has it. Windows of {window} tokens at random
positions, then of {last_window}. Every round is one pass with a linear warm-up and
decay to zero, and starts from the weights that the round before it stored in bfloat16:

| round | peak rate, Muon | peak rate, AdamW | share of the pass with long windows |
| ---: | ---: | ---: | ---: |
{recipes}

Tokens seen: {seen:,}. Cost: {hours:.1f} hours on {machine}.
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
    return _TEXT.format(
        name=name,
        kind=model.config.model_type,
        n=sum(p.numel() for p in model.parameters()),
        stream=meta["train"]["tokens"],
        passes=passes,
        kinds=kinds,
        batch=rounds[0].batch_tokens,
        window=rounds[0].window,
        last_window=rounds[0].last_window,
        recipes=recipes,
        seen=cost["tokens"],
        hours=cost["hours"],
        machine=cost["machine"],
        held=held,
        recall=recall,
    )


def _rows(rows: Iterable[Iterable[object]]) -> str:
    """Lines of a Markdown table."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
