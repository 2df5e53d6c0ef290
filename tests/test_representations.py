"""Hidden states against human structure: statistics against second implementations, planted
structure that must be found, and controls in which nothing may be found."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from internals import stats
from internals.figures import representations as pictures
from internals.figures import style
from internals.inputs import InputError
from internals.measure.behaviour import categories, garden_paths, senses
from internals.measure.tokenization import measured
from internals.models import open_model
from internals.stats import matrices


@pytest.fixture(scope="module")
def handle(tiny_folder):
    return open_model(str(tiny_folder("llama")))


@pytest.fixture(scope="module")
def fable():
    return open_model("fable-gpt2")


def symmetric(n, seed, decimals=None):
    table = np.random.default_rng(seed).normal(size=(n, n))
    table = table + table.T
    return table if decimals is None else table.round(decimals)


def grouped(groups, size, spread, seed=0):
    """Labels and states of planted groups; a large spread drowns them."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups), size)
    centres = rng.normal(0, 1, (groups, 16))
    return labels, centres[labels] + rng.normal(0, spread, (len(labels), 16))


def members(labels):
    return pd.DataFrame({"word": [f"w{i}" for i in range(len(labels))], "category": labels})


# --- correlations of tables -----------------------------------------------------------------------


def test_a_correlation_of_tables_is_spearmans_over_pairs_ties_included():
    n = 12
    pairs = np.triu_indices(n, 1)
    target, candidates = symmetric(n, 0, 0), {"a": symmetric(n, 1, 0), "b": symmetric(n, 2)}
    found = stats.matrix_correlations(candidates, target, n_resamples=20, n_permutations=20)
    for row in found.table.itertuples():
        expected = spearmanr(candidates[row.name][pairs], target[pairs]).statistic
        assert row.spearman == pytest.approx(expected)


def test_resampling_by_weights_equals_drawing_the_objects_again():
    """Pairs repeated as often as their objects were drawn, ranked anew."""
    n = 10
    i, j = np.triu_indices(n, 1)
    x, y = symmetric(n, 3, 1)[i, j], symmetric(n, 4, 0)[i, j]
    counts = np.random.default_rng(5).multinomial(n, np.full(n, 1 / n))
    times = counts[i] * counts[j]
    expected = spearmanr(np.repeat(x, times), np.repeat(y, times)).statistic
    found = matrices._weighted(
        [matrices._Sorted.of(x)], [matrices._Sorted.of(y)], times[None].astype(float)
    )
    assert found[0, 0, 0] == pytest.approx(expected)


def test_a_partial_correlation_is_that_of_what_the_controls_leave():
    n = 14
    pairs = np.triu_indices(n, 1)
    x, y, z, u = (symmetric(n, seed)[pairs] for seed in range(6, 10))
    tables = {name: np.zeros((n, n)) for name in "xyzu"}
    for name, values in zip("xyzu", (x + z, y + z, z, u), strict=True):
        tables[name][pairs] = values
        tables[name] += tables[name].T
    found = stats.matrix_correlations(
        {"x": tables["x"]}, tables["y"], {"z": tables["z"], "u": tables["u"]}, n_resamples=20
    )
    ranks = {name: pd.Series(t[pairs]).rank().to_numpy() for name, t in tables.items()}
    design = np.column_stack([np.ones(len(x)), ranks["z"], ranks["u"]])
    left = [ranks[k] - design @ np.linalg.lstsq(design, ranks[k], rcond=None)[0] for k in "xy"]
    assert found.table["partial"].iloc[0] == pytest.approx(np.corrcoef(*left)[0, 1])
    assert found.table["name"].tolist() == ["x", "z", "u"]
    assert found.table["partial"].iloc[1:].isna().all()


def test_what_only_the_surface_explains_is_gone_when_it_is_held_constant():
    rng = np.random.default_rng(11)
    surface = -np.abs(rng.normal(size=(40, 1)) - rng.normal(size=40))
    surface = surface + surface.T
    target = surface + 0.3 * symmetric(40, 12)
    candidate = surface + 0.3 * symmetric(40, 13)
    row = stats.matrix_correlations({"x": candidate}, target, {"s": surface}).table.iloc[0]
    assert row["spearman"] > 0.5
    assert row["partial_low"] < 0.1
    assert abs(row["partial"]) < 0.15


def test_the_best_of_many_is_compared_with_the_best_of_many():
    target = symmetric(15, 20)
    noise = {str(i): symmetric(15, 100 + i) for i in range(25)}
    found = stats.matrix_correlations(noise, target, n_resamples=10, n_permutations=400)
    level, p = found.largest(list(noise))
    assert p > 2 * found.table["p"].min()
    assert level > found.table["null_high"].max()
    assert (found.null.max(1) < level).mean() == pytest.approx(categories.BELOW, abs=0.003)


def test_an_estimate_names_what_was_drawn():
    row = pd.Series({"spearman": 0.2, "low": 0.1, "high": 0.3})
    assert categories.estimate(row, 46, unit="countries").unit == "countries"
    assert categories.estimate(row, 112).unit == "words"


def test_a_difference_of_equal_tables_is_nothing_and_of_planted_ones_is_found():
    labels, states = grouped(4, 6, 0.3)
    same = (labels[:, None] == labels).astype(float)
    good = categories.cosine_table(states)
    candidates = {"good": good, "again": good, "noise": symmetric(24, 3)}
    found = stats.matrix_correlations(candidates, same, n_resamples=300)
    nothing = found.mean_difference(["good"], "again")
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)
    assert found.mean_difference(["good", "again"], "noise").low > 0.2


def test_tables_without_any_difference_and_wrong_shapes():
    found = stats.matrix_correlations(
        {"flat": np.ones((8, 8))}, symmetric(8, 1), {"flat too": np.zeros((8, 8))}, n_resamples=20
    )
    assert found.table["spearman"].eq(0).all()
    assert found.table["partial"].iloc[0] == 0
    with pytest.raises(ValueError, match="one shape"):
        stats.matrix_correlations({"a": np.ones((3, 3))}, np.ones((4, 4)))


# --- categories -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("spread", "planted"), [(0.5, True), (30.0, False)])
def test_planted_categories_are_found_and_drowned_ones_are_not(spread, planted):
    labels, states = grouped(5, 6, spread)
    found = {("static embedding", math.nan): categories.cosine_table(states)}
    found |= {
        ("model", layer): categories.cosine_table(grouped(5, 6, spread, seed)[1])
        for seed, layer in ((0, 0.0), (1, 1.0))
    }
    table, best = categories.compare(found, members(labels), {"frequency": symmetric(30, 2)})
    own = table[table["source"] == "model"]
    assert (best["p"] < 0.01) == planted
    assert (own["low"] > own["null_high"]).all() == planted
    assert table["source"].tolist() == ["static embedding", "model", "model", "frequency"]


def test_spelling_is_dices_coefficient_by_hand():
    # ^n ni ig gh ht t$ and ^n na ac ch ht t$ share ^n, ht and t$.
    assert categories.spelling("night", "Nacht") == pytest.approx(2 * 3 / 12)
    assert categories.spelling("cat", "cat") == 1
    assert categories.spelling("dog", "ship") == 0


def test_the_surface_is_symmetric_and_largest_for_a_word_with_itself(handle):
    named = ["cat", "cats", "elephant", "New Zealand"]
    for table in categories.surface(named, handle.loaded().tokenizer).values():
        assert (table == table.T).all()
        assert (np.diag(table)[:, None] >= table).all()


def test_shipped_words_come_once_and_wrong_files_are_refused(tmp_path):
    table = categories.words()
    assert table["word"].is_unique
    assert len(table) >= 100
    path = tmp_path / "words.yaml"
    path.write_text("categories: [{id: a, words: 'cat dog'}, {id: b, words: 'dog cow'}]")
    with pytest.raises(InputError, match="'dog' twice"):
        categories.words(path)
    path.write_text("categories: [{id: a, words: cat}]")
    with pytest.raises(InputError, match="two words or more"):
        categories.words(path)


def test_a_static_state_is_the_mean_row_of_a_words_tokens(handle):
    loaded = handle.loaded()
    ids = loaded.tokenizer(" elephant", add_special_tokens=False)["input_ids"]
    weight = loaded.model.get_input_embeddings().weight.detach().numpy()
    found = categories.static_states(loaded, ["elephant"])
    assert np.allclose(found[0], weight[ids].mean(0))


def test_states_are_the_same_in_a_group_and_alone(handle):
    loaded = handle.loaded()
    texts = ["They saw the cat", "A dog", "They saw the sea", "In the end there was nothing"]
    together = measured.last_token_states(loaded.model, loaded.tokenizer, texts)
    for i, text in enumerate(texts):
        alone = measured.last_token_states(loaded.model, loaded.tokenizer, [text])
        assert np.allclose(together[i], alone[0], atol=1e-5)


def test_states_that_are_no_numbers_group_nothing():
    table = categories.cosine_table(np.full((6, 4), np.nan))
    assert (table == 0).all()


def test_the_trained_model_groups_words_and_its_random_twin_does_not(fable):
    found = categories.similarity.uncached(fable, n_resamples=200).table
    words = found[found["structure"] == categories.EVERYDAY]
    own, twin = (words[words["source"] == s] for s in ("model", "random twin"))
    assert own["partial_low"].min() > 0.1
    assert twin["spearman"].max() < own["low"].min()


# --- senses ---------------------------------------------------------------------------------------


def sense_table(words):
    rows = [(w, "two senses", g, f"{w} {g} {k}") for w in words for g in (0, 1) for k in (0, 1)]
    return pd.DataFrame(rows, columns=["word", "kind", "group", "text"])


def test_planted_senses_are_nearest_and_random_states_are_at_chance():
    sentences = sense_table([f"w{i}" for i in range(60)])
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(len(sentences), 2, 12))
    planted = noise.copy()
    code = pd.factorize(sentences["word"] + sentences["group"].astype(str))[0]
    planted[:, 1] += 6 * rng.normal(size=(code.max() + 1, 12))[code]
    found = senses.nearest(planted, sentences).groupby("layer")["nearest"].mean()
    assert found[1] > 0.95
    assert found[0] == pytest.approx(senses.CHANCE, abs=0.1)


def test_equal_states_share_the_place():
    sentences = sense_table(["a", "b"])
    found = senses.nearest(np.ones((8, 1, 4)), sentences)
    assert found["nearest"].tolist() == pytest.approx([senses.CHANCE] * 2)


def test_senses_are_compared_with_words_of_one_sense():
    rows = [
        ("model", word, kind, layer, 0.5 * layer * (kind == "two senses") + 0.01 * i, 0.5)
        for kind in ("two senses", "one sense")
        for i, word in enumerate("abcdefgh")
        for layer in (0, 1)
    ]
    columns = ["source", "word", "kind", "layer", "gap", "nearest"]
    found = senses.by_layer(pd.DataFrame(rows, columns=columns)).set_index("layer")
    assert found.loc[0, "difference"] == pytest.approx(0)
    assert found.loc[1, "difference"] == pytest.approx(0.5)
    assert found.loc[0, "adjusted"] > 0.5
    assert found.loc[1, "adjusted"] < 0.01


# --- garden paths ---------------------------------------------------------------------------------


def test_the_shipped_sentences_differ_in_what_they_should():
    items = garden_paths.items()
    assert len(items) >= 24
    assert pd.Series([i.construction for i in items]).value_counts().min() >= 8
    for item in items:
        assert item.marked != item.garden
        assert item.clear_marked != item.clear
        # The mark is the same after both verbs.
        assert ("," in item.marked) == ("," in item.clear_marked)
        assert set(item.marked.split()) - set(item.garden.split()) or "," in item.marked
        assert len(item.marked.split()) == len(item.clear_marked.split())


def test_regions_add_up_to_the_whole_sentence(handle):
    loaded = handle.loaded()
    table = garden_paths.surprisals.uncached(handle)
    item = garden_paths.items()[0]
    part = table[(table["id"] == item.id) & (table["beginning"] == "marked")]
    head = loaded.tokenizer(item.marked, add_special_tokens=False)["input_ids"]
    rest = f" {item.shared} {item.critical} {item.spill}"
    tail = loaded.tokenizer(rest, add_special_tokens=False)["input_ids"]
    start = [loaded.facts.eos_id]
    with torch.no_grad():
        lp = loaded.model(torch.tensor([[*start, *head, *tail]])).logits[0].double().log_softmax(-1)
    expected = -sum(lp[len(head) + i, t].item() for i, t in enumerate(tail)) / math.log(2)
    assert part["region"].tolist() == list(garden_paths.REGIONS)
    assert part["bits"].sum() == pytest.approx(expected, rel=1e-4)


def test_a_model_without_context_walks_no_garden_path(handle):
    """The same words cost the same after every beginning, so all effects are zero."""

    class Unigram(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, input_ids, **_):
            logits = torch.linspace(-3, 3, handle.loaded().facts.vocab_size_tokenizer)
            return SimpleNamespace(logits=logits.expand(*input_ids.shape, -1))

    loaded = handle.loaded()
    fake = SimpleNamespace(model=Unigram(), tokenizer=loaded.tokenizer, facts=loaded.facts)
    table = garden_paths.surprisals.uncached(SimpleNamespace(loaded=lambda: fake))
    effects = garden_paths.effects(table)
    assert effects[["open", "control", "excess"]].abs().to_numpy().max() < 1e-3


def test_a_planted_garden_path_is_found_where_it_stands_and_beyond_its_control():
    rng = np.random.default_rng(0)
    rows = []
    for construction in ("a", "b"):
        for i in range(12):
            for region in garden_paths.REGIONS:
                for beginning in garden_paths.BEGINNINGS:
                    marked = beginning in ("marked", "clear_marked")
                    bits = 10 - 1.0 * marked + rng.normal(0, 0.2)
                    path = (construction, region, beginning) == ("a", "critical", "garden")
                    rows.append(
                        (f"{construction}{i}", construction, beginning, region, bits + 3 * path)
                    )
    table = pd.DataFrame(rows, columns=["id", "construction", "beginning", "region", "bits"])
    found = garden_paths.summary(garden_paths.effects(table)).set_index(["construction", "region"])
    assert found.loc[("a", "critical"), "excess"] == pytest.approx(3, abs=0.3)
    assert found.loc[("a", "critical"), "open"] == pytest.approx(4, abs=0.3)
    assert found.loc[("a", "critical"), "control"] == pytest.approx(1, abs=0.3)
    assert found.loc[("a", "critical"), "adjusted"] < 0.01
    others = found.drop(index=[("a", "critical"), ("all", "critical")])
    assert others["excess"].abs().max() < 0.4
    assert (others["adjusted"] > 0.01).all()
    assert found.loc[("all", "critical"), "items"] == 24


# --- figures --------------------------------------------------------------------------------------


def test_figures_draw_what_the_measurements_give():
    labels, states = grouped(3, 4, 0.5)
    found = {("static embedding", math.nan): categories.cosine_table(states)}
    for source in ("model", "random twin"):
        found |= {(source, float(k)): categories.cosine_table(states + k) for k in range(2)}
    table, _ = categories.compare(found, members(labels), {"frequency": symmetric(12, 2)})
    both = pd.concat([table.assign(structure=name) for name in ("one", "two")])
    assert "<svg" in style.render(pictures.similarity_by_layer, both).svg
    layers = pd.DataFrame(
        {
            **{"source": ["model", "model", "random twin"], "layer": [0, 1, 0]},
            **{
                f"{side}{end}": [0.5] * 3
                for side in ("two", "one")
                for end in ("", "_low", "_high")
            },
        }
    )
    assert "<svg" in style.render(pictures.senses_by_layer, layers, senses.CHANCE).svg


def test_a_random_model_shows_neither_groups_nor_garden_paths(handle):
    """Shared pieces of words give it a faint grouping, but no more than its twin has."""
    table = categories.similarity.uncached(handle, n_resamples=100).table
    for _, part in table.groupby("structure"):
        own, twin = (part[part["source"] == source] for source in ("model", "random twin"))
        assert own["spearman"].abs().max() < 0.1
        assert own["low"].max() < twin["spearman"].max()
    effects = garden_paths.effects(garden_paths.surprisals.uncached(handle))
    found = garden_paths.summary(effects).set_index(["construction", "region"])
    assert found.loc[("all", "critical"), "adjusted"] > 0.01
    assert abs(found.loc[("all", "critical"), "excess"]) < 0.5
