"""Text that spells a special token against the special token itself.

The real id ends a document: what comes after it should not depend on what stood before. The same
characters as plain text are tokens like any others. Control: these characters in another order.
Unit: the sentence before it, one of a document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals import stats
from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour.resplit import (
    kl_bits,
    next_log_probs,
    one_sentence_each,
    plain_ids,
)
from internals.measure.windows import HELD_OUT

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

NOTHING, REAL = "nothing", "the special token"
TYPED, SHUFFLED = "its text, typed", "its characters in another order (control)"


def special_id(loaded: LoadedModel) -> int | None:
    """The token that ends a document, else the one that begins it; None without either."""
    facts = loaded.facts
    return facts.eos_id if facts.eos_id is not None else facts.bos_id


def shuffled(text: str, rng: np.random.Generator) -> str:
    """The characters of ``text`` in another order, if they allow one."""
    for _ in range(20):
        found = "".join(rng.permutation(list(text)))
        if found != text:
            return found
    return text


@measurement(files=[HELD_OUT])
def typed_special(model: ModelHandle, n: int = 60, seed: int = 0) -> pd.DataFrame:
    """What a typed special token does to the text after it, beside the real one

    Columns: ``sentence``, ``added`` (what stands after the sentence), ``pieces`` (tokens added),
    ``text`` (characters added), ``kl_bits`` (divergence of the next-token distribution from that
    at the beginning of a document). Empty for a tokenizer without such a token.
    """
    loaded = model.loaded()
    columns = ["sentence", "added", "pieces", "text", "kl_bits"]
    real = special_id(loaded)
    if real is None:
        return pd.DataFrame(columns=columns)
    name = str(loaded.tokenizer.convert_ids_to_tokens(real))
    rng = np.random.default_rng([seed, 54])
    room = loaded.facts.context_length - 3 * len(name) - 4
    rows, sequences = [], []
    for number, texts in one_sentence_each(effort.units(loaded.facts, n, least=40)):
        before = [real, *plain_ids(loaded.tokenizer, texts[0])[:room]]
        other = shuffled(name, rng)
        for added, ids, characters in (
            (NOTHING, [], ""),
            (REAL, [real], name),
            (TYPED, plain_ids(loaded.tokenizer, name), name),
            (SHUFFLED, plain_ids(loaded.tokenizer, other), other),
        ):
            rows.append((number, added, len(ids), characters))
            sequences.append([*before, *ids])
    table = pd.DataFrame(rows, columns=columns[:-1])
    lp = next_log_probs(loaded.model, [[real], *sequences])
    table["kl_bits"] = kl_bits(np.broadcast_to(lp[:1], lp[1:].shape), lp[1:])
    return table


def by_addition(table: pd.DataFrame) -> pd.DataFrame:
    """One row a kind of addition: ``added``, ``pieces`` (mean), ``n``, ``value``, ``low``, ``high``
    (mean divergence from a document's beginning, bits)."""
    rows = []
    for added, part in table.groupby("added", sort=False):
        found = stats.bootstrap_ci(part["kl_bits"], unit="sentences")
        row = (added, float(part["pieces"].mean()), found.n, found.value, found.low, found.high)
        rows.append(row)
    return pd.DataFrame(rows, columns=["added", "pieces", "n", "value", "low", "high"])


def nearer(table: pd.DataFrame, added: str, base: str) -> stats.Estimate | None:
    """How much nearer to a document's beginning ``added`` leads than ``base``, in bits."""
    if table.empty:
        return None
    wide = table.pivot(index="sentence", columns="added", values="kl_bits")
    return stats.paired_difference(wide[base], wide[added], unit="sentences")
