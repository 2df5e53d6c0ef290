"""What a model in training can do at a moment: loss, recall by exposure, induction, calibration.

The trainer keeps the weights of log-spaced steps; these probes read them afterwards, so that they
cost the training nothing. The result ships with the model as `training_log.csv`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from internals.measure.scoring import TokenScores, continuation_scores, score_tokens
from internals.training.designed import CANDIDATES, prompt, templates

DOCUMENTS_PER_KIND = 40
LONGEST = 384
"""Tokens of a held-out document that are scored."""
INDUCTION_ROWS, INDUCTION_PERIOD = 20, 40
CALIBRATION_BINS = 10


def held_out_documents(file: Path, per_kind: int = DOCUMENTS_PER_KIND) -> pd.DataFrame:
    """The first documents of each kind: columns ``kind``, ``source``, ``text``."""
    with file.open(encoding="utf-8") as lines:
        table = pd.DataFrame([json.loads(line) for line in lines])
    return table.groupby("kind", sort=True).head(per_kind).reset_index(drop=True)


def document_scores(model: Any, tokenizer: Any, texts: list[str]) -> list[TokenScores]:
    """Scores of documents that begin after an end token, as in training."""
    ids = [[tokenizer.eos_token_id, *tokenizer(t)["input_ids"]][:LONGEST] for t in texts]
    return score_tokens(model, ids)


def bits_per_byte(tokenizer: Any, texts: list[str], scores: list[TokenScores]) -> float:
    """Total surprisal in bits over the UTF-8 bytes of the scored tokens."""
    nats = sum(-s.log_prob.sum() for s in scores)
    n_bytes = 0
    for text, s in zip(texts, scores, strict=True):
        ids = tokenizer(text)["input_ids"][: len(s.log_prob)]
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
    """Loss on the first and second copy of random tokens (Olsson et al. 2022).

    A model that copies by matching predicts the second copy far better than the first.
    """
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, vocab, (INDUCTION_ROWS, INDUCTION_PERIOD))
    scores = score_tokens(model, [[*row.tolist(), *row.tolist()] for row in rows])
    first = np.mean([-s.log_prob[: INDUCTION_PERIOD - 1].mean() for s in scores])
    second = np.mean([-s.log_prob[INDUCTION_PERIOD:].mean() for s in scores])
    return {
        "first_copy_bits": float(first / math.log(2)),
        "second_copy_bits": float(second / math.log(2)),
    }


def candidate_answers(exposure: pd.DataFrame) -> dict[str, list[str]]:
    """The closed set of answers of each invented relation; rulers are those of their level."""
    found = {name: list(values) for name, values in CANDIDATES.items()}
    for level, part in exposure[exposure["relation"] == "ruler"].groupby("level"):
        found[f"ruler-{level}"] = part["object"].tolist()
    return found


def recall(model: Any, tokenizer: Any, exposure: pd.DataFrame) -> pd.DataFrame:
    """Every invented fact asked in a trained and in a held-out wording.

    Columns: ``fact_id``, ``relation``, ``level``, ``wording``, ``prob`` (joint probability of the
    answer), ``rank`` (among the candidates, 0 is best), ``correct``, ``vocab_rank`` (of the
    answer's first token).
    """
    answers = candidate_answers(exposure)
    asked, pairs = [], []
    invented = exposure[exposure["kind"] == "invented"]
    for fact in invented.itertuples():
        group = f"ruler-{fact.level}" if fact.relation == "ruler" else fact.relation
        for wording in ("trained", "heldout"):
            pattern = templates()[fact.relation][wording][0]
            head = tokenizer(prompt(pattern, fact.subject))["input_ids"]
            for answer in answers[group]:
                pairs.append(
                    ([tokenizer.eos_token_id, *head], tokenizer(f" {answer}")["input_ids"])
                )
                asked.append(
                    (fact.fact_id, fact.relation, fact.level, wording, answer == fact.object)
                )
    joint, vocab_rank = continuation_scores(model, pairs)
    table = pd.DataFrame(asked, columns=["fact_id", "relation", "level", "wording", "is_answer"])
    table["log_prob"], table["vocab_rank"] = joint, vocab_rank
    keys = ["fact_id", "relation", "level", "wording"]
    table["rank"] = table.groupby(keys)["log_prob"].rank(ascending=False, method="max") - 1
    found = table[table["is_answer"]].copy()
    found["prob"] = np.exp(found["log_prob"])
    found["correct"] = found["rank"] == 0
    return found[[*keys, "prob", "rank", "correct", "vocab_rank"]].reset_index(drop=True)


def hidden_norms(model: Any, ids: list[int]) -> tuple[float, float]:
    """Mean length of the residual stream after the first and the last block."""
    import torch

    with torch.inference_mode():
        states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    # The last entry is normed already, so the stream before it stands for the last block.
    return float(states[1][0, 1:].norm(dim=-1).mean()), float(states[-2][0, 1:].norm(dim=-1).mean())


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
    table = recall(model, tokenizer, exposure)
    for (wording, level), part in table.groupby(["wording", "level"]):
        row[f"recall_{wording}_{level}"] = float(part["correct"].mean())
        row[f"probability_{wording}_{level}"] = float(part["prob"].mean())
    text = held_out.loc[held_out["kind"] == held_out["kind"].iloc[-1], "text"].iloc[0]
    ids = [tokenizer.eos_token_id, *tokenizer(text)["input_ids"]][:LONGEST]
    row["norm_first_block"], row["norm_last_block"] = hidden_norms(model, ids)
    return row


def training_log(run: Path, dataset: Path) -> pd.DataFrame:
    """The probes of every snapshot of a run: ``step``, ``tokens`` and a column for each probe."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(dataset / "tokenizer")
    held_out = held_out_documents(dataset / "heldout.jsonl")
    exposure = pd.read_csv(dataset / "exposure.csv", keep_default_na=False)
    rows = []
    for folder in sorted(p for p in (run / "snapshots").iterdir() if p.suffix != ".new"):
        step, tokens = map(int, folder.name.split("-"))
        model = AutoModelForCausalLM.from_pretrained(folder).float().eval()
        rows.append({"step": step, "tokens": tokens, **probe(model, tokenizer, held_out, exposure)})
    return pd.DataFrame(rows)
