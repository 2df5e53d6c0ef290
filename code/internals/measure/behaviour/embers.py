"""The same task with likely and unlikely outputs, the same output in common and rare tasks.

After McCoy et al. (2024): a rule does not care how probable its answer or its wording is; a
predictor of text does. Every contrast is paired: the same words in another order, or the same
answer after another question. The unit is the item.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.capability import start_ids
from internals.measure.windows import HELD_OUT, documents
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import ModelHandle

WORDS = 6
"""Words of a sequence that is copied or turned round."""
_RUN = re.compile(rf"(?<=[a-z] )(?:[a-z]+ ){{{WORDS - 1}}}[a-z]+(?= [a-z])")
COPY = "Say it again: red cup old stone long rope\nred cup old stone long rope\nSay it again: {x}\n"
TURN = "Backwards: rope long stone old cup red\nred cup old stone long rope\nBackwards: {y}\n"


@dataclass(frozen=True)
class Contrast:
    """Two conditions of which prediction of text finds the first easier, and a rule neither."""

    name: str
    kind: str
    """``output`` (its probability differs) or ``task`` (its frequency differs)."""
    likely: str
    unlikely: str


CONTRASTS = (
    Contrast("copy: sentence or shuffled words", "output", "copy sentence", "copy shuffled"),
    Contrast("turn round: into sentence or shuffled", "output", "turn sentence", "turn shuffled"),
    Contrast("a sentence: copied or turned round", "task", "copy sentence", "turn sentence"),
    Contrast("counting: on or back", "task", "count on", "count back"),
    Contrast("sums: usual or unusual wording", "task", "sum usual", "sum unusual"),
)


def sequences(n: int, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    """Runs of plain words from held-out stories, one a document, and the same words shuffled."""
    rng = np.random.default_rng([seed, 62])
    found: list[tuple[list[str], list[str]]] = []
    for text in documents(("stories",)):
        match = _RUN.search(" ".join(text.split()))
        run = match.group().split() if match else []
        if len(set(run)) < WORDS or len(found) == n:
            continue
        # No word stays beside the word it followed.
        while True:
            order = rng.permutation(WORDS)
            if (np.diff(order) != 1).all():
                break
        found.append((run, [run[i] for i in order]))
    return found


def questions(n: int, seed: int = 0) -> pd.DataFrame:
    """All questions: ``condition``, ``item``, ``prompt``, ``answer`` (with its blank, if any)."""
    rows = []
    for i, (run, shuffled) in enumerate(sequences(n, seed)):
        for name, words in (("sentence", run), ("shuffled", shuffled)):
            x, y = " ".join(words), " ".join(words[::-1])
            rows.append((f"copy {name}", i, COPY.format(x=x), x))
            rows.append((f"turn {name}", i, TURN.format(y=y), x))
    rng = np.random.default_rng([seed, 63])
    for i, target in enumerate(rng.permutation(np.arange(6, 90))[:n]):
        on = ", ".join(str(target + k) for k in range(-4, 0))
        back = ", ".join(str(target + k) for k in range(4, 0, -1))
        rows.append(("count on", i, f"Count on: {on},", f" {target}"))
        rows.append(("count back", i, f"Count back: {back},", f" {target}"))
    sums = pd.read_csv(DATA / "training" / "sums.csv")
    sums = sums[(sums["sums"] > 0) & (sums["a"] > 1) & (sums["b"] > 1)]
    for i, k in enumerate(rng.permutation(len(sums))[:n]):
        a, b = int(sums["a"].iloc[k]), int(sums["b"].iloc[k])
        rows.append(("sum usual", i, f"{a} + {b} =", f" {a + b}"))
        rows.append(("sum unusual", i, f"If {a} is added to {b}, the total is", f" {a + b}"))
    return pd.DataFrame(rows, columns=["condition", "item", "prompt", "answer"])


@measurement(files=[HELD_OUT, "data/training/sums.csv"])
def embers(model: ModelHandle, n: int = 60, seed: int = 0) -> pd.DataFrame:
    """Likely and unlikely outputs, common and rare tasks

    Columns: ``condition``, ``item``, ``bits`` (per token of the right answer), ``right`` (every
    token of it is the first choice), ``prior_bits`` (per token of the answer without any task).
    """
    from internals.measure.answers import answer_scores

    loaded = model.loaded()
    start = start_ids(loaded)

    def ids(text: str) -> list[int]:
        return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])

    table = questions(effort.units(loaded.facts, n, least=30), seed)
    answers = [ids(text) for text in table["answer"]]
    prompts = [[*start, *ids(text)] for text in table["prompt"]]
    # Without a task: the answer after the end of a line, where any text may begin.
    bare = [*start, *ids("\n")]
    longest = loaded.facts.context_length
    fits = np.array([len(p) + len(a) <= longest for p, a in zip(prompts, answers, strict=True)])
    kept = np.flatnonzero(fits)
    own = answer_scores(loaded.model, [(prompts[i], answers[i]) for i in kept])
    prior = answer_scores(loaded.model, [(bare, answers[i]) for i in kept])
    lengths = np.array([len(answers[i]) for i in kept]) * math.log(2)
    found = table.iloc[kept][["condition", "item"]].reset_index(drop=True)
    return found.assign(
        bits=-own["log_prob"].to_numpy() / lengths,
        right=own["greedy"].to_numpy(),
        prior_bits=-prior["log_prob"].to_numpy() / lengths,
    )


def contrasts(table: pd.DataFrame) -> pd.DataFrame:
    """One row a contrast: ``contrast``, ``kind``, ``items``, ``likely_right``, ``unlikely_right``
    (shares), ``cost``, ``low``, ``high`` (bits per token that the unlikely side costs more), ``p``
    (sign flips), ``adjusted`` (Benjamini–Hochberg), ``p_right`` (exact McNemar)."""
    bits = table.pivot(index="item", columns="condition", values="bits")
    right = table.pivot(index="item", columns="condition", values="right")
    rows: list[dict[str, Any]] = []
    for contrast in CONTRASTS:
        if not {contrast.likely, contrast.unlikely} <= set(bits.columns):
            continue
        pair = bits[[contrast.likely, contrast.unlikely]].dropna()
        if len(pair) < 2:
            continue
        cost = (pair[contrast.unlikely] - pair[contrast.likely]).to_numpy()
        first, second = (
            right.loc[pair.index, side].astype(bool)
            for side in (contrast.likely, contrast.unlikely)
        )
        found = stats.bootstrap_ci(cost, unit="items")
        only = int((first & ~second).sum()), int((~first & second).sum())
        rows.append(
            {
                "contrast": contrast.name,
                "kind": contrast.kind,
                "items": len(pair),
                "likely_right": float(first.mean()),
                "unlikely_right": float(second.mean()),
                **{"cost": found.value, "low": found.low, "high": found.high},
                "p": stats.sign_flip_test(cost).p_value,
                "p_right": stats.mcnemar_exact(*only).p_value,
            }
        )
    columns = ["contrast", "kind", "items", "likely_right", "unlikely_right", "cost", "low", "high"]
    frame = pd.DataFrame(rows, columns=[*columns, "p", "p_right"])
    return frame.assign(adjusted=stats.benjamini_hochberg(frame["p"]) if len(frame) else [])


def cost(rows: pd.DataFrame, contrast: Contrast) -> stats.Estimate | None:
    """What the unlikely side costs more (bits per token); None where it was not measured."""
    part = rows[rows["contrast"] == contrast.name]
    if part.empty:
        return None
    row = part.iloc[0]
    value, low, high = (float(row[c]) for c in ("cost", "low", "high"))
    return stats.Estimate(value, low, high, int(row["items"]), "items", "bootstrap over items")


def dose(table: pd.DataFrame, task: str = "copy") -> stats.Estimate | None:
    """Rank correlation over items: the less probable shuffling makes the words by themselves, the
    more bits it adds in the task.

    Both are differences between shuffled words and sentence of one item, so neither the words nor
    the mean cost of shuffling can give the correlation. None with fewer than three items, or where
    a difference never varies.
    """
    columns = {}
    for value in ("prior_bits", "bits"):
        wide = table.pivot(index="item", columns="condition", values=value)
        if not {f"{task} sentence", f"{task} shuffled"} <= set(wide.columns):
            return None
        columns[value] = wide[f"{task} shuffled"] - wide[f"{task} sentence"]
    added = pd.DataFrame(columns).dropna()
    if len(added) < 3 or added.nunique().min() < 2:
        return None
    return stats.correlation(added["prior_bits"], added["bits"], unit="items")
