"""How numbers are cut, by this tokenizer and by others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from internals.cache import measurement
from internals.measure.tokenization import shipped
from internals.models import ModelHandle
from internals.tokens import pieces


@measurement
def splits(model: ModelHandle, last: int = 9999) -> pd.DataFrame:
    """How the numbers from 0 to 9,999 are cut by this tokenizer and two others

    Columns: ``tokenizer``, ``digits``, ``pieces`` (of the number inside a sentence; a blank that is
    a piece of its own is not counted), ``numbers`` (how many numbers are cut so).
    """
    tokenizer = model.loaded().tokenizer
    cutters: dict[str, Callable[[str], int]] = {
        model.name: lambda text: _pieces(tokenizer, text),
        **{entry.title: _counter(name) for name, entry in shipped.SHIPPED.items()},
    }
    rows = [
        (name, len(str(number)), count(str(number)))
        for name, count in cutters.items()
        for number in range(last + 1)
    ]
    table = pd.DataFrame(rows, columns=["tokenizer", "digits", "pieces"])
    return table.value_counts(sort=False).rename("numbers").reset_index()


def _pieces(tokenizer: Any, text: str) -> int:
    found = pieces(tokenizer, " " + text, split_special=True)
    return sum(bool(p.raw.strip()) or p.special or not p.raw for p in found)


def _counter(name: str) -> Callable[[str], int]:
    tokenizer = shipped.load(name)
    return lambda text: sum(token != "Ġ" for token in tokenizer.encode(" " + text).tokens)
