"""Claims, the words and digits they lend to prose, the evidence files and the ledger."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from internals import stats
from internals.book import wording
from internals.book.tables import escape, heading, table
from internals.evidence import ledger, store
from internals.evidence.claims import EvidenceError, make_claim

CLAIM = {"value": 0.5, "n": 10, "n_unit": "prompts", "holds": True}


def claim(id="some-claim", sentence="It is {value}.", chapter="one", **changes):
    return make_claim(id, chapter, sentence, **(CLAIM | changes))


# --- what a claim needs -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": None}, "has no value"),
        ({"n": None}, "has no n"),
        ({"value": math.nan}, "must be a finite number"),
        ({"value": "0.5"}, "must be a finite number"),
        ({"n": 0}, "above zero"),
        ({"interval": (0.7, 0.2)}, r"must be \(low, high\)"),
        ({"interval": (40.0, 60.0)}, "far outside its interval"),
        ({"holds": "yes"}, "holds must be True, False or None"),
        ({"sentence": "No full stop"}, "must end with a full stop"),
        ({"id": "Not an id"}, "lower-case words joined by hyphens"),
    ],
)
def test_a_claim_without_its_measurement_is_refused(changes, message):
    with pytest.raises(EvidenceError, match=message):
        claim(**changes)


def test_an_estimate_brings_interval_and_n():
    made = claim(value=stats.wilson(3, 12, unit="facts"), n=None, n_unit="", unit="share")
    assert made.n_text == "12\u00a0facts"
    assert made.value_text == "25%"
    assert made.interval == pytest.approx((0.0889, 0.5323), abs=1e-3)
    assert made.sentence == "It is 25%."


def test_a_claim_that_does_not_apply_needs_no_value():
    made = claim(value=None, n=None, holds=None)
    assert made.verdict == "not applicable"
    assert made.value_text == "not measured"
    assert made.word("more", "less", "same") == "same"


@pytest.mark.parametrize(
    ("value", "interval", "word"),
    [
        (0.5, (0.2, 0.8), "more"),
        (-0.5, (-0.8, -0.2), "less"),
        (0.5, (-0.1, 0.8), "same"),
        (0.5, None, "more"),
    ],
)
def test_the_interval_chooses_the_direction(value, interval, word):
    assert claim(value=value, interval=interval).word("more", "less", "same") == word
    shifted = claim(
        value=value + 3, interval=interval and tuple(x + 3 for x in interval), reference=3
    )
    assert shifted.word("more", "less", "same") == word


def test_numpy_numbers_become_plain_ones():
    made = claim(value=np.float64(0.25), n=np.int64(4), holds=np.bool_(False))
    json.dumps(made.record)
    assert made.verdict == "not supported"
    assert made.choose("a", "b", "c") == "b"


def test_a_citation_leads_to_the_ledger():
    made = claim()
    assert "evidence.qmd#claim-some-claim" in str(made.ref)
    assert str(made.cited) == f"{made.full_text}{made.ref}"
    assert 'claim="some-claim"' in str(made.value_cited)


# --- digits and words -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "options", "text"),
    [
        (0.123456, {"interval": (0.10, 0.15)}, "0.123"),
        (0.123456, {"interval": (0.02, 0.22)}, "0.12"),
        (1234567, {}, "1,234,567"),
        (-0.5, {"digits": 1}, "\u22120.5"),
        (-0.0001, {"digits": 2}, "≈ 0"),
        (0.0001, {"digits": 2}, "≈ 0"),
        (0.00001, {"digits": 2, "unit": "share"}, "< 0.01%"),
        (0.0001, {"interval": (0.0, 0.2)}, "< 0.01"),
        (0.0001, {"interval": (-0.2, 0.2)}, "≈ 0"),
        (0.42, {"unit": "share"}, "42.0%"),
        (0.9996, {"unit": "share", "digits": 0}, "> 99%"),
        (0.05, {"unit": "points", "digits": 0}, "5\u00a0percentage points"),
        (1, {"unit": "tokens"}, "1\u00a0token"),
        (2, {"unit": "tokens"}, "2\u00a0tokens"),
        (3.1e-9, {}, "3.10\u00a0×\u00a010⁻⁹"),
        (math.inf, {}, "infinite"),
        (None, {}, "not measured"),
        (0.0004, {"unit": "p"}, "p < 0.001"),
        (0.02, {"unit": "p"}, "p = 0.020"),
    ],
)
def test_numbers_for_prose(x, options, text):
    assert wording.number(x, **options) == text


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e3))
def test_no_digit_is_finer_than_the_interval(x, half):
    text = wording.number(x, interval=(x - half, x + half))
    decimals = len(text.partition(".")[2]) if "×" not in text else 0
    assert decimals <= max(0, -math.floor(math.log10(half)) + 1)


@pytest.mark.parametrize(
    ("interval", "options", "text"),
    [
        ((-0.792, -0.004), {}, "[\u22120.8, \u22120.004]"),
        ((-0.0044, 0.083), {}, "[\u22120.004, 0.08]"),
        ((0.0, 0.11), {}, "[0.00, 0.11]"),
        ((-1e-17, 0.8), {}, "[0.0, 0.8]"),  # a rounding error is no side
        ((1 - 2e-16, 1 + 2e-16), {}, "[1.00, 1.00]"),  # nor a width
        ((0.5004, 0.61), {"unit": "share", "reference": 0.5}, "[50.04, 61]%"),
        ((0.5004, 0.61), {"unit": "share"}, "[50, 61]%"),
        ((-0.31, 0.002), {"digits": 1}, "[\u22120.3, 0.002]"),
    ],
)
def test_no_bound_looks_equal_to_no_difference(interval, options, text):
    assert wording.interval_text(interval, **options) == text


def test_a_claim_knows_its_value_of_no_difference():
    made = claim(value=0.56, interval=(0.5004, 0.61), unit="share", reference=0.5)
    assert made.interval_text == "[50.04, 61]%"
    assert "[50.04, 61]" in made.full_text
    assert made.word("above", "below", "not clear of") == "above"


@given(st.floats(-1e9, 1e9))
def test_minus_zero_is_never_printed(x):
    text = wording.number(x)
    assert text.strip("0.,") != wording.MINUS
    assert "-" not in text


def test_lists_of_words():
    assert wording.listing(["a"]) == "a"
    assert wording.listing(["a", "b", "c"]) == "a, b and c"


# --- tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["a|b", "`x`", "$e$", "*it*", "<b>", "@key", "[x](y)", "a_b", "#h"]
)
def test_token_text_is_never_markup(text):
    """Pandoc gives back the same characters."""
    import pypandoc

    plain = pypandoc.convert_text(
        f"| t |\n|---|\n| {escape(text)} |\n",
        "plain",
        format="markdown",
        extra_args=["--wrap=none"],
    )
    assert text in plain


def test_columns_get_readable_heads_and_formats():
    import pandas as pd

    frame = pd.DataFrame({"kl_bits": [0.5], "share": [0.25], "ok": [True], "n": [1234]})
    text = str(table(frame, formats={"share": "share"}))
    assert heading("kl_bits") == "KL (bits)"
    assert heading("bytes_per_token") == "Bytes per token"
    assert "25%" in text
    assert "1,234" in text
    assert "yes" in text
    with pytest.raises(KeyError, match="no column 'gone'"):
        table(frame, formats={"gone": "share"})


def test_p_values_of_a_column_are_bare_and_never_nothing():
    import pandas as pd

    rows = str(table(pd.DataFrame({"p": [0.0, 0.0004, 0.012, 0.9, None]}), formats={"p": "p"}))
    cells = [line.strip("| \n") for line in rows.splitlines()[2:]]
    assert cells == ["\\< 0.001", "\\< 0.001", "0.012", "0.900", "–"]


# --- files and ledger -------------------------------------------------------------------------


def chapter(tmp_path, name, claims, model="m1", spec="m"):
    evidence = store.ChapterEvidence(
        chapter=name,
        file=f"report/{name}.qmd",
        model={"spec": spec, "name": spec, "fingerprint": model},
        facts={"n_layers": 2},
    )
    evidence.claims = {c.id: c for c in claims}
    return evidence.save(tmp_path)


@pytest.fixture
def no_book(monkeypatch, tmp_path):
    """A root without `_quarto.yml`: every evidence file counts."""
    from internals import paths

    monkeypatch.setattr(paths, "ROOT", tmp_path / "nowhere")


def test_the_export_fits_its_schema(tmp_path, no_book):
    chapter(tmp_path, "one", [claim("first"), claim("second", holds=None, value=None, n=None)])
    file = ledger.export_evidence(tmp_path / "evidence.json", tmp_path)
    record = json.loads(file.read_text("utf-8"))
    assert record["summary"] == {"supported": 1, "not supported": 0, "not applicable": 1}
    assert [c["id"] for c in record["claims"]] == ["first", "second"]
    text = str(ledger.evidence_table(tmp_path, page="report/evidence.qmd"))
    assert "{#claim-first}" in text
    assert "one.qmd#cite-first" in text


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"claims": [claim("first")]}, "is used in two chapters"),
        ({"claims": [claim("other")], "model": "m2"}, "mixes two models"),
    ],
)
def test_evidence_that_does_not_fit_together_is_refused(tmp_path, no_book, second, message):
    chapter(tmp_path, "one", [claim("first")])
    chapter(tmp_path, "two", **second)
    with pytest.raises(EvidenceError, match=message):
        ledger.collect(tmp_path)


def test_a_damaged_evidence_file_is_one_sentence(tmp_path, no_book):
    chapter(tmp_path, "one", [claim()]).write_text("{")
    with pytest.raises(EvidenceError, match="delete it and render again"):
        ledger.collect(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "x.json"
    store.write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        store.write_json(file, {"a": object()})
    assert json.loads(file.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
