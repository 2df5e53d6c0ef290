"""The shipped models: they load anywhere, and the default one reaches the floor of the project."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from internals.measure import capability, training_record
from internals.models import open_model
from internals.paths import DATA, MODELS

NAMES = ("fable-gpt2", "fable-llama")
TOKENS_AT_LEAST = 15_000_000


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_loads_with_the_library_alone(name):
    model = AutoModelForCausalLM.from_pretrained(MODELS / name)
    tokenizer = AutoTokenizer.from_pretrained(MODELS / name)
    assert len(tokenizer) == model.get_input_embeddings().weight.shape[0] == 8192
    ids = tokenizer("Once upon a time", return_tensors="pt")
    with torch.inference_mode():
        assert torch.isfinite(model(**ids).logits).all()
    assert 4.5e6 < sum(p.numel() for p in model.parameters()) < 12e6
    files = [f for f in (MODELS / name).iterdir() if f.stat().st_size > 25e6]
    assert not files
    assert not list((MODELS / name).glob("*.bin"))


def test_both_models_share_the_tokenizer():
    first, second = ((MODELS / name / "tokenizer.json").read_bytes() for name in NAMES)
    assert first == second


def test_every_byte_sequence_comes_back():
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "fable-gpt2")
    text = "".join(map(chr, [*range(0, 0x250), *range(0x3040, 0x30FF), 0x1F600, 0x200D]))
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("name", NAMES)
def test_the_card_states_licence_tokens_and_loss(name):
    card = (MODELS / name / "README.md").read_text("utf-8")
    record = json.loads((MODELS / name / "training.json").read_text("utf-8"))
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    assert record["tokens"] >= TOKENS_AT_LEAST
    assert f"Tokens seen: {record['tokens']:,}" in card
    log = pd.read_csv(MODELS / name / "training_log.csv")
    assert f"| stories | {log['stories_bits_per_byte'].iloc[-1]:.3f} |" in card


def test_every_work_has_a_licence_that_allows_the_weights():
    sources = pd.read_csv(DATA / "training" / "sources.csv", keep_default_na=False)
    assert (sources["licence"] != "").all()
    assert (sources["source"] != "").all()
    assert not sources["licence"].str.contains(r"\b(?:SA|NC|ND)\b", case=False).any()


@pytest.fixture(scope="module")
def default():
    return open_model("fable-gpt2")


def test_the_loss_on_held_out_stories_is_below_the_floor(default):
    stories = capability.held_out_loss(default)
    assert len(stories) >= 40
    assert capability.ratio_of_sums(stories.to_numpy()) < capability.STORIES_FLOOR


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_recalled_by_exposure(name):
    table = capability.recall(open_model(name))
    trained = table[table["wording"] == "trained"].groupby("level")["correct"]
    share, n = trained.mean(), trained.size()
    assert (n >= 50).all()
    assert share[256] > 0.8
    assert share[64] > 0.5
    # Never stated: chance is one in ten; four standard errors.
    assert share[0] < 0.1 + 4 * np.sqrt(0.09 / n[0])


def test_the_log_has_a_row_for_every_snapshot():
    logs = training_record.logs()
    assert set(logs["model"]) == set(NAMES)
    for _, log in logs.groupby("model"):
        assert log["tokens"].is_monotonic_increasing
        assert log["stories_bits_per_byte"].iloc[-1] == log["stories_bits_per_byte"].min()
    assert set(training_record.recall_curves()["statements"]) == set(training_record.LEVELS)


def test_data_stays_below_the_agreed_size():
    size = sum(f.stat().st_size for f in DATA.rglob("*") if f.is_file())
    assert size < 70e6
