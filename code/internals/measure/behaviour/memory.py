"""What a model with known training data has stored: facts by exposure, in both directions, sums.

Asked of the embedded models, whose training text is known fact by fact; the unit is the fact. Right
means that the true answer is the likeliest of ten, so chance is one in ten.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure import capability, training_record
from internals.measure.behaviour import shares
from internals.measure.behaviour.rules import added
from internals.measure.capability import EXPOSURE
from internals.paths import DATA
from internals.tokens import start_ids

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

CANDIDATES = 10
WELL_STATED = 64
"""Fewest statements a pass of a fact that was stated well."""
ONE_WAY, BOTH_WAYS = "in one direction", "in both directions"
_SUMS = "data/training/sums.csv"


def _ids(loaded: LoadedModel, text: str) -> list[int]:
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


def recall_by_statements(model: ModelHandle) -> pd.DataFrame:
    """Share of facts answered rightly by how often training read them in all passes together.

    Columns: ``statements``, ``wording`` (trained, new), ``value``, ``low``, ``high``, ``n``.
    """
    table = capability.recall(model)
    table = table.assign(
        wording=table["wording"].replace("heldout", "new"),
        statements=training_record.passes() * table["level"],
    )
    return shares(table, ["statements", "wording"], "correct")


def shares_of(model: ModelHandle) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`recall_by_statements`, and the shares of `reversal` by ``stated`` and ``asked``."""
    return recall_by_statements(model), shares(reversal(model), ["stated", "asked"], "correct")


@measurement(files=[EXPOSURE, "data/facts/templates.yaml"])
def reversal(model: ModelHandle, seed: int = 0) -> pd.DataFrame:
    """Facts asked in the direction in which they were stated, and backwards

    Columns: ``fact_id``, ``relation``, ``stated`` (in one or both directions), ``asked`` (forward,
    backward), ``correct``. Rulers of invented lands and capitals, those that were stated well.
    """
    from fable.designed import templates
    from internals.measure.answers import answer_scores

    loaded = model.loaded()
    start = start_ids(loaded.tokenizer)
    pairs, owner = [], []
    for fact, others in _two_way_facts(seed):
        stated = ONE_WAY if fact.exposures_reverse == 0 else BOTH_WAYS
        for asked, role, given, wanted in (
            ("forward", "trained", "subject", "object"),
            ("backward", "reverse", "object", "subject"),
        ):
            pattern = templates()[fact.relation][role][0]
            head = _beginning(pattern, wanted[0], str(getattr(fact, given)))
            for i, name in enumerate([getattr(fact, wanted), *others[wanted]]):
                pairs.append(([*start, *_ids(loaded, head)], _ids(loaded, f" {name}")))
                owner.append((fact.fact_id, fact.relation, stated, asked, i == 0))
    table = pd.DataFrame(owner, columns=["fact_id", "relation", "stated", "asked", "right"])
    table["log_prob"] = answer_scores(loaded.model, pairs)
    keys = ["fact_id", "relation", "stated", "asked"]
    best = table.groupby(keys)["log_prob"].transform("max")
    found = table.assign(correct=table["log_prob"] == best)[table["right"]]
    return found[[*keys, "correct"]].reset_index(drop=True)


def _two_way_facts(seed: int) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Well-stated facts that can be asked both ways, each with nine others to choose from.

    A fact whose answer shows in its question (Tunis, Luxembourg) is left out.
    """
    table = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    table = table[table["relation"].isin(["ruler", "capital"])]
    table = table[table["exposures"] >= WELL_STATED]
    shows = [_shows(s, o) for s, o in zip(table["subject"], table["object"], strict=True)]
    table = table[~np.array(shows)]
    rng = np.random.default_rng([seed, 51])
    for _, group in table.groupby(["relation", "direction"], sort=True):
        for fact in group.itertuples():
            others = group[group["fact_id"] != fact.fact_id]
            yield fact, others.iloc[rng.permutation(len(others))[: CANDIDATES - 1]]


def _shows(subject: str, answer: str) -> bool:
    """Whether four letters that begin a word of one stand in the other."""
    a, b = subject.lower(), answer.lower()
    return any(w[:4] in b for w in a.split() if len(w) > 3) or any(
        w[:4] in a for w in b.split() if len(w) > 3
    )


def _beginning(pattern: str, last: str, given: str) -> str:
    """A sentence up to the blank that ``last`` ('s' or 'o') fills; the other is ``given``."""
    head = pattern.split("{" + last + "}")[0]
    return head.replace("{s}", given).replace("{o}", given).rstrip()


@measurement(files=[_SUMS])
def sums(model: ModelHandle, n: int = 150, seed: int = 0) -> pd.DataFrame:
    """Sums that were in the training data, and sums that were held out

    Columns: ``a``, ``b``, ``held_out``, ``correct`` (the number that greedy decoding writes).
    """
    table = pd.read_csv(DATA / "training" / "sums.csv")
    table = table[(table["a"] >= 2) & (table["b"] >= 2)]
    rng = np.random.default_rng([seed, 52])
    parts = []
    for held_out in (False, True):
        own = table[(table["held_out"] == held_out) & (held_out | (table["sums"] > 0))]
        parts.append(own.iloc[rng.permutation(len(own))[:n]])
    chosen = pd.concat(parts)[["a", "b", "held_out"]].reset_index(drop=True)
    loaded = model.loaded()
    start = start_ids(loaded.tokenizer)
    pairs = list(zip(chosen["a"], chosen["b"], strict=True))
    heads = [[*start, *_ids(loaded, f"{a} + {b} =")] for a, b in pairs]
    return chosen.assign(correct=added(loaded, heads, [a + b for a, b in pairs]))


FREE = {
    "occupation": ("The work of", r"(\w+) is that of an? (\w+)\."),
    "ruler": ("The ruler of", r"(\w+) is (\w+)\."),
    "home": ("The home of", r"(\w+) is in (\w+)\."),
}
"""Beginnings after which the model states a fact of its own choice, and how that goes on. Training
used them for people and lands with invented names only, so what it stated is known."""


@measurement(files=[EXPOSURE])
def free_statements(model: ModelHandle, n: int = 300, seed: int = 0) -> pd.DataFrame:
    """Facts that the model states of its own accord

    Sampled at temperature one. Columns: ``relation``, ``text``, ``statements`` (a pass of this fact
    in training; 0: it is made up). Texts of another form are left out.
    """
    from internals.generation.generate import generate
    from internals.generation.sampling import Sampler

    loaded = model.loaded()
    table = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    facts = zip(table["relation"], table["subject"], table["object"], strict=True)
    stated = dict(zip(facts, table["exposures"], strict=True))
    rows = []
    for relation, (head, form) in FREE.items():
        ids = [*start_ids(loaded.tokenizer), *_ids(loaded, head)]
        made = generate(loaded.model, [ids], 14, sampler=Sampler("plain"), seed=seed, copies=n).ids
        for row in made:
            text = loaded.tokenizer.decode(list(row)).strip()
            if found := re.match(form, text):
                count = stated.get((relation, found[1], found[2]), 0)
                rows.append((relation, found[0], int(count)))
    if not rows:
        raise NotApplicable("the model states no fact in these words")
    return pd.DataFrame(rows, columns=["relation", "text", "statements"])


def once_share() -> stats.Estimate:
    """Share of the statements of those relations that state a fact which training states once.

    The Good-Turing estimate on which the bound of Kalai and Vempala (2024) rests.
    """
    table = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    counts = table.loc[table["relation"].isin(FREE), "exposures"]
    return stats.exact((counts == 1).sum() / counts.sum(), int(counts.sum()), "statements")


RIVALS = ("capital", "language", "currency")
"""Relations whose answers differ much in how often they were stated."""
FEW = (1, 8)
"""Statements a pass of a fact that was stated rarely."""


@measurement(files=[EXPOSURE, "data/facts/templates.yaml"])
def against_common(model: ModelHandle, n: int = 120, seed: int = 0) -> pd.DataFrame:
    """Rarely stated facts against a common and a rare wrong answer

    Columns: ``fact_id``, ``common`` and ``rare`` (log-odds in bits of the truth against a wrong
    answer that was stated more often than the true one, with whatever subject, and against one that
    was stated no more often).
    """
    from fable.designed import prompt, templates
    from internals.measure.answers import answer_scores

    loaded = model.loaded()
    asked = rivals(n, seed)
    start = start_ids(loaded.tokenizer)
    pairs = []
    for fact in asked.itertuples():
        head = prompt(templates()[str(fact.relation)]["trained"][0], str(fact.subject))
        for answer in (fact.object, fact.common, fact.rare):
            pairs.append(([*start, *_ids(loaded, head)], _ids(loaded, f" {answer}")))
    bits = answer_scores(loaded.model, pairs).reshape(-1, 3) / math.log(2)
    margins = {"common": bits[:, 0] - bits[:, 1], "rare": bits[:, 0] - bits[:, 2]}
    return asked[["fact_id"]].assign(**margins)


def rivals(n: int, seed: int) -> pd.DataFrame:
    """Real facts that were stated rarely, each with a ``common`` and a ``rare`` wrong answer of the
    same relation; facts whose answer shows in the subject are left out."""
    table = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    rng = np.random.default_rng([seed, 61])
    rows = []
    for relation in RIVALS:
        part = table[table["relation"] == relation]
        totals = part.groupby("object")["exposures"].sum()
        top = totals.sort_values(ascending=False, kind="stable").index[:10]
        for fact in part[part["exposures"].between(*FEW)].itertuples():
            common = [o for o in top if totals[o] > totals[fact.object] and o != fact.object]
            rare = [
                o for o in totals.index if totals[o] <= totals[fact.object] and o != fact.object
            ]
            if common and rare and not _shows(str(fact.subject), str(fact.object)):
                wrong = common[int(rng.integers(len(common)))], rare[int(rng.integers(len(rare)))]
                rows.append((fact.fact_id, relation, fact.subject, fact.object, *wrong))
    names = ["fact_id", "relation", "subject", "object", "common", "rare"]
    found = pd.DataFrame(rows, columns=names)
    return found.iloc[rng.permutation(len(found))[:n]].reset_index(drop=True)
