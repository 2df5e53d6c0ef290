"""Diversity and quality of texts under different settings, against human text.

Differences for the judge are medians over openings (see `quality.compared`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from internals import stats
from internals.findings import Estimate, above, between, finding
from internals.measure.generation import choices, quality
from internals.measure.generation.samples import BEAM, HUMAN
from internals.models import ModelHandle


@finding(unit="points", expect=above(0))
def repeats(model: ModelHandle) -> Estimate:
    """In greedy text a larger share of four-grams repeats an earlier one than in human text, by
    {value}."""
    return _against(model, "rep_4", "greedy", HUMAN)


@finding(unit="points", expect=above(0))
def beam_repeats(model: ModelHandle) -> Estimate:
    """In texts of beam search four-grams repeat more often than in human text, by {value}."""
    return _against(model, "rep_4", BEAM, HUMAN)


@finding(unit="points", expect=above(0))
def narrow(model: ModelHandle) -> Estimate:
    """In greedy text the share of different tokens is {value} below that in human text."""
    return _against(model, "distinct_1", HUMAN, "greedy")


@finding(unit="bits", expect=above(0))
def pure_loss(model: ModelHandle) -> Estimate:
    """For the judge, text sampled without a rule differs from human text by {value} a byte."""
    return _against(model, "judge_bits", "T 1", HUMAN)


@finding(unit="bits", expect=above(0))
def beyond(model: ModelHandle) -> Estimate:
    """For the judge, text under top-p of 0.95 differs from human text by {value} a byte."""
    return _against(model, "judge_bits", "p 0.95", HUMAN)


@finding(unit="points", expect=between(-0.1, 0.1))
def as_diverse(model: ModelHandle) -> Estimate:
    """Under top-p of 0.95 the share of different tokens is {value} below that in human text."""
    return _against(model, "distinct_1", HUMAN, "p 0.95")


@finding(unit="bits", expect=above(0))
def cut_loss(model: ModelHandle) -> Estimate:
    """For the judge, text sampled without a rule is less predictable than under top-p of 0.8, by
    {value} a byte."""
    return _against(model, "judge_bits", "T 1", "p 0.8")


@finding(unit="points", expect=above(0))
def diverse(model: ModelHandle) -> Estimate:
    """Pure sampling has a larger share of different two-grams than greedy text, by {value}."""
    return _against(model, "distinct_2", "T 1", "greedy")


@finding(unit="share", expect=above(0.5))
def beam(model: ModelHandle) -> Estimate:
    """Beam search finds a text that is likelier than the greedy one for {value} of the openings."""
    table = choices.beams(model)
    return stats.share(table["beam_bits"] < table["greedy_bits"] - 0.01, unit="openings")


@finding(unit="bits", expect=above(0))
def order(model: ModelHandle) -> Estimate:
    """Human text with its words in random order costs the judge {value} more a byte."""
    return _judge(model, quality.SHUFFLED)


@finding(unit="bits")
def sense(model: ModelHandle) -> Estimate:
    """The continuation of another story costs the judge {value} more a byte than the right one."""
    return _judge(model, quality.ELSEWHERE)


def by_opening(model: ModelHandle) -> pd.DataFrame:
    """A row for each setting and opening (see `quality.by_opening`)."""
    return quality.by_opening(quality.judged(model, quality.judge_of(model)))


def _against(model: ModelHandle, column: str, setting: str, other: str) -> Estimate:
    wide = by_opening(model).pivot(index="prompt", columns="setting", values=column)
    statistic = np.median if column == "judge_bits" else np.mean
    return stats.bootstrap_ci(wide[setting] - wide[other], statistic, unit="openings")


def _judge(model: ModelHandle, kind: str) -> Estimate:
    table = quality.judge_test(model, quality.judge_of(model))
    wide = table.pivot(index="prompt", columns="kind", values="judge_bits")
    return stats.bootstrap_ci(wide[kind] - wide[quality.AS_WRITTEN], np.median, unit="openings")
