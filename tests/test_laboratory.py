"""Common mistakes: a wrong sentence is refuted by a planted world in which it is wrong, and not by
one in which it is right; an interval over an edge decides nothing."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from internals.book import mistakes
from internals.book.cited import Cited
from internals.errors import NotApplicable
from internals.findings import Result, findings_of, sections
from internals.findings.mistakes import Mistake, mistake, outcome
from internals.measure import bench
from internals.models import open_model
from internals.stats import Estimate, exact
from odd_models import ODD

FOUND: dict[str, Mistake] = {
    f.id: f for module in sections("laboratory") for f in findings_of(module).values()
}  # type: ignore[misc]


class Model:
    fingerprint, name = "planted", "m"

    def __init__(self, n_layers=4, tied=True):
        self.facts = type("Facts", (), {"n_layers": n_layers, "tied_embeddings": tied})


def judged(found: Mistake, model) -> str:
    bare = dataclasses.replace(found, estimate=found.estimate.uncached)
    return outcome(found, bare.measure(model))


@pytest.mark.parametrize(
    ("estimate", "verdict"),
    [
        (Estimate(0.5, 0.4, 0.6, 9, "words", "BCa"), "refuted"),
        (Estimate(0.95, 0.92, 0.98, 9, "words", "BCa"), "holds here"),
        (Estimate(0.88, 0.8, 0.95, 9, "words", "BCa"), "not decided"),
        (None, "does not apply"),
    ],
)
def test_the_interval_and_the_prediction_decide(estimate, verdict):
    @mistake("Nearly all do.", "Few do.", predicts=(0.9, 1.0), unit="share")
    def planted(model):
        """Of them {value} do."""
        return estimate

    assert outcome(planted, Result(planted, estimate, "why")) == verdict
    assert planted.sentence == "“Nearly all do” is wrong here: of them {value} do."


def test_every_mistake_says_what_is_true_and_what_it_predicts():
    assert len(FOUND) >= 30
    for found in FOUND.values():
        assert found.wrong.endswith(".")
        assert found.truth.endswith(".")
        assert "{value}" in found.measured
        assert found.predicted[0] <= found.predicted[1]


def prompts_table(**columns):
    plain = {
        "top_prob": 0.95, "top_ten": 0.999, "log_sum_exp": 0.0, "moved_by_division": 0.0,
        "moved_by_blank": 0.0, "first_changes": True, "nucleus_mass": 0.5, "same_order": True,
        "loss_gap": 0,
    }  # fmt: skip
    table = pd.DataFrame([plain] * 40)
    noise = np.random.default_rng(0).normal(0, 1e-6, 40)
    table[["top_prob", "top_ten", "moved_by_division", "moved_by_blank"]] += noise[:, None] ** 2
    return table.assign(**columns)


TRUE_WORLD = prompts_table()
"""A world in which every wrong sentence about prompts is right."""
WRONG_WORLD = prompts_table(
    top_prob=np.linspace(0.1, 0.8, 40), top_ten=np.linspace(0.3, 0.9, 40),
    log_sum_exp=np.linspace(5, 20, 40), moved_by_division=np.linspace(0.2, 0.6, 40),
    moved_by_blank=np.linspace(0.4, 0.9, 40), first_changes=False, nucleus_mass=0.93,
    same_order=False, loss_gap=1,
)  # fmt: skip
OF_PROMPTS = {
    "tokens-a-trailing-blank-is-harmless": "holds here",
    "probabilities-temperature-divides-probabilities": "holds here",
    "probabilities-temperature-changes-the-first": "holds here",
    "probabilities-logits-are-log-probabilities": "holds here",
    "probabilities-ten-tokens-are-all": "holds here",
    "probabilities-every-token-has-a-probability": "holds here",
    "generation-the-nucleus-stops-before-p": "holds here",
    "generation-the-order-of-rules-is-free": "not decided",
    "generation-sampling-takes-the-favourite": "holds here",
    "statistics-one-prompt-shows-it": "holds here",
}


@pytest.mark.parametrize("id", OF_PROMPTS)
def test_sentences_about_prompts_are_refuted_only_where_they_are_wrong(monkeypatch, id):
    monkeypatch.setattr(bench, "after_prompts", lambda model: TRUE_WORLD)
    assert judged(FOUND[id], Model()) == OF_PROMPTS[id]
    monkeypatch.setattr(bench, "after_prompts", lambda model: WRONG_WORLD)
    assert judged(FOUND[id], Model()) == "refuted"


INVARIANT = {
    "architecture-a-sentence-sees-its-batch": "batch",
    "architecture-later-words-change-earlier-ones": "future",
    "architecture-the-model-is-random": "twice",
    "layers-the-last-state-needs-the-norm": "last_norm",
}


@pytest.mark.parametrize("id", INVARIANT)
def test_invariances_are_refuted_only_where_a_logit_stays(monkeypatch, id):
    still = {"batch": 0.0, "future": 0.0, "twice": 0.0, "last_norm": 0.0, "positions": 48.0}
    monkeypatch.setattr(bench, "invariances", lambda model: still)
    assert judged(FOUND[id], Model()) == "refuted"
    monkeypatch.setattr(bench, "invariances", lambda model: still | {INVARIANT[id]: 3.0})
    assert judged(FOUND[id], Model()) == "holds here"


def documents(**columns):
    n = 12
    rng = np.random.default_rng(1)
    plain = {"narrowest": 0.97, "middle_cosine": 0.0, "early_choice": 0.01}
    table = pd.DataFrame({k: v + rng.uniform(0, 0.01, n) for k, v in plain.items()})
    return table.assign(**columns)


@pytest.mark.parametrize(
    ("id", "column"),
    [
        ("layers-every-head-looks-everywhere", "narrowest"),
        ("layers-similar-vectors-mean-the-same", "middle_cosine"),
        ("layers-only-the-last-layer-knows", "early_choice"),
    ],
)
def test_sentences_about_layers_are_refuted_only_where_they_are_wrong(monkeypatch, id, column):
    monkeypatch.setattr(bench, "in_documents", lambda model: documents())
    assert judged(FOUND[id], Model()) == "holds here"
    spread = {column: np.linspace(0.4, 0.6, 12)}
    monkeypatch.setattr(bench, "in_documents", lambda model: documents(**spread))
    assert judged(FOUND[id], Model()) == "refuted"


def test_a_head_of_its_own_and_as_many_states_as_layers_are_recognised(monkeypatch):
    own = FOUND["architecture-the-head-adds-parameters"]
    assert judged(own, Model(tied=True)) == "refuted"
    assert judged(own, Model(tied=False)) == "holds here"
    states = FOUND["layers-one-state-for-each-layer"]
    for entries, verdict in ((5.0, "refuted"), (4.0, "holds here")):
        monkeypatch.setattr(bench, "invariances", lambda model, e=entries: {"entries": e})
        assert judged(states, Model(n_layers=4)) == verdict


def test_the_page_shows_each_sentence_once_with_its_verdict(monkeypatch):
    module = sections("laboratory")[0]
    found = {
        f.id: Cited(Result(f, None if i else exact(0, 9, "words"), "no words"), "evidence.qmd")
        for i, f in enumerate(findings_of(module).values())
    }
    report = type("Report", (), {"found": found})()
    markdown = mistakes.table(report, module).markdown
    assert markdown.count("{.verdict") == len(found)
    assert "Not measured" in markdown
    assert "refuted" in markdown


@pytest.mark.parametrize("name", list(ODD)[::3])
def test_the_bench_takes_odd_models(odd_folder, name):
    model = open_model(str(odd_folder(name)))
    for measurement in (bench.after_prompts, bench.in_documents, bench.invariances):
        try:
            found = measurement.uncached(model)
        except NotApplicable:
            continue
        values = list(found.values()) if isinstance(found, dict) else found.to_numpy().ravel()
        assert any(isinstance(v, float) and math.isfinite(v) for v in values)
