"""What a chapter imports: cited values, cells that do not apply, filter, ledger and evidence."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jsonschema
import pypandoc
import pytest

from internals import stats
from internals.book import evidence, ledger
from internals.book.cells import NotMeasured, guard_cells
from internals.book.cited import Cited
from internals.errors import NotApplicable
from internals.findings import Finding, Result, above, exact
from internals.models import open_model
from internals.paths import ROOT

FILTER = ROOT / "report" / "filters" / "findings.lua"


POSITIVE = above(0)


def cited(id="speed-gain", value=None, *, reason="", expect=POSITIVE, unit="bits"):
    claim = Finding(id, "The gain is {value}.", unit, expect, lambda model: value)
    return Cited(Result(claim, value, reason), "evidence.qmd")


INTERVAL = stats.Estimate(0.1234, 0.05, 0.21, 12, "prompts", "BCa bootstrap")


def test_a_cited_value_is_a_link_on_the_site_and_plain_text_elsewhere():
    markdown = cited(value=INTERVAL)._repr_markdown_()
    assert "(evidence.qmd#claim-speed-gain" in markdown
    assert 'aria-label="supported: 0.12 bits [0.05, 0.21] (12 prompts)"' in markdown.replace(
        "\u00a0", " "
    )
    assert '[0.12\u00a0bits]{.content-visible unless-format="html"}' in markdown


def test_a_cited_value_shows_the_digits_that_its_interval_allows():
    one = cited(value=INTERVAL)
    assert (str(one), one.interval, one.n) == (
        "0.12\u00a0bits", "[0.05, 0.21]\u00a0bits", "12\u00a0prompts",
    )  # fmt: skip
    assert str(one.full) == "0.12\u00a0bits [0.05, 0.21]"
    assert str(cited(value=exact(1234, 5, "facts"), unit="")) == "1,234"


def test_a_value_that_does_not_apply_says_so_and_never_fails():
    one = cited(reason="no second head")
    assert str(one) == str(one.full) == one.interval == one.n == "not measured"
    assert "not applicable: no second head" in one._repr_markdown_()


@pytest.fixture(scope="module")
def shell():
    from IPython.testing.globalipapp import start_ipython

    shell = start_ipython()
    guard_cells()
    guard_cells()  # a second call changes nothing
    yield shell
    shell.ast_transformers.clear()


def test_a_cell_that_does_not_apply_binds_its_names_and_the_chapter_goes_on(shell, capsys):
    shell.run_cell("from internals.errors import NotApplicable")
    shell.run_cell("def measured(): raise NotApplicable('the context is too short')")
    assert shell.run_cell("first, table = 1, measured()").success
    assert shell.run_cell("means = table.groupby('prompt')\nmeans").success
    assert "the context is too short" in capsys.readouterr().out
    assert str(shell.user_ns["means"]) == "not measured"


def test_other_errors_of_a_cell_stop_it_and_values_are_displayed(shell, capsys):
    failed = shell.run_cell("x = 1\n1 / 0\ny = 2\nz = 3\nx")
    last = failed.error_in_exec.__traceback__
    while last.tb_next:
        last = last.tb_next
    assert last.tb_lineno == 2, "a reader is told the line"
    assert shell.run_cell("40 + 2").result == 42 or "42" in capsys.readouterr().out
    assert shell.run_cell("x = 40 + 2").success
    assert shell.user_ns["x"] == 42


def test_whoever_works_with_a_value_that_is_not_measured_is_told_why():
    value = NotMeasured("too few units")
    for use in (
        len,
        iter,
        float,
        lambda v: v + 1,
        lambda v: v.mean(),
        lambda v: v["a"],
        str.format,
    ):
        if use is str.format:
            continue
        with pytest.raises(NotApplicable, match="too few units"):
            use(value)


def filtered(tmp_path, monkeypatch, text, found=(), facts=None, spec="a/model"):
    monkeypatch.setenv("INTERNALS_BUILD", str(tmp_path))
    monkeypatch.setenv("REPORT_MODEL", spec)
    monkeypatch.setattr(evidence.paths, "BUILD", tmp_path)
    source = tmp_path / "03-speed.qmd"
    source.write_text(text)
    record = {
        "facts": facts or {},
        "findings": {one.result.finding.id: one.record() for one in found},
    }
    evidence.write_json(evidence.folder() / "speed.json", record)
    done = subprocess.run(
        [pypandoc.get_pandoc_path(), source, "-f", "markdown", "-t", "plain", "--wrap=none",
         "--lua-filter", FILTER],
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout if done.returncode == 0 else done.stderr


HOLDS = '::: {.holds claims="speed-gain"}\nIt gains.\n:::\n\nAfter.\n'


@pytest.mark.parametrize(
    ("one", "shown"),
    [
        (cited(value=exact(2, 3, "prompts")), "It gains."),
        (
            cited(value=exact(-2, 3, "prompts")),
            "The gain is −2 bits (3 prompts): not as expected (above 0).",
        ),
        (cited(value=exact(2, 3, "prompts"), expect=None), "It gains."),
        (cited(reason="no head"), "The gain is …: not measured (no head)."),
    ],
)
def test_a_paragraph_stands_where_its_findings_hold(tmp_path, monkeypatch, one, shown):
    text = filtered(tmp_path, monkeypatch, HOLDS, [one])
    assert shown.replace(" ", "") in text.replace("\u00a0", "").replace(" ", "")
    assert ("It gains." in text) == (shown == "It gains.")
    assert "After." in text


@pytest.mark.parametrize(
    ("one", "shown"),
    [
        (cited(value=exact(2, 3, "prompts")), "2 bits (3 prompts): as expected (above 0)."),
        (cited(value=exact(-2, 3, "prompts")), "(3 prompts): not as expected (above 0)."),
        (cited(value=exact(2, 3, "prompts"), expect=None), "The gain is 2 bits (3 prompts)."),
        (cited(reason="no head"), "The gain is …: not measured (no head)."),
    ],
)
def test_a_block_of_findings_tells_them_whatever_came_out(tmp_path, monkeypatch, one, shown):
    block = '::: {.findings claims="speed-gain"}\n:::\n\nAfter.\n'
    text = filtered(tmp_path, monkeypatch, block, [one]).replace("\u00a0", " ")
    assert shown in text
    assert "What was expected" not in text
    assert "After." in text


def test_a_negated_claim_wants_the_finding_unsupported(tmp_path, monkeypatch):
    text = HOLDS.replace("speed-gain", "!speed-gain")
    assert "It gains." in filtered(
        tmp_path, monkeypatch, text, [cited(value=exact(-1, 3, "facts"))]
    )
    assert "It gains." not in filtered(
        tmp_path, monkeypatch, text, [cited(value=exact(1, 3, "facts"))]
    )


def test_a_finding_is_listed_once_in_a_chapter(tmp_path, monkeypatch):
    text = filtered(tmp_path, monkeypatch, HOLDS * 2, [cited(value=exact(-1, 3, "facts"))])
    assert text.count("not as expected") == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('::: {.holds claims="speed-loss"}\nx\n:::\n', "no finding of this chapter has the id"),
        ("::: {.holds}\nx\n:::\n", 'needs claims="…"'),
        ('::: {.findings claims="speed-loss"}\n:::\n', "no finding of this chapter has the id"),
        ('::: {.holds claims="speed-gain" id2="x"}\nx\n:::\n', "does not know the attribute"),
        ('[x]{.holds claims="speed-gain"}\n', "for paragraphs"),
        ('::: {.when fact="norm"}\nx\n:::\n', 'either is="…" or not="…"'),
        ('::: {.when fact="norm" is="x"}\nx\n:::\n', "no fact 'norm'"),
    ],
)
def test_a_faulty_condition_is_an_error_that_names_the_file(tmp_path, monkeypatch, text, fault):
    told = filtered(tmp_path, monkeypatch, text, [cited(value=exact(1, 3, "facts"))])
    assert fault in told
    assert "03-speed.qmd" in told


def test_facts_choose_words_and_paragraphs(tmp_path, monkeypatch):
    text = (
        '::: {.when fact="norm" is="RMSNorm|LayerNorm"}\nA norm.\n:::\n\n'
        'It is [tied]{.when fact="tied" is="true"}[free]{.when fact="tied" not="true"}.\n'
    )
    shown = filtered(tmp_path, monkeypatch, text, facts={"norm": "RMSNorm", "tied": False})
    assert "A norm." in shown
    assert "It is free." in shown


def test_evidence_of_two_models_lies_apart(tmp_path, monkeypatch):
    one, other = cited(value=exact(1, 3, "facts")), cited(value=exact(-1, 3, "facts"))
    assert "It gains." in filtered(tmp_path, monkeypatch, HOLDS, [one], spec="a/model")
    assert "It gains." not in filtered(tmp_path, monkeypatch, HOLDS, [other], spec="another")
    monkeypatch.setenv("REPORT_MODEL", "a/model")
    kept = json.loads((evidence.folder() / "speed.json").read_text())
    assert kept["findings"]["speed-gain"]["verdict"] == "supported"


@pytest.fixture
def one_chapter(monkeypatch):
    """A book of one chapter with a supported, a failed and an inapplicable finding."""
    from internals.findings.probabilities import temperature

    ids = [f"temperature-{name}" for name in ("entropy", "uneven", "least-kept", "most-kept")]
    found = [
        cited(ids[0], INTERVAL), cited(ids[1], exact(-3, 4, "facts")), cited(ids[2], reason="why"),
        cited(ids[3], exact(3, 4, "facts"), expect=None),
    ]  # fmt: skip
    table = {one.result.finding.id: one for one in found}
    monkeypatch.setattr(evidence, "in_order", lambda: ["probabilities"])
    monkeypatch.setattr(evidence, "cited", lambda chapter, model: table)
    monkeypatch.setattr(ledger, "sections", lambda chapter: [temperature])
    known = {one.result.finding.id: one.result.finding for one in found}
    monkeypatch.setattr(ledger, "findings_of", lambda module: known)
    return found


def test_evidence_json_follows_its_schema(one_chapter, tmp_path):
    path = evidence.export(open_model("fable-gpt2"), tmp_path / "evidence.json")
    record = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(json.loads(evidence.SCHEMA.read_text()))
    assert record["summary"] == {
        "supported": 1, "not supported": 1, "reported": 1, "not applicable": 1,
    }  # fmt: skip
    assert record["findings"][0]["interval"] == [0.05, 0.21]


def test_evidence_that_does_not_fit_is_refused(one_chapter, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "about", lambda model: {"name": "x"})
    with pytest.raises(evidence.EvidenceError, match=r"schema at \$\.model"):
        evidence.export(open_model("fable-gpt2"), tmp_path / "evidence.json")


def test_the_ledger_lists_every_finding_with_its_verdict(one_chapter):
    table = ledger.ledger(open_model("fable-gpt2")).markdown
    assert table.count("{#claim-") == 4
    assert "03-probabilities.qmd#sec-temperature" in table
    assert "Does not apply" in table
    assert "4 findings: 1 supported, 1 not supported, 1 reported and 1 not applicable" in (
        ledger.summary(open_model("fable-gpt2"))
    )


def test_chapters_of_the_book_are_found_by_their_ids():
    assert evidence.chapter_id("report/03-probabilities.qmd") == "probabilities"
    assert Path(evidence.source_of("probabilities")).name == "03-probabilities.qmd"
    assert evidence.link_between("index.qmd", "report/evidence.qmd") == "report/evidence.qmd"


def test_a_page_may_borrow_the_findings_of_another_chapter(monkeypatch, tmp_path):
    from internals import book
    from internals.findings.probabilities import temperature

    ids = [f.id for f in temperature_findings(temperature)]
    table = {id: cited(id, exact(1, 3, "facts")) for id in ids}
    monkeypatch.setattr(evidence, "cited", lambda chapter, model, page=None: dict(table))
    monkeypatch.setattr(evidence.paths, "BUILD", tmp_path)
    report = book.Report("index", open_model("fable-gpt2"), {})
    assert str(report.findings(temperature).entropy) == "1\u00a0bit"
    kept = json.loads((evidence.folder() / "index.json").read_text())
    assert set(kept["findings"]) == set(ids)


def temperature_findings(module):
    from internals.findings import findings_of

    return findings_of(module).values()
