"""A ladder of sizes: data, tokenizer and schedule stay, the width of the model differs.

Every rung reads the first :data:`TOKENS` tokens of the data set once, with a warm-up and a decay
of its own: a moment in the middle of a longer run is no substitute, since its learning rate has
not come down (Hoffmann et al. 2022). The logs ship in `data/ladder/`, the weights do not.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fable.probes import LONGEST, held_out_documents
from fable.trainer import Recipe, log_spaced, train

WIDTHS = (64, 96, 160, 256)
"""Widths of the rungs, the last that of `fable-gpt2`; all have four layers, heads of 32 numbers."""
TOKENS = 10_020_000
"""What fills no batch at the end is left out, so that ten million tokens remain."""
MOMENTS = 6
"""Moments at which a rung is scored on held-out text, evenly spaced on a logarithmic axis."""


def train_ladder(
    dataset: Path,
    work: Path,
    out: Path,
    *,
    widths: tuple[int, ...] = WIDTHS,
    tokens: int = TOKENS,
    recipe: Recipe | None = None,
) -> None:
    """Train the rungs one after another, where they are not done, and write their tables.

    Args:
        dataset: folder of :func:`fable.dataset.build_dataset`.
        work: checkpoints and scores, a folder for each width; a stopped run goes on from there.
        out: gets `moments.csv` (``width``, ``parameters``, ``block_parameters``, ``step``,
            ``tokens``, ``cpu_seconds``, ``kind``, ``bits_per_byte``), `documents.csv` (``width``,
            ``document``, ``kind``, ``bytes``, ``bits`` after the last step) and `made.json`.
    """
    import torch

    from internals.run.provenance import cpu_name

    recipe = recipe or Recipe()
    torch.set_num_threads(1)  # seconds of the processor compare only with equal threads
    every = pd.concat([_rung(dataset, work, w, tokens, recipe) for w in widths])
    keys = ["width", "parameters", "block_parameters", "step", "tokens", "cpu_seconds", "kind"]
    sums = every.groupby(keys, as_index=False)[["bits", "bytes"]].sum()
    sums["bits_per_byte"] = sums.pop("bits") / sums.pop("bytes")
    last = every[every["step"] == every.groupby("width")["step"].transform("max")]
    documents = last[["width", "document", "kind", "bytes", "bits"]]
    data = json.loads((dataset / "meta.json").read_text("utf-8"))["train"]["sha256"]
    made = {"data_sha256": data, "layers": 4, "recipe": asdict(recipe)}
    made |= {"processor": cpu_name(), "threads": 1, "torch": str(torch.__version__)}
    out.mkdir(parents=True, exist_ok=True)
    sums.to_csv(out / "moments.csv", index=False, float_format="%.6g")
    documents.to_csv(out / "documents.csv", index=False, float_format="%.6g")
    (out / "made.json").write_text(json.dumps(made, indent=2) + "\n", "utf-8")


def _rung(dataset: Path, work: Path, width: int, tokens: int, recipe: Recipe) -> pd.DataFrame:
    """Train one size; every moment leaves a file in the folder of the run, and all are returned."""
    from transformers import AutoTokenizer

    from fable.recipe import new_model

    tokenizer = AutoTokenizer.from_pretrained(dataset / "tokenizer")
    texts = held_out_documents(dataset / "heldout.jsonl")
    stream = np.fromfile(dataset / "train.bin", np.uint16)[:tokens]
    model = new_model("fable-gpt2", len(tokenizer), d_model=width)
    parameters = sum(p.numel() for p in model.parameters())
    blocks = sum(p.numel() for p in model.transformer.h.parameters())
    run = work / f"width-{width}"
    run.mkdir(parents=True, exist_ok=True)
    # Seconds of the processor, without scoring: those on the wall would tell what else ran.
    file = run / "seconds.txt"
    began = time.process_time() - (float(file.read_text("utf-8")) if file.exists() else 0.0)

    def keep_time(_: object) -> None:
        file.write_text(f"{time.process_time() - began:.1f}", "utf-8")

    def moment(model: Any, step: int, seen: int) -> None:
        nonlocal began
        start = time.process_time()
        table = document_bits(model.eval(), tokenizer, texts)
        model.train()
        row = {"width": width, "parameters": parameters, "block_parameters": blocks, "step": step}
        row |= {"tokens": seen, "cpu_seconds": round(start - began)}
        table.assign(**row).to_csv(run / f"moment-{step:06d}.csv", index=False)
        began += time.process_time() - start  # scoring does not count

    def marks(steps: int) -> set[int]:
        return log_spaced(steps, MOMENTS)

    train(model, stream, run, recipe, snapshot=moment, marks=marks, report=keep_time)
    return pd.concat(map(pd.read_csv, sorted(run.glob("moment-*.csv"))), ignore_index=True)


def document_bits(model: Any, tokenizer: Any, texts: pd.DataFrame) -> pd.DataFrame:
    """Surprisal of every held-out document: ``document``, ``kind``, ``bytes``, ``bits``."""
    from internals.measure.scoring import token_log_probs

    ids = tokenizer(texts["text"].tolist(), truncation=True, max_length=LONGEST - 1)["input_ids"]
    scores = token_log_probs(model, [[tokenizer.eos_token_id, *row] for row in ids])
    rows = [
        (number, kind, len(tokenizer.decode(row).encode()), -log_prob.sum() / math.log(2))
        for number, (kind, row, log_prob) in enumerate(zip(texts["kind"], ids, scores, strict=True))
    ]
    return pd.DataFrame(rows, columns=["document", "kind", "bytes", "bits"])
