"""Trick questions against controls: two competing continuations, and answers sampled freely.

A base model is not asked to answer but to continue, so each question is a beginning with two
competing continuations, scored by the joint log-probability of all their pieces (as the probes of
Ettinger 2020; Kassner, Schütze 2020). Unit: the pair, a mean over its wordings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import questions, stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour.sampled_answers import SAMPLES, room, sample_answers
from internals.measure.capability import start_ids
from internals.questions import TrickPair

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

GENERAL, OWN = "general", "own language"
STAYS, CHANGES = "stays", "changes"
SIDES = ("control", "trick")


@dataclass(frozen=True)
class _Asked:
    """One beginning of one pair with its two continuations as token ids."""

    source: str
    pair: TrickPair
    wording: int
    side: str
    head: tuple[int, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]

    @property
    def right_text(self) -> str:
        return self.pair.control_right if self.side == "control" else self.pair.trick_right

    @property
    def wrong_text(self) -> str:
        pair = self.pair
        return pair.trap if self.right_text == pair.trick_right else pair.trick_right


@measurement
def tricks(
    model: ModelHandle,
    pairs: Path = questions.PAIRS,
    own: Path = questions.EMBEDDED_PAIRS,
    samples: int = SAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Trick questions and their controls

    One row a pair; numbers are means over its wordings. Columns: ``source`` (general, or own
    language for models whose training data is known), ``id``, ``family``, ``switches`` (the trick
    changes which continuation is right), ``wordings``, ``samples`` (of each side); then for control
    and trick, as ``control_…`` and ``trick_…``: ``margin`` (log-odds in bits of the right against
    the wrong continuation), ``right`` (the margin is positive), ``tokens`` (of the beginning),
    ``entropy`` (bits, of the sampled answers in groups), ``next_entropy`` (bits, of the next
    token), ``hit`` and ``other`` (shares of the samples that give the right and the wrong one).
    Wordings that do not fit into the context are left out; the larger the model, the fewer
    wordings are sampled.
    """
    loaded = model.loaded()
    asked = list(_asked(loaded, pairs, own))
    frame = _scores(loaded, asked)
    sampled = frame["wording"] < effort.units(loaded.facts, questions.PARAPHRASES)
    chosen = [a for a, take in zip(asked, sampled, strict=True) if take]
    answers = sample_answers(loaded, [a.head for a in chosen], samples, seed)
    drawn = {
        "entropy": [answer.entropy_bits for answer in answers],
        "next_entropy": [answer.next_entropy_bits for answer in answers],
        "hit": [n.share(a.right_text) for a, n in zip(chosen, answers, strict=True)],
        "other": [n.share(a.wrong_text) for a, n in zip(chosen, answers, strict=True)],
    }
    frame = frame.join(pd.DataFrame(drawn, index=frame.index[sampled]))
    return _by_pair(frame, samples)


def _asked(loaded: LoadedModel, pairs: Path, own: Path) -> Iterator[_Asked]:
    start = start_ids(loaded)

    def ids(text: str) -> tuple[int, ...]:
        return tuple(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])

    files = [(GENERAL, pairs)] + ([(OWN, own)] if loaded.facts.carries_exposure else [])
    for source, path in files:
        for pair in questions.trick_pairs(path):
            right, trap = ids(f" {pair.trick_right}"), ids(f" {pair.trap}")
            first = (trap, right) if pair.switches else (right, trap)
            limit = room(loaded) - max(len(right), len(trap))
            kept = [[(*start, *ids(t)) for t in texts] for texts in pair.paraphrases]
            kept = [heads for heads in kept if max(map(len, heads)) <= limit]
            for number, (control, trick) in enumerate(kept):
                yield _Asked(source, pair, number, "control", control, *first)
                yield _Asked(source, pair, number, "trick", trick, right, trap)


def _scores(loaded: LoadedModel, asked: list[_Asked]) -> pd.DataFrame:
    """A row for each beginning with its margin."""
    from internals.measure.answers import answer_scores

    both = [(a.head, answer) for a in asked for answer in (a.right, a.wrong)]
    scores = answer_scores(loaded.model, both)["log_prob"].to_numpy().reshape(-1, 2)
    return pd.DataFrame(
        {
            "source": [a.source for a in asked],
            "id": [a.pair.id for a in asked],
            "family": [a.pair.family for a in asked],
            "switches": [a.pair.switches for a in asked],
            "wording": [a.wording for a in asked],
            "side": [a.side for a in asked],
            "tokens": [float(len(a.head)) for a in asked],
            "margin": (scores[:, 0] - scores[:, 1]) / math.log(2),
        }
    )


def _by_pair(frame: pd.DataFrame, samples: int) -> pd.DataFrame:
    """Means over the wordings of each pair, control and trick side by side."""
    keys = ["source", "id", "family", "switches"]
    values = ["margin", "tokens", "entropy", "next_entropy", "hit", "other"]
    means = frame.groupby([*keys, "side"], sort=False)[values].mean().unstack("side")
    means.columns = [f"{side}_{value}" for value, side in means.columns]
    counts = frame[frame["side"] == "trick"].groupby(keys, sort=False)
    means["wordings"] = counts.size()
    means["samples"] = counts["hit"].count() * samples
    for side in SIDES:
        means[f"{side}_right"] = means[f"{side}_margin"] > 0
    return means.reset_index()


@measurement
def families(model: ModelHandle) -> pd.DataFrame:
    """Trick questions by family

    See `by_family`.
    """
    return by_family(tricks(model))


def by_family(table: pd.DataFrame) -> pd.DataFrame:
    """What the trick does in each family, apart by whether it changes the right answer.

    Columns: ``source``, ``family``, ``right_answer`` (changes or stays), ``pairs``, shares of right
    preferences ``control_share`` and ``trick_share``, mean margins with intervals over pairs
    (``control``, ``control_low`` …, ``trick`` …), ``effect`` (bits; where the right answer stays,
    the fall of its margin, else see `moved`) with ``low``, ``high``, ``p`` (sign flips over pairs),
    ``adjusted`` (Benjamini–Hochberg over all rows), ``rise`` (of the answer entropy, bits), ``hit``
    and ``trapped`` (shares of the samples after the trick)."""
    rows = []
    keys = ["source", "family", "switches"]
    for (source, family, switches), part in table.groupby(keys, sort=False):
        effects = movement(part) if switches else fall(part)
        found = stats.bootstrap_ci(effects.to_numpy(), unit="pairs")
        row = {
            "source": source,
            "family": family,
            "right_answer": CHANGES if switches else STAYS,
            "pairs": len(part),
            "control_share": float(part["control_right"].mean()),
            "trick_share": float(part["trick_right"].mean()),
            "effect": found.value,
            "low": found.low,
            "high": found.high,
            "p": stats.sign_flip_test(effects.to_numpy()).p_value,
            "rise": float((part["trick_entropy"] - part["control_entropy"]).mean()),
            "hit": float(part["trick_hit"].mean()),
            "trapped": float(part["trick_other"].mean()),
        }
        for side in SIDES:
            mean = stats.bootstrap_ci(part[f"{side}_margin"].to_numpy(), unit="pairs")
            row |= {side: mean.value, f"{side}_low": mean.low, f"{side}_high": mean.high}
        rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.assign(adjusted=stats.benjamini_hochberg(frame["p"]))


def fall(table: pd.DataFrame) -> pd.Series:
    """Bits that a trick takes from the margin of a right answer that stays the same."""
    return table["control_margin"] - table["trick_margin"]


def movement(table: pd.DataFrame) -> pd.Series:
    """Bits towards the trick's own right answer, where that is the control's wrong one.

    The margins of both sides add up to this movement, and what the model thinks of the two words
    by themselves cancels: a model that does not hear the trick moves by zero. Their difference
    would be twice its liking for one of the words.
    """
    return table["control_margin"] + table["trick_margin"]


def totals_by_family(table: pd.DataFrame, change: pd.Series) -> pd.DataFrame:
    """Which families a change over pairs comes from: ``total`` and ``pairs`` by name, the largest
    total first. The name tells the source as well."""
    named = table["family"] + " (" + table["source"] + ")"
    sums = change.astype(float).groupby(named).agg(total="sum", pairs="size")
    return sums.sort_values("total", ascending=False, kind="stable")


def mcnemar(table: pd.DataFrame) -> stats.Significance:
    """Is the share of right answers the same after trick and control, pair by pair?"""
    only_control = int((table["control_right"] & ~table["trick_right"]).sum())
    only_trick = int((~table["control_right"] & table["trick_right"]).sum())
    return stats.mcnemar_exact(only_control, only_trick)


def moved(table: pd.DataFrame) -> stats.Estimate | None:
    """Mean `movement` over the pairs whose right answer changes; None without such pairs."""
    part = table[table["switches"]]
    return stats.bootstrap_ci(movement(part), unit="pairs") if len(part) else None


def staying(table: pd.DataFrame) -> pd.DataFrame:
    """The pairs whose right answer is the same after control and trick."""
    return table[~table["switches"]]


@measurement
def length_control(model: ModelHandle) -> stats.Estimate:
    """Tricks and their controls at equal length, where the right answer stays

    See `fall_at_equal_length`.
    """
    return fall_at_equal_length(staying(tricks(model)))


def fall_at_equal_length(table: pd.DataFrame) -> stats.Estimate:
    """The fall of the margin that is left where control and trick have equally many tokens.

    Intercept of the regression of the fall on the extra tokens of the trick, bootstrap over pairs.
    """
    extra = table["trick_tokens"] - table["control_tokens"]
    return stats.bootstrap_ci(np.column_stack([extra, fall(table)]), _intercept, unit="pairs")


def _intercept(rows: np.ndarray) -> float:
    x, y = rows[:, 0], rows[:, 1]
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 0 else 0.0
    return float(y.mean() - slope * x.mean())
