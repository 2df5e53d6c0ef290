"""The odd models are as odd as they claim, and all of them load."""

from __future__ import annotations

import pytest
import torch

from internals.models import open_model
from odd_models import ODD


@pytest.mark.parametrize("name", ODD)
def test_an_odd_model_loads_and_predicts(odd_folder, name):
    loaded = open_model(str(odd_folder(name))).loaded()
    ids = torch.tensor([loaded.tokenizer("The cat")["input_ids"]])
    logits = loaded.model(ids).logits[0]
    assert logits.shape == (ids.shape[1], loaded.model.get_input_embeddings().weight.shape[0])


def test_tokenizers_are_odd(odd_folder):
    def ids(name):
        loaded = open_model(str(odd_folder(name))).loaded()
        return loaded.tokenizer.convert_ids_to_tokens(loaded.tokenizer("cat sat")["input_ids"])

    assert ids("end token")[0] == "[CLS]"
    assert ids("end token")[-1] == "[SEP]"
    assert ids("blank before words")[0].startswith("▁")
    assert ids("characters") == list("cat sat")
