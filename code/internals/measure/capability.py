"""What a model with known training data can do: loss on held-out text, facts by exposure, loops.

The unit of every interval is the document, the fact or the prompt. The floor that the shipped
model must reach is stated here once; a test and the appendix on training read it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import tokens
from internals.cache import measurement
from internals.measure import effort
from internals.measure.windows import HELD_OUT
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

EXPOSURE = "data/training/exposure.csv"
STORIES_FLOOR = 1.7
"""Most bits per byte on held-out stories."""
CAPITALS_FLOOR = 8
"""Fewest of the ten capitals that greedy decoding must name; France comes first and must be right.
"""
REPEATS_CEILING = 5
"""Most of the sampled continuations that may repeat an eight-gram."""
CAPITALS = {
    "France": "Paris",
    "Japan": "Tokyo",
    "Italy": "Rome",
    "Egypt": "Cairo",
    "Spain": "Madrid",
    "Germany": "Berlin",
    "Russia": "Moscow",
    "China": "Beijing",
    "Greece": "Athens",
    "Canada": "Ottawa",
    "Kenya": "Nairobi",
}
OPENINGS = (
    "Once upon a time there was",
    "The old man said to the boy:",
    "In the morning the two sisters",
    "A fox met a hare in the wood and",
    "The king had three sons, and",
)
"""Beginnings of stories for samples."""
SAMPLES, NEW_TOKENS = 50, 60
TEMPERATURE, TOP_P = 0.8, 0.9
"""Of the sampler of these continuations."""
REPEATED = 8
"""Length of the n-grams whose repetition counts as a loop."""
_LONGEST = 384


@measurement(files=[HELD_OUT])
def held_out_loss(model: ModelHandle) -> pd.DataFrame:
    """Loss on shipped held-out documents

    Columns: ``kind`` (stories, expository, generated), ``document``, ``bits``, ``bytes``. Documents
    begin after an end token where the model has one, and are cut to its context.
    """
    loaded = model.loaded()
    start = start_ids(loaded)
    limit = min(_LONGEST, loaded.facts.context_length) - len(start)
    with (DATA / "heldout" / "documents.jsonl").open(encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    documents = documents[:: max(1, len(documents) // effort.units(loaded.facts, len(documents)))]
    plain = {"add_special_tokens": False, "verbose": False}
    ids = [loaded.tokenizer(d["text"], **plain)["input_ids"][:limit] for d in documents]
    from internals.measure.scoring import first_choices

    scores = first_choices(loaded.model, [[*start, *row] for row in ids])
    rows = []
    for number, (document, row, score) in enumerate(zip(documents, ids, scores, strict=True)):
        log_prob, _ = score
        scored = row if start else row[1:]
        size = len(loaded.tokenizer.decode(scored).encode())
        bits = float(-log_prob.sum() / math.log(2))
        rows.append((document["kind"], number, bits, size))
    return pd.DataFrame(rows, columns=["kind", "document", "bits", "bytes"])


def start_ids(loaded: LoadedModel) -> list[int]:
    """The token after which a document begins (see `tokens.start_ids`)."""
    return tokens.start_ids(loaded.tokenizer)


@measurement(files=[EXPOSURE])
def recall(model: ModelHandle) -> pd.DataFrame:
    """Recall of designed facts by exposure

    Columns: as in `fable.probes.recall`; the candidates are the answers of a closed
    set, so that chance is known. Only facts with invented names are asked, which occur nowhere
    else.
    """
    from fable import probes

    loaded = model.loaded()
    exposure = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
    return probes.recall(loaded.model, loaded.tokenizer, exposure)


@measurement
def capitals(model: ModelHandle) -> pd.DataFrame:
    """Capitals by greedy decoding

    Columns: ``country``, ``capital``, ``continuation`` (eight tokens), ``correct`` (it begins with
    the capital).
    """
    from internals.generation.generate import generate

    loaded = model.loaded()
    tokenizer = loaded.tokenizer
    prompts = [tokenizer(f"The capital of {country} is")["input_ids"] for country in CAPITALS]
    made = generate(loaded.model, prompts, 8)
    texts = [tokenizer.decode(list(ids)) for ids in made.ids]
    rows = zip(CAPITALS.items(), texts, strict=True)
    return pd.DataFrame(
        [(c, capital, text, text.strip().startswith(capital)) for (c, capital), text in rows],
        columns=["country", "capital", "continuation", "correct"],
    )


@dataclass(frozen=True)
class Continuations:
    """Sampled and greedy continuations of openings of stories."""

    sampled: tuple[str, ...]
    greedy: tuple[str, ...]
    sampled_repeats: int
    """Sampled continuations that hold an eight-gram of tokens twice."""
    greedy_repeats: int


@measurement
def continuations(model: ModelHandle, seed: int = 0) -> Continuations:
    """Loops in sampled and greedy continuations

    Samples are drawn at temperature 0.8 and top-p 0.9; both kinds have the same length, which is
    shorter where the context holds less.
    """
    from internals.generation.generate import generate
    from internals.generation.sampling import Sampler

    loaded = model.loaded()
    tokenizer = loaded.tokenizer
    start = start_ids(loaded)
    prompts = [
        [*start, *tokenizer(text, add_special_tokens=False)["input_ids"]] for text in OPENINGS
    ]
    sampler = Sampler("sampled", temperature=TEMPERATURE, top_p=TOP_P)
    many = [prompts[i % len(prompts)] for i in range(SAMPLES)]
    room = loaded.facts.context_length - max(map(len, prompts))
    n_new = max(1, min(NEW_TOKENS, room))
    sampled = generate(loaded.model, many, n_new, sampler=sampler, seed=seed).ids
    greedy = generate(loaded.model, prompts, n_new).ids

    def texts(rows: Any) -> tuple[str, ...]:
        return tuple(tokenizer.decode(list(row)) for row in rows)

    return Continuations(
        texts(sampled),
        texts(greedy),
        sum(repeats(row) for row in sampled),
        sum(repeats(row) for row in greedy),
    )


def repeats(ids: tuple[int, ...], n: int = REPEATED) -> bool:
    """Whether some n-gram of tokens occurs twice."""
    grams = [ids[i : i + n] for i in range(len(ids) - n + 1)]
    return len(set(grams)) < len(grams)


def bits_per_byte(losses: pd.DataFrame) -> float:
    """Total bits over total bytes of some documents."""
    return float(losses["bits"].sum() / losses["bytes"].sum())


def ratio_of_sums(rows: np.ndarray) -> float:
    """For the bootstrap over documents: column 0 over column 1."""
    return float(rows[:, 0].sum() / rows[:, 1].sum())
