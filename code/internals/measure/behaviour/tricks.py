"""Trick questions with their controls, questions without an answer, and words with two readings.

A language model continues texts, so each question is a beginning, with continuations that compete
(Ettinger 2020; Kassner and Schütze 2020). Pairs of one family are not independent: the family is
the unit of whatever is said about all of them.
"""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import inputs, questions, stats
from internals.cache import measurement
from internals.errors import NotApplicable
from internals.generation.generate import GREEDY, Strategy, generate
from internals.generation.sampling import Sampler
from internals.measure import effort
from internals.measure.behaviour import finite
from internals.tokens import prompt_ids, word_ids

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

TRICKS = inputs.QUESTIONS / "tricks10.yaml"
ANSWERABLE = inputs.QUESTIONS / "answerable.yaml"


SHOWN_TOKENS = 12
"""New tokens of an answer that is shown."""


@measurement
def shown(model: ModelHandle, path: Path = TRICKS, seed: int = 0) -> pd.DataFrame:
    """Trick questions with the model's own answers

    Columns: ``question``, ``note`` (what is right, the first sentence), ``greedy``, ``sampled`` (at
    temperature one), and for a tokenizer with a chat template ``as a chat`` (greedy).
    """
    loaded = model.loaded()
    tricks = inputs.tricks(path)
    heads = [prompt_ids(loaded.tokenizer, trick.text) for trick in tricks]
    bare = [trick.text.removeprefix("Question: ").removesuffix("\nAnswer:") for trick in tricks]
    notes = [re.split(r"(?<=\.) ", trick.note)[0] for trick in tricks]
    table = pd.DataFrame({"question": bare, "note": notes})
    table["greedy"] = _written(loaded, heads, GREEDY)
    table["sampled"] = _written(loaded, heads, Sampler("plain"), seed)
    if getattr(loaded.tokenizer, "chat_template", None):
        chats = [
            loaded.tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
            )
            for text in bare
        ]
        table["as a chat"] = _written(loaded, chats, GREEDY)
    return table


def _written(
    loaded: LoadedModel,
    heads: list[list[int]],
    sampler: Strategy,
    seed: int = 0,
    n_new: int = SHOWN_TOKENS,
) -> list[str]:
    """What the model writes after each head, up to the end of the line or text.

    Raises:
        NotApplicable: a head leaves no room for an answer.
    """
    if max(map(len, heads)) + n_new > loaded.facts.context_length:
        raise NotApplicable("a question does not fit into the context with its answer")
    made = generate(loaded.model, heads, n_new, sampler=sampler, seed=seed).ids
    special = set(loaded.tokenizer.all_special_ids)
    found = []
    for ids in made:
        kept = itertools.takewhile(lambda token: token not in special, ids)
        lines = loaded.tokenizer.decode(list(kept)).strip().splitlines()
        found.append(lines[0] if lines else "(nothing)")
    return found


@measurement
def knowing(model: ModelHandle, path: Path = ANSWERABLE) -> pd.DataFrame:
    """Questions about things that exist, and about invented names

    Columns: ``form``, ``group`` (well known, little known, invented), ``entropy_bits`` (of the next
    token), ``declined`` (the greedy answer says that it is unknown).
    """
    loaded = model.loaded()
    asked = inputs.answerable(path)
    heads = [prompt_ids(loaded.tokenizer, item.text) for item in asked]
    greedy = _Watched()
    answers = _written(loaded, heads, greedy, n_new=6)
    p = greedy.first.double().softmax(-1)
    entropy = -(p * p.clamp(min=1e-300).log2()).sum(-1)
    return pd.DataFrame(
        {
            "form": [item.form for item in asked],
            "group": [item.group.replace("_", " ") for item in asked],
            "entropy_bits": finite(entropy.cpu().numpy()),
            "declined": [bool(DECLINED.search(answer)) for answer in answers],
        }
    )


DECLINED = re.compile(
    r"\b(unknown|not known|no such|not exist|fictional|fictitious|imaginary|made[- ]up|cannot|"
    r"can't|do(es)? not know|don't know|not sure|no one|nobody|unclear|uncertain)\b",
    re.IGNORECASE,
)
"""Words by which an answer owns that there is none."""


class _Watched:
    """Greedy; keeps the logits ``(batch, vocab)`` of the first step."""

    first: Any = None

    def choose(self, logits: Any, _generator: Any) -> Any:
        """``(batch, vocab) -> (batch,)``"""
        self.first = logits if self.first is None else self.first
        return logits.argmax(-1)


def separation(table: pd.DataFrame, group: str, score: str = "entropy_bits") -> stats.Estimate:
    """How often a score is higher for an invented name than for one of ``group`` in the same form
    (area under the ROC curve), mean over forms; intervals over forms."""
    areas = {}
    for form, part in table.groupby("form", sort=False):
        high, low = (part.loc[part["group"] == g, score].to_numpy() for g in ("invented", group))
        gaps = high[:, None] - low[None]
        areas[form] = float(((gaps > 0) + (gaps == 0) / 2).mean())
    return stats.over_groups(list(areas.values()), list(areas), unit="forms")


@measurement
def pairs(model: ModelHandle, path: Path = questions.PAIRS) -> pd.DataFrame:
    """Trick questions and their controls

    One row a pair, means over its wordings (the first two, of a large model): ``id``, ``family``,
    ``switches`` (the trick changes which continuation is right; else it only tempts), ``control``
    and ``trick`` (log-odds in bits of the right against the wrong continuation).
    """
    from internals.measure.answers import answer_scores

    loaded = model.loaded()
    tokenizer = loaded.tokenizer
    wordings = effort.units(loaded.facts, questions.PARAPHRASES, least=2)
    rows, asked = [], []
    for pair in questions.trick_pairs(path):
        right, trap = word_ids(tokenizer, pair.trick_right), word_ids(tokenizer, pair.trap)
        for texts in pair.paraphrases[:wordings]:
            heads = [prompt_ids(tokenizer, text) for text in texts]
            if max(map(len, heads)) + max(len(right), len(trap)) <= loaded.facts.context_length:
                rows.append((pair.id, pair.family, pair.switches))
                asked += [(head, answer) for head in heads for answer in (right, trap)]
    if not rows:
        raise NotApplicable("no pair of questions fits into the context")
    scores = answer_scores(loaded.model, asked).reshape(-1, 2, 2)
    bits = finite(scores[:, :, 0] - scores[:, :, 1]) / math.log(2)
    table = pd.DataFrame(rows, columns=["id", "family", "switches"])
    table["control"] = np.where(table["switches"], -1, 1) * bits[:, 0]
    table["trick"] = bits[:, 1]
    return table.groupby(["id", "family", "switches"], sort=False).mean().reset_index()


@measurement
def ambiguity(model: ModelHandle, path: Path = questions.AMBIGUITY) -> pd.DataFrame:
    """Words with two readings, after a context of each

    Columns: ``first``, ``second``: log-odds in bits of the continuation of the first reading
    against that of the second, after a context of the first and of the second.
    """
    from internals.measure.answers import answer_scores

    loaded = model.loaded()
    asked = []
    for item in questions.ambiguous_words(path):
        texts = [f"{context.rstrip('.')}. {item.question}" for context in item.contexts]
        heads = [prompt_ids(loaded.tokenizer, text) for text in texts]
        answers = [word_ids(loaded.tokenizer, text) for text in item.continuations]
        if max(map(len, heads)) + max(map(len, answers)) <= loaded.facts.context_length:
            asked += [(head, answer) for head in heads for answer in answers]
    if not asked:
        raise NotApplicable("no ambiguous word fits into the context with its question")
    scores = answer_scores(loaded.model, asked).reshape(-1, 2, 2)
    bits = finite(scores[:, :, 0] - scores[:, :, 1]) / math.log(2)
    return pd.DataFrame(bits, columns=["first", "second"])


def effects(table: pd.DataFrame) -> pd.Series:
    """What the trick does to the odds, in bits, pair by pair.

    Where the right answer stays: how far its odds fall. Where it changes: how far the odds move
    towards the new one; the liking for one of the two words, which is in both margins, cancels.
    """
    return table["control"] + np.where(table["switches"], 1, -1) * table["trick"]


def by_family(table: pd.DataFrame) -> pd.DataFrame:
    """One row a family: ``family``, ``kind`` (changes the answer, tempts), shares of pairs in which
    the right continuation is preferred after the ``control``, after the ``trick`` and after
    ``both``, and the mean of `effects`, ``effect`` (bits)."""
    rights = table.assign(
        kind=np.where(table["switches"], "changes the answer", "tempts"),
        control=table["control"] > 0,
        trick=table["trick"] > 0,
        both=both_right(table),
        effect=effects(table),
    )
    means = ["control", "trick", "both", "effect"]
    found = rights.groupby(["family", "kind"], sort=False)[means].mean().reset_index()
    return found.sort_values(["kind", "effect"], ignore_index=True)


def both_right(table: pd.DataFrame) -> pd.Series:
    """Whether a pair is right after its control and after its trick.

    Where the trick changes the answer, no habit (always the usual word, always "Yes") earns this.
    """
    return (table["control"] > 0) & (table["trick"] > 0)
