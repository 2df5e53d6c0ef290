"""The same word in different contexts: its ids depend on adjacent characters only, its hidden
states on the whole text to its left.

The prediction about ids is made from characters before the tokenizer is asked; failures are
counted. The unit is the word.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import yaml

from internals import stats
from internals.cache import measurement
from internals.measure.scoring import batches, padded
from internals.measure.tokenization.casing import WORDS, words
from internals.models import LoadedModel, ModelHandle
from internals.paths import DATA
from internals.tokens import pieces, prompt_ids

SENSES = "data/words/contexts.yaml"
FRAMES: tuple[tuple[str, str], ...] = (
    ("We saw the ", " again."),
    ("They spoke of the ", " for hours."),
    ("In the morning the ", " was gone."),
    ("She looked at the ", ", then at him."),
    ("He asked about the ", "."),
    ("Was it the ", "?"),
    ("It was a ", " like any other."),
    ("Every ", " has a name."),
    ('He said "', '" twice.'),
    ("(", ")"),
    ("The word (", ") is short."),
    ("a-", " b"),
    ("\n", "\n"),
    ("first line\n", " second line"),
    ("x_", "_y"),
    ("3", "3"),
)
"""Text before and after the word; some differ only far away, some in the adjacent characters."""


@measurement(files=[WORDS])
def ids_in_frames(model: ModelHandle, n_words: int = 40) -> pd.DataFrame:
    """Ids of words in many contexts

    For each word all frames with the same adjacent characters are compared: the rule "same
    adjacent characters, same ids" makes a prediction for each but the first.
    Columns: ``word``, ``predictions``, ``failures``, ``distinct`` (id sequences over all frames).
    """
    tokenizer = model.loaded().tokenizer
    chosen = [word for word in words(600) if len(word) >= 4][:n_words]
    rows = []
    for word in chosen:
        by_neighbours: dict[tuple[str, str], list[tuple[int, ...]]] = {}
        for left, right in FRAMES:
            found = ids_of(tokenizer, left, word, right)
            by_neighbours.setdefault((left[-1:], right[:1]), []).append(found)
        groups = list(by_neighbours.values())
        failures = sum(ids != group[0] for group in groups for ids in group[1:])
        distinct = len({ids for group in groups for ids in group})
        rows.append((word, len(FRAMES) - len(groups), failures, distinct))
    return pd.DataFrame(rows, columns=["word", "predictions", "failures", "distinct"])


def ids_of(tokenizer: Any, left: str, word: str, right: str) -> tuple[int, ...]:
    """Ids of the tokens that overlap ``word`` between two texts."""
    start, end = len(left), len(left) + len(word)
    found = pieces(tokenizer, left + word + right, split_special=True)
    return tuple(p.id for p in found if p.start < end and p.end > start)


def sense_sentences() -> pd.DataFrame:
    """Columns: ``word``, ``kind`` (two senses or one), ``group`` (0 or 1), ``text``, which ends
    with the word."""
    table = yaml.safe_load((DATA / "words" / "contexts.yaml").read_text("utf-8"))
    rows = [
        (word, kind.replace("_", " "), group, text)
        for kind, entries in table.items()
        for word, groups in entries.items()
        for group, texts in enumerate(groups)
        for text in texts
    ]
    return pd.DataFrame(rows, columns=["word", "kind", "group", "text"])


@measurement(files=[SENSES])
def similarity(model: ModelHandle) -> pd.DataFrame:
    """Hidden states of a word in different sentences, layer by layer

    States stand at the word's last token and are centred over all sentences at each layer first,
    since the raw cosine of any two states is high (anisotropy; Ethayarajh 2019).
    Columns: ``word``, ``kind``, ``layer`` (0: embedding), ``same`` (mean cosine of the word's
    states in different sentences), ``gap`` (mean cosine within a group of sentences minus between
    both groups).
    """
    sentences = sense_sentences()
    states = last_token_states(model.loaded(), sentences["text"].tolist())
    return context_similarity(states, sentences)


def context_similarity(states: np.ndarray, sentences: pd.DataFrame) -> pd.DataFrame:
    """See :func:`similarity`; ``states``: ``(sentence, layer, d_model)``."""
    centred = states - states.mean(axis=0, keepdims=True)
    unit = centred / np.linalg.norm(centred, axis=-1, keepdims=True).clip(1e-12)
    rows = []
    for word, part in sentences.groupby("word", sort=False):
        first, second = (part.index[part["group"] == group].to_numpy() for group in (0, 1))
        for layer in range(states.shape[1]):
            x = unit[:, layer]
            within = float(np.mean([_mean_pair(x[first]), _mean_pair(x[second])]))
            between = float((x[first] @ x[second].T).mean())
            kind = part["kind"].iloc[0]
            rows.append((word, kind, layer, (within + between) / 2, within - between))
    return pd.DataFrame(rows, columns=["word", "kind", "layer", "same", "gap"])


def by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """Means over words with bootstrap intervals, from :func:`similarity`.

    Columns: ``kind``, ``layer``, ``what`` (same, gap), ``value``, ``low``, ``high``.
    """
    rows = []
    for (kind, layer), part in table.groupby(["kind", "layer"], sort=False):
        for what in ("same", "gap"):
            found = stats.bootstrap_ci(part[what].to_numpy(), unit="words")
            rows.append((kind, layer, what, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["kind", "layer", "what", "value", "low", "high"])


def last_token_states(loaded: LoadedModel, texts: list[str]) -> np.ndarray:
    """``(text, layer + 1, d_model)`` hidden states at the last token; layer 0 is the embedding.

    A last state that is projected to another width before the head (some OPT models) is left out.
    Of a text that is longer than the context its end is read.
    """
    import torch

    rows = [prompt_ids(loaded.tokenizer, text)[-loaded.facts.context_length :] for text in texts]
    found: list[np.ndarray] = [np.empty(0)] * len(rows)
    for group in batches(list(map(len, rows)), budget=512):
        ids = padded([rows[i] for i in group], loaded.model.device)
        with torch.inference_mode():
            states = loaded.model(ids, output_hidden_states=True, use_cache=False).hidden_states
        states = [s for s in states if s.shape[-1] == states[0].shape[-1]]
        for row, i in enumerate(group):
            found[i] = torch.stack([s[row, len(rows[i]) - 1] for s in states]).float().cpu().numpy()
    return np.stack(found)


def _mean_pair(x: np.ndarray) -> float:
    """Mean cosine of all pairs of different rows."""
    product = x @ x.T
    return float(product[np.triu_indices(len(x), 1)].mean())
