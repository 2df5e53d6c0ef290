"""Chapter 8: the same texts for every model, alignment against its definition, the ladder's fits,
findings in planted worlds."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from chapter_cells import run_cells
from fable import ladder as trained
from fable.dataset import build_dataset
from fable.trainer import Recipe
from internals import stats
from internals.book import Report
from internals.book.source import read_chapter
from internals.errors import NotApplicable
from internals.figures import models as figures
from internals.figures import style
from internals.findings import evaluate, findings_of, sections
from internals.findings.models import profile, side_by_side
from internals.measure.models import cost, ladder
from internals.measure.models import reading as measured
from internals.measure.models.reading import Reading, Untrained, alike, reading
from internals.models import open_model
from internals.paths import DATA, ROOT

SHORT = {"head": 10, "tail": 22, "words": 4}
"""Texts that fit into the context of a tiny model."""


@pytest.fixture
def tiny(tiny_folder):
    return open_model(str(tiny_folder("gpt2")))


# --- reading ----------------------------------------------------------------------------------


def test_bits_and_states_are_those_of_plain_passes(tiny):
    found, loaded = reading.uncached(tiny, **SHORT), tiny.loaded()
    kind, text, start = measured.texts(20, **SHORT)[3]
    ids = loaded.tokenizer(text[:start], add_special_tokens=False)["input_ids"]
    rest = loaded.tokenizer(text[start:], add_special_tokens=False)["input_ids"]
    before = [loaded.tokenizer.eos_token_id]
    out = loaded.model(torch.tensor([before + ids + rest]), output_hidden_states=True)
    log_p = out.logits[0].log_softmax(-1)
    nats = -sum(log_p[len(ids) + i, token].item() for i, token in enumerate(rest))
    row = found.texts.iloc[3]
    assert (row["kind"], row["tokens"], row["bytes"]) == (
        kind,
        len(rest),
        len(text[start:].encode()),
    )
    assert row["bits"] == pytest.approx(nats / math.log(2), rel=1e-5)
    _, _, places = measured._tokens(loaded, text, start, 4)
    words = text.split()[-4:]
    for place, word in zip(places, words, strict=True):
        upto = loaded.tokenizer.decode((before + ids + rest)[1 : place + 1])
        assert upto.endswith(word)
        assert text.startswith(upto)


def test_texts_are_the_same_bytes_for_every_tokenizer_and_half_of_them_are_stories(
    tiny, odd_folder
):
    other = open_model(str(odd_folder("characters")))
    short = {"head": 4, "tail": 6, "words": 1}
    a, b = (reading.uncached(m, **short).texts for m in (tiny, other))
    assert a["bytes"].tolist() == b["bytes"].tolist()
    assert a["tokens"].sum() < b["tokens"].sum()
    assert (a["kind"] == "stories").mean() == 0.5


def test_a_text_that_does_not_fit_does_not_apply(tiny):
    with pytest.raises(NotApplicable, match="context is too short"):
        reading.uncached(tiny)


def test_random_weights_keep_the_architecture_and_nothing_else(tiny):
    other = Untrained.of(tiny)
    assert other.fingerprint != tiny.fingerprint
    a, b = tiny.loaded().model, other.loaded().model
    assert not torch.equal(a.transformer.wte.weight, b.transformer.wte.weight)
    assert other.facts.n_parameters == tiny.facts.n_parameters
    assert (other.name, tiny.name) == (other.facts.name, tiny.facts.name)
    assert reading.key(other) != reading.key(tiny), "stored under names of their own"


def of_states(*depths):
    """A reading with these states ``(document, word, d)``."""
    grams = np.stack([measured._grams(s) for s in depths]).astype(np.float16)
    return Reading(pd.DataFrame(), grams, tuple(range(len(depths))))


def test_alignment_is_its_definition_and_sees_no_rotation():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 10, 6))
    y = np.tanh(x @ rng.normal(size=(6, 9))) + 0.3 * rng.normal(size=(16, 10, 9))
    found = alike(of_states(x, x), of_states(y, y))["cka"]
    rows = [(s / np.linalg.norm(s, axis=-1, keepdims=True))[::8].reshape(20, -1) for s in (x, y)]
    k, m = (r @ r.T for r in rows)
    assert found[0] == pytest.approx(hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m)), abs=2e-3)
    turned = x @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert alike(of_states(x, x), of_states(turned, 3 * turned))["cka"].to_numpy() == pytest.approx(
        1, abs=2e-3
    )
    wide, other = rng.normal(size=(2, 160, 20, 300))
    none = alike(of_states(wide, wide), of_states(other, other))["cka"]
    assert abs(none.mean()) < 0.02, "wide states that have nothing in common"


def hsic(k, m):
    """Unbiased estimate (Song et al. 2012, equation 5)."""
    n = len(k)
    k, m = (a - np.diag(np.diag(a)) for a in (k, m))
    whole = np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2))
    return (whole - 2 * k.sum(0) @ m.sum(0) / (n - 2)) / (n * (n - 3))


# --- the ladder -------------------------------------------------------------------------------

SIZES = {64: 757_120, 96: 1_283_136, 160: 2_630_080}


def rungs(losses, noise=0.01):
    rng = np.random.default_rng(0)
    rows = []
    for document in range(40):
        shared = 1 + 0.1 * rng.normal()
        for (width, size), loss in zip(SIZES.items(), losses, strict=True):
            bits = 800 * loss * shared * (1 + noise * rng.normal())
            rows.append((width, size, size // 3, 10**7, document, "stories", 800, bits))
    names = [
        "width",
        "parameters",
        "block_parameters",
        "tokens",
        "document",
        "kind",
        "bytes",
        "bits",
    ]
    return pd.DataFrame(rows, columns=names)


def test_a_planted_law_is_found_with_its_floor():
    sizes = np.array(list(SIZES.values()), float)
    loss = 0.5 + 20 * sizes**-0.2
    b, start = ladder.exponent(sizes, loss, 0.5)
    assert (b, math.exp(start)) == pytest.approx((0.2, 20))
    far = np.array([1e9])
    assert ladder.predicted(sizes, loss, far, 0.5) == pytest.approx(0.5 + 20 * 1e9**-0.2)
    table = ladder.lines(rungs(loss, noise=0))
    errors = table.groupby("floor")["error"].first()
    assert errors.idxmin() == 0.5
    assert errors.max() < 0.02, "three points tell little"


def test_the_slope_of_the_paper_is_the_derivative_of_its_law():
    c = ladder.HOFFMANN

    def law(n):
        return c["E"] + c["A"] * n ** -c["alpha"] + c["B"] * 1e7 ** -c["beta"]

    numeric = -math.log(law(1.01e6) / law(0.99e6)) / math.log(1.01 / 0.99)
    assert ladder.paper_exponent(1e6, 1e7) == pytest.approx(numeric, rel=1e-4)


def test_a_rung_that_was_stopped_ends_as_one_that_was_not(tmp_path, monkeypatch):
    dataset = tmp_path / "dataset"
    build_dataset(None, dataset, target_tokens=20_000, vocab_size=500, scale=0.02)
    recipe = Recipe(batch_tokens=1024, window=64, last_window=128)
    options = {"widths": (32,), "tokens": 12_000, "recipe": recipe}
    trained.train_ladder(dataset, tmp_path / "whole", tmp_path / "a", **options)
    plain = trained.train
    for stop in (4, None):
        monkeypatch.setattr(trained, "train", partial(plain, stop_after=stop))
        trained.train_ladder(dataset, tmp_path / "parts", tmp_path / "b", **options)
    a, b = (pd.read_csv(tmp_path / x / "documents.csv") for x in "ab")
    pd.testing.assert_frame_equal(a, b)
    moments = pd.read_csv(tmp_path / "a" / "moments.csv")
    losses = moments.groupby("step")["bits_per_byte"].mean()
    assert losses.iloc[-1] < losses.iloc[0], "it learns"
    assert set(moments["parameters"]) == {500 * 32 + 512 * 32 + 50816 + 64}


# --- findings ---------------------------------------------------------------------------------

NAMES = ("subject", "fable-gpt2", "fable-llama", "random")


def world(good):
    """Readings of four models: as the chapter tells it, or the other way round."""
    rng = np.random.default_rng(1)
    bits = {"subject": (150, 250), "fable-gpt2": (340, 300), "fable-llama": (320, 280),
            "random": (700, 700)}  # fmt: skip
    if not good:
        bits = {"subject": (330, 290), "fable-gpt2": (310, 270), "fable-llama": (320, 280),
                "random": (300, 270)}  # fmt: skip
    latent = rng.normal(size=(3, 64, 10, 5))
    kin = {"subject": 0, "fable-gpt2": 0, "fable-llama": 0, "random": 1}
    if not good:
        kin = {"subject": 1, "fable-gpt2": 2, "fable-llama": 0, "random": 1}
    found = {}
    for name in NAMES:
        rows = []
        for document in range(16):
            kind = ("expository", "stories")[document % 2]
            mean = bits[name][document % 2]
            tokens = 50 + 10 * ((name == "subject") != good)
            rows.append((document, kind, 200, tokens, mean + rng.normal(), 20))
        table = pd.DataFrame(rows, columns=["document", "kind", "bytes", "tokens", "bits", "top"])
        own = latent[kin[name]]
        turned = own @ np.linalg.qr(rng.normal(size=(5, 5)))[0]
        late = 0.3 if good else 0.0
        noise = [rng.normal(size=own.shape) * s for s in (0.3 - late, late, late)]
        found[name] = dataclasses.replace(of_states(*(turned + n for n in noise)), texts=table)
    return found


def answers(name, good):
    right = {"subject": good, "fable-llama": not good}[name]
    rows = [(f"c{i}", "t", right or i % 4 == 0) for i in range(40)]
    return pd.DataFrame(rows, columns=["country", "template", "correct"])


FINDINGS = {f.id: f for m in sections("models") for f in findings_of(m).values()}
RULES = [id for id, f in FINDINGS.items() if f.expect is not None]
MODELS = {name: SimpleNamespace(name=name, fingerprint=name, facts=name) for name in NAMES}


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("id", FINDINGS)
def test_each_finding_comes_out_both_ways(monkeypatch, id, good):
    readings = world(good)
    small = MODELS["fable-gpt2"], MODELS["fable-llama"]
    monkeypatch.setattr(profile, "small", lambda: small)
    for name, value in (
        ("reading", lambda m: readings[m.name]),
        ("open_model", MODELS.get),
        ("Untrained", SimpleNamespace(of=lambda _: MODELS["random"])),
        ("capitals", lambda m: answers(m.name, good)),
    ):
        monkeypatch.setattr(side_by_side, name, value)
    error = stats.bootstrap_ci([0.001, 0.002] if good else [0.2, 0.3])
    monkeypatch.setattr(side_by_side.calibration, "of_text", lambda _: SimpleNamespace(error=error))
    kept = {"fable-gpt2": 8 if good else 2, "fable-llama": 2}
    monkeypatch.setattr(side_by_side.memory, "bytes_per_token", lambda facts: kept[facts])
    losses = [1.9, 1.8, 1.7] if good else [1.5, 1.9, 1.53]
    monkeypatch.setattr(ladder, "documents", lambda: rungs(losses))
    found = dataclasses.replace(FINDINGS[id], estimate=FINDINGS[id].estimate.uncached)
    (result,) = evaluate([found], MODELS["subject"]).values()
    verdicts = {True: ("supported",), False: ("not supported", "not applicable")}
    expected = verdicts[good] if id in RULES else ("reported",)
    assert result.verdict in expected, result.estimate


def test_a_small_model_is_not_compared_with_itself(monkeypatch):
    assert [m.name for m in profile.others(open_model("fable-llama"))] == ["fable-gpt2"]
    with pytest.raises(NotApplicable, match="one of the small models itself"):
        side_by_side._small(open_model("fable-gpt2"))


def test_the_table_has_a_dash_where_a_question_does_not_apply():
    rows = [("m", "parameters", 1234.0), ("m", "settles", 0.5), ("k", "parameters", 5.0)]
    table = profile.wide(pd.DataFrame(rows, columns=["model", "quantity", "value"]))
    assert table.to_dict("records") == [
        {"quantity": "parameters", "m": "1,234", "k": "5"},
        {"quantity": "half of the way, share of the blocks", "m": "50%", "k": "–"},
    ]


def test_costs_count_every_token_that_goes_through(tiny, monkeypatch):
    def ask(model):
        model.loaded().model(torch.ones(3, 7, dtype=torch.long))

    monkeypatch.setattr(cost, "ASKED", {"a task": SimpleNamespace(uncached=ask)})
    assert cost.tasks.uncached(tiny)[["task", "tokens"]].to_numpy().tolist() == [["a task", 21]]
    assert 0 < cost.pace.uncached(tiny, texts=2, seq=8) < 1


def test_figures_of_planted_tables_can_be_drawn():
    rows = [(m, q, 0.5 + i / 10, 0.4, 0.9) for i, m in enumerate(NAMES)
            for quantities in figures.PANELS.values() for q in quantities]  # fmt: skip
    table = pd.DataFrame(rows, columns=["model", "quantity", "value", "low", "high"])
    near = pd.DataFrame([(d, m, g, 0.5) for d in (0, 1) for m in NAMES[1:] for g in range(2)],
                        columns=["depth", "model", "group", "cka"])  # fmt: skip
    own = rungs([1.9, 1.8, 1.68])
    for draw, *data in (
        (figures.panels, table, near),
        (figures.scaling, ladder.points(own), ladder.lines(own)),
    ):
        assert style.render(draw, *data, mode="dark").svg.startswith("<svg")


CELLS = [cell.code for cell in read_chapter(ROOT / "report" / "08-models.qmd", ROOT).cells]


@pytest.mark.parametrize("name", ["gpt_neox", "opt-post"])
def test_every_cell_runs_on_other_models(name, tiny_folder, monkeypatch):
    """A cell that does not apply binds names that say so."""
    small = tuple(open_model(str(tiny_folder(n))) for n in ("gpt2", "llama"))
    monkeypatch.setattr(profile, "small", lambda: small)
    monkeypatch.setattr(profile, "open_model", lambda _: small[1])
    monkeypatch.setenv("REPORT_EFFORT", "0.1")
    monkeypatch.setattr(style, "show", lambda *_: None)
    report = Report("models", open_model(str(tiny_folder(name))), {})
    _, printed, missed = run_cells(CELLS[1:], report, figures)
    assert "bits a byte" in printed
    assert not any("def read" in code for code in missed)


def test_the_shipped_ladder_is_whole():
    moments, own = ladder.moments(), ladder.documents()
    last = moments[moments["step"] == moments["step"].max()]
    assert set(last["width"]) == set(trained.WIDTHS), "all of them came to the end"
    assert last["tokens"].min() >= 10_000_000
    assert own.groupby("width").size().nunique() == 1
    made = json.loads((ladder.FOLDER / "made.json").read_text("utf-8"))
    known = json.loads((DATA / "training" / "meta.json").read_text("utf-8"))
    assert made["data_sha256"] == known["train"]["sha256"]
    assert made["recipe"] == dataclasses.asdict(Recipe())
