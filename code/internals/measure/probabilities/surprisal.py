"""Surprisal: what each token of a text costs, in bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from internals.cache import measurement
from internals.measure.scoring import check_length

if TYPE_CHECKING:
    from internals.models import ModelHandle

RARE = "Wilhelmina"
PARAGRAPH = (
    "The capital of France is Paris. The capital of Australia is Canberra, although many people "
    f"would say Sydney. Yesterday my neighbour {RARE} baked a cake of concrete. When it was "
    f"ready, {RARE} cut it with a saw."
)
"""Something known, something often confused, a rare name twice, and something absurd."""


@measurement
def paragraph(model: ModelHandle, text: str = PARAGRAPH) -> pd.DataFrame:
    """Surprisal of a paragraph, token by token

    Columns: ``text`` (what the token prints), ``bits`` (NaN for a first token before which nothing
    stands).
    """
    import torch

    from internals.tokens import prompt_ids, token_bytes

    loaded = model.loaded()
    ids = prompt_ids(loaded.tokenizer, text)
    check_length(loaded, len(ids))
    with torch.inference_mode():
        row = torch.tensor([ids], device=loaded.model.device)
        lp = loaded.model(input_ids=row, use_cache=False).logits[0].double().log_softmax(-1)
    bits = [-lp[i, token].item() / math.log(2) for i, token in enumerate(ids[1:])]
    pieces = [token_bytes(loaded.tokenizer, i).decode("utf-8", errors="replace") for i in ids]
    table = pd.DataFrame({"text": pieces, "bits": [math.nan, *bits]})
    return table[table["text"] != ""].reset_index(drop=True)  # a start token prints nothing
