"""Chapter 3 against closed forms, a second implementation, and models whose answer is known."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from internals import inputs, stats
from internals.inputs import InputError
from internals.measure import answers as scoring
from internals.measure.probabilities import (
    answers_by_exposure,
    calibration,
    contrast,
    maps,
    one_prompt,
    positions,
    surprisal,
    temperature,
)
from internals.models import open_model
from internals.stats import calibration as measures
from tiny_models import build

LOGITS = arrays(np.float64, 12, elements=st.floats(-8, 8, width=32))


@pytest.fixture(scope="module")
def handle(tiny_folder):
    return open_model(str(tiny_folder("llama")))


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


@given(LOGITS)
def test_entmax_satisfies_its_own_equation(z):
    """p_i = max(z_i / 2 − τ, 0)² with τ such that they add up to one (Peters et al. 2019)."""
    p = maps.entmax15(torch.from_numpy(z)).numpy()
    low, high = z.min() / 2 - 1, z.max() / 2
    for _ in range(200):
        middle = (low + high) / 2
        total = (np.maximum(z / 2 - middle, 0) ** 2).sum()
        low, high = (middle, high) if total > 1 else (low, middle)
    assert p == pytest.approx(np.maximum(z / 2 - low, 0) ** 2, abs=1e-5)


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
    assert maps.softmax(z).tolist() == pytest.approx([v / sum(e) for v in e])
    assert maps.relu_normalised(z).tolist() == [1, 0, 0]
    assert maps.squared(z).tolist() == [0.5, 0, 0.5]
    assert maps.hard_max(z).tolist() == [1, 0, 0]
    assert maps.sparsemax(z).tolist() == pytest.approx([1, 0, 0])
    assert bool(maps.relu_normalised(-z.abs() - 1).isnan().all()), "nothing is positive"


def test_order_is_kept_or_not():
    z = torch.tensor([2.0, -3.0, 1.0])
    assert maps.keeps_order(z, z.softmax(-1))
    assert not maps.keeps_order(z, maps.squared(z))


# --- calibration --------------------------------------------------------------------------------


def test_calibration_error_by_hand():
    """Bins [.9, 1) with gap .9·2 − 1 = .8 and [.1, .2) with gap .1: (.8 + .1) / 3."""
    assert measures.calibration_error([0.9, 0.9, 0.1], [1, 0, 0]) == pytest.approx(0.3)


def test_equal_mass_bins_hold_equally_many():
    c = np.random.default_rng(0).beta(2, 5, 1000)
    counts = np.bincount(measures.bin_of(c, 10, "equal mass"))
    assert counts.tolist() == [100] * 10
    order = np.argsort(c)
    assert (np.diff(measures.bin_of(c, 10, "equal mass")[order]) >= 0).all()


@pytest.mark.parametrize("kind", ["equal width", "equal mass"])
def test_the_null_band_covers_calibrated_samples(kind):
    """Of samples with outcomes drawn from their confidences, 95 % lie in the band."""
    rng = np.random.default_rng(1)
    inside = 0
    for i in range(120):
        c = rng.uniform(0.2, 1.0, 300)
        error = measures.calibration_error(c, rng.random(300) < c, kind=kind)
        _, low, high = measures.null_band(c, kind=kind, draws=200, seed=i)
        inside += low <= error <= high
    assert stats.wilson(inside, 120).low < 0.95 < stats.wilson(inside, 120).high + 0.03


def test_a_miscalibrated_sample_lies_above_the_band():
    c = np.full(500, 0.9)
    y = np.arange(500) % 2
    _, _, high = measures.null_band(c)
    assert measures.calibration_error(c, y) == pytest.approx(0.4)
    assert high < 0.1


def test_reliability_and_brier_by_hand():
    table = measures.reliability([0.95, 0.91, 0.15], [1, 0, 0])
    assert table["n"].tolist() == [1, 2]
    assert table["confidence"].tolist() == pytest.approx([0.15, 0.93])
    assert table["accuracy"].tolist() == [0, 0.5]
    assert measures.brier([0.8, 0.3], [1, 0]) == pytest.approx((0.04 + 0.09) / 2)


def test_the_interval_of_the_error_covers_the_truth():
    """A model that is 0.2 too confident on every unit, 40 units of 25 predictions."""
    rng = np.random.default_rng(2)
    covered = 0
    for i in range(60):
        c = rng.uniform(0.3, 0.9, 1000)
        y = rng.random(1000) < c - 0.2
        found = measures.calibration_ci(c, y, np.repeat(np.arange(40), 25), n_resamples=200, seed=i)
        covered += found.low <= 0.2 <= found.high
    assert covered >= 51


def test_areas_over_units_are_those_of_resampled_rows():
    """The products of weights against drawing the rows themselves."""
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(5)
    scores, labels = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.5
    units = np.repeat(np.arange(12), 5)
    own = stats.auroc(scores, labels, clusters=units, n_resamples=3000)
    draws = []
    for _ in range(1500):
        rows = np.concatenate([np.flatnonzero(units == u) for u in rng.integers(0, 12, 12)])
        x, y = scores[rows], labels[rows]
        draws.append(mannwhitneyu(x[y], x[~y]).statistic / (y.sum() * (~y).sum()))
    assert own.interval == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.02)
    assert own.n == 12


def test_bins_have_intervals_over_units_also_where_all_outcomes_are_alike():
    table = measures.reliability([0.95] * 40 + [0.15] * 40, [1] * 40 + [0, 1] * 20)
    assert table["low"].iloc[1] == pytest.approx(stats.wilson(40, 40).low)
    assert table["low"].iloc[0] < 0.5 < table["high"].iloc[0]
    few = measures.reliability([0.95] * 40, [1] * 40, clusters=np.repeat([0, 1, 2, 3], 10))
    assert few["low"].iloc[0] == pytest.approx(stats.wilson(4, 4).low)


def calibrated(confidence: np.ndarray, accuracy: np.ndarray) -> calibration.Calibration:
    rng = np.random.default_rng(6)
    right = pd.Series((rng.random(len(confidence)) < accuracy).astype(float))
    own = pd.Series(confidence)
    units = pd.Series(np.arange(len(own)) % 50)
    return calibration.calibrate(own, right, own, units, "documents")


def test_an_error_is_small_only_beside_the_accuracy():
    sure = np.random.default_rng(7).uniform(0.2, 0.9, 5000)
    assert calibration.is_small(calibrated(sure, sure)), "calibrated"
    assert not calibration.is_small(calibrated(sure, sure - 0.15)), "too confident"
    nothing = np.full(5000, 0.01)
    assert not calibration.is_small(calibrated(nothing, nothing / 4)), "one percent for everything"


def test_which_of_two_curves_is_ahead():
    bounds = {
        "confidence_low": [0.5, 0.4, 0.6],
        "confidence_high": [0.6, 0.6, 0.7],
        "accuracy_low": [0.1, 0.5, 0.8],
        "accuracy_high": [0.2, 0.7, 0.9],
    }
    frame = pd.DataFrame({"level": [0, 1, 4], "wording": "trained", **bounds}).iloc[::-1]
    found = calibration.ahead(frame, "trained")
    assert found["level"].tolist() == [0, 1, 4]
    assert found["ahead"].tolist() == ["confidence", "neither", "accuracy"]
    assert calibration.ahead(frame, "heldout").empty


def test_exposure_correlates_within_kinds_of_contexts():
    """Valleys have more outside than coins; within each kind nothing depends on the exposures."""
    n = 40
    rng = np.random.default_rng(8)
    exposures = np.r_[np.arange(n), np.arange(n) + 1000]
    noise = rng.random(2 * n)
    frame = pd.DataFrame(
        {"kind": ["coin"] * n + ["weather"] * n, "exposures": exposures, "outside": noise}
    )
    frame.loc[n:, "outside"] += 5
    null = calibration.correlation_with_exposure(frame, "outside")
    assert null.low < 0 < null.high
    falling = frame.assign(outside=frame["outside"] - 0.2 * (exposures % 1000))
    assert calibration.correlation_with_exposure(falling, "outside").value < -0.9


# --- positions ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(handle):
    return positions.positions.uncached(handle, n=300)


def test_positions_agree_with_the_plain_forward_pass(handle, table):
    loaded = handle.loaded()
    from internals.measure.capability import start_ids
    from internals.measure.windows import documents

    text = documents()[0]
    ids = [*start_ids(loaded), *loaded.tokenizer(text)["input_ids"]]
    ids = ids[: min(positions.LONGEST, loaded.facts.context_length)]
    with torch.no_grad():
        logits = loaded.model(torch.tensor([ids])).logits[0, :-1].double()
    target = torch.tensor(ids[1:])
    own = table[table["document"] == 0]
    loss = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    assert -own["log_prob"].to_numpy() == pytest.approx(loss.numpy(), abs=1e-4)
    cold = torch.nn.functional.cross_entropy(logits / 0.7, target, reduction="none")
    assert own["nll@0.7"].to_numpy() == pytest.approx(cold.numpy(), abs=1e-4)
    assert own["correct"].tolist() == (logits.argmax(-1) == target).tolist()
    expected = torch.distributions.Categorical(logits=logits).entropy()
    assert own["entropy"].to_numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def test_softmax_among_the_maps_is_the_model(table):
    part = table[table["true:softmax"].notna()]
    assert np.log(part["true:softmax"]).to_numpy() == pytest.approx(
        part["log_prob"].to_numpy(), abs=1e-4
    )
    summary = positions.map_summary(table).set_index("map")
    assert summary.loc["softmax", "lost"] == 0
    assert summary.loc["hard max", "lost"] == pytest.approx(1 - part["correct"].mean())
    assert summary.loc["hard max", "error"] == pytest.approx(1 - part["correct"].mean())
    assert positions.extra_bits(table, "softmax").value == 0
    assert positions.among_first(table, 1).value == pytest.approx(table["correct"].mean())


def test_a_zero_and_an_undefined_distribution_both_lose_the_token():
    frame = pd.DataFrame(
        {"document": [0, 0, 1, 1], "true:softmax": 0.5, "true:x": [0, np.nan, 1, 1]}
    )
    assert positions.lost(frame, "x").value == 0.5
    assert positions.lost(frame, "x").n == 2


@pytest.mark.parametrize(
    ("vocab", "last"), [(320, "101 to 320"), (1000, "101 to 1,000"), (50_000, "beyond 1,000")]
)
def test_rank_buckets_add_up_and_end_with_the_vocabulary(table, vocab, last):
    capped = table.assign(rank=table["rank"] % vocab)
    buckets = positions.rank_buckets(capped, vocab)
    assert buckets["n"].sum() == len(table)
    assert buckets["n"].iloc[0] == (capped["rank"] == 0).sum()
    assert buckets["bucket"].iloc[-1] == last
    assert buckets["bucket"].tolist()[:3] == ["first", "2 to 10", "11 to 100"]


def test_only_the_ends_of_the_grid_of_temperatures_are_its_ends():
    assert positions.at_the_end(2.0) == "largest"
    assert positions.at_the_end(0.5) == "smallest"
    assert positions.at_the_end(1.0) == ""


def test_the_best_temperature_of_scaled_logits_is_found():
    """Logits of a calibrated model, doubled: a temperature of 1.4 is the nearest of the grid."""
    rng = np.random.default_rng(3)
    z = torch.from_numpy(rng.normal(0, 1.5, (4000, 20)))
    y = torch.distributions.Categorical(logits=z).sample()
    found = positions._of_softmax(1.3 * z, y)
    assert positions.best_temperature(found) == pytest.approx(1.3, abs=0.051)


# --- temperature --------------------------------------------------------------------------------


def test_temperature_identities_hold_for_any_model(handle):
    found = temperature.identities.uncached(handle)
    assert found.power < 1e-9
    assert found.divided < 1e-12
    assert found.shift < 1e-12
    assert found.cold < 1e-6
    assert found.hot < 0.01


def test_the_sweep_agrees_with_scipy(handle):
    from scipy.special import rel_entr
    from scipy.stats import entropy

    sweep = temperature.sweep.uncached(handle)
    row = sweep[(sweep["prompt"] == "main") & (sweep["temperature"] == 0.5)].iloc[0]
    z = temperature.next_logits(handle.loaded(), "The capital of France is")
    p, base = (z / 0.5).softmax(-1).numpy(), z.softmax(-1).numpy()
    assert row["entropy_bits"] == pytest.approx(entropy(p, base=2))
    assert row["kl_bits"] == pytest.approx(rel_entr(p, base).sum() / math.log(2))
    ordered = np.sort(p)[::-1].cumsum()
    assert (
        ordered[row["nucleus"] - 1]
        >= 0.9
        > (ordered[row["nucleus"] - 2] if row["nucleus"] > 1 else 0)
    )
    at_one = sweep[sweep["temperature"] == 1.0]
    assert at_one["kl_bits"].max() < 1e-9


def test_js_distance_is_scipys():
    from scipy.spatial.distance import jensenshannon

    rng = np.random.default_rng(4)
    p, q = (torch.from_numpy(rng.dirichlet(np.ones(9))) for _ in range(2))
    assert temperature.js_distance(p, q) == pytest.approx(jensenshannon(p, q, base=2))
    one, two = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert temperature.js_distance(one, two) == 1
    assert temperature.js_distance(p, p) == pytest.approx(0, abs=1e-7)


def test_top_tokens_are_torchs_topk(handle):
    top = temperature.top_tokens.uncached(handle)
    part = top[(top["prompt"] == "main") & (top["temperature"] == 2.0)]
    z = temperature.next_logits(handle.loaded(), "The capital of France is")
    assert part["probability"].tolist() == pytest.approx(
        (z / 2).softmax(-1).topk(8).values.tolist()
    )


def test_the_rest_of_the_explorer_lies_between_its_bounds(handle):
    """Exact log-sum-exp of the tokens left out, at temperatures between the grid points."""
    found = temperature.explorer.uncached(handle, k=50)
    z = temperature.next_logits(handle.loaded(), "The capital of France is")
    z = (z - z.max()).sort(descending=True).values
    rest = found.rest[found.rest["prompt"] == "main"]
    for t in (0.07, 0.33, 0.9, 1.7, 4.2):
        low, high = temperature.rest_between(rest, 1 / t)
        exact = (z[50:] / t).logsumexp(0).item()
        assert low - 1e-9 <= exact <= high + 1e-9
        whole = (z / t).logsumexp(0).item()
        assert math.exp(high - whole) - math.exp(low - whole) < 0.02, "a narrow band of mass"
    lead = found.tokens[found.tokens["prompt"] == "main"]["logit"]
    assert lead.tolist() == pytest.approx(z[:50].tolist())


# --- one prompt ---------------------------------------------------------------------------------


def test_the_main_prompt_adds_up(handle):
    found = one_prompt.main_prompt.uncached(handle)
    assert found.histogram["tokens"].sum() == found.vocab
    assert found.histogram["mass"].sum() == pytest.approx(1)
    top = found.top
    assert np.exp(top["logit"] - found.log_z).tolist() == pytest.approx(top["probability"].tolist())
    tail = found.tail.set_index("leading")["left"]
    assert tail[10] == pytest.approx(1 - top["cumulative"].iloc[-1])


def test_the_prompt_as_typed_is_not_moved(handle):
    variants = one_prompt.variants.uncached(handle).set_index("variant")
    assert variants.loc["as typed", "moved"] == 0
    assert (variants["moved"].drop("as typed") > 0).all()


def test_softmax_checks(handle):
    found = one_prompt.softmax_checks.uncached(handle)
    assert found.gradient_autograd < 1e-12
    assert found.gradient_finite < 1e-6
    assert found.naive_fails
    assert found.stable_error < 1e-5


def test_map_properties_know_softmax(handle):
    found = one_prompt.map_properties.uncached(handle).set_index("map")
    assert found.loc["softmax", "shift_change"] < 1e-6
    assert found.loc["softmax", "order_kept"] == 1
    assert found.loc["sparsemax", "shift_change"] < 1e-5
    assert found.loc["sigmoid, normalised", "shift_change"] > 1e-6


def test_a_blank_and_a_start_token_move_what_their_ids_say(handle):
    blank = one_prompt.blank_effect.uncached(handle)
    start = one_prompt.start_effect.uncached(handle)
    assert len(blank) == len(start) == len(inputs.prompts())
    assert not blank["same_ids"].any()
    loaded = handle.loaded()
    ids = loaded.tokenizer(one_prompt.main_text())["input_ids"]
    with torch.no_grad():
        p, q = (
            loaded.model(torch.tensor([i])).logits[0, -1].double().softmax(-1)
            for i in (ids, [loaded.facts.bos_id, *ids])
        )
    expected = 0.5 * (p - q).abs().sum().item()
    found = start.loc[start["prompt"] == "main", "moved"].iloc[0]
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_tokenizer_that_adds_its_start_token_gets_no_second_one(tmp_path):
    """Documents must begin with one start token, never with the end and the start token."""
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    from internals.measure.capability import start_ids
    from tokenizers_small import byte_fallback_bpe

    backend = Tokenizer.from_str(byte_fallback_bpe().backend_tokenizer.to_str())
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", backend.token_to_id("<s>"))]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    model = build("llama")
    model.resize_token_embeddings(len(fast))
    model.save_pretrained(tmp_path)
    fast.save_pretrained(tmp_path)
    folder = tmp_path
    loaded = open_model(str(folder)).loaded()
    assert loaded.facts.bos_behaviour == "added"
    assert start_ids(loaded) == [loaded.tokenizer.bos_token_id]
    frame = positions.positions.uncached(open_model(str(folder)), n=40)
    assert frame["document"].iloc[0] == 0


# --- facts --------------------------------------------------------------------------------------


def test_joint_probabilities_are_a_distribution_over_all_two_piece_answers():
    """With a vocabulary of 5 all 25 answers of two pieces can be listed: they add up to one."""
    torch.manual_seed(0)
    model = build("llama")
    model.resize_token_embeddings(5)
    pairs = [([1, 2, 3], list(pair)) for pair in itertools.product(range(5), repeat=2)]
    table = scoring.answer_scores(model, pairs)
    assert np.exp(table["log_prob"]).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "opt-post"])
def test_answer_scores_agree_with_scores_of_whole_sequences(family):
    """Also where something follows the head (a soft cap) or stands before it (a projection)."""
    from internals.measure.scoring import continuation_scores

    model = build(family)
    pairs = [([5, 6, 7], [8]), ([5, 6, 7], [9, 10]), ([5, 6], [7, 8, 9]), ([11], [12])]
    joint, rank = continuation_scores(model, pairs)
    table = scoring.answer_scores(model, pairs)
    assert table["log_prob"].to_numpy() == pytest.approx(joint, abs=1e-3)
    assert table["vocab_rank"].tolist() == rank.tolist()


def test_public_questions_have_the_right_answer_once():
    asked = list(answers_by_exposure.public_questions(30, seed=0))
    assert len({q.fact_id for q in asked}) == 30
    for q in asked:
        assert q.answers.count(q.answers[0]) == 1
        assert len(q.answers) <= answers_by_exposure.CANDIDATES
        assert q.subject in q.prompt
        assert q.answers[0] not in q.prompt


def test_designed_questions_cover_all_levels_and_wordings():
    asked = list(answers_by_exposure.designed_questions())
    facts = {q.fact_id for q in asked}
    assert len(facts) >= 300
    assert {q.level for q in asked} == {0, 1, 4, 16, 64, 256}
    per_fact = pd.Series([q.fact_id for q in asked]).value_counts()
    assert per_fact.min() >= 4, "three trained wordings and a held-out one at least"


def test_answers_of_a_model_that_knows_nothing_are_chance(handle):
    table = answers_by_exposure.answers.uncached(handle)
    assert table["confidence"].between(0, 1).all()
    facts = table.groupby("fact_id")["correct"].mean()
    assert facts.mean() < 0.5
    assert table["chose_shortest"].dtype == bool
    wrong = table[~table["correct"]]
    assert wrong.loc[wrong["shortest"] == 1, "chose_shortest"].all()
    assert not wrong.loc[wrong["shortest"] == 0, "chose_shortest"].any()
    bits = -np.log2(table["right_share"])
    found = calibration.calibrate(
        table["confidence"], table["correct"], bits, table["fact_id"], "facts"
    )
    assert found.over.value == pytest.approx(table["confidence"].mean() - table["correct"].mean())
    row = calibration.overview({"facts": found}).iloc[0]
    assert row["error"].value == found.errors["value"].iloc[0]
    assert row["units"] == f"{len(facts)} facts"
    assert (table["mass"] >= table["prob"]).all()
    assert found.accuracy.n == len(facts)
    assert found.accuracy.low < 0.3, "right no more often than a guess among about ten"


def test_a_choice_by_length_is_told_from_a_choice_without_it():
    """100 facts in three wordings, among whose wrong candidates a quarter is shortest."""
    rng = np.random.default_rng(9)
    frame = pd.DataFrame(
        {"fact_id": np.repeat(np.arange(100), 3), "shortest": 0.25, "correct": False}
    )
    blind = frame.assign(chose_shortest=rng.random(300) < 0.25)
    null = answers_by_exposure.shortest_excess(blind)
    assert null.low < 0 < null.high
    biased = answers_by_exposure.shortest_excess(frame.assign(chose_shortest=True))
    assert biased.value == pytest.approx(0.75)
    assert biased.n == 100
    alike = frame.assign(shortest=1.0, chose_shortest=True)
    assert answers_by_exposure.shortest_excess(alike) is None
    knowing = frame.assign(correct=True, chose_shortest=True)
    assert answers_by_exposure.shortest_excess(knowing) is None, "the truth may be short"


# --- contrast and surprisal ---------------------------------------------------------------------


class Linear:
    """A model whose logits are linear in the embeddings: each position has a matrix of its own."""

    device = torch.device("cpu")

    def __init__(self, normed: bool = False):
        torch.manual_seed(1)
        self.table = torch.nn.Embedding(40, 6)
        self.matrices = torch.randn(5, 6, 40)
        self.normed = normed

    def get_input_embeddings(self):
        return self.table

    def __call__(self, ids, use_cache):
        x = self.table(ids)
        if self.normed:
            x = x / x.norm(dim=-1, keepdim=True)
        logits = torch.einsum("bpd,pdv->bv", x, self.matrices[: ids.shape[1]])
        return SimpleNamespace(logits=logits[:, None])


def test_both_attributions_are_equal_where_the_difference_is_linear():
    model = Linear()
    ids = [3, 7, 9, 11]
    _, gradient = contrast.gradient_from_mean(model, ids, 20, 30)
    fall = contrast.occlusion(model, ids, 20, 30)
    assert gradient == pytest.approx(fall, abs=1e-4)
    assert np.abs(fall).max() > 0.1


def test_a_token_at_the_mean_embedding_carries_nothing():
    model = Linear()
    with torch.no_grad():
        model.table.weight[:] = model.table.weight[0]
    _, gradient = contrast.gradient_from_mean(model, [3, 7, 9], 20, 30)
    assert gradient == pytest.approx(0, abs=1e-5)
    assert contrast.occlusion(model, [3, 7, 9], 20, 30) == pytest.approx(0, abs=1e-5)


def test_a_norm_behind_the_embeddings_does_not_hide_what_they_carry():
    """Gradient × embedding would be zero here: the length of an embedding changes nothing."""
    model = Linear(normed=True)
    ids = [3, 7, 9, 11]
    _, gradient = contrast.gradient_from_mean(model, ids, 20, 30)
    assert np.abs(gradient).max() > 0.01
    x = model.table(torch.tensor([ids])).detach().requires_grad_()
    handle = model.table.register_forward_hook(lambda *_: x)
    logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
    handle.remove()
    (slope,) = torch.autograd.grad(logits[20] - logits[30], x)
    assert (slope * x).sum(-1).detach().numpy() == pytest.approx(0, abs=1e-4)


def test_the_gradient_agrees_with_a_small_step_to_the_mean():
    """Moving one embedding by h towards the mean lowers the difference by h · attribution."""
    model = build("gpt2").double()
    ids = [3, 7, 9, 11]
    difference, attribution = contrast.gradient_from_mean(model, ids, 20, 30)
    table = model.get_input_embeddings()
    blank = table.weight[::7].mean(0).detach()
    for position in range(len(ids)):
        values = []
        for h in (1e-4, -1e-4):

            def step(_m, _a, out, position=position, h=h):
                out = out.clone()
                out[0, position] += h * (out[0, position] - blank)
                return out

            handle = table.register_forward_hook(step)
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1]
            handle.remove()
            values.append((logits[20] - logits[30]).item())
        slope = (values[0] - values[1]) / 2e-4
        assert attribution[position] == pytest.approx(slope, rel=1e-3, abs=1e-5)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1]
    assert difference == pytest.approx((logits[20] - logits[30]).item(), rel=1e-5)


def test_occlusion_replaces_one_token_at_a_time():
    model = build("llama")
    ids = [3, 7, 9]
    fall = contrast.occlusion(model, ids, 20, 30)
    blank = model.get_input_embeddings().weight[::7].mean(0)
    with torch.no_grad():
        embedded = model.get_input_embeddings()(torch.tensor([ids]))
        base = model(inputs_embeds=embedded).logits[0, -1]
        embedded[0, 1] = blank
        changed = model(inputs_embeds=embedded).logits[0, -1]
    expected = (base[20] - base[30]) - (changed[20] - changed[30])
    assert fall[1] == pytest.approx(expected.item(), abs=1e-5)


def test_answers_fork_at_their_first_difference():
    assert contrast.fork([1, 2, 3], [1, 2, 4, 5]) == ([1, 2], 3, 4)
    assert contrast.fork([7], [8]) == ([], 7, 8)
    with pytest.raises(ValueError, match="beginning of the other"):
        contrast.fork([1, 2], [1, 2, 3])


def test_agreement_by_hand():
    frame = pd.DataFrame(
        {
            "country": ["A"] * 3 + ["B"] * 3,
            "gradient": [1.0, 2.0, 3.0, 1.0, 2.0, -9.0],
            "occlusion": [0.1, 0.2, 0.3, 3.0, 2.0, 5.0],
        }
    )
    found = contrast.agreement(frame).set_index("country")
    assert found.loc["A", "spearman"] == pytest.approx(1)
    assert found.loc["B", "spearman"] == pytest.approx(-1)
    assert found["same_top"].tolist() == [True, False], "the largest are of opposite sign in B"
    assert found["size"].tolist() == pytest.approx([10, 1.2])
    assert contrast.foreseen(found).value == pytest.approx(5.6)


def test_words_add_up_to_the_text(handle):
    found = surprisal.surprisal.uncached(handle)
    assert found.applies
    assert found.boundary_gap == pytest.approx(0, abs=1e-8)
    assert found.tokens["opens"].tolist() == [t.startswith(" ") for t in found.tokens["text"]]
    first = found.tokens["bits"].isna()
    assert first.sum() == (0 if handle.facts.eos_id is not None else 1)
    after = next(i for i, t in enumerate(found.tokens["text"]) if i and t.startswith(" "))
    assert found.words["bits"].sum() == pytest.approx(found.tokens["bits"].iloc[after:].sum())


# --- files that a student edits -----------------------------------------------------------------


def test_the_shipped_prompts_cover_the_families():
    shipped = inputs.prompts()
    assert len(shipped) >= 50
    families = pd.Series([p.family for p in shipped]).value_counts()
    assert set(families.index) == {"fact", "story", "list", "arithmetic", "code", "ambiguous"}
    assert families.min() >= 8
    assert len(inputs.changes()) >= 12


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("prompts: [{id: a, family: f, text: x}]", "needs one prompt with `id: main`"),
        ("prompts: [{id: main, family: f, text: 'x '}]", "ends with a blank; remove it"),
    ],
)
def test_a_wrong_prompt_is_named(tmp_path, content, sentence):
    path = tmp_path / "next_token.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=sentence):
        inputs.prompts(path)


@pytest.mark.parametrize("changed", ["a c d", "a b c d", "x y z"])
def test_a_change_must_be_of_one_word(tmp_path, changed):
    path = tmp_path / "changes.yaml"
    path.write_text(f"changes: [{{id: one, text: a b z, changed: {changed}}}]")
    with pytest.raises(InputError, match="differ in exactly one"):
        inputs.changes(path)
