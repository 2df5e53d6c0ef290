"""The Lua filter that chooses paragraphs, run by the Pandoc that ships with the project."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pypandoc
import pytest

from internals import book, paths

FILTER = Path(__file__).resolve().parents[1] / "report" / "filters" / "written-for.lua"
CLAIMS = {"big": "supported", "small": "not supported", "none": "not applicable"}
FACTS = {"norm_kind": "RMSNorm", "n_layers": 6, "tied": True, "window": None, "ratio": 2.0}

Render = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_evidence(tmp_path / ".build", "fable-gpt2")
    (tmp_path / "_quarto.yml").write_text("project:\n  type: book\n")
    (tmp_path / "report").mkdir()
    return tmp_path


def write_evidence(build: Path, spec: str, claims: dict[str, str] = CLAIMS) -> None:
    record = {
        "version": 1,
        "chapter": "one",
        "file": "report/01-one.qmd",
        "model": {"spec": spec, "name": spec, "fingerprint": "f"},
        "facts": FACTS,
        "claims": [{"id": id, "verdict": verdict} for id, verdict in claims.items()],
    }
    (build / "evidence").mkdir(parents=True, exist_ok=True)
    (build / "evidence" / "one.json").write_text(json.dumps(record))


@pytest.fixture
def render(project: Path, monkeypatch: pytest.MonkeyPatch) -> Render:
    monkeypatch.delenv("INTERNALS_BUILD", raising=False)
    monkeypatch.delenv("REPORT_MODEL", raising=False)

    def run(text: str, to: str = "plain", source: str = "markdown", **meta: str) -> str:
        file = project / "report" / "01-one.qmd"
        file.write_text(text, "utf-8")
        options = [f"--metadata={key.replace('_', '-')}:{value}" for key, value in meta.items()]
        command = [pypandoc.get_pandoc_path(), str(file), "-f", source, "-t", to, "--wrap=none"]
        done = subprocess.run(
            [*command, "--lua-filter", str(FILTER), *options],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    return run


PAIR = """
::: {{.written-for models="{models}" claims="{claims}"}}
deep
:::

::: {{.otherwise}}
plain
:::
"""


@pytest.mark.parametrize(
    ("models", "claims", "expected"),
    [
        ("fable-gpt2", "big", "deep"),
        ("gpt2 fable-gpt2", "", "deep"),
        ("gpt2, fable-gpt2", "big, big", "deep"),
        ("gpt2", "big", "plain"),
        ("fable-gpt2", "big small", "plain"),
        ("fable-gpt2", "none", "plain"),
    ],
)
def test_a_deep_paragraph_needs_its_model_and_every_claim(
    render: Render, models: str, claims: str, expected: str
) -> None:
    assert render(PAIR.format(models=models, claims=claims)).strip() == expected


def test_a_deep_paragraph_may_stand_without_an_alternative(render: Render) -> None:
    text = '::: {.written-for models="gpt2"}\ndeep\n:::\n\nafter'
    assert render(text).strip() == "after"


@pytest.mark.parametrize(
    ("condition", "shown"),
    [
        ('fact="norm_kind" is="RMSNorm"', True),
        ('fact="norm_kind" is="LayerNorm"', False),
        ('fact="norm_kind" is="LayerNorm|RMSNorm"', True),
        ('fact="norm_kind" not="LayerNorm"', True),
        ('fact="norm_kind" not="RMSNorm"', False),
        ('fact="n_layers" is="6"', True),
        ('fact="ratio" is="2"', True),
        ('fact="tied" is="true"', True),
        ('fact="tied" is="false"', False),
        ('fact="window" is="none"', True),
    ],
)
def test_facts_choose_paragraphs_and_words(render: Render, condition: str, shown: bool) -> None:
    assert ("here" in render(f"::: {{.when {condition}}}\nhere\n:::\n")) == shown
    assert ("here" in render(f"before [here]{{.when {condition}}} after")) == shown


@pytest.mark.parametrize(
    ("id", "verdict", "shown"),
    [
        ("big", "supported", True),
        ("big", "not supported", False),
        ("small", "not supported", True),
        ("none", "not supported|not applicable", True),
    ],
)
def test_verdicts_choose_paragraphs(render: Render, id: str, verdict: str, shown: bool) -> None:
    text = f'::: {{.when-claim id="{id}" verdict="{verdict}"}}\nhere\n:::\n'
    assert ("here" in render(text)) == shown


def test_choices_nest_and_hidden_ones_are_not_looked_at(render: Render) -> None:
    text = """
:::: {.when fact="norm_kind" is="LayerNorm"}
::: {.when fact="no_such_fact" is="x"}
inner
:::
::::

:::: {.callout-note}
::: {.written-for models="gpt2"}
deep
:::
::: {.otherwise}
plain [yes]{.when fact="tied" is="true"}[no]{.when fact="tied" not="true"}
:::
::::
"""
    assert render(text).strip() == "plain yes"


def test_a_hidden_figure_leaves_the_document(render: Render) -> None:
    text = '::: {.when fact="tied" is="false"}\n![c](a.png){#fig-a}\n:::\n\n![d](b.png){#fig-b}'
    html = render(text, to="html")
    assert "fig-a" not in html
    assert "fig-b" in html


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("::: {.otherwise}\nx\n:::\n", ".otherwise must follow directly after .written-for"),
        (
            '::: {.written-for models="gpt2"}\nx\n:::\n\nbetween\n\n::: {.otherwise}\ny\n:::\n',
            ".otherwise must follow directly",
        ),
        ('::: {.when fact="nrom" is="x"}\nx\n:::\n', "no fact 'nrom'; known are n_layers"),
        ('::: {.when fact="tied"}\nx\n:::\n', ".when needs fact"),
        ('::: {.when fact="tied" si="true"}\nx\n:::\n', "does not know the attribute 'si'"),
        ('::: {.written-for models="gpt2" claims="lost"}\nx\n:::\n', "no claim with the id 'lost'"),
        ("::: {.written-for}\nx\n:::\n", ".written-for needs models"),
        ('::: {.when-claim id="big" verdict="true"}\nx\n:::\n', "'true' is not a verdict"),
    ],
)
def test_a_mistake_stops_the_build_and_names_the_file(
    render: Render, text: str, message: str
) -> None:
    with pytest.raises(RuntimeError) as caught:
        render(text)
    assert message in str(caught.value)
    assert "01-one.qmd: " in str(caught.value)
    with pytest.raises(RuntimeError, match=r"report/named\.qmd: "):
        render(text, chapter_file="report/named.qmd")


def test_without_evidence_about_the_model_the_build_stops(
    render: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORT_MODEL", "gpt2")
    with pytest.raises(RuntimeError, match="no evidence about the model gpt2"):
        render(PAIR.format(models="gpt2", claims=""))
    assert render("Nothing to choose.").strip() == "Nothing to choose."


def test_the_environment_names_model_and_build_folder(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_evidence(tmp_path / "elsewhere", "org/model", {"big": "not supported"})
    monkeypatch.setenv("INTERNALS_BUILD", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("REPORT_MODEL", "org/model")
    assert render(PAIR.format(models="org/model", claims="")).strip() == "deep"
    assert render(PAIR.format(models="org/model", claims="big")).strip() == "plain"


def test_the_filter_and_the_package_agree_on_the_default_model() -> None:
    assert f'DEFAULT_MODEL = "{book.DEFAULT_MODEL}"' in FILTER.read_text("utf-8")
    assert FILTER.is_relative_to(paths.ROOT)


def citation(id: str) -> str:
    return f'[[†](evidence.qmd#claim-{id} "supported: 1 [0.5, 2]")]{{.claim-ref claim="{id}"}}'


def anchors(tree: Any) -> list[str]:
    """Identifiers in a Pandoc syntax tree, in order."""
    if isinstance(tree, dict):
        own = []
        if tree.get("t") in {"Span", "Div"} and tree["c"][0][0]:
            own = [tree["c"][0][0]]
        return own + [a for value in tree.values() for a in anchors(value)]
    if isinstance(tree, list):
        return [a for value in tree for a in anchors(value)]
    return []


def test_the_first_visible_mention_of_a_claim_carries_its_anchor(render: Render) -> None:
    text = f"""
::: {{.written-for models="gpt2"}}
hidden {citation("big")}
:::

First {citation("big")}, again {citation("big")}, other {citation("small")}.
"""
    assert anchors(json.loads(render(text, to="json"))) == ["cite-big", "cite-small"]


def test_a_hidden_claim_leaves_its_anchor_where_it_would_have_stood(render: Render) -> None:
    text = f"""
before

::: {{.written-for models="gpt2"}}
hidden {citation("big")} {citation("small")}
:::

::: {{.otherwise}}
plain
:::

after
"""
    tree = json.loads(render(text, to="json"))
    assert sorted(anchors(tree)) == ["cite-big", "cite-small"]
    assert [block["t"] for block in tree["blocks"]] == ["Para", "Div", "Para"]
    only_hidden = f'::: {{.when fact="tied" is="false"}}\n{citation("big")}\n:::\n'
    assert anchors(json.loads(render(only_hidden, to="json"))) == ["cite-big"]
    last = f"# Heading\n\ntext\n\n{only_hidden}"
    assert anchors(json.loads(render(last, to="json"))) == ["cite-big"]


def test_anchors_are_valid_targets_in_typst(render: Render) -> None:
    import typst

    text = f"""
{citation("big")} opens a paragraph.

::: {{.when fact="tied" is="false"}}
{citation("small")} {citation("none")}
:::

[to one](#cite-big) [to the other](#cite-small) [to the last](#cite-none)
"""
    source = render(text, to="typst")
    assert "#super" in source
    pdf = typst.compile(source.encode())
    assert pdf.startswith(b"%PDF")


def test_a_second_run_of_the_filter_changes_nothing(render: Render) -> None:
    once = render(f"One {citation('big')}.", to="native")
    assert render(once, to="native", source="native") == once


def test_a_claim_hidden_inside_a_sentence_leaves_its_anchor(render: Render) -> None:
    """Only if it is cited nowhere else; the ledger links to it in any case."""
    ref = '[[†](x)]{.claim-ref claim="%s"}'
    hidden = "[gone " + ref + ']{.when fact="norm_kind" is="none"}'
    one, two = sorted(CLAIMS)[:2]
    html = render(f"Here {hidden % one} and {hidden % two}.\n\nThere {ref % two}.", "html")
    assert "gone" not in html
    assert html.count(f'id="cite-{one}"') == 1
    assert html.count(f'id="cite-{two}"') == 1
    assert html.index(f'id="cite-{two}"') > html.index("There")
