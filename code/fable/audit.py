"""What the finished training stream really holds: statements, sums and pairs of words, counted.

Exposure is planned in `designed`; here the tokens that were trained on are turned back into text
and searched, so that a slip of the generator would show. Nothing is written into the stream here.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from fable import general
from fable.designed import state, templates

ROLES = ("trained", "reverse", "heldout", "heldout_reverse")
_KEY_CHARACTERS = 12
"""Statements are found by their first characters; all of them are longer than this."""
_SENTENCE_START = re.compile(r"(?:\A|(?<=[.?!]\s)|(?<=[.?!]\"\s)|(?<=\n))(?=\S)")
_SUMS = tuple(map(re.compile, (r"\b(\d+) \+ (\d+)\b", r"\b(\d+) plus (\d+)\b")))
_DIFFERENCES = re.compile(r"\b(\d+) (?:-|minus) (\d+)\b")
_TAKEN = re.compile(r"\bTake (\d+) from (\d+)\b")
_STORY = re.compile(r"\bhad (\w+) \w+\. \w+ gave (\w+) of them\b")


def training_texts(dataset: Path, rows: int = 2000) -> pd.DataFrame:
    """Every document of the training stream, decoded: ``kind``, ``source``, ``text``.

    Args:
        dataset: folder of :func:`fable.dataset.build_dataset`.
        rows: documents that are decoded at once.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(dataset / "tokenizer" / "tokenizer.json"))
    stream = np.fromfile(dataset / "train.bin", np.uint16)
    index = pd.read_csv(dataset / "train_docs.csv")
    texts: list[str] = []
    for first in range(0, len(index), rows):
        part = index.iloc[first : first + rows]
        ids = [
            stream[a : a + n - 1].tolist()
            for a, n in zip(part["start"], part["tokens"], strict=True)
        ]
        texts += tokenizer.decode_batch(ids)
    return index[["kind", "source"]].assign(text=texts)


def statements(texts: Iterable[str], exposure: pd.DataFrame) -> pd.DataFrame:
    """Sentences that state a designed fact, counted in ``texts``, whoever wrote them.

    A sentence counts once, also where one wording contains another
    ("Everybody in the village knows that …").

    Args:
        texts: documents.
        exposure: table with ``fact_id``, ``relation``, ``subject``, ``object``.

    Returns:
        One row a fact, in the order of ``exposure``: ``fact_id`` and a count for each of
        :data:`ROLES` (roles of wordings in `data/facts/templates.yaml`).
    """
    known: dict[str, tuple[str, str]] = {}
    for fact in exposure.itertuples():
        for role in ROLES:
            for pattern in templates()[str(fact.relation)][role]:
                sentence = state(pattern, str(fact.subject), str(fact.object))
                known[sentence] = (str(fact.fact_id), role)
    by_start: dict[str, list[str]] = defaultdict(list)
    for sentence in known:
        by_start[sentence[:_KEY_CHARACTERS]].append(sentence)
    counts: Counter[tuple[str, str]] = Counter()
    for text in texts:
        for place in _SENTENCE_START.finditer(text):
            start = place.start()
            for sentence in by_start.get(text[start : start + _KEY_CHARACTERS], ()):
                if text.startswith(sentence, start):
                    counts[known[sentence]] += 1
    facts = [str(f) for f in exposure["fact_id"]]
    return pd.DataFrame(
        {"fact_id": facts} | {role: [counts[f, role] for f in facts] for role in ROLES}
    )


def sums(texts: Iterable[str]) -> pd.DataFrame:
    """How often each sum of the generator's range was written.

    Returns:
        One row an ordered pair ``a``, ``b`` below :data:`general.SUM_LIMIT`: ``held_out``,
        ``sums`` (a + b in digits), ``differences`` (a + b minus a, in digits), ``word_stories``
        (somebody has a + b things, in words, and gives away a). Stories in words take no notice
        of what is held out.
    """
    added: Counter[tuple[int, int]] = Counter()
    taken: Counter[tuple[int, int]] = Counter()
    told: Counter[tuple[int, int]] = Counter()
    value = {word: i for i, word in enumerate(general.world()["numbers"])}
    for text in texts:
        for pattern in _SUMS:
            added.update((int(a), int(b)) for a, b in pattern.findall(text))
        taken.update((int(a), int(c) - int(a)) for c, a in _DIFFERENCES.findall(text))
        taken.update((int(a), int(c) - int(a)) for a, c in _TAKEN.findall(text))
        for has, gives in _STORY.findall(text):
            if has in value and gives in value:
                told[value[gives], value[has] - value[gives]] += 1
    held = general.held_out_sums()
    pairs = [(a, b) for a in range(general.SUM_LIMIT) for b in range(general.SUM_LIMIT)]
    return pd.DataFrame(
        [(a, b, (a, b) in held, added[a, b], taken[a, b], told[a, b]) for a, b in pairs],
        columns=["a", "b", "held_out", "sums", "differences", "word_stories"],
    )


def combinations(documents: pd.DataFrame) -> pd.DataFrame:
    """Colours before things and animals: which pairs were read together, which only apart.

    Args:
        documents: table with ``source`` and ``text``.

    Returns:
        One row a pair: ``colour``, ``noun``, ``group`` (``thing`` or ``animal``), ``together``
        (times the noun stands right after the colour in running text), ``in_lists`` (the same in
        the random rows of words that are there to be copied), ``colour_total`` and ``noun_total``
        (times each stands in running text). A pair with ``together`` 0 is a new composition.
    """
    world = general.world()
    nouns = dict.fromkeys(world["things"], "thing") | {a[0]: "animal" for a in world["animals"]}
    colours = set(world["colours"])
    single: Counter[str] = Counter()
    pairs: dict[bool, Counter[tuple[str, str]]] = {True: Counter(), False: Counter()}
    for source, text in zip(documents["source"], documents["text"], strict=True):
        rows_of_words = source == "copying"
        found = re.findall(r"[a-z]+|[^a-z\s]", text.lower())
        pairs[rows_of_words].update((a, b) for a, b in pairwise(found) if a in colours)
        if not rows_of_words:
            single.update(found)
    rows = [
        (c, noun, group, pairs[False][c, noun], pairs[True][c, noun], single[c], single[noun])
        for c in world["colours"]
        for noun, group in nouns.items()
    ]
    names = ["colour", "noun", "group", "together", "in_lists", "colour_total", "noun_total"]
    return pd.DataFrame(rows, columns=names)


def write_audit(dataset: Path, folder: Path) -> None:
    """Write ``sums.csv`` and ``combinations.csv`` about a data set into ``folder``."""
    texts = training_texts(dataset)
    generated = texts.loc[texts["kind"] == "generated", "text"]
    sums(generated).to_csv(folder / "sums.csv", index=False)
    combinations(texts).to_csv(folder / "combinations.csv", index=False)
