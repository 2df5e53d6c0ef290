"""Further experiments: measurements against plain passes and rules, findings in planted worlds, and
what of the page goes into the PDF."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import torch

from internals.book.evidence import book_files
from internals.book.source import read_chapter
from internals.figures import style, training
from internals.findings import evaluate, findings_of, sections
from internals.findings.further import further as findings
from internals.generation.sampling import Sampler
from internals.measure import bench, further
from internals.measure.probabilities.temperature import prompt_logits
from internals.models import open_model
from internals.paths import ROOT
from internals.tokens import start_ids

PAGE = read_chapter(ROOT / "report" / "further.qmd", ROOT)
FOUND = {f.id: f for module in sections("further") for f in findings_of(module).values()}


# --- measurements -----------------------------------------------------------------------------


def test_outcomes_of_lots_get_what_a_plain_pass_gives_them():
    model = open_model("fable-gpt2")
    given = further.given.uncached(model)
    table = pd.read_csv(ROOT / further.LOTS).assign(given=given)
    loaded, row = model.loaded(), table.iloc[8]
    head = loaded.tokenizer(row["context"])["input_ids"]
    with torch.inference_mode():
        out = loaded.model(torch.tensor([[*start_ids(loaded.tokenizer), *head]]))
    (word,) = loaded.tokenizer(" " + row["continuation"])["input_ids"]
    assert row["given"] == pytest.approx(out.logits[0, -1].softmax(-1)[word].item(), rel=1e-4)
    sums = table.groupby("context")["given"].sum()
    assert sums.between(0.5, 1.0001).all()


def test_the_truth_and_its_frequencies_add_up_to_one(monkeypatch):
    monkeypatch.setattr(further, "given", lambda model: [0.1] * 20)
    table = further.known_truth()
    sums = table.groupby("context")[["true", "data"]].sum()
    assert len(sums) == 8
    assert np.allclose(sums, 1)
    assert "<svg" in style.render(training.known_truth, table).svg


def test_what_a_hidden_top_k_takes_is_what_the_rules_remove(tiny_folder):
    model = open_model(str(tiny_folder("llama")))
    z = torch.from_numpy(prompt_logits(model)).double()
    wide, k = bench.WIDE, bench.HIDDEN_K
    alone, both = (
        sampler.rule()(z).isfinite()
        for sampler in (Sampler("p", top_p=wide), Sampler("both", top_k=k, top_p=wide))
    )
    table = bench.after_prompts.uncached(model)
    lost = (z.softmax(-1) * (alone & ~both)).sum(-1)
    assert np.allclose(table["hidden_lost"], lost, atol=1e-9)
    assert np.allclose(table["hidden_left"], both.sum(-1) / alone.sum(-1))


def test_larger_vocabularies_save_ever_less_and_new_text_costs_more():
    table = further.growth.uncached()
    pd.testing.assert_frame_equal(table, further.growth.uncached())
    sums = table.groupby("text").sum()
    ratios = sums[list(further.SIZES)].div(sums["bytes"], axis=0)
    saved = 1 - ratios.to_numpy()[:, 1:] / ratios.to_numpy()[:, :-1]
    assert (saved > 0).all()
    assert (np.diff(saved[0]) < 0).all(), "the first row is new text"
    assert (ratios.loc["new"] > ratios.loc["read"]).all()
    assert sums["bytes"]["new"] == pytest.approx(sums["bytes"]["read"], rel=0.2)


# --- findings ---------------------------------------------------------------------------------


def lots(gpt2, llama, data=0.7):
    """Eight coins, whose likelier side the models and the data see so often."""
    rng = np.random.default_rng(0)
    rows = []
    for coin in range(8):
        off = rng.normal(0, 0.005)
        for side, turn in (("heads", lambda p: p), ("tails", lambda p: 1 - p)):
            shares = [turn(p) for p in (0.7, data, gpt2 + off, llama - off)]
            rows.append((f"coin {coin}", side, *shares))
    columns = ["context", "continuation", "true", "data", "fable-gpt2", "fable-llama"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:2])


def asked(drawn):
    """Countries, each asked twice; a draw is right with these chances where greedy is or is not."""
    rows = [(c, c < 30, drawn[c >= 30] + 0.001 * (c % 7)) for c in range(90) for _ in range(2)]
    return pd.DataFrame(rows, columns=["country", "correct", "right"])


def cut(lost):
    return pd.DataFrame({"hidden_lost": lost + 0.01 * np.sin(np.arange(50))})


def cutters(last):
    """Tokens of each text, of which the first doubling saves a fifth and the last this share."""
    sizes = 1000 * np.cumprod([1, 0.8, 0.9, 0.9, 1 - last])
    rows = [sizes * (1 + 0.1 * i) + np.sin(i + np.arange(5)) for i in range(40)]
    return pd.DataFrame(rows, columns=[*further.SIZES]).assign(text="new")


WORLDS = {
    "further-likeliest": (further, "known_truth", lots(0.76, 0.7), lots(0.7, 0.64)),
    "further-other-model": (further, "known_truth", lots(0.76, 0.7), lots(0.7, 0.76)),
    "further-nearer": (further, "known_truth", lots(0.76, 0.7), lots(0.71, 0.7, data=0.8)),
    "further-greedy": (findings, "capitals", asked((0.6, 0.05)), asked((1.0, 0.3))),
    "further-hidden": (bench, "after_prompts", cut(0.2), cut(0.02)),
    "further-less": (further, "growth", cutters(0.05), cutters(0.2)),
}


def test_every_finding_has_a_rule_and_a_planted_world():
    assert set(WORLDS) == {id for id, f in FOUND.items() if f.expect is not None} == set(FOUND)


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("id", WORLDS)
def test_each_finding_comes_out_both_ways(monkeypatch, id, good):
    module, name, *worlds = WORLDS[id]
    monkeypatch.setattr(module, name, lambda *_: worlds[not good])
    bare = dataclasses.replace(FOUND[id], estimate=FOUND[id].estimate.uncached)
    (result,) = evaluate([bare], None).values()
    assert result.verdict == ("supported" if good else "not supported")


# --- the page ---------------------------------------------------------------------------------


def test_every_finding_is_told_once_on_the_page_and_the_page_has_its_label():
    told = [
        claim
        for division in PAGE.divisions
        if "findings" in division.classes
        for claim in division.attributes["claims"].split()
    ]
    assert sorted(told) == sorted(FOUND)
    assert {"sec-further"} <= set(PAGE.labels)


def test_the_page_stands_behind_the_training_and_is_short_in_the_pdf():
    files = book_files()
    assert files.index("report/further.qmd") == files.index("report/training.qmd") + 1
    whole = re.search(r"(?s)(::::+) \{\.content-visible when-format=\"html\"\}.*\n\1\n", PAGE.text)
    assert whole is not None
    rest = PAGE.text.replace(whole[0], "")
    assert rest.count("```{python}") == 1, "no cell but the first puts anything into the PDF"
    assert len(re.sub(r"(?s)```.*?```", "", rest).split()) < 90
