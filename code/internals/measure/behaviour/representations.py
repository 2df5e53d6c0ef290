"""Hidden states beside human judgements: related words, everyday categories, senses of a word.

Three comparisons, each by layer, each with what costs no understanding: the static embedding, a
random twin, frequency. Units: the word, the category, the ambiguous word. Axes:
``word``, ``layer``, ``width``.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from internals import inputs
from internals.cache import measurement
from internals.errors import NotApplicable
from internals.measure.behaviour import finite
from internals.paths import DATA
from internals.tokens import prompt_ids, word_ids

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

Floats = NDArray[np.float64]
RATINGS = inputs.WORDS / "wordsim353.tsv"
CATEGORIES = inputs.WORDS / "categories.yaml"
SENSES = inputs.WORDS / "senses.yaml"
PREFIX = "They talked about the"
"""What stands before a word, so that it is not the first token of a text."""
RATED, GROUPED, SENSED = "related words", "categories", "senses"
GAIN, LATE, SENSE_GAIN = "related words, gain", "related words, late", "senses, gain"
"""Differences: to the static embedding, of the last layer to this one, to the static embedding."""
MODEL, TWIN, STATIC = "model", "random weights", "embeddings alone"
FREQUENCY = "frequency"
SHARES = (0, 0.06, 0.13, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
"""Of the blocks, after which the states are read."""
RESAMPLES = 2000


@measurement(files=["data/words/counts.csv"])
def by_layer(
    model: ModelHandle,
    rated: Path = RATINGS,
    grouped: Path = CATEGORIES,
    sensed: Path = SENSES,
    seed: int = 0,
) -> pd.DataFrame:
    """Hidden states and human judgements, layer by layer

    Columns: ``task``, ``source``, ``layer`` (NaN for sources without layers), ``value``, ``low``,
    ``high``, ``n``. Values: rank correlation with the ratings; share of words whose nearest other
    word is of the same category; share of comparisons in which a sentence lies nearer to one of the
    same sense than to one of the other; and differences of these.
    """
    loaded = model.loaded()
    tokenizer = loaded.tokenizer
    judged = Judged(rated, grouped, sensed, seed)
    layers = sorted({round(loaded.facts.n_layers * share) for share in SHARES})
    tails = [word_ids(tokenizer, word) for word in judged.words]
    texts = [prompt_ids(tokenizer, text) for text in judged.senses["text"]]
    static = judged.compare(*(_static(loaded, ids) for ids in (tails, texts)))
    rows = [_row(task, STATIC, np.nan, values) for task, values in static.items()]
    for source, network in ((MODEL, loaded.model), (TWIN, loaded.random_twin(seed))):
        of_words = states(network, prompt_ids(tokenizer, PREFIX), tails, layers)
        of_texts = states(network, [], texts, layers)
        found = [judged.compare(of_words[:, k], of_texts[:, k]) for k in range(of_words.shape[1])]
        for layer, own in zip(layers, found, strict=False):
            own[GAIN] = own[RATED] - static[RATED]
            own[LATE] = found[-1][RATED] - own[RATED]
            own[SENSE_GAIN] = own[SENSED] - static[SENSED]
            rows += [_row(task, source, layer, values) for task, values in own.items()]
    rows += [_row(RATED, FREQUENCY, np.nan, judged.rated(frequency_likeness(judged.words)))]
    pairs = {*judged.ratings["word1"], *judged.ratings["word2"]}
    units = dict.fromkeys((RATED, GAIN, LATE), len(pairs))
    units |= dict.fromkeys((SENSED, SENSE_GAIN), judged.senses["word"].nunique())
    units[GROUPED] = judged.categories["category"].nunique()
    table = pd.DataFrame(rows, columns=["task", "source", "layer", "value", "low", "high"])
    return table.assign(n=table["task"].map(units))


def _row(task: str, source: str, layer: float, values: Floats) -> tuple[Any, ...]:
    return task, source, layer, values[0], *np.quantile(values[1:], [0.025, 0.975])


class Judged:
    """Human judgements, and how well a likeness of words agrees with them.

    Every value comes as ``(1 + resample,)``: the value itself, then those of bootstrap samples,
    which are the same for everything that is compared.
    """

    def __init__(self, rated: Path, grouped: Path, sensed: Path, seed: int = 0) -> None:
        table = pd.read_csv(rated, sep="\t", keep_default_na=False)
        self.ratings = table[table["word1"] != table["word2"]].reset_index(drop=True)
        self.categories = pd.DataFrame(inputs.categories(grouped), columns=["word", "category"])
        self.senses = pd.DataFrame(inputs.senses(sensed), columns=["word", "sense", "text"])
        own = self.categories["word"]
        self.words = sorted({*self.ratings["word1"], *self.ratings["word2"], *own})
        place = {word: i for i, word in enumerate(self.words)}
        self._pairs = tuple(self.ratings[c].map(place).to_numpy() for c in ("word1", "word2"))
        self._grouped = own.map(place).to_numpy()
        rng = np.random.default_rng(seed)
        # A pair shares its words with others: words are drawn, and a pair counts as often as its
        # two words together (Owen 2007).
        used = np.unique(self._pairs)
        drawn = _counts(len(used), rng)
        first, second = (np.searchsorted(used, index) for index in self._pairs)
        self._weights = drawn[:, first] * drawn[:, second]
        self._labels, labels = pd.factorize(self.categories["category"])
        self._by_label = _counts(len(labels), rng)
        self._owner, words = pd.factorize(self.senses["word"])
        self._by_word = _counts(len(words), rng)

    def compare(self, words: Floats, sentences: Floats) -> dict[str, Floats]:
        """All three agreements of vectors ``(word, width)`` and ``(sentence, width)``."""
        likeness = cosines(words)
        return {
            RATED: self.rated(likeness),
            GROUPED: self.grouped(likeness),
            SENSED: self.sensed(cosines(sentences)),
        }

    def rated(self, likeness: Floats) -> Floats:
        """Rank correlation of likeness ``(word, word)`` and rating."""
        from scipy.stats import rankdata

        ranks = (rankdata(likeness[self._pairs]), rankdata(self.ratings["rating"]))
        total = self._weights.sum(1, keepdims=True)
        a, b = (r - (self._weights @ r)[:, None] / total for r in ranks)
        sizes = (self._weights * a * a).sum(1) * (self._weights * b * b).sum(1)
        return np.asarray((self._weights * a * b).sum(1) / np.sqrt(np.maximum(sizes, 1e-12)))

    def grouped(self, likeness: Floats) -> Floats:
        """Share of words whose nearest other word is of their category; categories are drawn."""
        own = likeness[np.ix_(self._grouped, self._grouped)]
        np.fill_diagonal(own, -np.inf)
        hits = (self._labels[own.argmax(1)] == self._labels).astype(float)
        return _mean(hits, self._labels, self._by_label)

    def sensed(self, likeness: Floats) -> Floats:
        """Share of comparisons in which a sentence is nearer to the other one of its sense than to
        one of the other sense; ties count half, chance is one half; words are drawn."""
        sense, values = self.senses["sense"].to_numpy(), np.zeros(len(likeness))
        for i in range(len(likeness)):
            own = self._owner == self._owner[i]
            partner = own & (sense == sense[i]) & (np.arange(len(own)) != i)
            gap = likeness[i, partner].mean() - likeness[i, own & (sense != sense[i])]
            values[i] = np.where(np.abs(gap) < 1e-9, 0.5, gap > 0).mean()
        return _mean(values, self._owner, self._by_word)


def _counts(n: int, rng: np.random.Generator) -> Floats:
    """``(1 + resample, n)``: ones, then how often each unit is drawn."""
    drawn = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)
    return np.vstack([np.ones(n), drawn])


def _mean(values: Floats, owner: Any, counts: Floats) -> Floats:
    """``(1 + resample,)`` means of values whose owners are drawn ``counts`` times."""
    sums, sizes = np.bincount(owner, values), np.bincount(owner)
    return np.asarray(counts @ sums / (counts @ sizes))


def states(
    network: Any, prefix: list[int], tails: list[list[int]], layers: list[int], most: int = 1024
) -> Floats:
    """``(tail, layer, width)`` states at the last token of each tail after a common prefix.

    The prefix is run once and its keys and values serve all tails. A last state of another width,
    which some models have, is left out.

    Raises:
        NotApplicable: a text is longer than the context.
    """
    import torch
    from transformers import DynamicCache

    if len(prefix) + max(map(len, tails)) > network.config.max_position_embeddings:
        raise NotApplicable("the words do not fit into the context")
    read = DynamicCache(config=network.config)
    found: list[Any] = [None] * len(tails)
    with torch.inference_mode():
        if prefix:
            network(torch.tensor([prefix], device=network.device), past_key_values=read)
        for size in sorted({len(tail) for tail in tails}):
            same = [i for i, tail in enumerate(tails) if len(tail) == size]
            step = max(1, most // size)
            for group in (same[k : k + step] for k in range(0, len(same), step)):
                cache = copy.deepcopy(read)
                if prefix:
                    cache.batch_repeat_interleave(len(group))
                ids = torch.tensor([tails[i] for i in group], device=network.device)
                out = network(ids, past_key_values=cache, output_hidden_states=True).hidden_states
                kept = [out[k][:, -1].float().cpu().numpy() for k in layers]
                kept = [h for h in kept if h.shape[-1] == kept[0].shape[-1]]
                for row, i in enumerate(group):
                    found[i] = [h[row] for h in kept]
    return finite(np.asarray(found, float))


def _static(loaded: LoadedModel, rows: list[list[int]]) -> Floats:
    """``(text, width)``: mean of the rows of the embedding."""
    weight = loaded.model.get_input_embeddings().weight
    return np.array([weight[ids].float().mean(0).cpu().numpy() for ids in rows], float)


def cosines(x: Floats) -> Floats:
    """``(n, n)`` cosines of vectors ``(n, width)`` less their mean, which all states share
    (Ethayarajh 2019)."""
    x = x - x.mean(0)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return np.asarray(x @ x.T)


def frequency_likeness(words: list[str]) -> Floats:
    """``(word, word)``: how little the logarithms of two words' counts differ."""
    table = pd.read_csv(DATA / "words" / "counts.csv", keep_default_na=False)
    counts = dict(zip(table["word"], table["count"], strict=True))
    logs = np.log1p([float(counts.get(word.lower(), 0)) for word in words])
    return np.asarray(-np.abs(logs[:, None] - logs[None]))
