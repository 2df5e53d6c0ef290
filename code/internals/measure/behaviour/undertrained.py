"""Tokens that training hardly touched: suspected from the weights, verified by repetition.

The indicator is that of Land and Bartolo (2024, "Fishing for Magikarp"): a token that was never an
answer keeps a row of the output matrix like those of tokens that cannot occur. The verification
asks the model to repeat the token: quoted, said many times, or after the same random tokens. Since
small models copy badly, it is also asked whether the token gets likelier at all by having been seen
instead of another of its group. Controls are tokens of the same length. Unit: the token.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour.resplit import plain_ids
from internals.measure.capability import start_ids
from internals.measure.tokenization.breakdown import is_whole
from internals.measure.windows import HELD_OUT, documents
from internals.tokens import display, token_bytes

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

Values = NDArray[np.float64]
NEVER_IN_UTF8 = frozenset({0xC0, 0xC1, *range(0xF5, 0x100)})
"""Bytes that occur in no text (RFC 3629, section 1)."""
WHOLE, PARTIAL, CONTROL_CHARACTER = "whole", "part of a character", "control character"
NO_TOKEN, NO_BYTE, SPECIAL = "no token", "never in UTF-8", "special"
POSSIBLE, IMPOSSIBLE_KINDS = (WHOLE, PARTIAL, CONTROL_CHARACTER), (NO_TOKEN, NO_BYTE)
SHARE, MOST, FEWEST = 0.02, 100, 20
"""Of the vocabulary, what is tested; as many controls."""
LEAST_REFERENCE = 3
REPEATS, PERIOD = 6, 4
"""Times that a token is said, and random tokens around it."""
QUOTES = ('He said "', '". She said "', '". They said "')
COPIED_FROM = 0.01
"""Land and Bartolo count a token as under-trained if its copy is never this probable."""
ABLE_FROM = 0.05
"""Share of a group that must clearly be copied, else no failure to copy tells anything."""
LEAST_GAIN_BITS = 1.0
"""A token that is not even twice as likely after it was seen counts as not recognised."""
SUSPECT, CONTROL, IMPOSSIBLE = "suspect", "control", "cannot occur"
COSINE, NORM = "cosine distance from tokens that cannot occur", "norm of the embedding"


@dataclass(frozen=True)
class Found:
    """Tokens that were tested, and how they were chosen."""

    tokens: pd.DataFrame
    """``pair`` (suspect and its control share one; negative for impossible tokens), ``group``,
    ``id``, ``shown``, ``kind``, ``length`` (bytes), ``indicator``, ``occurs`` (in the shipped
    held-out text), ``prob`` (of the copy, the best context), ``gain_bits`` (log-probability of the
    copy minus that with another token of the group in the context, mean over contexts)."""
    indicator: str
    """What the indicator is: :data:`COSINE` or :data:`NORM`."""
    n_reference: int
    """Tokens that cannot occur."""
    n_possible: int
    """Tokens from which suspects and controls come."""
    n_close: int | None
    """Possible tokens no farther than the farthest that cannot occur; None for the norm."""
    farthest: float | None
    """Indicator of the farthest token that cannot occur; None for the norm."""
    together: stats.Estimate | None
    """As `together`; None for the norm."""


def kinds(tokenizer: Any, rows: int) -> pd.DataFrame:
    """Every row of the embedding: ``id``, ``length`` (bytes), ``kind``."""
    special = set(tokenizer.all_special_ids)
    found = []
    for i in range(rows):
        raw = b"" if i >= len(tokenizer) else token_bytes(tokenizer, i)
        if i in special:
            kind = SPECIAL
        elif not raw:
            kind = NO_TOKEN
        elif len(raw) == 1 and raw[0] in NEVER_IN_UTF8:
            kind = NO_BYTE
        elif not is_whole(raw):
            kind = PARTIAL
        else:
            kind = CONTROL_CHARACTER if _is_control_character(raw.decode()) else WHOLE
        found.append((i, len(raw), kind))
    return pd.DataFrame(found, columns=["id", "length", "kind"])


def _is_control_character(text: str) -> bool:
    """Whether a text is a single control character, other than tab and line ends."""
    return len(text) == 1 and text not in "\t\n\r" and unicodedata.category(text) == "Cc"


def indicator(
    output: Values, embedding: Values, reference: list[int], tied: bool
) -> tuple[Values, str]:
    """One number a token, ``(vocab,)``, low for the untrained, and what it is.

    With tokens that cannot occur and a tied matrix: cosine distance of a row of the output matrix
    from their mean, after the first principal direction, which all rows share, was taken out. Else
    the norm of the row of the embedding, which only weight decay moves in tokens that never come.
    """
    if tied and len(reference) >= LEAST_REFERENCE:
        rows = _own_part(output)
        return _cosine_distance(rows, rows[reference].mean(0)), COSINE
    return np.linalg.norm(embedding, axis=1), NORM


def together(output: Values, reference: list[int], possible: list[int]) -> stats.Estimate:
    """Do the tokens that cannot occur lie together? One half by chance, one if apart from others.

    Each is compared with the possible tokens by its distance from the mean of the other impossible
    ones, since a mean is always near to a row that it contains: the share of possible tokens that
    lie farther (ties half). Mean and interval over at most :data:`MOST` impossible tokens. They
    share most of their centres, so the interval is somewhat narrow: noise can exceed one half.
    """
    rows = _own_part(output)
    others, total = rows[possible], rows[reference].sum(0)
    shares = []
    for i in reference[:MOST]:
        centre = (total - rows[i]) / (len(reference) - 1)
        own, theirs = _cosine_distance(rows[[i]], centre), _cosine_distance(others, centre)
        shares.append(float((theirs > own).mean() + (theirs == own).mean() / 2))
    return stats.bootstrap_ci(shares, unit="tokens")


def _own_part(output: Values) -> Values:
    """Rows without the direction that all of them share."""
    direction = _first_direction(output)
    return np.asarray(output - np.outer(output @ direction, direction))


def _cosine_distance(rows: Values, centre: Values) -> Values:
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(centre)
    return np.asarray(1 - rows @ centre / np.maximum(norms, 1e-12))


def _first_direction(rows: Values, steps: int = 40) -> Values:
    """Unit vector of the largest singular value, by power iteration."""
    v = rows.mean(0) + 1e-6
    for _ in range(steps):
        v = rows.T @ (rows @ v)
        v /= max(float(np.linalg.norm(v)), 1e-300)
    return np.asarray(v)


def choose(table: pd.DataFrame, most: int, seed: int = 0) -> pd.DataFrame:
    """The tokens with the lowest indicator, a control for each, and those that cannot occur.

    ``table``: as `kinds`, with ``indicator``. Controls are drawn from the upper three quarters, of
    the same length in bytes or the nearest there is, each once. Columns added: ``pair``, ``group``.
    """
    rng = np.random.default_rng([seed, 57])
    possible = table[table["kind"].isin(POSSIBLE)].sort_values("indicator", kind="stable")
    n = min(most, max(FEWEST, round(SHARE * len(possible))), len(possible) // 4)
    suspects = possible.head(n).assign(pair=range(n), group=SUSPECT)
    rest = possible.iloc[len(possible) // 4 :]
    rest = rest.iloc[rng.permutation(len(rest))]
    free = dict(zip(rest["id"], rest["length"], strict=True))
    controls = []
    for length in suspects["length"]:
        nearest = min(free, key=lambda i: abs(free[i] - length))
        controls.append(nearest)
        del free[nearest]
    chosen = possible.set_index("id", drop=False).loc[controls].assign(pair=range(n), group=CONTROL)
    never = table[table["kind"].isin(IMPOSSIBLE_KINDS)].head(MOST)
    never = never.assign(pair=-1 - np.arange(len(never)), group=IMPOSSIBLE)
    return pd.concat([suspects, chosen, never], ignore_index=True)


@measurement(files=[HELD_OUT])
def undertrained(model: ModelHandle, seed: int = 0) -> Found:
    """Suspect tokens, and whether the model recognises them"""
    from internals.models import families

    loaded = model.loaded()
    table = kinds(loaded.tokenizer, loaded.facts.vocab_size_embedding)
    output, embedding = (
        layer(loaded.model).weight.detach().float().cpu().numpy()
        for layer in (families.unembedding, families.embedding)
    )
    never = table.loc[table["kind"].isin(IMPOSSIBLE_KINDS), "id"].tolist()
    table["indicator"], name = indicator(output, embedding, never, loaded.facts.tied_embeddings)
    chosen = choose(table, effort.units(loaded.facts, MOST, least=50), seed)
    usual = table[(table["kind"] == WHOLE) & (table["length"] > 1)]
    usual_ids = usual.loc[usual["indicator"] >= usual["indicator"].median(), "id"].to_numpy()
    others = _partners(chosen, seed)
    chosen = chosen.join(copying(loaded, chosen["id"].tolist(), others, usual_ids, seed))
    chosen["shown"] = [display(loaded.tokenizer, i) for i in chosen["id"]]
    seen = {i for text in documents() for i in plain_ids(loaded.tokenizer, text)}
    chosen["occurs"] = chosen["id"].isin(seen)
    possible = table[table["kind"].isin(POSSIBLE)]
    close = farthest = compact = None
    if name == COSINE:
        farthest = float(table.loc[table["id"].isin(never), "indicator"].max())
        close = int((possible["indicator"] <= farthest).sum())
        compact = together(output, never, possible["id"].tolist())
    columns = ["pair", "group", "id", "shown", "kind", "length"]
    columns += ["indicator", "occurs", "prob", "gain_bits"]
    return Found(chosen[columns], name, len(never), len(possible), close, farthest, compact)


def _partners(chosen: pd.DataFrame, seed: int) -> list[int]:
    """For each token another one of its group, so that only the token differs and not its kind."""
    rng = np.random.default_rng([seed, 58])
    partner: dict[int, int] = {}
    for _, ids in chosen.groupby("group")["id"]:
        ring = rng.permutation(ids.to_numpy()).tolist()
        partner |= dict(zip(ring, [*ring[1:], ring[0]], strict=True))
    return [partner[i] for i in chosen["id"]]


def copying(
    loaded: LoadedModel, ids: list[int], others: list[int], usual: np.ndarray, seed: int = 0
) -> pd.DataFrame:
    """How likely each token is where its repetition is due, one row for each of ``ids``.

    Columns: ``prob`` (the best context), ``gain_bits`` (against contexts with the token of
    ``others`` in its place, mean over contexts). ``usual``: ids for the random contexts.
    """
    from internals.measure.answers import answer_scores

    rng = np.random.default_rng([seed, 60])
    around = rng.choice(usual, (len(ids), 2, PERIOD)).tolist()
    quotes = [plain_ids(loaded.tokenizer, text) for text in QUOTES]
    start, room = start_ids(loaded), loaded.facts.context_length - 2
    pairs = []
    for token, other, (before, after) in zip(ids, others, around, strict=True):
        for seen in (token, other):
            quoted = [*quotes[0], seen, *quotes[1], seen, *quotes[2]]
            same = [*before, seen, *after, *before]
            for context in (quoted, [seen] * REPEATS, same):
                pairs.append(([*start, *context[-room:]], [token]))
    scores = answer_scores(loaded.model, pairs)["log_prob"].to_numpy()
    log_prob = scores.reshape(len(ids), 2, -1)
    gain = (log_prob[:, 0] - log_prob[:, 1]).mean(1) / math.log(2)
    return pd.DataFrame({"prob": np.exp(log_prob[:, 0].max(1)), "gain_bits": gain})


@dataclass(frozen=True)
class Verified:
    """How many tokens the model can repeat, by group; shares of tokens with Wilson intervals."""

    copied: dict[str, stats.Estimate]
    """The copy reaches :data:`COPIED_FROM` in some context."""
    recognised: dict[str, stats.Estimate]
    """Having been seen makes the token at least :data:`LEAST_GAIN_BITS` likelier."""
    halved: dict[str, stats.Estimate]
    """It makes the token at most as likely as the inverse: what noise does as often."""
    gap: stats.Estimate
    """Share of controls minus share of suspects that are copied, over pairs."""
    p_value: float
    """Exact McNemar test of the same."""
    occurs_gap: stats.Estimate
    """Share of controls minus share of suspects that the held-out text holds, over pairs."""

    @property
    def able(self) -> bool:
        """Whether the model copies enough tokens of a group for a comparison of the two."""
        return max(self.copied[group].low for group in (SUSPECT, CONTROL)) > ABLE_FROM


def verify(tokens: pd.DataFrame) -> Verified:
    """Count the tokens that the model repeats and those that it recognises."""
    parts = {g: part.set_index("pair").sort_index() for g, part in tokens.groupby("group")}

    def share(part: pd.Series) -> stats.Estimate:
        return stats.wilson(int(part.sum()), len(part), unit="tokens")

    copied = {g: part["prob"] >= COPIED_FROM for g, part in parts.items()}
    known = {g: share(part["gain_bits"] >= LEAST_GAIN_BITS) for g, part in parts.items()}
    halved = {g: share(part["gain_bits"] <= -LEAST_GAIN_BITS) for g, part in parts.items()}
    control, suspect = copied[CONTROL], copied[SUSPECT]
    test = stats.mcnemar_exact(int((control & ~suspect).sum()), int((~control & suspect).sum()))
    gap = stats.paired_difference(control.astype(float), suspect.astype(float), unit="pairs")
    met = {g: part["occurs"].astype(float) for g, part in parts.items()}
    occurs_gap = stats.paired_difference(met[CONTROL], met[SUSPECT], unit="pairs")
    shares = {g: share(part) for g, part in copied.items()}
    return Verified(shares, known, halved, gap, test.p_value, occurs_gap)


def examples(tokens: pd.DataFrame, n: int = 10) -> pd.DataFrame:
    """Suspects from the lowest indicator to the highest, each beside its control: ``shown``,
    ``id``, ``indicator``, ``gain_bits``, ``control``, ``control_indicator``, ``control_gain``."""
    by_group = {g: part.set_index("pair").sort_index() for g, part in tokens.groupby("group")}
    other = by_group[CONTROL][["shown", "indicator", "gain_bits"]]
    other.columns = pd.Index(["control", "control_indicator", "control_gain"])
    found = by_group[SUSPECT][["shown", "id", "indicator", "gain_bits"]].join(other)
    rows = np.unique(np.linspace(0, len(found) - 1, min(n, len(found))).round().astype(int))
    return found.iloc[rows].reset_index(drop=True)
