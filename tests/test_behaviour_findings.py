"""Findings of chapter 5: each rule comes out both ways in planted worlds; figures draw them."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from internals import stats
from internals.figures import behaviour as figures
from internals.figures import style
from internals.findings import Estimate, findings_of, sections
from internals.findings.behaviour import (
    artefacts,
    objective,
    representations,
    tricks,
    understanding,
)
from internals.measure import capability, training_record
from internals.measure.behaviour import agreement, memory, rules
from internals.measure.behaviour import artefacts as edits
from internals.measure.behaviour import representations as likeness
from internals.measure.behaviour import tricks as asked

RNG = np.random.default_rng(0)


def noise(n, scale=0.1):
    return RNG.normal(0, scale, n)


def pairs(switch_bits, tempt_bits=2.0, families=8):
    """Pairs whose tricks move the odds by some bits; liking for one word is 3 bits."""
    rows = []
    for f in range(2 * families):
        switches = f % 2 == 0
        for i in range(6):
            move = (switch_bits if switches else tempt_bits) + noise(1)[0] + 0.02 * f
            control, trick = 3.0, -3.0 + move if switches else 3.0 - move
            rows.append((f"{f}-{i}", f"family {f}", switches, control, trick))
    return pd.DataFrame(rows, columns=["id", "family", "switches", "control", "trick"])


def ambiguity(move):
    first = noise(12) + move / 2
    return pd.DataFrame({"first": first, "second": -first})


def knowing(gap, declined):
    rows = [
        (f, group, 4 + shift + noise(1)[0], declined)
        for f in "abcdef"
        for group, shift, n in (
            ("well known", 0, 8), ("little known", gap / 2, 4), ("invented", gap, 12),
        )
        for _ in range(n)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["form", "group", "entropy_bits", "declined"])


def capitals(harm):
    """A change does harm, or nothing does."""
    rows = [
        (writing, country, 6, 0.5, not (harm and writing in edits.CONTROL_OF))
        for writing in edits.ASKED
        for country in range(30)
    ]
    return pd.DataFrame(rows, columns=["writing", "country", "tokens", "p", "right"])


def edited(cost):
    names = [edits.EDITED, edits.HALVES, edits.LETTERS, edits.LOOK_ALIKE, edits.UPPER]
    names += [edits.TWO_BLANKS, edits.TWO_LETTERS, edits.OTHER]
    rows = [
        (d, "word", edit, 5 + cost * k + noise(1)[0])
        for d in range(20)
        for k, edit in enumerate(names)
    ]
    return pd.DataFrame(rows, columns=["document", "word", "edit", "bits"])


def spelling(gain):
    rows = [
        (w, seen, np.clip(0.4 + shift + noise(1)[0], 0, 1))
        for w in range(30)
        for seen, shift in ((edits.WHOLE, 0), (edits.CUT, gain))
    ]
    return pd.DataFrame(rows, columns=["word", "seen", "letters"])


def copying(saved, harder):
    rows = [
        (r, material, 20.0, 20.0 - saved + (harder if material == rules.RANDOM else 0) + x)
        for r, x in enumerate(noise(12))
        for material in (rules.SENTENCE, rules.RANDOM)
    ]
    table = pd.DataFrame(rows, columns=["row", "material", "first_bits", "second_bits"])
    return table.assign(second_bits=table["second_bits"] + noise(len(table)))


def numbers(right, accuracy, gain, noun, last, random):
    """Agreement of which all, or nothing, is as said."""
    table = pd.DataFrame(
        [(n, p, a) for n in range(24) for p in (False, True) for a in (False, True)],
        columns=["noun", "plural", "attracted"],
    )
    probe = pd.DataFrame({"layer": [0, 2, 4], "accuracy": accuracy})
    read, chosen = (Estimate(x, x - 0.05, x + 0.05, 24, "nouns", "") for x in (accuracy, gain))
    control = stats.exact(0.5, 30, "random labelings")
    moved = pd.DataFrame(
        [
            (layer, place, way, n, flips)
            for layer in (0, 2, 3)
            for place, way, flips in (
                (agreement.NOUN, agreement.MEANS, noun),
                (agreement.LAST, agreement.MEANS, last),
                (agreement.NOUN, agreement.RANDOM, random),
            )
            for n in range(12)
        ],
        columns=["layer", "place", "direction", "noun", "flipped"],
    )
    table = table.assign(right=right)
    return agreement.Agreement(table, probe, read, control, chosen, moved, 4)


def recalled(often, new, few):
    rows = []
    for level in training_record.LEVELS:
        for wording, share in (("trained", often if level > 60 else few), ("heldout", new)):
            rows += [(level, wording, i < 60 * share) for i in range(60)]
    return pd.DataFrame(rows, columns=["level", "wording", "correct"])


def reversal(backward, both):
    rows = [
        (stated, way, i < 40 * share)
        for stated, shares in ((memory.ONE_WAY, (1, backward)), (memory.BOTH_WAYS, (1, both)))
        for way, share in zip(("forward", "backward"), shares, strict=True)
        for i in range(40)
    ]
    return pd.DataFrame(rows, columns=["stated", "asked", "correct"])


def sums(read, new):
    rows = [(h, i < 100 * s) for h, s in ((False, read), (True, new)) for i in range(100)]
    return pd.DataFrame(rows, columns=["held_out", "correct"])


def small(one, two):
    rows = [(d, i < 40 * s) for d, s in ((1, one), (2, two)) for i in range(40)]
    return pd.DataFrame(rows, columns=["digits", "correct"])


def layers(value, gain, late):
    """Agreement with people: the same in every layer, with narrow intervals."""
    values = {likeness.RATED: value, likeness.GROUPED: value, likeness.SENSED: value}
    values |= {likeness.GAIN: gain, likeness.SENSE_GAIN: gain, likeness.LATE: late}
    rows = [
        (task, source, layer, x, x - 0.01, x + 0.01, 16)
        for task, x in values.items()
        for source, at in ((likeness.MODEL, (0, 2, 4)), (likeness.TWIN, (0, 2, 4)),
                           (likeness.STATIC, (math.nan,)), (likeness.FREQUENCY, (math.nan,)))
        for layer in at
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["task", "source", "layer", "value", "low", "high", "n"])


def against(common, rare):
    sides = {"common": common, "rare": rare}
    return pd.DataFrame({k: np.where(np.arange(60) < 60 * s, 1.0, -1.0) for k, s in sides.items()})


WORLDS = [
    (asked, "pairs", lambda: pairs(2.0), lambda: pairs(-1.0),
     {tricks: ["heard"]}),
    (asked, "pairs", lambda: pairs(2.0), lambda: pairs(6.0), {tricks: ["both"]}),
    (asked, "pairs", lambda: pairs(2.0), lambda: pairs(2.0, -1.0), {tricks: ["tempted"]}),
    (asked, "ambiguity", lambda: ambiguity(4), lambda: ambiguity(0), {tricks: ["context"]}),
    (asked, "knowing", lambda: knowing(3, False), lambda: knowing(0, True),
     {tricks: ["surer", "surer_little", "declined"]}),
    (edits, "asked", lambda: capitals(True), lambda: capitals(False),
     {artefacts: ["blank", "typo", "split"]}),
    (edits, "edits", lambda: edited(0.5), lambda: edited(0.0),
     {artefacts: ["halves", "letters", "milder"]}),
    (edits, "spelling", lambda: spelling(0.3), lambda: spelling(0.0), {artefacts: ["spelling"]}),
    (rules, "copying", lambda: copying(10, 3), lambda: copying(0, 0),
     {understanding: ["copying"], objective: ["random_copy"]}),
    (rules, "small_sums", lambda: small(0.9, 0.1), lambda: small(0.5, 0.5),
     {understanding: ["digits_gap"]}),
    (agreement, "agreement", lambda: numbers(True, 0.9, 0.3, True, False, False),
     lambda: numbers(False, 0.5, 0.0, False, True, True),
     {understanding: ["verbs", "probe", "selectivity", "moved_noun", "moved_last",
                      "moved_random", "probe_fable"]}),
    (agreement, "agreement", lambda: numbers(False, 0.9, 0.3, True, False, False),
     lambda: numbers(True, 0.9, 0.3, True, False, False), {understanding: ["verbs_fable"]}),
    (capability, "recall", lambda: recalled(1, 0.1, 0.1), lambda: recalled(0.1, 0.9, 0.9),
     {understanding: ["few", "many", "reworded"], objective: ["once"]}),
    (memory, "reversal", lambda: reversal(0.1, 0.9), lambda: reversal(0.9, 0.1),
     {understanding: ["backward", "both_ways"]}),
    (memory, "sums", lambda: sums(0.9, 0.4), lambda: sums(0.0, 0.0),
     {understanding: ["sums_new", "sums_gap"]}),
    (likeness, "by_layer", lambda: layers(0.6, 0.2, -0.2), lambda: layers(0.0, 0.0, 0.0),
     {representations: ["ratings", "ratings_gain", "ratings_last", "ratings_twin",
                        "ratings_frequency", "groups", "groups_static", "senses",
                        "senses_gain"]}),
    (memory, "against_common", lambda: against(0.5, 0.9), lambda: against(0.8, 0.8),
     {objective: ["frequency"]}),
    (memory, "free_statements", lambda: pd.DataFrame({"statements": [0] * 20 + [256] * 80}),
     lambda: pd.DataFrame({"statements": [256] * 400}), {objective: ["made_up"]}),
]  # fmt: skip


class Model:
    """Stands for a model; each is another one, so that no world finds the results of another."""

    count = itertools.count()

    def __init__(self):
        self.fingerprint = f"planted {next(self.count)}"
        self.name = self.spec = self.fingerprint


@pytest.mark.parametrize(("module", "name", "true", "false", "found"), WORLDS)
def test_a_finding_comes_out_as_the_world_is(module, name, true, false, found, monkeypatch):
    for world, verdict in ((true(), "supported"), (false(), "not supported")):
        monkeypatch.setattr(module, name, lambda *_a, world=world, **_k: world)
        for section, ids in found.items():
            for id in ids:
                result = getattr(section, id)
                outcome = result.measure(Model())
                assert outcome.verdict == verdict, (id, verdict, outcome.estimate)


def test_every_rule_has_a_planted_world():
    planted = {f"{s.__name__}.{i}" for *_, found in WORLDS for s, ids in found.items() for i in ids}
    tested = {
        f"{module.__name__}.{name}"
        for module in sections("behaviour")
        for name, one in findings_of(module).items()
        if one.expect is not None
    }
    assert tested == planted


def test_nothing_is_moved_where_no_verb_agrees(monkeypatch):
    model = Model()
    found = numbers(False, 0.9, 0.3, True, False, False)
    empty = replace(found, moved=found.moved.head(0))
    monkeypatch.setattr(agreement, "agreement", lambda *_: empty)
    assert understanding.moved_noun.measure(model).verdict == "not applicable"
    assert set(understanding.by_layer(model)["what"]) == {"read from the last word"}


@pytest.mark.parametrize("mode", style.MODES)
def test_figures_draw_what_they_are_given(mode, monkeypatch):
    model = Model()
    worlds = {
        (edits, "edits"): edited(0.5),
        (edits, "asked"): capitals(True),
        (agreement, "agreement"): numbers(True, 0.9, 0.3, True, False, False),
        (capability, "recall"): recalled(1, 0.1, 0.1),
        (memory, "reversal"): reversal(0.1, 0.9),
    }
    for (module, name), world in worlds.items():
        monkeypatch.setattr(module, name, lambda *_, world=world: world)
    drawings = (
        (figures.knowing, knowing(3, False)),
        (figures.edit_costs, artefacts.edit_costs(model)),
        (figures.memory, *memory.shares_of(model)),
        (figures.agreement, understanding.by_layer(model)),
        (figures.by_layer, layers(0.6, 0.2, -0.2)),
    )
    for draw, *tables in drawings:
        assert style.render(draw, *tables, mode=mode).svg.startswith("<svg")
    table = artefacts.writings(model).set_index("writing")
    assert table.loc[edits.USUAL, "right"] == 1
    assert table.loc[edits.BLANK, "right"] == 0
