"""Where greedy text begins to repeat itself, and why. The unit is the opening or the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.measure import effort
from internals.measure.capability import start_ids
from internals.measure.generation import metrics
from internals.measure.generation.samples import NEW_TOKENS, OPENINGS, token_ids
from internals.measure.windows import HELD_OUT, windows

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

ROUNDS = 6
"""How often a piece of text stands in a row."""
PIECE = 12
"""Tokens of the piece."""


def _heads(loaded: LoadedModel, openings: Path) -> tuple[list[inputs.Opening], list[list[int]]]:
    """The openings that are measured, and their ids after a start token."""
    chosen = inputs.openings(openings)[: effort.units(loaded.facts, 24, least=8)]
    return chosen, [[*start_ids(loaded), *token_ids(loaded, o.text)] for o in chosen]


def _length(loaded: LoadedModel, heads: list[list[int]]) -> int:
    """Tokens of the longer greedy texts: what the context has room for after every head."""
    return min(4 * NEW_TOKENS, loaded.facts.context_length - max(map(len, heads)))


@measurement
def repetition_feeds_itself(model: ModelHandle, openings: Path = OPENINGS) -> pd.DataFrame:
    """Probability of the chosen token in greedy text, as the text goes on

    Columns: ``prompt``, ``position`` (from 1), ``probability`` (of the greedy token), ``repeated``
    (the 4-gram that it ends has occurred before), ``loop_from`` (position at which the loop begins
    that the text ends in; NaN without one), ``period`` (of this loop, in tokens).
    """
    from internals.generation.generate import generate
    from internals.measure.scoring import tail_surprisal

    loaded = model.loaded()
    rows: list[tuple[str, int, float, bool, float, float]] = []
    chosen, heads = _heads(loaded, openings)
    texts = generate(loaded.model, heads, _length(loaded, heads)).ids
    scores = tail_surprisal(loaded.model, heads, texts)
    for opening, made, score in zip(chosen, texts, scores, strict=True):
        chances = np.exp(-score)
        seen: set[tuple[int, ...]] = set()
        loop = metrics.final_loop(made)
        begin, period = (loop[0] + 1.0, float(loop[1])) if loop else (np.nan, np.nan)
        for i, chance in enumerate(chances):
            gram = tuple(made[max(0, i - 3) : i + 1])
            again = len(gram) == 4 and gram in seen
            rows.append((opening.id, i + 1, float(chance), again, begin, period))
            seen.add(gram)
    columns = ["prompt", "position", "probability", "repeated", "loop_from", "period"]
    return pd.DataFrame(rows, columns=columns)


def left_again(short: Mapping[str, Sequence[int]], longer: pd.DataFrame) -> tuple[int, int] | None:
    """Openings whose greedy text soon repeats an eight-gram, and those that leave it again.

    ``short``: the first tokens of the greedy text by opening; ``longer``: `repetition_feeds_itself`
    on the same openings. A text has left its repetition if it ends in no loop, or in one that
    begins after the short text. None if the longer texts are less than twice as long, too short to
    tell.
    """
    ends = longer.groupby("prompt")["loop_from"].first()
    repeat = [p for p in ends.index if p in short and metrics.loops(short[p])]
    if longer["position"].max() < 2 * max(map(len, short.values())):
        return None
    left = [p for p in repeat if not ends[p] <= len(short[p])]  # NaN: no loop
    return len(repeat), len(left)


@measurement(files=[HELD_OUT])
def surest_in_human_text(model: ModelHandle, openings: Path = OPENINGS) -> pd.DataFrame:
    """Probability of the likeliest token in human text, as the text goes on

    The control for greedy text: a longer context makes a model surer of any text. A document's
    first tokens, as many as the median opening has, stand for the opening, and as many positions
    follow as greedy text has. Columns: ``prompt`` (document), ``position`` (from 1),
    ``probability`` (of the model's first choice).
    """
    from internals.measure.scoring import score_tokens

    loaded = model.loaded()
    chosen, heads = _heads(loaded, openings)
    head = max(1, int(np.median([len(h) for h in heads])))
    ids = windows(loaded, len(chosen), head + _length(loaded, heads)).tolist()
    rows = [
        (f"document-{number}", i + 1, float(p))
        for number, score in enumerate(score_tokens(loaded.model, ids))
        for i, p in enumerate(score.top_prob[head - 1 :])
    ]
    return pd.DataFrame(rows, columns=["prompt", "position", "probability"])


@measurement(files=[HELD_OUT])
def repeated_pieces(model: ModelHandle) -> pd.DataFrame:
    """Does repeating a piece of human text make its next repetition likelier?

    A piece of a held-out document stands several times in a row; in the control every earlier round
    is a piece of another document. Columns: ``document``, ``text`` (repeated, control), ``round``
    (from 1), ``bits`` (mean surprisal of the piece's tokens but the first, which the end of a piece
    does not lead to).
    """
    from internals.measure.scoring import mean_surprisal

    loaded = model.loaded()
    n = effort.units(loaded.facts, 24, least=8)
    start = list(start_ids(loaded))
    rounds = min(ROUNDS, (loaded.facts.context_length - len(start)) // PIECE)
    pieces = windows(loaded, n, 2 * PIECE)[:, PIECE:].tolist()
    order = np.random.default_rng(0).permutation(len(pieces))
    heads, tails, places = [], [], []
    for number, piece in enumerate(pieces):
        others = [pieces[int(k)] for k in order if int(k) != number]
        for k in range(rounds):
            earlier = [token for other in others[:k] for token in other]
            for kind, before in (("repeated", piece * k), ("control", earlier)):
                heads.append([*start, *before, piece[0]])
                tails.append(piece[1:])
                places.append((f"document-{number}", kind, k + 1))
    table = pd.DataFrame(places, columns=["document", "text", "round"])
    return table.assign(bits=mean_surprisal(loaded.model, heads, tails) / np.log(2))
