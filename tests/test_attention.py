"""Chapter 6: attention against the library and by loops, a hand-made induction circuit, findings in
planted worlds, cells and measurements on odd models."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tf

from chapter_cells import run_cells
from internals.book import Report
from internals.book.source import read_chapter
from internals.errors import NotApplicable
from internals.figures import attention as figures
from internals.figures import style
from internals.findings import evaluate, findings_of, sections
from internals.measure import training_record
from internals.measure.attention import ablation, explanation, heads, sinks
from internals.measure.attention.watch import watched
from internals.models import eager_attention, open_model
from internals.paths import ROOT
from odd_models import ODD
from tiny_models import FAMILIES, build


def ids_for(rows=2, seq=12, seed=0):
    return torch.randint(1, 200, (rows, seq), generator=torch.manual_seed(seed))


def weights_of(model, ids):
    found = {}
    with torch.inference_mode(), watched(model, lambda at, w, v, o: found.update({at: (w, v, o)})):
        logits = model(ids).logits
    return found, logits


# --- attention by its formula -----------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_watched_attention_is_the_library_s(family):
    model, ids = build(family), ids_for()
    with torch.inference_mode(), eager_attention(model):
        out = model(ids, output_attentions=True)
    found, logits = weights_of(model, ids)
    assert logits == pytest.approx(out.logits, abs=1e-4)
    for layer, (weights, value, output) in found.items():
        assert torch.equal(weights, out.attentions[layer])
        assert weights.sum(-1) == pytest.approx(torch.ones(weights.shape[:3]), abs=1e-5)
        assert not weights.triu(1).any(), "no weight on later tokens"
        assert output == pytest.approx(weights @ value, abs=1e-6)


def test_attention_is_put_back_also_after_an_error():
    model = build("llama")
    before = model.config._attn_implementation

    def fails(layer, *_):
        raise KeyError(layer)

    with pytest.raises(KeyError), watched(model, fails):
        model(ids_for())
    assert model.config._attn_implementation == before
    assert not weights_of(model, ids_for())[1].isnan().any()


def test_the_output_of_a_head_can_be_changed():
    model, ids = build("gpt2"), ids_for()
    _, plain = weights_of(model, ids)
    with torch.inference_mode():
        with watched(model, lambda layer, w, v, o: o * 0 if layer else None):
            changed = model(ids).logits
        with watched(model, lambda layer, w, v, o: o):
            same = model(ids).logits
    assert torch.equal(same, plain)
    assert (changed - plain).abs().max() > 0.01


# --- a circuit made by hand -------------------------------------------------------------------

V, POSITIONS = 48, 40
WIDTH = 2 * V + POSITIONS + V


def circuit() -> tf.GPT2LMHeadModel:
    """Two layers with two heads each. Head 0 of the first writes down the token before; head 0 of
    the second looks for places whose note is the present token, and copies what stands there. The
    other heads look everywhere and say nothing. Slots of the stream: token, note, position."""
    config = tf.GPT2Config(
        vocab_size=V, n_embd=2 * 96, n_layer=2, n_head=2, n_positions=POSITIONS,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = tf.GPT2LMHeadModel(config).eval()
    token, note, place = slice(0, V), slice(V, 2 * V), slice(2 * V, 2 * V + POSITIONS)
    d = config.n_embd
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "ln" in name and name.endswith("weight") else 0.0)
        model.transformer.wte.weight[:, token] = torch.eye(V)
        model.transformer.wpe.weight[:, place] = torch.eye(POSITIONS)
        first, second = (block.attn for block in model.transformer.h)
        q, k, v = (slice(i * d, (i + 1) * d) for i in range(3))
        first.c_attn.weight[place, q][:, :POSITIONS] = 9 * torch.eye(POSITIONS)
        first.c_attn.weight[place, k][:, 1:POSITIONS] = torch.eye(POSITIONS)[:, :-1]
        first.c_attn.weight[token, v][:, :V] = torch.eye(V)
        first.c_proj.weight[:V, note] = torch.eye(V) / 5
        second.c_attn.weight[token, q][:, :V] = 9 * torch.eye(V)
        second.c_attn.weight[note, k][:, :V] = torch.eye(V)
        second.c_attn.weight[token, v][:, :V] = torch.eye(V)
        second.c_proj.weight[:V, token] = 3 * torch.eye(V)
    return model


class Planted:
    """A handle of a model that lies nowhere on disk."""

    name = "planted"

    def __init__(self, model, seed=0):
        facts = {
            "vocab_size_tokenizer": V, "bos_behaviour": "none", "bos_id": None, "n_layers": 2,
            "context_length": POSITIONS, "n_heads": 2, "n_parameters": 1,
        }  # fmt: skip
        self.model, self.facts, self.fingerprint = model, SimpleNamespace(**facts), f"{id(model)}"
        self.tokenizer = SimpleNamespace(all_special_ids=[])

    def loaded(self):
        return self

    def random_twin(self, seed=0):
        torch.manual_seed(seed)
        return tf.GPT2LMHeadModel(self.model.config).eval()


@pytest.fixture(scope="module")
def planted():
    return Planted(circuit())


def test_the_planted_heads_are_found_and_no_others(planted):
    table = heads.ranked(planted)
    strong = table[table["strong"]]
    found = set(zip(strong["kind"], strong["layer"], strong["head"], strict=True))
    assert found == {("previous token", 0, 0), ("induction", 1, 0)}
    (best,) = heads.ranked(planted).query("kind == 'induction'").head(1).itertuples()
    assert (best.layer, best.head) == (1, 0)
    silent = heads.scores(planted).query("head == 1")
    assert silent["score"].to_numpy() == pytest.approx(silent["uniform"].to_numpy(), abs=1e-3)


def test_a_random_model_has_no_strong_head(planted):
    table = heads.ranked(Planted(planted.random_twin(7)))
    assert not table["strong"].any()
    assert table["above"].sum() <= 2


@pytest.mark.parametrize("kind", ["induction", "previous token"])
def test_without_either_half_of_the_circuit_nothing_is_copied(planted, kind):
    bits = ablation.loss(planted).groupby(["kind", "which", "count"])["bits"].mean()
    assert bits["", "intact", 0] < 1
    assert bits[kind, "top", 1] > bits["", "intact", 0] + 3
    assert bits[kind, "random", 1] == pytest.approx(bits["", "intact", 0], abs=0.01)
    assert bits.index.get_level_values("count").max() == 1, "there are too few heads for more"


def test_heads_are_silenced_row_by_row():
    output = torch.arange(2 * 3 * 4 * 2.0).reshape(2, 3, 4, 2)  # row, head, seq, d_head
    means = {5: -torch.ones(3, 4, 2)}
    silent = [[(5, 1), (6, 0)], []]
    changed = ablation.silenced(5, None, None, output, silent=silent, means=means)
    assert (changed[0, 1] == -1).all()
    assert torch.equal(changed[1], output[1])
    assert torch.equal(changed[0, [0, 2]], output[0, [0, 2]])


def test_controls_are_as_many_other_heads_of_the_same_layers():
    picked = [(0, 1), (0, 2), (3, 0)]
    for seed in range(20):
        found = ablation.others(picked, 4, np.random.default_rng(seed))
        assert [layer for layer, _ in found] == [0, 0, 3]
        assert len(set(found)) == 3
        assert not set(found) & set(picked)


# --- scores -----------------------------------------------------------------------------------


def test_texts_repeat_after_their_own_period():
    texts = heads.repeated(Planted(None), 30, seed=3)
    assert len(set(texts.periods)) > 5
    for row, period in zip(texts.ids, texts.periods, strict=True):
        assert len(set(row[:period])) == period, "no token twice in a copy"
        assert (row[period:] == row[: len(row) - period]).all()


def test_scores_are_those_of_plain_loops(tiny_folder):
    model = open_model(str(tiny_folder("llama")))
    table = heads.scores.uncached(model, rows=3).set_index(["row", "layer", "head", "kind"])
    texts = heads.repeated(model.loaded(), 3, seed=0)
    found, _ = weights_of(model.loaded().model, torch.as_tensor(texts.ids))
    w, p, n = found[1][0][2, 3].double().numpy(), texts.periods[2], texts.ids.shape[1]
    own = table.loc[2, 1, 3]["score"]
    assert own["induction"] == pytest.approx(np.mean([w[i, i - p + 1] for i in range(p, n)]))
    assert own["duplicate"] == pytest.approx(np.mean([w[i, i - p] for i in range(p, n)]))
    assert own["previous token"] == pytest.approx(np.mean([w[i, i - 1] for i in range(1, n)]))
    assert own["first token"] == pytest.approx(w[1:, 0].mean())
    spread = [
        -(r[: i + 1] * np.log(r[: i + 1])).sum() / math.log(i + 1) for i, r in enumerate(w) if i
    ]
    assert own[heads.SPREAD] == pytest.approx(np.mean(spread), abs=1e-5)


# --- hidden tokens ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_hidden_does_not_matter(family):
    """With a token hidden, any other token may stand in its place; without, it may not."""
    model, ids = build(family), ids_for(rows=3)
    other = ids.clone()
    other[:, 4] = (ids[:, 4] + 7) % 200
    with torch.inference_mode():
        pair = [explanation._prediction(model, row, hidden=4) for row in (ids, other)]
        open_pair = [explanation._prediction(model, row) for row in (ids, other)]
    assert pair[0] == pytest.approx(pair[1], abs=1e-4)
    assert (open_pair[0] - open_pair[1]).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
def test_what_tokens_hand_over_adds_up_to_the_output_of_attention(family):
    model, ids = build(family).requires_grad_(False), ids_for(rows=1, seq=6)
    looks, clean = explanation.looked_at(model, ids)
    found, logits = weights_of(model, ids)
    assert clean == pytest.approx(logits[:, -1].log_softmax(-1), abs=1e-4)
    stack = torch.stack([found[layer][0][0].mean(0) for layer in sorted(found)])  # layer, q, k
    assert looks["weights"][0] == pytest.approx(stack[:, -1].mean(0), abs=1e-5)
    rollout = np.linalg.multi_dot([(a.numpy() + np.eye(6)) / 2 for a in stack.flip(0)])
    assert looks["rollout"][0].numpy() == pytest.approx(rollout[-1], abs=1e-5)
    for name in ("weights", "rollout", "norms"):
        assert looks[name].sum() == pytest.approx(1, abs=1e-4)
    if family == "gpt2":  # head by head, with the slices of the matrix
        shares = []
        for layer, (weights, value, _) in found.items():
            matrix = model.transformer.h[layer].attn.c_proj.weight.reshape(4, 8, 32)
            handed = torch.einsum("hk,hkd,hde->ke", weights[0, :, -1], value[0], matrix)
            shares.append(handed.norm(dim=-1) / handed.norm(dim=-1).sum())
        assert looks["norms"][0] == pytest.approx(torch.stack(shares).mean(0), abs=1e-5)


def test_agreement_is_a_rank_correlation_within_each_sentence():
    rng = np.random.default_rng(0)
    change = rng.random((4, 9))
    table = pd.DataFrame({
        "sentence": np.repeat(range(4), 9), "change_bits": change.ravel(),
        "weights": np.exp(change).ravel() + 3 * np.repeat(range(4), 9), "norms": -change.ravel(),
        "rollout": rng.random(36), "nearness": np.tile(range(9), 4),
    })  # fmt: skip
    found = explanation.agreement(table).set_index(["measure", "sentence"])
    assert (found.loc["weights", "correlation"] > 0.999).all()
    assert found.loc["weights", "top"].all()
    assert (found.loc["norms", "correlation"] < -0.999).all()
    from scipy.stats import spearmanr

    expected = spearmanr(table["rollout"][:9], change[0]).statistic
    assert found.loc[("rollout", 0), "correlation"] == pytest.approx(expected)


def test_the_first_token_is_hidden_where_it_is_said_to_be(tiny_folder):
    model = open_model(str(tiny_folder("gpt2")))
    table = sinks.readings.uncached(model, documents=4)
    means = table.groupby("case")[["first", "second", "bits"]].mean()
    assert set(means.index) == {sinks.PLAIN, sinks.OTHER, sinks.BEHIND, sinks.HIDDEN,
                                sinks.DROPPED, sinks.FIFTH}  # fmt: skip
    assert (means.loc[[sinks.HIDDEN, sinks.DROPPED], "first"] == 0).all()
    assert (means.loc[[sinks.PLAIN, sinks.OTHER, sinks.FIFTH], "first"] > 0).all()
    loaded = model.loaded()
    from internals.measure.windows import windows

    ids = windows(loaded, 4, sinks.SEQ)[:, 1:]
    with torch.inference_mode():
        log_p = loaded.model(ids).logits.log_softmax(-1)[0, 19:-1]
    bits = -log_p.gather(-1, ids[0, 20:, None]).mean() / math.log(2)
    own = table[(table["case"] == sinks.PLAIN) & (table["document"] == 0)]["bits"]
    assert own.to_numpy() == pytest.approx(float(bits), abs=1e-4)


# --- findings in planted worlds ---------------------------------------------------------------

TEXTS = range(20)


def scored(top, layer=3):
    """Scores and ranks of a world in which one head of each kind has the score ``top``."""
    rows = [
        (row, at, head, kind, (top if (at, head) == (layer, 1) else 0.05) + row / 1000, 0.04)
        for row in TEXTS for at in range(4) for head in range(2) for kind in heads.KINDS
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["row", "layer", "head", "kind", "score", "uniform"])


def in_order(good):
    kinds = ["previous token", "induction", "induction"]
    return pd.DataFrame({
        "kind": kinds, "layer": [1, 3 if good else 1, 0], "strong": [True, True, False]
    })  # fmt: skip


def lost(extra):
    rows = [(r, "", "intact", 0, 5 + r / 9) for r in TEXTS]
    for kind in ("induction", "previous token"):
        for count in ablation.COUNTS:
            rows += [(r, kind, "random", count, 5.1 + r / 9) for r in TEXTS]
            rows += [(r, kind, "top", count, 5.1 + r / 9 + extra * (1 + r / 99)) for r in TEXTS]
    return pd.DataFrame(rows, columns=["row", "kind", "which", "count", "bits"])


def read(good):
    """Sixteen documents: the first place takes all, and is missed; or it is like any other."""
    rows = []
    for d in range(16):
        for layer in range(3):
            wave = d / 400 + layer / 100
            for case, first, second, bits in (
                (sinks.PLAIN, 0.5, 0.01, 4.0), (sinks.BEHIND, 0.5, 0.01, 4.0),
                (sinks.HIDDEN, 0.0, 0.5, 4.1), (sinks.DROPPED, 0.0, 0.03, 7.0),
                (sinks.FIFTH, 0.5, 0.01, 4.0),
            ):  # fmt: skip
                value = 0.2
                if not good:
                    first, second, value = 0.03, 0.2 if case == sinks.BEHIND else 0.03, 1.0
                    bits = 6.0 if case == sinks.HIDDEN else 4.0
                rows.append(
                    (case, d, layer, first + wave, second + wave, value + wave, bits + d / 99)
                )
    columns = ["case", "document", "layer", "first", "second", "value", "bits"]
    return pd.DataFrame(rows, columns=columns)


def ranks(**correlations):
    rng = np.random.default_rng(0)
    rows = [
        (sentence, name, mean + rng.normal(0, 0.05), False)
        for name, mean in correlations.items() for sentence in range(40)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["sentence", "measure", "correlation", "top"])


def agreed(good):
    if good:
        return ranks(weights=0.5, nearness=0.2, norms=0.7, rollout=-0.4)
    return ranks(weights=-0.1, nearness=0.2, norms=-0.3, rollout=0.4)


def logged(best):
    return pd.DataFrame({"model": ["a", "b"], "prefix_matching_max": [0.02, best]})


WORLDS = {
    "kinds-previous": (heads, "scores", lambda good: scored(0.8 if good else 0.2)),
    "kinds-induction": (heads, "scores", lambda good: scored(0.8 if good else 0.2)),
    "kinds-order": (heads, "ranked", in_order),
    "ablation-one": (ablation, "loss", lambda good: lost(2 if good else 0)),
    "ablation-many": (ablation, "loss", lambda good: lost(2 if good else -1)),
    "ablation-previous": (ablation, "loss", lambda good: lost(2 if good else 0)),
    **{f"sinks-{name}": (sinks, "readings", read)
       for name in ("weight", "behind", "value", "hidden", "heir", "dropped")},
    **{f"explanation-{name}": (explanation, "agreement", agreed)
       for name in ("weights", "weights-better", "norms-better", "rollout", "fable-better")},
    "emergence-matching": (None, "logs", lambda good: logged(0.07 if good else 0.6)),
}  # fmt: skip
MODULES = sections("attention")
FINDINGS = {f.id: f for module in MODULES for f in findings_of(module).values()}


def test_every_rule_of_the_chapter_has_a_planted_world():
    assert {id for id, f in FINDINGS.items() if f.expect is not None} == set(WORLDS)


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("id", WORLDS)
def test_each_finding_comes_out_both_ways(monkeypatch, id, good):
    module, name, world = WORLDS[id]
    for place in (module, *MODULES):
        if hasattr(place, name):
            monkeypatch.setattr(place, name, lambda *_, **__: world(good))
    monkeypatch.setattr(explanation, "importance", lambda *_: None)
    found = dataclasses.replace(FINDINGS[id], estimate=FINDINGS[id].estimate.uncached)
    (result,) = evaluate([found], Planted(None)).values()
    assert result.verdict == ("supported" if good else "not supported")


def test_what_a_model_has_not_does_not_apply(monkeypatch):
    monkeypatch.setattr(heads, "ranked", lambda *_: in_order(True).query("kind == 'induction'"))
    monkeypatch.setattr(ablation, "loss", lambda *_: lost(1).query("count < 16"))
    for id in ("kinds-order", "ablation-many"):
        found = dataclasses.replace(FINDINGS[id], estimate=FINDINGS[id].estimate.uncached)
        assert found.measure(Planted(None)).verdict == "not applicable"
    assert FINDINGS["ablation-intact"].estimate.uncached(Planted(None)).value == pytest.approx(
        5 + 9.5 / 9
    )


def test_the_strongest_head_is_chosen_and_judged_on_different_texts(monkeypatch):
    """A head that is best on the even texts alone is judged on the others."""
    table = scored(0.3)
    lucky = (table["layer"] == 0) & (table["head"] == 0)
    table.loc[lucky, "score"] = np.where(table.loc[lucky, "row"] % 2 == 0, 0.9, 0.1)
    monkeypatch.setattr(heads, "scores", lambda *_: table)
    assert FINDINGS["kinds-induction"].estimate.uncached(Planted(None)).value < 0.11


# --- the chapter, and odd models --------------------------------------------------------------

CHAPTER = read_chapter(ROOT / "report" / "06-attention.qmd", ROOT)
CELLS = [cell.code for cell in CHAPTER.cells]


DRAWN = ("characters", "one head, list of ends")


@pytest.mark.parametrize("name", [*ODD, *(f"family {f}" for f in FAMILIES if f not in ODD)])
def test_every_cell_runs_on_every_kind_of_model(name, odd_folder, tiny_folder, monkeypatch):
    """With its figures; a cell that does not apply binds names that say so."""
    folder = odd_folder(name) if name in ODD else tiny_folder(name.removeprefix("family "))
    report = Report("attention", open_model(str(folder)), {})
    monkeypatch.setenv("REPORT_EFFORT", "0.1")
    draw = style.render if name in DRAWN else lambda *_: None  # drawing takes longest
    monkeypatch.setattr(style, "show", draw)
    scope, text, missed = run_cells(CELLS[1:], report, figures)
    if name == "overflowing":
        return
    assert len(missed) <= (3 if name == "one head, list of ends" else 0)
    weights = scope["weights"]  # of the last cell that binds them
    assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-4)
    assert not weights.triu(1).any()
    assert "logits change by 0.0000" in text
    assert report.subject.loaded().model.config._attn_implementation != "by_hand"


@pytest.mark.parametrize("name", ODD)
def test_measurements_of_an_odd_model_are_finite_or_do_not_apply(name, odd_folder):
    model = open_model(str(odd_folder(name)))
    few = {"rows": 3}
    for measurement, arguments in (
        (heads.scores, few), (heads.scores, {"twin": True, **few}), (heads.ranked, {}),
        (ablation.loss, few), (sinks.readings, {"documents": 3}),
        (explanation.importance, {"sentences": 3}),
    ):  # fmt: skip
        try:
            table = measurement.uncached(model, **arguments)
        except NotApplicable:
            continue
        assert len(table)
        if name != "overflowing":
            assert np.isfinite(table.select_dtypes("number")).all(axis=None), measurement.name


def test_the_logs_of_the_project_have_what_the_chapter_draws():
    logs = training_record.logs()
    assert {"previous_token_max", "prefix_matching_max", "stories_bits_per_byte"} <= set(logs)
