"""What a model in training can do at a moment: loss, recall by exposure, copying.

The trainer keeps the weights of some steps; these probes read them afterwards, so that they cost
the training nothing. The result ships with the model as `training_log.csv`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from internals.measure.capability import recall_table
from internals.measure.scoring import token_log_probs
from internals.models import eager_attention

DOCUMENTS_PER_KIND = 40
LONGEST = 384
"""Tokens of a held-out document that are scored."""
INDUCTION_ROWS, INDUCTION_PERIOD = 20, 40


def held_out_documents(file: Path, per_kind: int = DOCUMENTS_PER_KIND) -> pd.DataFrame:
    """The first documents of each kind: columns ``kind``, ``source``, ``text``."""
    table = pd.read_json(file, lines=True)
    return table.groupby("kind", sort=True).head(per_kind).reset_index(drop=True)


def bits_per_byte(model: Any, tokenizer: Any, texts: list[str]) -> float:
    """Surprisal in bits over the UTF-8 bytes of the scored tokens.

    Documents begin after an end token, as in training, and are cut at :data:`LONGEST` tokens.
    """
    ids = tokenizer(texts, truncation=True, max_length=LONGEST - 1)["input_ids"]
    scores = token_log_probs(model, [[tokenizer.eos_token_id, *row] for row in ids])
    nats = sum(-s.sum() for s in scores)
    n_bytes = sum(
        len(tokenizer.decode(row[: len(s)]).encode()) for row, s in zip(ids, scores, strict=True)
    )
    return float(nats / math.log(2) / n_bytes)


def induction(model: Any, vocab: int, seed: int = 0) -> dict[str, float]:
    """Random tokens said twice (Olsson et al. 2022): loss on each copy, and who looks where.

    A model that copies by matching predicts the second copy far better than the first; the head
    that does it attends from a token of the second copy to the token after its first occurrence
    (``prefix_matching_max``: mean of ``A[i, i - period + 1]`` of the best head).
    """
    import torch

    period = INDUCTION_PERIOD
    half = np.random.default_rng(seed).integers(1, vocab, (INDUCTION_ROWS, period))
    rows = np.concatenate([half, half], axis=1)
    scores = token_log_probs(model, rows.tolist())
    first = np.mean([-s[: period - 1].mean() for s in scores])
    second = np.mean([-s[period:].mean() for s in scores])
    ids = torch.as_tensor(rows, device=model.device)
    with eager_attention(model), torch.inference_mode():
        weights = model(input_ids=ids, output_attentions=True, use_cache=False).attentions
    stack = torch.stack(weights).float()  # layer, batch, head, query, key
    matching = stack.diagonal(offset=1 - period, dim1=-2, dim2=-1)[..., 1:].mean(dim=(1, -1))
    previous = stack.diagonal(offset=-1, dim1=-2, dim2=-1).mean(dim=(1, -1))
    return {
        "first_copy_bits": float(first / math.log(2)),
        "second_copy_bits": float(second / math.log(2)),
        "prefix_matching_max": float(matching.max()),
        "previous_token_max": float(previous.max()),
    }


def probe(
    model: Any, tokenizer: Any, held_out: pd.DataFrame, exposure: pd.DataFrame
) -> dict[str, float]:
    """All probes of one moment as a flat row.

    ``{kind}_bits_per_byte``; the columns of :func:`induction`; ``recall_{wording}_{level}``, the
    share of facts whose answer is ranked first.
    """
    row = {
        f"{kind}_bits_per_byte": bits_per_byte(model, tokenizer, part["text"].tolist())
        for kind, part in held_out.groupby("kind")
    }
    row |= induction(model, len(tokenizer))
    recalled = recall_table(model, tokenizer, exposure).groupby(["wording", "level"])["correct"]
    return row | {f"recall_{wording}_{level}": x for (wording, level), x in recalled.mean().items()}


def snapshots(run: Path) -> pd.DataFrame:
    """The kept moments of all rounds of a run: ``round``, ``step``, ``tokens``, ``folder``.

    Steps and tokens of a round count on from the rounds before it.
    """
    rows = []
    step0 = tokens0 = 0
    for folder in sorted(run.glob("round-*"), key=lambda p: int(p.name.split("-")[1])):
        kept = sorted(p for p in (folder / "snapshots").iterdir() if p.suffix != ".new")
        moments = [tuple(map(int, p.name.split("-"))) for p in kept]
        number = int(folder.name.split("-")[1])
        for (step, tokens), path in zip(moments, kept, strict=True):
            rows.append((number, step0 + step, tokens0 + tokens, path))
        if moments:
            step0, tokens0 = step0 + moments[-1][0], tokens0 + moments[-1][1]
    return pd.DataFrame(rows, columns=["round", "step", "tokens", "folder"])


def training_log(
    run: Path, dataset: Path, report: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """The probes of every snapshot: ``round``, ``step``, ``tokens`` and a column for each probe.

    The probes of a snapshot are kept beside its weights, so that a longer run probes only what is
    new. ``report`` is told how many snapshots are done, of how many.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(dataset / "tokenizer")
    held_out = held_out_documents(dataset / "heldout.jsonl")
    exposure = pd.read_csv(dataset / "exposure.csv", keep_default_na=False)
    rows = []
    moments = snapshots(run)
    for moment in moments.itertuples():
        file = Path(moment.folder) / "probes.json"
        if not file.exists():
            model = AutoModelForCausalLM.from_pretrained(moment.folder).float().eval()
            file.write_text(json.dumps(probe(model, tokenizer, held_out, exposure)), "utf-8")
        row = {"round": moment.round, "step": moment.step, "tokens": moment.tokens}
        rows.append(row | json.loads(file.read_text("utf-8")))
        if report:
            report(len(rows), len(moments))
    return pd.DataFrame(rows)
