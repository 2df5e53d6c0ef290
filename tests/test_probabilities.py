"""Chapter 3 against closed forms, second implementations, and tables whose answer is known."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from internals import inputs, stats
from internals.errors import NotApplicable
from internals.inputs import InputError
from internals.measure import answers as scoring
from internals.measure import scoring as scores
from internals.measure.probabilities import (
    answers_by_exposure,
    asked,
    calibration,
    capitals,
    maps,
    positions,
    surprisal,
    temperature,
)
from internals.models import open_model
from internals.stats import calibration as measures
from internals.tokens import prompt_ids, start_ids, word_ids
from tiny_models import build

LOGITS = arrays(np.float64, 12, elements=st.floats(-8, 8, width=32))
CHAPTER = Path(__file__).parents[1] / "report" / "03-probabilities.qmd"


@pytest.fixture(scope="module")
def handle(tiny_folder):
    return open_model(str(tiny_folder("llama")))


@pytest.fixture(scope="module")
def loaded(handle):
    return handle.loaded()


def plain_logits(loaded, ids: list[int]) -> torch.Tensor:
    """All logits of one sequence in one plain pass: (seq, vocab)"""
    with torch.no_grad():
        return loaded.model(torch.tensor([ids])).logits[0].double()


# --- normalisations -----------------------------------------------------------------------------


def sparsemax_by_definition(z: np.ndarray) -> np.ndarray:
    """Projection on the simplex by bisection on the threshold (an independent implementation)."""
    low, high = z.min() - 1, z.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(z - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(z - low, 0)


@given(LOGITS)
def test_sparsemax_is_the_projection_on_the_simplex(z):
    p = maps.sparsemax(torch.from_numpy(z)).numpy()
    assert p == pytest.approx(sparsemax_by_definition(z), abs=1e-6)


@pytest.fixture(scope="module")
def shown_entmax():
    """The function that the chapter writes out, taken from its text."""
    cell = re.search(r"^def entmax.*?^    return .*?$", CHAPTER.read_text("utf-8"), re.M | re.S)
    assert cell is not None
    names: dict = {"torch": torch}
    exec(cell.group(), names)
    return names["entmax"]


@given(LOGITS)
def test_the_chapters_own_entmax_is_the_librarys(shown_entmax, z):
    for alpha, rule in ((2, maps.sparsemax), (1.5, maps.entmax15)):
        by_hand = shown_entmax(torch.from_numpy(z), alpha)
        assert by_hand.numpy() == pytest.approx(rule(torch.from_numpy(z)).numpy(), abs=1e-5)


@given(LOGITS)
def test_every_defined_map_is_a_distribution(z):
    for name, normalise in maps.MAPS.items():
        p = normalise(torch.from_numpy(z))
        if not bool(p.isnan().any()):
            assert p.min() >= 0, name
            assert p.sum().item() == pytest.approx(1, abs=1e-6), name


def test_maps_on_three_logits_by_hand():
    z = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
    e = [math.exp(v) for v in (1, 0, -1)]
    assert maps.MAPS["softmax"](z).tolist() == pytest.approx([v / sum(e) for v in e])
    assert maps.MAPS["ReLU"](z).tolist() == [1, 0, 0]
    assert maps.MAPS["square"](z).tolist() == [0.5, 0, 0.5]
    assert maps.MAPS["linear"](z).tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert maps.MAPS["sparsemax"](z).tolist() == pytest.approx([1, 0, 0])
    assert bool(maps.MAPS["ReLU"](-z.abs() - 1).isnan().all()), "nothing is positive"


def test_squares_change_the_order_where_a_larger_logit_gets_less(handle, monkeypatch):
    three = inputs.prompts()[:3]
    worlds = {True: [-3.0, 2.0, 1.0], False: [0.0, 2.0, 1.0]}
    for changed, z in worlds.items():
        monkeypatch.setattr(maps, "prompt_logits", lambda *_, z=z: np.array([z] * 3))
        monkeypatch.setattr(maps.inputs, "prompts", lambda _: three)
        assert maps.reordered.uncached(handle)["changed"].tolist() == [changed] * 3


# --- statistics of calibration ------------------------------------------------------------------


def test_calibration_error_by_hand():
    """Bins [.9, 1) with gap .9·2 − 1 = .8 and [.1, .2) with gap .1: (.8 + .1) / 3."""
    assert measures.calibration_error([0.9, 0.9, 0.1], [1, 0, 0]) == pytest.approx(0.3)


def test_errors_of_a_perfect_model_are_those_of_calibrated_samples():
    """Of samples with outcomes drawn from their confidences, 95 % lie among nineteen of twenty."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(120):
        c = rng.uniform(0.2, 1.0, 300)
        error = measures.calibration_error(c, rng.random(300) < c)
        low, high = np.quantile(measures.null_error(c, draws=200), [0.025, 0.975])
        inside += low <= error <= high
    assert stats.wilson(inside, 120).low < 0.95 < stats.wilson(inside, 120).high + 0.03


def test_reliability_by_hand():
    table = measures.reliability([0.95, 0.91, 0.15], [1, 0, 0])
    assert table["n"].tolist() == [1, 2]
    assert table["confidence"].tolist() == pytest.approx([0.15, 0.93])
    assert table["accuracy"].tolist() == [0, 0.5]
    alike = measures.reliability([0.55] * 20, [1] * 20, clusters=np.repeat(np.arange(5), 4))
    assert alike["low"].iloc[0] == pytest.approx(stats.wilson(5, 5).low), "resampling cannot vary"


def test_the_interval_of_the_error_covers_the_truth():
    """A model that is 0.2 too confident on every unit, 40 units of 25 predictions."""
    rng = np.random.default_rng(2)
    covered = 0
    for i in range(60):
        c = rng.uniform(0.3, 0.9, 1000)
        y = rng.random(1000) < c - 0.2
        found = measures.calibration_ci(c, y, np.repeat(np.arange(40), 25), n_resamples=200, seed=i)
        covered += found.low <= 0.2 <= found.high
    assert covered >= 50


def predictions(n: int = 600, over: float = 0.0, size: int = 3, seed: int = 0) -> pd.DataFrame:
    """Predictions that are right with their confidence, less ``over``; clusters of ``size``."""
    rng = np.random.default_rng(seed)
    c = rng.uniform(0.1, 0.95, n)
    y = rng.random(n) < c - over
    return pd.DataFrame({"confidence": c, "correct": y, "cluster": np.arange(n) // size})


def test_a_calibrated_set_lies_in_its_band_and_another_does_not():
    good, bad = (
        calibration.calibrate(predictions(over=over), "units", alike=False) for over in (0, 0.3)
    )
    inside = good.bins["accuracy"].between(good.bins["null_low"], good.bins["null_high"])
    assert inside.mean() > 0.7
    assert good.error.value < 2 * good.null < bad.error.value
    assert bad.over.low > 0.2 > good.over.high
    assert bad.bins["share"].sum() == pytest.approx(1)
    assert good.auroc is not None
    assert good.auroc.low > 0.5


def test_outcomes_that_go_together_widen_the_band():
    table = predictions(size=6)
    alone, alike = (calibration.calibrate(table, "units", alike=a) for a in (False, True))
    assert alike.null > alone.null
    width = [(f.bins["null_high"] - f.bins["null_low"]).mean() for f in (alone, alike)]
    assert width[1] > 1.05 * width[0]


def test_one_class_has_no_area_and_still_a_row():
    table = predictions().assign(correct=False)
    found = calibration.calibrate(table, "units", alike=False)
    row = calibration.overview({"none right": found}).iloc[0]
    assert found.auroc is None
    assert (row["auroc"], row["accuracy"], row["units"]) == (None, 0, "200 units")


# --- positions ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(handle):
    return positions.positions.uncached(handle, n=300)


def test_positions_agree_with_the_plain_forward_pass(loaded, table):
    from internals.measure.windows import documents

    ids = [*start_ids(loaded.tokenizer)]
    ids += loaded.tokenizer(documents()[0], add_special_tokens=False)["input_ids"]
    ids = ids[: positions.EACH + 1]
    lp = plain_logits(loaded, ids).log_softmax(-1)[:-1]
    part = table[table["document"] == 0].reset_index(drop=True)
    for i, token in enumerate(ids[1:]):
        assert part["log_prob"][i] == pytest.approx(lp[i, token].item(), abs=1e-4)
        assert part["rank"][i] == int((lp[i] > lp[i, token]).sum())
    assert part["top_prob"].to_numpy() == pytest.approx(lp.exp().max(-1).values.numpy(), abs=1e-5)
    assert (part["correct"] == (part["rank"] == 0)).all()


def test_softmax_among_the_maps_is_the_model(table):
    part = table[table["true:softmax"].notna()]
    assert np.log(part["true:softmax"].to_numpy()) == pytest.approx(
        part["log_prob"].to_numpy(), abs=1e-4
    )
    first = positions.MAP_EVERY // 2
    assert part.index.tolist()[:2] == [first, first + positions.MAP_EVERY]


def test_a_zero_and_an_undefined_distribution_both_lose_the_token():
    frame = pd.DataFrame({f"true:{name}": [0.5, 0.25, 0.5, 0.5] for name in maps.MAPS})
    frame["true:sparsemax"] = [0.0, np.nan, 0.5, 0.5]
    frame["document"] = [0, 0, 1, 1]
    found = positions.by_map(frame).set_index("map")
    assert positions.lost(frame, "sparsemax").value == found.loc["sparsemax", "lost"] == 0.5
    assert found.loc["sparsemax", "bits"] == np.inf
    assert found.loc["softmax", "bits"] == 1.25


# --- temperature --------------------------------------------------------------------------------


def last_logits(loaded, text: str) -> torch.Tensor:
    return plain_logits(loaded, prompt_ids(loaded.tokenizer, text))[-1]


def test_a_batch_of_texts_gives_what_each_gives_alone(loaded):
    texts = ["a", "the cat sat on the mat", "a dog"]
    for row, text in zip(scores.logits_after(loaded, texts), texts, strict=True):
        assert row.numpy() == pytest.approx(last_logits(loaded, text).numpy(), abs=1e-4)
    with pytest.raises(NotApplicable, match="the context holds 64"):
        scores.logits_after(loaded, ["a " * 65])


def test_the_sweep_agrees_with_scipy(handle, loaded):
    from scipy.special import softmax
    from scipy.stats import entropy

    swept = temperature.sweep.uncached(handle)
    z = last_logits(loaded, "The capital of France is").numpy()
    part = swept[swept["prompt"] == "main"].set_index("temperature")
    for t in temperature.GRID:
        p = softmax(z / t)
        ordered = np.sort(p)[::-1]
        assert part.loc[t, "entropy_bits"] == pytest.approx(entropy(p, base=2), abs=1e-5)
        assert part.loc[t, "ten_prob"] == pytest.approx(ordered[:10].sum(), abs=1e-6)
        nucleus = part.loc[t, "nucleus"]
        assert ordered[:nucleus].sum() >= 0.9 - 1e-9
        assert ordered[: nucleus - 1].sum() < 0.9
    means = temperature.means(swept).set_index("temperature")
    assert means.index.tolist() == list(temperature.ASKED)
    hot = swept[swept["temperature"] == 2.0]
    assert means.loc[2.0, "top_prob"] == pytest.approx(hot["top_prob"].mean())


def test_top_tokens_are_torchs_topk(handle, loaded):
    found = temperature.top_tokens.uncached(handle, ("main",))
    z = last_logits(loaded, "The capital of France is")
    for t, part in found.groupby("temperature"):
        assert part["probability"].tolist() == pytest.approx(
            (z / t).softmax(-1).topk(4)[0].tolist(), abs=1e-6
        )
    with pytest.raises(NotApplicable, match="no prompt"):
        temperature.top_tokens.uncached(handle, ("missing",))


def test_a_small_change_moves_what_its_ids_say(handle, loaded):
    blank = temperature.blank_effect.uncached(handle).set_index("prompt")
    text = "The capital of France is"
    ids = [prompt_ids(loaded.tokenizer, t) for t in (text, text + " ")]
    p, q = (plain_logits(loaded, i)[-1].softmax(-1) for i in ids)
    assert blank.loc["main", "moved"] == pytest.approx(((p - q).abs().sum() / 2).item(), abs=1e-5)
    assert not blank["same_ids"].any()
    words = temperature.word_effect.uncached(handle)
    assert len(words) == len(inputs.changes())
    assert words["moved"].between(0, 1).all()


# --- questions ----------------------------------------------------------------------------------


def test_asked_agrees_with_one_pass_a_question(loaded):
    questions = [
        asked.Asked((5, 6, 7), ((20, 21), (30,))),
        asked.Asked((8,), ((40, 41, 42),)),
    ]
    first = [int(plain_logits(loaded, list(q.head))[-1].argmax()) for q in questions]
    second = int(plain_logits(loaded, [8, first[1]])[-1].argmax())
    questions.append(asked.Asked((8,), ((first[1], second),)))
    questions.append(asked.Asked((5, 6, 7), ((20,), (first[0],))))
    questions.append(asked.Asked((8,), ((first[1], (second + 1) % 200),)))
    found = asked.ask(loaded, questions)
    for row, question in zip(found.itertuples(), questions, strict=True):
        p = plain_logits(loaded, list(question.head))[-1].softmax(-1)
        assert row.confidence == pytest.approx(p.max().item(), abs=1e-5)
        assert row.choice == int(p.argmax())
        begin = {a[0] for q in questions if q.head == question.head for a in q.answers}
        assert row.right == pytest.approx(p[list(begin)].sum().item(), abs=1e-5)
    assert found["whole"].tolist() == [False, False, True, True, False]
    assert found["correct"].tolist() == [False, False, True, True, True]


def test_countries_have_one_settled_capital_that_is_not_their_name(loaded):
    rows = capitals.countries(loaded)
    assert len(rows) >= 200
    named = dict(rows)
    assert named["Australia"] == "Canberra"
    assert not {"Luxembourg", "Mexico", "Israel", "South Africa", "Sao Tome and Principe"} & set(
        named
    )
    assert capitals.spellings("Bogotá") == ("Bogotá", "Bogota")
    assert capitals.spellings("Kyiv") == ("Kyiv", "Kiev")


def test_capitals_are_scored_and_named(handle, loaded, monkeypatch):
    few = [r for r in capitals.countries(loaded) if len(r[0]) < 8]
    monkeypatch.setattr(capitals, "countries", lambda _: few)
    found = capitals.capitals.uncached(handle)
    assert len(found) == 3 * len(capitals.countries(loaded))
    row = found[(found["country"] == "France") & (found["template"] == capitals.NAMING)].iloc[0]
    p = last_logits(loaded, "The capital of France is the city of").softmax(-1)
    assert row["confidence"] == pytest.approx(p.max().item(), abs=1e-5)
    assert row["correct"] == (int(p.argmax()) == word_ids(loaded.tokenizer, "Paris")[0])
    named = capitals.by_name.uncached(handle)
    assert (named["group"] == "sure and wrong").sum() == capitals.SHOWN
    sure = named[named["group"] == "sure and wrong"]["confidence"]
    assert sure.is_monotonic_decreasing


@pytest.mark.parametrize(
    ("text", "name"),
    [(" Sydney.", "Sydney"), (" St. John", "St"), ("\nRome, the", "Rome"), ("", "")],
)
def test_a_name_ends_at_the_first_mark(text, name):
    assert capitals.name_in(text) == name


def test_means_by_level_take_one_wording(handle):
    found = answers_by_exposure.answers.uncached(handle)
    facts = found.groupby(["level", "wording"])["fact_id"].nunique().unstack()
    assert facts.index.tolist() == [0, 1, 4, 16, 64, 256]
    assert (facts == 60).all().all()
    levels = answers_by_exposure.by_level(found)
    assert levels["facts"].tolist() == [60] * 12
    part = found[(found["level"] == 4) & (found["wording"] == "trained")]
    row = levels[(levels["level"] == 4) & (levels["measure"] == "accuracy")].iloc[0]
    assert row["value"] == pytest.approx(part["correct"].mean())
    assert row["low"] <= row["value"] <= row["high"]


def test_joint_probabilities_are_a_distribution_over_all_two_piece_answers():
    """With a vocabulary of 5 all 25 answers of two pieces can be listed: they add up to one."""
    torch.manual_seed(0)
    model = build("llama")
    model.resize_token_embeddings(5)
    pairs = [([1, 2, 3], list(pair)) for pair in itertools.product(range(5), repeat=2)]
    assert np.exp(scoring.answer_scores(model, pairs)).sum() == pytest.approx(1, abs=1e-5)


# --- surprisal --------------------------------------------------------------------------------


def test_the_bits_of_a_paragraph_are_its_loss(handle, loaded):
    text = "The capital of France is Paris."
    found = surprisal.paragraph.uncached(handle, text)
    ids = torch.tensor([prompt_ids(loaded.tokenizer, text)])
    with torch.no_grad():
        loss = loaded.model(ids, labels=ids).loss.item()
    assert "".join(found["text"]) == text
    assert math.isnan(found["bits"][0])
    assert found["bits"].mean() * math.log(2) == pytest.approx(loss, abs=1e-4)


# --- files that a student edits -----------------------------------------------------------------


def test_the_shipped_prompts_cover_the_families():
    shipped = inputs.prompts()
    families = pd.Series([p.family for p in shipped]).value_counts()
    assert set(families.index) == {"fact", "story", "list", "arithmetic", "code", "ambiguous"}
    assert families.min() >= 8
    assert len(shipped) >= 50
    quoted = re.search(r"top_tokens\(subject, \((.*?)\)\)", CHAPTER.read_text("utf-8"))
    assert quoted is not None
    assert set(re.findall(r'"([\w-]+)"', quoted.group(1))) <= {p.id for p in shipped}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("prompts:\n  - {id: a, family: f, text: x}\n", "one prompt with `id: main`"),
        ('prompts:\n  - {id: main, family: f, text: "x "}\n', "ends with a blank"),
        ("prompts:\n  - {id: main, text: x}\n", "family"),
    ],
)
def test_a_wrong_prompt_is_named(tmp_path, content, sentence):
    path = tmp_path / "next_token.yaml"
    path.write_text(content, "utf-8")
    with pytest.raises(InputError, match=sentence):
        inputs.prompts(path)


@pytest.mark.parametrize("changed", ["a b", "a b c d", "x y c"])
def test_a_change_must_be_of_one_word(tmp_path, changed):
    path = tmp_path / "changes.yaml"
    path.write_text(f"changes:\n  - {{id: a, text: a b c, changed: {changed}}}\n", "utf-8")
    with pytest.raises(InputError, match="differ in exactly one"):
        inputs.changes(path)


# --- models that are odd ------------------------------------------------------------------------


def odd_folder(kind: str, tiny_folder, tmp_path: Path) -> Path:
    """A tiny model in some odd shape, saved as a user's folder."""
    if kind in {"gpt2", "gpt_neox", "opt", "llama", "gemma2"}:
        return tiny_folder(kind)
    model, fast = build("llama"), _tokenizer(kind)
    model.resize_token_embeddings(len(fast))
    if kind == "short context":
        model.config.max_position_embeddings = 16
    if kind == "untied":
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
        model.config.tie_word_embeddings = False
    if kind == "infinite":
        with torch.no_grad():
            model.model.norm.weight.fill_(1e30)
    model.save_pretrained(tmp_path)
    fast.save_pretrained(tmp_path)
    return tmp_path


def _tokenizer(kind: str):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    from tokenizers_small import byte_fallback_bpe, byte_level_bpe

    if kind == "80 characters":
        letters = ["<unk>", *(chr(c) for c in range(32, 111))]
        t = Tokenizer(models.WordLevel({c: i for i, c in enumerate(letters)}, unk_token="<unk>"))
        t.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
        return PreTrainedTokenizerFast(tokenizer_object=t, unk_token="<unk>")
    if kind in {"start token", "end token"}:
        t = Tokenizer.from_str(byte_fallback_bpe().backend_tokenizer.to_str())
        single = "<s> $A" if kind == "start token" else "$A </s>"
        ends = [(name, t.token_to_id(name)) for name in ("<s>", "</s>")]
        t.post_processor = processors.TemplateProcessing(single=single, special_tokens=ends)
        names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
        return PreTrainedTokenizerFast(tokenizer_object=t, **names)
    return byte_level_bpe()


MEASUREMENTS = {
    "sweep": lambda m: temperature.sweep.uncached(m),
    "top tokens": lambda m: temperature.top_tokens.uncached(m, ("main", "open-it")),
    "blank": lambda m: temperature.blank_effect.uncached(m),
    "words": lambda m: temperature.word_effect.uncached(m),
    "maps": lambda m: maps.reordered.uncached(m),
    "positions": lambda m: positions.positions.uncached(m, n=150),
    "capitals": lambda m: capitals.capitals.uncached(m),
    "names": lambda m: capitals.by_name.uncached(m),
    "answers": lambda m: answers_by_exposure.answers.uncached(m),
    "paragraph": lambda m: surprisal.paragraph.uncached(m),
}
MAY_MISS = {"bits"}
"""Columns in which nothing stands where a rule gives no distribution, or nothing is predicted."""
KINDS = ("gpt2", "gpt_neox", "opt", "llama", "gemma2", "short context", "80 characters")
KINDS += ("start token", "end token", "untied")


@pytest.mark.parametrize("kind", KINDS)
def test_every_measurement_gives_numbers_or_says_why_not(kind, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(capitals, "countries", lambda _: [("France", "Paris"), ("Italy", "Rome")])
    model = open_model(str(odd_folder(kind, tiny_folder, tmp_path)))
    applied = 0
    for name, measure in MEASUREMENTS.items():
        try:
            found = measure(model)
        except NotApplicable:
            continue
        applied += 1
        numbers = found.select_dtypes("number")
        free = {c for c in numbers if c in MAY_MISS or c.startswith("true:")} - {"true:softmax"}
        strict = numbers.drop(columns=[*free, *(c for c in numbers if c == "true:softmax")])
        assert np.isfinite(strict.to_numpy(float)).all(), name
    assert applied >= (1 if kind == "short context" else 8)


def test_a_tokenizer_that_ends_a_text_does_not_end_the_prompt(tiny_folder, tmp_path):
    loaded = open_model(str(odd_folder("end token", tiny_folder, tmp_path))).loaded()
    typed = loaded.tokenizer("The capital of France is")["input_ids"]
    z = scores.logits_after(loaded, ["The capital of France is"])[0]
    assert z.numpy() == pytest.approx(plain_logits(loaded, typed[:-1])[-1].numpy(), abs=1e-4)


def test_a_model_that_overflows_applies_to_nothing(tiny_folder, tmp_path):
    model = open_model(str(odd_folder("infinite", tiny_folder, tmp_path)))
    from internals.findings.probabilities import one_prompt

    for name in ("first", "word", "blank"):
        result = vars(one_prompt)[name].measure(model)
        assert result.verdict in {"not applicable", "supported", "not supported"}


# --- findings in planted worlds -----------------------------------------------------------------


def swept(top: float, hot: tuple[float, ...], bits: tuple[float, float] = (1, 3)) -> pd.DataFrame:
    rows = [
        {"prompt": p, "family": "f", "temperature": t, "entropy_bits": b + 0.1 * i,
         "top_prob": top if t == 1 else h, "ten_prob": top, "nucleus": 5}
        for i, (p, h) in enumerate(zip(("main", "b", "c"), hot, strict=True))
        for t, b in zip((1.0, 2.0), bits, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def moved(share: float, same: bool = False) -> pd.DataFrame:
    near = [share, share * 0.95, share * 1.02, share * 0.98]
    return pd.DataFrame({"prompt": list("abcd"), "moved": near, "same_ids": same})


def scored(zero=0.0, sigmoid=0.1, correct=0.5, top=0.5, opens=2.0, spike=1.0) -> pd.DataFrame:
    """Forty documents of ten positions; half of the tokens open a word and cost ``opens`` times as
    much as others, one in ten ``spike`` times."""
    rng = np.random.default_rng(0)
    n = 400
    opening = np.arange(n) % 2 == 0
    lost = rng.random(n) < zero
    frame = pd.DataFrame({f"true:{name}": np.full(n, 0.3) for name in maps.MAPS})
    frame["true:sparsemax"] = frame["true:1.5-entmax"] = np.where(lost, 0.0, 0.3)
    frame["true:sigmoid"] = sigmoid
    cost = -np.where(opening, opens, 1.0) * rng.uniform(0.9, 1.1, n)
    cost[::10] *= spike
    right = rng.random(n) < correct
    return frame.assign(
        document=np.arange(n) // 10, log_prob=cost, rank=np.where(right, 0, 50), correct=right,
        top_prob=top * rng.uniform(0.96, 1.04, n), opens=opening,
    )  # fmt: skip


def capital_table(first=0.5, whole=0.3, named=0.8, sure=0.4, token="·Syd") -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for country in ["Australia", *(f"c{i}" for i in range(80))]:
        for template, share in zip(capitals.TEMPLATES, (first, named, first), strict=True):
            right = bool(rng.random() < share)
            rows.append((country, template, token, sure + 0.1 * rng.random() + 0.1 * right, right))
    frame = pd.DataFrame(rows, columns=["country", "template", "token", "confidence", "correct"])
    return frame.assign(whole=frame["correct"] & (rng.random(len(frame)) < whole))


def stated(sure=0.5, never=0.1, once=0.1, often=1.0, heldout=0.1, helps=0.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for level, share in ((0, never), (1, once), (256, often)):
        for wording, right_share in (("trained", share), ("heldout", heldout)):
            for i in range(150):
                right = bool(rng.random() < right_share)
                confidence = np.clip(sure + helps * right + 0.02 * rng.random(), 0, 1)
                rows.append((f"{level}-{i}", level, wording, confidence, right))
    return pd.DataFrame(rows, columns=["fact_id", "level", "wording", "confidence", "correct"])


def named_twice(first: float, second: float) -> pd.DataFrame:
    text = ["Here", " Wil", "helmina", " sees", " Wilhelmina", "."]
    return pd.DataFrame({"text": text, "bits": [np.nan, first, 1.0, 2.0, second, 1.0]})


def calibrated(over: float, n: int = 900) -> calibration.Calibration:
    return calibration.calibrate(predictions(n, over=over), "units", alike=False)


def unsure_of_all(n: int = 900) -> calibration.Calibration:
    """Confidence tells nothing here."""
    mixed = predictions(n).assign(correct=np.random.default_rng(1).random(n) < 0.5)
    return calibration.calibrate(mixed, "units", alike=False)


def under(by: float) -> calibration.Calibration:
    return calibrated(-by)


WORLDS = [
    ("one_prompt.first", "temperature.sweep", swept(0.8, (0.2,) * 3), swept(0.2, (0.1,) * 3)),
    ("one_prompt.ten", "temperature.sweep", swept(0.8, (0.2,) * 3), swept(0.2, (0.1,) * 3)),
    ("one_prompt.blank", "temperature.blank_effect", moved(0.8), moved(0.02)),
    ("one_prompt.word", "temperature.word_effect", moved(0.8), moved(0.02)),
    ("softmax.sparsemax", "positions", scored(zero=0.4), scored(zero=0.0)),
    ("softmax.entmax", "positions", scored(zero=0.4), scored(zero=0.0)),
    ("softmax.sigmoid", "positions", scored(sigmoid=0.1), scored(sigmoid=0.5)),
    ("temperature.entropy", "temperature.sweep", swept(0.8, (0.2,) * 3),
     swept(0.8, (0.2,) * 3, bits=(3, 1))),
    ("temperature.uneven", "temperature.sweep", swept(0.8, (0.1, 0.2, 0.6)),
     swept(0.8, (0.2,) * 3)),
    ("confidence.text_auroc", "calibration.of_text", calibrated(0), unsure_of_all()),
    ("confidence.text_over", "calibration.of_text", calibrated(0.1), calibrated(-0.02)),
    ("confidence.text_sure", "positions", scored(top=0.95, correct=0.97), scored(top=0.95)),
    ("confidence.fable_error", "calibration.of_text", calibrated(0, 9000), calibrated(0.2)),
    ("confidence.capital_cut", "capitals", capital_table(whole=0.5), capital_table(whole=1.0)),
    ("confidence.capital_auroc", "calibration.of_capitals", calibrated(0), unsure_of_all()),
    ("confidence.capital_under", "calibration.of_capitals", under(0.1), under(-0.1)),
    ("confidence.sydney", "capitals", capital_table(sure=0.7), capital_table(sure=0.3)),
    ("confidence.unsure", "capitals", capital_table(sure=0.05), capital_table(sure=0.4)),
    ("confidence.wording", "capitals", capital_table(first=0.4), capital_table(first=0.9)),
    ("confidence.never_gap", "answers_by_exposure.answers", stated(), stated(never=0.5)),
    ("confidence.once_gap", "answers_by_exposure.answers", stated(), stated(once=0.5)),
    ("confidence.often_right", "answers_by_exposure.answers", stated(), stated(often=0.5)),
    ("confidence.reworded", "answers_by_exposure.answers", stated(), stated(heldout=0.9)),
    ("confidence.never_auroc", "answers_by_exposure.answers", stated(), stated(helps=0.3)),
    ("pictures.openings", "positions", scored(opens=2), scored(opens=0.5)),
    ("pictures.again", "surprisal.paragraph", named_twice(9, 1), named_twice(2, 5)),
    ("pictures.few", "positions", scored(spike=20), scored(opens=1)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "source", "true", "false"), WORLDS, ids=[w[0] for w in WORLDS])
def test_a_finding_comes_out_both_ways(monkeypatch, name, source, true, false):
    import importlib

    module = importlib.import_module(f"internals.findings.probabilities.{name.split('.')[0]}")
    found = vars(module)[name.split(".")[1]]
    for world, holds in ((true, True), (false, False)):
        owner, _, attribute = source.rpartition(".")
        target = vars(module)[owner] if owner else module
        monkeypatch.setattr(target, attribute, lambda *_a, world=world, **_k: world)
        estimate = found.estimate.uncached(SimpleNamespace())
        assert found.expect.holds(estimate) is holds, estimate


def test_every_rule_of_the_chapter_has_its_planted_world():
    from internals.findings import findings_of, sections

    rules = {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in sections("probabilities")
        for name, found in findings_of(module).items()
        if found.expect is not None
    }
    apart = {"softmax.squares", "softmax.zeros"}
    assert rules - apart == {world[0] for world in WORLDS}


def test_rules_whose_world_is_a_file_or_a_count(monkeypatch, tmp_path):
    from internals.findings.probabilities import softmax

    for changed, holds in ((54, True), (0, False)):
        table = pd.DataFrame({"changed": [True] * changed + [False] * (60 - changed)})
        monkeypatch.setattr(softmax.maps, "reordered", lambda _m, table=table: table)
        assert softmax.squares.expect.holds(softmax.squares.estimate.uncached(None)) is holds
    (tmp_path / "twins").mkdir()
    for share, holds in ((0.3, True), (0.0, False)):
        run = {"variant": "sparsemax", "step": [1, 2], "zero_share": [0.9, share], "accuracy": 0.2}
        pd.DataFrame(run).to_csv(tmp_path / "twins" / "heads.csv")
        monkeypatch.setattr(softmax, "DATA", tmp_path)
        assert softmax.zeros.expect.holds(softmax.zeros.estimate.uncached(None)) is holds


def test_a_tokenizer_that_drops_blanks_has_no_blank_to_move(monkeypatch):
    from internals.findings.probabilities import one_prompt

    monkeypatch.setattr(temperature, "blank_effect", lambda _m: moved(0.0, same=True))
    with pytest.raises(NotApplicable, match="drops a blank"):
        one_prompt.blank.estimate.uncached(None)
