"""Minimal pairs of whole sentences: form, negation and quantity, each pair with its mirror image.

After BLiMP (Warstadt et al. 2020) the sentence with the higher probability is the model's choice.
Every item makes the same exchange in both directions, so that a liking for one word is right in
exactly half of the pairs. Sources: the model, a random-initialised twin, a 5-gram model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import inputs, stats
from internals.cache import measurement
from internals.measure.behaviour import against_ngram
from internals.measure.capability import start_ids
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

PAIRS = DATA / "questions" / "minimal_pairs.yaml"
MEANING = ("negated facts", "giving away", "more and less")
"""How families begin in which both sentences are well formed and only one is true."""

REWORDED = "new wording"
"""How families end whose sentences are in no form that the generator of training text uses."""


@dataclass(frozen=True)
class Item:
    """Two pairs of sentences that make the same exchange in opposite directions."""

    id: str
    family: str
    right: str
    wrong: str
    other_right: str
    other_wrong: str

    @property
    def sentences(self) -> tuple[str, str, str, str]:
        """Right and wrong one of the first pair, then of the other."""
        return self.right, self.wrong, self.other_right, self.other_wrong


def items(path: Path = PAIRS) -> list[Item]:
    """The items of the file.

    Raises:
        InputError: as `inputs.fields`; also if the sentences of a pair are the same.
    """
    names = ("id", "family", "right", "wrong", "other_right", "other_wrong")
    found = [Item(**entry) for entry in inputs.fields(path, "items", names)]
    for item in found:
        if item.right == item.wrong or item.other_right == item.other_wrong:
            raise inputs.InputError(
                f"The sentences of a pair of {item.id!r} in {path.name} are the same; they must "
                "differ in one place."
            )
    return found


@measurement(files=["data/heldout/documents.jsonl", against_ngram.COUNTS])
def margins(model: ModelHandle, pairs: Path = PAIRS, seed: int = 0) -> pd.DataFrame:
    """Minimal pairs of sentences, and what two controls make of them

    Columns: ``source`` (model, five-gram, random twin), ``id``, ``family``, ``meaning`` (both
    sentences are well formed), ``margin`` (log-odds of the right over the wrong sentence in bits,
    mean of both pairs), ``right`` (share of the two pairs with the right sentence above).
    """
    from internals.measure.scoring import mean_surprisal

    loaded = model.loaded()
    found = items(pairs)
    head = beginning(loaded)
    room = loaded.facts.context_length - len(head)
    tails = [token_ids(loaded, text)[:room] for item in found for text in item.sentences]
    sizes = np.array([len(tail) for tail in tails])
    parts = []
    for source, network in (("model", loaded.model), ("random twin", loaded.random_twin(seed))):
        nats = mean_surprisal(network, [head] * len(tails), tails) * sizes
        parts.append(judged(found, -nats / math.log(2)).assign(source=source))
    counts = against_ngram.counts_for(loaded)
    bits = [counts.log_probs(np.array([*head, *t]))[len(head) - 1 :].sum() for t in tails]
    parts.insert(1, judged(found, np.array(bits) / math.log(2)).assign(source="five-gram"))
    return pd.concat(parts, ignore_index=True)


def judged(found: list[Item], bits: np.ndarray) -> pd.DataFrame:
    """Margins of items from the log-probabilities of their sentences in bits, ``(4 items,)``."""
    scores = bits.reshape(-1, 4)
    pairs = np.column_stack([scores[:, 0] - scores[:, 1], scores[:, 2] - scores[:, 3]])
    return pd.DataFrame(
        {
            "id": [item.id for item in found],
            "family": [item.family for item in found],
            "meaning": [item.family.startswith(MEANING) for item in found],
            "margin": pairs.mean(1),
            "right": (pairs > 0).mean(1),
        }
    )


def beginning(loaded: LoadedModel) -> list[int]:
    """What stands before a sentence: the end token, or a line break where there is none."""
    return start_ids(loaded) or token_ids(loaded, "\n")


def token_ids(loaded: LoadedModel, text: str) -> list[int]:
    """Ids of a text without special tokens."""
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


def question_ids(loaded: LoadedModel, text: str, room: int = 16) -> list[int]:
    """Ids of a beginning whose continuation is scored; only its end where the context is too short
    for it and ``room`` further tokens."""
    return [*beginning(loaded), *token_ids(loaded, text)][room - loaded.facts.context_length :]


@measurement(files=["data/heldout/documents.jsonl", against_ngram.COUNTS])
def families(model: ModelHandle, pairs: Path = PAIRS) -> pd.DataFrame:
    """Minimal pairs by family

    Columns as in :func:`by_family`.
    """
    return by_family(margins(model, pairs))


def by_family(table: pd.DataFrame) -> pd.DataFrame:
    """One row a family: ``family``, ``items``, ``margin``, ``low``, ``high``, ``p`` (sign flips),
    ``adjusted`` (over families), and the share of pairs right of each source."""
    shares = table.pivot_table(index="family", columns="source", values="right", sort=False)
    own = table[table["source"] == "model"]
    rows = []
    for family, part in own.groupby("family", sort=False):
        mean = stats.bootstrap_ci(part["margin"], unit="items")
        rows.append(
            {
                "family": family,
                "items": len(part),
                "margin": mean.value,
                "low": mean.low,
                "high": mean.high,
                "p": stats.sign_flip_test(part["margin"]).p_value,
                **{source: float(shares.loc[family, source]) for source in shares.columns},
            }
        )
    frame = pd.DataFrame(rows)
    return frame.assign(adjusted=stats.benjamini_hochberg(frame["p"]))


def share(
    table: pd.DataFrame, source: str = "model", *, meaning: bool, reworded: bool | None = None
) -> stats.Estimate | None:
    """Share of pairs with the right sentence above, over items; one half is no knowledge.

    ``reworded``: only families whose name ends with "new wording", or only the others. None if
    there is no such item.
    """
    part = table[(table["source"] == source) & (table["meaning"] == meaning)]
    if reworded is not None:
        part = part[part["family"].str.endswith(REWORDED) == reworded]
    if part.empty:
        return None
    return stats.bootstrap_ci(part["right"], unit="items", method="percentile")


def wording_gap(table: pd.DataFrame, source: str = "model") -> stats.Estimate | None:
    """Share of pairs right in plain wordings minus that in new ones, over items.

    Only families about meaning that come in both wordings count; None if there is none.
    """
    own = table[(table["source"] == source) & table["meaning"]]
    new = own["family"].str.endswith(REWORDED)
    kind = own["family"].str.removesuffix(f", {REWORDED}")
    both = kind.isin(kind[new]) & kind.isin(kind[~new])
    if not both.any():
        return None
    plain, other = (own.loc[both & part, "right"] for part in (~new, new))
    return stats.difference(plain, other, unit="items")


def against(table: pd.DataFrame, *, meaning: bool, source: str = "five-gram") -> stats.Estimate:
    """Share of pairs right of the model minus that of a control, item by item."""
    wide = table[table["meaning"] == meaning].pivot(index="id", columns="source", values="right")
    return stats.paired_difference(wide["model"], wide[source], unit="items", method="percentile")
