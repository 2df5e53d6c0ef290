"""What a model in training can do at a moment: loss, recall by exposure, induction, calibration.

The trainer keeps the weights of log-spaced steps; these probes read them afterwards, so that they
cost the training nothing. The result ships with the model as `training_log.csv`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fable.designed import prompt, templates
from fable.induction import copying_heads, random_copies
from internals.measure.answers import answer_scores
from internals.measure.capability import recall_table
from internals.measure.scoring import TokenScores, score_tokens

DOCUMENTS_PER_KIND = 40
LONGEST = 384
"""Tokens of a held-out document that are scored."""
INDUCTION_ROWS, INDUCTION_PERIOD = 20, 40
CALIBRATION_BINS = 10
LOSSES = "losses.csv"
"""Losses of the batches, which the run writes beside its checkpoint."""


def held_out_documents(file: Path, per_kind: int = DOCUMENTS_PER_KIND) -> pd.DataFrame:
    """The first documents of each kind: columns ``kind``, ``source``, ``text``."""
    with file.open(encoding="utf-8") as lines:
        table = pd.DataFrame([json.loads(line) for line in lines])
    return table.groupby("kind", sort=True).head(per_kind).reset_index(drop=True)


def document_scores(model: Any, tokenizer: Any, texts: list[str]) -> list[TokenScores]:
    """Scores of documents that begin after an end token, as in training."""
    return score_tokens(model, [[tokenizer.eos_token_id, *ids_of(tokenizer, t)] for t in texts])


def ids_of(tokenizer: Any, text: str) -> list[int]:
    """The first tokens of a document, as many as are scored."""
    return tokenizer(text, truncation=True, max_length=LONGEST - 1)["input_ids"]


def bits_per_byte(tokenizer: Any, texts: list[str], scores: list[TokenScores]) -> float:
    """Total surprisal in bits over the UTF-8 bytes of the scored tokens."""
    nats = sum(-s.log_prob.sum() for s in scores)
    n_bytes = 0
    for text, s in zip(texts, scores, strict=True):
        ids = ids_of(tokenizer, text)[: len(s.log_prob)]
        n_bytes += len(tokenizer.decode(ids).encode())
    return float(nats / math.log(2) / n_bytes)


def calibration_error(scores: list[TokenScores]) -> float:
    """Expected calibration error of the top token, equal-width bins (Guo et al. 2017)."""
    confidence = np.concatenate([s.top_prob for s in scores])
    correct = np.concatenate([s.rank == 0 for s in scores])
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [
        (bins == b).mean() * abs(confidence[bins == b].mean() - correct[bins == b].mean())
        for b in np.unique(bins)
    ]
    return float(sum(gaps))


def induction(model: Any, vocab: int, seed: int = 0) -> dict[str, float]:
    """Loss on the first and second copy of random tokens (Olsson et al. 2022), and attention.

    A model that copies by matching predicts the second copy far better than the first; the head
    that does it attends to the token after the earlier occurrence (``prefix_matching_max``).
    """
    rows = random_copies(INDUCTION_ROWS, INDUCTION_PERIOD, vocab, seed)
    scores = score_tokens(model, rows.tolist())
    first = np.mean([-s.log_prob[: INDUCTION_PERIOD - 1].mean() for s in scores])
    second = np.mean([-s.log_prob[INDUCTION_PERIOD:].mean() for s in scores])
    return {
        "first_copy_bits": float(first / math.log(2)),
        "second_copy_bits": float(second / math.log(2)),
        **copying_heads(model, rows, INDUCTION_PERIOD),
    }


def capitals(model: Any, tokenizer: Any, exposure: pd.DataFrame) -> pd.DataFrame:
    """Real capitals asked in the first trained wording: ``level``, ``prob``, ``greedy``."""
    facts = exposure[(exposure["kind"] == "real") & (exposure["relation"] == "capital")]
    pattern = templates()["capital"]["trained"][0]
    pairs = [
        (
            [tokenizer.eos_token_id, *tokenizer(prompt(pattern, subject))["input_ids"]],
            tokenizer(f" {capital}")["input_ids"],
        )
        for subject, capital in zip(facts["subject"], facts["object"], strict=True)
    ]
    table = answer_scores(model, pairs)
    return pd.DataFrame(
        {
            "level": facts["level"].to_numpy(),
            "prob": np.exp(table["log_prob"]),
            "greedy": table["greedy"],
        }
    )


def hidden_norms(model: Any, ids: list[int]) -> tuple[float, float]:
    """Mean length of the residual stream after the first and the last block."""
    import torch

    with torch.inference_mode():
        states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    # The last entry is normed already, so the stream before it stands for the last block.
    return float(states[1][0, 1:].norm(dim=-1).mean()), float(states[-2][0, 1:].norm(dim=-1).mean())


def recall_columns(model: Any, tokenizer: Any, exposure: pd.DataFrame) -> dict[str, float]:
    """Means of `recall_table` and :func:`capitals` by number of exposures, as flat columns."""
    row: dict[str, float] = {}
    table = recall_table(model, tokenizer, exposure)
    for (wording, level), part in table.groupby(["wording", "level"]):
        row[f"recall_{wording}_{level}"] = float(part["correct"].mean())
        row[f"probability_{wording}_{level}"] = float(part["prob"].mean())
        row[f"surprisal_bits_{wording}_{level}"] = float(-np.log2(part["prob"]).mean())
        row[f"candidate_rank_{wording}_{level}"] = float(part["rank"].mean())
        row[f"greedy_{wording}_{level}"] = float(part["greedy"].mean())
    for level, part in capitals(model, tokenizer, exposure).groupby("level"):
        row[f"capital_greedy_{level}"] = float(part["greedy"].mean())
        row[f"capital_probability_{level}"] = float(part["prob"].mean())
    return row


def probe(
    model: Any, tokenizer: Any, held_out: pd.DataFrame, exposure: pd.DataFrame
) -> dict[str, float]:
    """All probes of one moment as a flat row."""
    row: dict[str, float] = {}
    everything: list[TokenScores] = []
    for kind, part in held_out.groupby("kind"):
        texts = part["text"].tolist()
        scores = document_scores(model, tokenizer, texts)
        everything += scores
        row[f"{kind}_bits_per_byte"] = bits_per_byte(tokenizer, texts, scores)
    row["calibration_error"] = calibration_error(everything)
    row["entropy_bits"] = float(
        np.concatenate([s.entropy for s in everything]).mean() / math.log(2)
    )
    row |= induction(model, len(tokenizer))
    row |= recall_columns(model, tokenizer, exposure)
    text = held_out.loc[held_out["kind"] == held_out["kind"].iloc[-1], "text"].iloc[0]
    ids = [tokenizer.eos_token_id, *ids_of(tokenizer, text)]
    row["norm_first_block"], row["norm_last_block"] = hidden_norms(model, ids)
    return row


def training_loss(run: Path, step: int, over: int = 50) -> dict[str, float]:
    """Mean loss of the batches of the last ``over`` steps, from the losses that the run logged."""
    file = run / LOSSES
    if not file.exists():
        return {}
    losses = pd.read_csv(file)
    part = losses[(losses["step"] <= step) & (losses["step"] > step - over)]
    # Nothing was logged so close before an early snapshot: take what came nearest before it.
    part = part if len(part) else losses[losses["step"] <= step].tail(1)
    return {"train_bits_per_token": float(part["loss_nats"].mean() / math.log(2))}


def snapshots(run: Path) -> pd.DataFrame:
    """The kept moments of all rounds of a run: ``round``, ``step``, ``tokens``, ``folder``.

    Steps and tokens of a round count on from the rounds before it; ``first_step`` is the last
    step before the round.
    """
    rows = []
    step0 = tokens0 = 0
    for folder in sorted(run.glob("round-*"), key=lambda p: int(p.name.split("-")[1])):
        kept = sorted(p for p in (folder / "snapshots").iterdir() if p.suffix != ".new")
        moments = [tuple(map(int, p.name.split("-"))) for p in kept]
        number = int(folder.name.split("-")[1])
        for (step, tokens), path in zip(moments, kept, strict=True):
            rows.append((number, step0 + step, tokens0 + tokens, step0, path))
        if moments:
            step0, tokens0 = step0 + moments[-1][0], tokens0 + moments[-1][1]
    return pd.DataFrame(rows, columns=["round", "step", "tokens", "first_step", "folder"])


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
        folder: Path = moment.folder
        file = folder / "probes.json"
        if not file.exists():
            model = AutoModelForCausalLM.from_pretrained(folder).float().eval()
            file.write_text(json.dumps(probe(model, tokenizer, held_out, exposure)), "utf-8")
        row = {"round": moment.round, "step": moment.step, "tokens": moment.tokens}
        row |= training_loss(folder.parent.parent, moment.step - moment.first_step)
        rows.append(row | json.loads(file.read_text("utf-8")))
        if report:
            report(len(rows), len(moments))
    return pd.DataFrame(rows)
