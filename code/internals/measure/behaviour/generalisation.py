"""Pattern or rule? Sums that were held out, facts asked backwards, random tokens copied.

Every test has a version that recall alone can answer and one that it cannot. The training counts
are those of the embedded models; other models only take the tests that need none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure.capability import EXPOSURE, start_ids
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

SUMS = "data/training/sums.csv"
FORM = "{a} + {b} ="


def _ids(loaded: LoadedModel, text: str) -> list[int]:
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


@measurement(files=[SUMS])
def sums(model: ModelHandle, n: int = 150, seed: int = 0) -> pd.DataFrame:
    """Sums that were trained on and sums that were held out

    Columns: ``a``, ``b``, ``held_out``, ``answer`` (greedy text), ``correct``, ``off`` (answer
    minus sum; NaN if no number).
    """
    from internals.generation.generate import generate

    loaded = model.loaded()
    table = pd.read_csv(DATA / "training" / "sums.csv")
    table = table[(table["a"] >= 2) & (table["b"] >= 2)]
    rng = np.random.default_rng([seed, 51])
    parts = []
    for held_out in (False, True):
        own = table[table["held_out"] == held_out]
        own = own if held_out else own[own["sums"] > 0]
        parts.append(own.iloc[rng.permutation(len(own))[:n]])
    chosen = pd.concat(parts)[["a", "b", "held_out"]].reset_index(drop=True)
    heads = [
        [*start_ids(loaded), *_ids(loaded, FORM.format(a=r.a, b=r.b))] for r in chosen.itertuples()
    ]
    made = generate(loaded.model, heads, 5).ids
    chosen["answer"] = [loaded.tokenizer.decode(list(ids)) for ids in made]
    number = pd.to_numeric(chosen["answer"].str.extract(r"^\s*(\d+)(?!\d)")[0], errors="coerce")
    chosen["off"] = number - chosen["a"] - chosen["b"]
    chosen["correct"] = chosen["off"] == 0
    return chosen


@measurement(files=[EXPOSURE, "data/facts/templates.yaml"])
def reversal(model: ModelHandle) -> pd.DataFrame:
    """Facts asked in the direction in which they were stated, and backwards

    Only the relation with one subject for each object (rulers). Columns: ``fact_id``, ``level``,
    ``direction`` (both, forward_only: how it was stated), ``asked`` (forward, backward),
    ``correct``, ``prob`` (joint probability of the right name).
    """
    from fable.designed import templates
    from internals.measure.answers import answer_scores

    loaded = model.loaded()
    exposure = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    rulers = exposure[(exposure["relation"] == "ruler") & (exposure["kind"] == "invented")]
    patterns = templates()["ruler"]
    pairs, owner = [], []
    for fact in rulers.itertuples():
        same = rulers[rulers["level"] == fact.level]
        for asked, role, given, wanted in (
            ("forward", "trained", "subject", "object"),
            ("backward", "reverse", "object", "subject"),
        ):
            pattern = patterns[role][0]
            head = _beginning(pattern, "o" if asked == "forward" else "s", getattr(fact, given))
            right = getattr(fact, wanted)
            for name in [right, *(x for x in same[wanted] if x != right)]:
                ids = [*start_ids(loaded), *_ids(loaded, head)]
                pairs.append((ids, _ids(loaded, f" {name}")))
                owner.append((fact.fact_id, fact.level, fact.direction, asked, name == right))
    table = pd.DataFrame(owner, columns=["fact_id", "level", "direction", "asked", "right"])
    table["log_prob"] = answer_scores(loaded.model, pairs)["log_prob"]
    keys = ["fact_id", "level", "direction", "asked"]
    best = table.groupby(keys)["log_prob"].transform("max")
    found = table[table["right"]].copy()
    found["correct"] = found["log_prob"] == best[found.index]
    found["prob"] = np.exp(found["log_prob"])
    return found[[*keys, "correct", "prob"]].reset_index(drop=True)


def _beginning(pattern: str, last: str, given: str) -> str:
    """A sentence up to the blank that ``last`` ('s' or 'o') fills; the other is ``given``."""
    head = pattern.split("{" + last + "}")[0]
    return head.replace("{s}", given).replace("{o}", given).rstrip()


def reversal_shares(table: pd.DataFrame, levels: tuple[int, ...] = (64, 256)) -> pd.DataFrame:
    """Share of right answers for well-stated facts: ``direction``, ``asked``, ``value``, ``low``,
    ``high``, ``n``."""
    rows = []
    part = table[table["level"].isin(levels)]
    for (direction, asked), own in part.groupby(["direction", "asked"], sort=False):
        found = stats.wilson(int(own["correct"].sum()), len(own), unit="facts")
        rows.append((direction, asked, found.value, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=["direction", "asked", "value", "low", "high", "n"])


@measurement
def copying(
    model: ModelHandle, rows: int = 30, period: int = 24, seed: int = 0, twin: bool = False
) -> pd.DataFrame:
    """Loss on random tokens and on their repetition

    No text contains these sequences, so only a rule (“what followed last time”) can help
    (Olsson et al. 2022). ``twin``: ask the random-initialised twin instead. Columns: ``row``,
    ``first_bits``, ``second_bits`` (per token).
    """
    import math

    from fable.induction import random_copies
    from internals.measure.scoring import score_tokens

    loaded = model.loaded()
    period = min(period, loaded.facts.context_length // 2 - 1)
    ids = random_copies(rows, period, loaded.facts.vocab_size_tokenizer, seed)
    scores = score_tokens(loaded.random_twin(seed) if twin else loaded.model, ids.tolist())
    table = [
        (
            i,
            -s.log_prob[: period - 1].mean() / math.log(2),
            -s.log_prob[period:].mean() / math.log(2),
        )
        for i, s in enumerate(scores)
    ]
    return pd.DataFrame(table, columns=["row", "first_bits", "second_bits"])
