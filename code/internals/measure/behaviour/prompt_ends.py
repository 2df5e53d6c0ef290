"""A blank at the end of a prompt: the commonest mistake of people who write prompts.

The blank belongs to the next token (`` Paris``). Typed at the end of the prompt, it becomes a token
of its own, after which the answer has to begin without a blank. Control: the same character, one
blank more, put elsewhere in the prompt. Unit: the fact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour.resplit import continuation, headed, kl_bits, next_log_probs
from internals.measure.capability import EXPOSURE
from internals.measure.probabilities.answers_by_exposure import designed_questions, public_questions
from internals.tokens import token_bytes

if TYPE_CHECKING:
    from internals.measure.probabilities.answers_by_exposure import Question
    from internals.models import LoadedModel, ModelHandle

KNOWN = (64, 256)
"""Statements from which a designed fact can be expected to be known."""
USUAL, ELSEWHERE, AT_END = "usual", "blank elsewhere (control)", "blank at the end"
CANDIDATES = 8
LEAST_FACTS = 10


def variants(prompt: str) -> dict[str, tuple[str, bool]]:
    """Prompt and whether the answer still brings its own blank, by variant."""
    return {
        USUAL: (prompt, True),
        ELSEWHERE: (prompt.replace(" ", "  ", 1), True),
        AT_END: (prompt + " ", False),
    }


def questions(loaded: LoadedModel, n: int, seed: int) -> list[Question]:
    """Facts in one wording: those that an embedded model read often, else public ones."""
    if loaded.facts.carries_exposure:
        known = [
            q
            for q in designed_questions()
            if q.level in KNOWN and q.wording == "trained" and q.template == 0
        ]
        order = np.random.default_rng([seed, 53]).permutation(len(known))
        return [known[int(i)] for i in order[:n]]
    asked = public_questions(n, seed)
    return [q for q in asked if q.template == 0 and " " in q.prompt]


@measurement(files=[EXPOSURE, "data/facts/templates.yaml", "data/facts/countries.csv"])
def blank_at_end(model: ModelHandle, n: int = 60, seed: int = 0) -> pd.DataFrame:
    """Facts asked with a blank at the end of the prompt

    Columns: ``fact_id``, ``variant``, ``extra_pieces``, ``correct`` (the right answer is the best
    candidate), ``preferred`` (it is so too after the prompt of another fact of the same relation:
    what a mere preference for some answers achieves), ``bits`` (surprisal of the right answer, all
    pieces), ``entropy_bits`` (of the next token), ``blank_mass`` (probability of tokens that begin
    with a blank), ``kl_bits`` (divergence of the next-token distribution from the usual prompt's).
    Empty where the tokenizer drops a blank at the end.
    """
    loaded = model.loaded()
    asked = questions(loaded, effort.units(loaded.facts, n, least=40), seed)
    rows: list[dict[str, Any]] = []
    for question in asked:
        usual = headed(loaded, question.prompt)
        for variant, (text, brings) in variants(question.prompt).items():
            head = headed(loaded, text)
            ids = [_answer(loaded, a, brings) for a in question.answers[:CANDIDATES]]
            if None in ids or (variant == AT_END and head == usual):
                break
            row = {"fact_id": question.fact_id, "relation": question.relation, "variant": variant}
            rows.append({**row, "extra_pieces": len(head) - len(usual), "h": head, "answers": ids})
    kept = ["fact_id", "variant", "extra_pieces"]
    table = pd.DataFrame(rows, columns=[*kept, "relation", "h", "answers"])
    complete = table.groupby("fact_id")["variant"].transform("size") == len(variants(""))
    if not complete.any():
        return pd.DataFrame(columns=[*kept, *MEASURED])
    table = table[complete].reset_index(drop=True)
    table["correct"], table["bits"] = _chosen(loaded, table["h"], table["answers"])
    heads = table.set_index(["fact_id", "variant"])["h"]
    others = zip(table["fact_id"].map(other_facts(table, seed)), table["variant"], strict=True)
    table["preferred"], _ = _chosen(loaded, [heads[key] for key in others], table["answers"])
    return _distributions(loaded, table)[[*kept, *MEASURED]]


def other_facts(table: pd.DataFrame, seed: int = 0) -> dict[str, str]:
    """For each ``fact_id`` another one, of the same ``relation`` where there is one."""
    rng = np.random.default_rng([seed, 54])
    facts = table.drop_duplicates("fact_id")
    facts = facts.iloc[rng.permutation(len(facts))]
    partner: dict[str, str] = {}
    for ids in (facts["fact_id"], *(part for _, part in facts.groupby("relation")["fact_id"])):
        ring = ids.tolist()
        if len(ring) > 1:
            partner |= dict(zip(ring, [*ring[1:], ring[0]], strict=True))
    return partner or {str(i): str(i) for i in facts["fact_id"]}


def _chosen(
    loaded: LoadedModel, heads: Iterable[list[int]], answers: Iterable[list[list[int]]]
) -> tuple[pd.Series, pd.Series]:
    """Is the first answer the best after its prompt, and its surprisal in bits, row by row."""
    from internals.measure.answers import answer_scores

    jobs = list(zip(heads, answers, strict=True))
    scores = answer_scores(loaded.model, [(head, ids) for head, own in jobs for ids in own])
    owner = np.repeat(np.arange(len(jobs)), [len(own) for _, own in jobs])
    by_row = scores["log_prob"].groupby(owner)
    right = by_row.first()
    return right == by_row.max(), -right / math.log(2)


MEASURED = ["correct", "preferred", "bits", "entropy_bits", "blank_mass", "kl_bits"]


def _answer(loaded: LoadedModel, answer: str, brings_blank: bool) -> list[int] | None:
    return continuation(loaded.tokenizer, f" {answer}" if brings_blank else answer) or None


def _distributions(loaded: LoadedModel, table: pd.DataFrame) -> pd.DataFrame:
    """Add what the model expects next: entropy, mass on tokens with a blank, divergence."""
    lp = next_log_probs(loaded.model, table["h"].tolist())
    tokenizer = loaded.tokenizer
    spaced = [
        i for i in range(min(len(tokenizer), lp.shape[1])) if token_bytes(tokenizer, i)[:1] == b" "
    ]
    table["entropy_bits"] = -(np.exp(lp) * lp).sum(-1) / math.log(2)
    table["blank_mass"] = np.exp(lp[:, spaced]).sum(-1)
    usual = table[table["variant"] == USUAL].reset_index().set_index("fact_id")["index"]
    table["kl_bits"] = kl_bits(lp[table["fact_id"].map(usual)], lp)
    return table


def by_variant(table: pd.DataFrame) -> pd.DataFrame:
    """One row a variant: ``variant``, ``extra_pieces``, ``n``, ``value``, ``low``, ``high`` (share
    of right facts, Wilson) and means of ``preferred`` (the share that a mere preference gets),
    ``bits``, ``entropy_bits``, ``blank_mass``, ``kl_bits``."""
    rows = []
    for variant, part in table.groupby("variant", sort=False):
        found = stats.wilson(int(part["correct"].sum()), len(part), unit="facts")
        row = {"variant": variant, "extra_pieces": float(part["extra_pieces"].mean())}
        row |= {"n": found.n, "value": found.value, "low": found.low, "high": found.high}
        rows.append(row | part[MEASURED[1:]].astype(float).mean().to_dict())
    columns = ["variant", "extra_pieces", "n", "value", "low", "high", *MEASURED[1:]]
    return pd.DataFrame(rows, columns=columns)


def above_preference(table: pd.DataFrame) -> stats.Estimate | None:
    """Share of facts that are right with the usual prompt, minus the share that a mere preference
    for some answers gets, paired over facts; None for too few."""
    usual = table[table["variant"] == USUAL]
    if len(usual) < LEAST_FACTS:
        return None
    right, preferred = (usual[c].astype(float) for c in ("correct", "preferred"))
    return stats.paired_difference(right, preferred, unit="facts")


def against(table: pd.DataFrame, column: str, variant: str, base: str) -> stats.Estimate | None:
    """Paired difference of a column between two variants, over facts; None for too few."""
    if table["fact_id"].nunique() < LEAST_FACTS:
        return None
    wide = table.pivot(index="fact_id", columns="variant", values=column).astype(float)
    return stats.paired_difference(wide[variant], wide[base], unit="facts")
