"""How numbers are cut, by this tokenizer and by others."""

from __future__ import annotations

import pandas as pd

from internals.cache import measurement
from internals.measure.tokenization import rivals, shipped
from internals.models import ModelHandle
from internals.readable import SPACE


@measurement
def splits(model: ModelHandle, last: int = 9999) -> pd.DataFrame:
    """How the numbers from 0 to 9,999 are cut by this tokenizer and two others

    Columns: ``tokenizer``, ``digits``, ``pieces`` (of the number inside a sentence; a blank that is
    a piece of its own is not counted), ``numbers`` (how many numbers are cut so).
    """
    own = rivals.from_transformers(model.name, model.loaded().tokenizer)
    rows = [
        (rival.name, len(str(number)), sum(p != SPACE for p in rival.pieces(f" {number}")))
        for rival in (own, *map(rivals.from_shipped, shipped.SHIPPED))
        for number in range(last + 1)
    ]
    table = pd.DataFrame(rows, columns=["tokenizer", "digits", "pieces"])
    return table.value_counts(sort=False).rename("numbers").reset_index()
