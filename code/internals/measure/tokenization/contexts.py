"""The same word in different contexts: its ids depend on adjacent characters only, its hidden
states on the whole text to its left.

The prediction about ids is made from characters before the tokenizer is asked; failures are
counted. The unit is the word.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from internals import stats
from internals.tokens import pieces

FRAMES: tuple[tuple[str, str], ...] = (
    ("We saw the ", " again."),
    ("They spoke of the ", " for hours."),
    ("Nobody liked the ", " at first."),
    ("In the morning the ", " was gone."),
    ("She looked at the ", ", then at him."),
    ("He asked about the ", "."),
    ("Was it the ", "?"),
    ("Not the ", "!"),
    ("It was a ", " like any other."),
    ("There is no ", " here."),
    ("Every ", " has a name."),
    ("My old ", " came back."),
    ('He said "', '" twice.'),
    ("(", ")"),
    ("The word (", ") is short."),
    ("a-", " b"),
    ("\n", "\n"),
    ("first line\n", " second line"),
    ("x_", "_y"),
    ("3", "3"),
    ("the  ", "  end"),
    ("\t", "\tend"),
)
"""Text before and after the word; some differ only far away, some in the adjacent characters."""


def context_ids(tokenizer: Any, words: list[str]) -> pd.DataFrame:
    """Ids of each word in each of :data:`FRAMES`.

    Columns: ``word``, ``frame``, ``before`` and ``after`` (adjacent characters), ``ids`` (ids of
    the tokens that overlap the word), ``clean`` (no token reaches beyond the word and one space
    before it).
    """
    rows = []
    for word in words:
        for number, (left, right) in enumerate(FRAMES):
            text = left + word + right
            start, end = len(left), len(left) + len(word)
            inside = [
                p
                for p in pieces(tokenizer, text, split_special=True)
                if p.start < end and p.end > start
            ]
            rows.append(
                {
                    "word": word,
                    "frame": number,
                    "before": left[-1:],
                    "after": right[:1],
                    "ids": tuple(p.id for p in inside),
                    "clean": all(p.start >= start - 1 and p.end <= end for p in inside),
                }
            )
    return pd.DataFrame(rows)


def prediction_failures(table: pd.DataFrame) -> pd.DataFrame:
    """Where the rule "same adjacent characters, same ids" fails.

    For each word all pairs of frames with equal adjacent characters are compared.
    Columns: ``word``, ``predictions``, ``failures``, ``distinct`` (different id sequences over
    all frames).
    """
    rows = []
    for word, part in table.groupby("word", sort=False):
        groups = part.groupby(["before", "after"])["ids"]
        predictions = int((groups.size() - 1).sum())
        failures = int(sum((ids != ids.iloc[0]).sum() for _, ids in groups))
        rows.append(
            {
                "word": word,
                "predictions": predictions,
                "failures": failures,
                "distinct": part["ids"].nunique(),
            }
        )
    return pd.DataFrame(rows)


SENSES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bank": (
        ("They sat on the grassy river bank", "The boat was tied to the bank"),
        ("She put her money in the bank", "He was a clerk at the bank"),
    ),
    "bat": (
        ("In the dark cave hung a bat", "At night there flew a bat"),
        ("He struck the ball with his bat", "The boy played cricket with a bat"),
    ),
    "lead": (
        ("The pipe was made of lead", "It was as heavy as lead"),
        ("The old man took the lead", "Our horse was in the lead"),
    ),
    "wind": (
        ("The leaves blew in the wind", "The ship sailed before the wind"),
        ("The clock was one he had to wind", "Every evening it was the watch she would wind"),
    ),
    "ring": (
        ("On her finger she wore a gold ring", "The king gave her a ring"),
        ("They heard the bell ring", "The telephone began to ring"),
    ),
    "spring": (
        ("The flowers bloom in the spring", "After the winter comes the spring"),
        ("They drank water from the spring", "Fresh water flowed out of the spring"),
    ),
    "light": (
        ("The lamp gave a bright light", "They saw in the window a light"),
        ("The bag was small and light", "A feather is very light"),
    ),
    "rock": (
        ("The ship struck a rock", "He sat down on a big rock"),
        ("The cradle began to rock", "The boat began to rock"),
    ),
    "watch": (
        ("He looked at the time on his watch", "The old gold watch"),
        ("The soldiers kept the night watch", "All night a guard kept watch"),
    ),
    "fair": (
        ("They bought a horse at the fair", "All the village went to the fair"),
        ("The judge was just and fair", "That is not right and not fair"),
    ),
}
"""Words of two senses, each sense in two sentences that end with the word."""

ONE_SENSE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "river": (
        ("They swam across the wide river", "The boat went down the river"),
        ("Behind the town there was a river", "The fish lived in the river"),
    ),
    "horse": (
        ("He rode away on his horse", "In the stable stood a horse"),
        ("The farmer sold his old horse", "She gave some hay to the horse"),
    ),
    "house": (
        ("They built a new house", "The family lived in a small house"),
        ("There was smoke over the house", "He went back into the house"),
    ),
    "mother": (
        ("The child ran to his mother", "She lived with her old mother"),
        ("He wrote a letter to his mother", "The lamb had lost its mother"),
    ),
    "water": (
        ("They drank the cold water", "She filled the cup with water"),
        ("The stone fell into the water", "The fish swam in the water"),
    ),
    "garden": (
        ("The roses grew in the garden", "She walked in the garden"),
        ("Behind the house was a garden", "The old man worked in his garden"),
    ),
    "window": (
        ("She looked out of the window", "The bird flew in through the window"),
        ("He closed the door and the window", "A light shone in the window"),
    ),
    "money": (
        ("He had lost all his money", "They needed some more money"),
        ("She paid him with the money", "The thief had taken the money"),
    ),
    "forest": (
        ("The wolf lived in the forest", "They were lost in the forest"),
        ("They cut wood in the forest", "A path led through the forest"),
    ),
    "bread": (
        ("They ate some cheese and bread", "The baker sold fresh bread"),
        ("She gave the poor man some bread", "The child wanted a piece of bread"),
    ),
}
"""Controls: words of one sense in two arbitrary groups of sentences."""


def sense_sentences() -> pd.DataFrame:
    """Columns: ``word``, ``kind`` (two senses or one), ``group`` (0 or 1), ``text``."""
    rows = [
        {"word": word, "kind": kind, "group": group, "text": text}
        for kind, table in (("two senses", SENSES), ("one sense", ONE_SENSE))
        for word, groups in table.items()
        for group, texts in enumerate(groups)
        for text in texts
    ]
    return pd.DataFrame(rows)


def context_similarity(states: np.ndarray, sentences: pd.DataFrame) -> pd.DataFrame:
    """Where context enters: similarity of one word's hidden states in different sentences.

    Args:
        states: ``(sentence, layer, d_model)`` hidden states at the word's last token; layer 0 is
            the embedding. They are centred over all sentences at each layer first, since the
            raw cosine of any two states is high (anisotropy; Ethayarajh 2019).
        sentences: from :func:`sense_sentences`, in the same order.

    Returns:
        columns ``word``, ``kind``, ``layer``, ``within`` and ``between`` (mean cosine of
        sentences of the same group and of different groups), ``gap`` = within − between,
        ``other_words`` (mean cosine with sentences of other words: the baseline).
    """
    centred = states - states.mean(axis=0, keepdims=True)
    unit = centred / np.linalg.norm(centred, axis=-1, keepdims=True).clip(1e-12)
    rows = []
    words = sentences["word"].to_numpy()
    groups = sentences["group"].to_numpy()
    for word in dict.fromkeys(words):
        own = np.flatnonzero(words == word)
        others = np.flatnonzero(words != word)
        first, second = own[groups[own] == 0], own[groups[own] == 1]
        for layer in range(states.shape[1]):
            x = unit[:, layer]
            within = np.mean([_mean_pair(x[first]), _mean_pair(x[second])])
            between = float((x[first] @ x[second].T).mean())
            rows.append(
                {
                    "word": word,
                    "kind": sentences["kind"].iloc[own[0]],
                    "layer": layer,
                    "within": within,
                    "between": between,
                    "gap": within - between,
                    "other_words": float((x[own] @ x[others].T).mean()),
                }
            )
    return pd.DataFrame(rows)


def by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """Means over words with bootstrap intervals, from :func:`context_similarity`.

    Columns: ``kind``, ``layer``, ``what`` (``gap``; ``same word``: mean cosine of its states in
    different sentences; ``other words``), ``value``, ``low``, ``high``.
    """
    rows = []
    same = table.assign(**{"same word": (table["within"] + table["between"]) / 2})
    same = same.rename(columns={"other_words": "other words"})
    for (kind, layer), part in same.groupby(["kind", "layer"], sort=False):
        for what in ("gap", "same word", "other words"):
            found = stats.bootstrap_ci(part[what].to_numpy(), unit="words")
            rows.append((kind, layer, what, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["kind", "layer", "what", "value", "low", "high"])


def _mean_pair(x: np.ndarray) -> float:
    """Mean cosine of all pairs of different rows."""
    product = x @ x.T
    return float(product[np.triu_indices(len(x), 1)].mean())
