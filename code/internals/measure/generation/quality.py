"""Diversity and quality of many continuations, beside human text; the unit is the opening.

All texts have the same length. A second model, which did not choose the tokens, says how
predictable a text is; what that is worth is tested on human text that was spoilt on purpose.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure.generation.samples import human, samples, token_ids
from internals.measure.scoring import mean_surprisal
from internals.tokens import start_ids

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

AS_WRITTEN, SHUFFLED, ELSEWHERE = "as written", "words in random order", "from another story"


def judge_of(model: ModelHandle) -> Any:
    """The second model: an embedded one that is not the subject."""
    from internals.models import open_model

    return open_model("fable-gpt2" if model.name == "fable-llama" else "fable-llama")


def bits_per_byte(loaded: LoadedModel, openings: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """``(texts,)`` bits for each UTF-8 byte of a text after its opening; NaN for an empty text."""
    heads, tails = [], []
    for opening, text in zip(openings, texts, strict=True):
        heads.append([*start_ids(loaded.tokenizer), *token_ids(loaded, opening)])
        # A text is cut where the judge's context ends.
        tails.append(token_ids(loaded, text)[: loaded.facts.context_length - len(heads[-1])])
    sizes = [max(1, len(loaded.tokenizer.decode(tail).encode())) for tail in tails]
    bits = mean_surprisal(loaded.model, heads, tails) * list(map(len, tails)) / math.log(2)
    found: np.ndarray = bits / sizes
    return found


@measurement
def judged(model: ModelHandle, judge: ModelHandle) -> pd.DataFrame:
    """Loss of every text under a second model, which did not choose its tokens

    Columns: those of `samples.samples`, human text below, and ``judge_bits`` (bits per byte of the
    text, given the opening).
    """
    people = human(model)
    openings = people.set_index("prompt")["opening"]
    table = pd.concat([samples(model), people.drop(columns="opening")], ignore_index=True)
    heads = [openings[prompt] for prompt in table["prompt"]]
    return table.assign(judge_bits=bits_per_byte(judge.loaded(), heads, list(table["text"])))


def distinct(texts: Sequence[Sequence[int]], n: int) -> float:
    """Different n-grams over all n-grams of some texts (Li et al. 2016); 1 is most diverse."""
    grams = [tuple(t[i : i + n]) for t in texts for i in range(len(t) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def repetition(text: Sequence[int], n: int = 4) -> float:
    """Share of the n-grams inside one text that repeat an earlier one: 1 − unique / all
    (rep-n, Welleck et al. 2020)."""
    return 1 - distinct([text], n)


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU of each text with all others as references (Zhu et al. 2018), 0 to 100.

    High means that the samples are alike. `sacrebleu` counts (Post 2018), smoothing as it does by
    default for sentences. NaN for fewer than two texts.
    """
    from sacrebleu.metrics import BLEU

    if len(texts) < 2:
        return float("nan")
    metric = BLEU(effective_order=True)
    scores = [
        metric.sentence_score(text, [*texts[:i], *texts[i + 1 :]]).score
        for i, text in enumerate(texts)
    ]
    return sum(scores) / len(scores)


def by_opening(judged: pd.DataFrame) -> pd.DataFrame:
    """One row for each setting and opening: ``distinct_1``, ``distinct_2``, ``rep_4`` (means over
    its texts, each by itself, so that all have one length), ``self_bleu`` (among its texts; NaN for
    one), ``judge_bits``."""
    rows = []
    for (setting, prompt), part in judged.groupby(["setting", "prompt"], sort=False):
        ids = part["ids"].tolist()
        rows.append(
            {
                "setting": setting,
                "prompt": prompt,
                "distinct_1": float(np.mean([distinct([t], 1) for t in ids])),
                "distinct_2": float(np.mean([distinct([t], 2) for t in ids])),
                "rep_4": float(np.mean([repetition(t) for t in ids])),
                "self_bleu": self_bleu(part["text"].tolist()),
                "judge_bits": float(part["judge_bits"].mean()),
            }
        )
    return pd.DataFrame(rows)


def compared(by_opening: pd.DataFrame) -> pd.DataFrame:
    """One row a setting: means over openings, of the judge's loss the median.

    Columns: ``setting``, those of `by_opening`, ``NAME_low`` and ``NAME_high`` for
    distinct_1 and judge_bits. One text with odd letters can cost the judge more than ten others;
    the median does not follow it.
    """
    rows = []
    for setting, part in by_opening.groupby("setting", sort=False):
        row: dict[str, Any] = part.drop(columns=["setting", "prompt"]).mean().to_dict()
        row["setting"] = setting
        for column, statistic in (("distinct_1", np.mean), ("judge_bits", np.median)):
            found = stats.bootstrap_ci(part[column], statistic, method="percentile")
            row |= {column: found.value, f"{column}_low": found.low, f"{column}_high": found.high}
        rows.append(row)
    return pd.DataFrame(rows)


@measurement
def judge_test(model: ModelHandle, judge: ModelHandle) -> pd.DataFrame:
    """What the judge can tell: human continuations as they are, and spoilt in two ways

    Columns: ``prompt``, ``kind`` (as written; its words in a random order; the continuation of the
    next story, which does not fit the opening), ``judge_bits`` (per byte).
    """
    people, rng = human(model), random.Random(0)
    own = list(people["text"])
    kinds = {
        AS_WRITTEN: own,
        SHUFFLED: [shuffled(text, rng) for text in own],
        ELSEWHERE: [*own[1:], own[0]],
    }
    frames = []
    for kind, texts in kinds.items():
        bits = bits_per_byte(judge.loaded(), list(people["opening"]), texts)
        frames.append(pd.DataFrame({"prompt": people["prompt"], "kind": kind, "judge_bits": bits}))
    return pd.concat(frames, ignore_index=True)


def shuffled(text: str, rng: random.Random) -> str:
    """The words of a text in a random order, one blank between them."""
    words = text.split()
    return " " + " ".join(rng.sample(words, len(words)))
