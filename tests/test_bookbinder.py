"""A small book with every feature, rendered once without Quarto, read as site, PDF and notebook."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path

import nbformat
import pypdf
import pytest
from bs4 import BeautifulSoup

from bookbinder.build import build_book
from bookbinder.errors import BookError
from bookbinder.execute import inline_values, kernel
from bookbinder.model import Markdown
from bookbinder.notebook.needs import kept_statements
from bookbinder.parse import parse_chapter
from internals.run.checkbook import _site

FIXTURE = Path(__file__).parent / "book_fixture"


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("books") / "a book"
    shutil.copytree(FIXTURE, root)
    built = build_book(root)
    assert built.facts["pdf"]["warnings"] == [], "tagged as PDF/UA, and nothing to complain of"
    assert built.facts["pdf"]["replaced"] == []
    return root / "_book"


@pytest.fixture(scope="module")
def page(book) -> BeautifulSoup:
    return BeautifulSoup((book / "report/one.html").read_text("utf-8"), "html.parser")


@pytest.fixture(scope="module")
def notebook(book):
    return nbformat.read(book / "report.ipynb", as_version=4)


@pytest.fixture(scope="module")
def pdf_text(book) -> str:
    pages = pypdf.PdfReader(book / "report.pdf").pages
    return "\n".join(p.extract_text() for p in pages).replace("\u00a0", " ")


def test_every_chapter_has_its_page_and_every_link_leads_somewhere(book):
    assert list(_site(book)) == []
    pages = {p.name for p in book.rglob("*.html")}
    assert pages == {
        "index.html",
        "one.html",
        "two.html",
        "three.html",
        "four.html",
        "app.html",
        "references.html",
    }


def test_the_sidebar_lists_all_chapters_and_marks_the_current_one(page):
    lines = page.select("#sidebar li")
    texts = [" ".join(line.stripped_strings) for line in lines]
    assert texts == [
        *("Home", "First part", "1 One", "2 Two", "3 Three", "4 Four"),
        *("Appendices", "A Appendix one", "References"),
    ]
    assert [a.get_text(" ", strip=True) for a in page.select("[aria-current]")] == ["1 One"]


def test_numbers_are_those_of_a_quarto_book(page, book):
    titles = [h.get_text(" ", strip=True).rstrip(" #") for h in page.select("h1, h2, h3")]
    assert titles[:3] == ["1 One", "1.1 Section", "1.1.1 Deep"]
    captions = [c.get_text(" ", strip=True) for c in page.select("figcaption")]
    assert captions == [
        "Figure 1.1: A line for light and for dark pages.",
        "Table 1.1: A table from a cell.",
        "Table 1.2: An authored table.",
    ]
    assert "(1.1)" in page.select_one("#eq-sum").get_text()
    two = BeautifulSoup((book / "report/two.html").read_text("utf-8"), "html.parser")
    assert two.select_one("figcaption").get_text(" ", strip=True) == "Figure 2.1: A red dot."


def test_references_have_the_text_and_the_goal_of_what_they_name(page):
    links = {a["href"]: a.get_text() for a in page.select("a.bb-xref")}
    assert links["#fig-pair"] == "Figure\u00a01.1"
    assert links["#tbl-plain"] == "Table\u00a01.1"
    assert links["#eq-sum"] == "Equation\u00a01.1"
    assert links["app.html#sec-inner"] == "Section\u00a0A.1"
    assert links["app.html#sec-app"] == "Appendix\u00a0A"
    assert not page.select("a[target]")


@pytest.fixture(scope="module")
def three(book) -> BeautifulSoup:
    return BeautifulSoup((book / "report/three.html").read_text("utf-8"), "html.parser")


def test_references_to_other_chapters_say_their_numbers(three):
    found = [a.get_text().replace("\u00a0", " ") for a in three.select("a.bb-xref")]
    assert found == ["Equation 3.1", "Section 1.1", "Equation 3.1"]


def test_a_formula_has_its_number(three):
    equation = three.select_one("#eq-inside")
    assert "(3.1)" in equation.get_text()
    assert equation.find_previous_sibling("p").get_text().strip().endswith("In a sentence")
    assert equation.find_next_sibling("p").get_text().startswith("is a numbered formula")


def test_the_small_things_of_the_text_arrive_on_the_page(three):
    for selector in (
        *("ul.task-list input[checked]", "ol ol", "blockquote strong", "hr", "aside.callout.tip"),
        *("del", "sub", "sup", "em", "p code", ".listing code.sourceCode"),
    ):
        assert three.select_one(selector), selector
    assert not three.select_one("aside.callout.tip .icon")
    headings = [h.get_text(" ", strip=True).rstrip(" #") for h in three.select("h2, h3")]
    assert headings == ["3.1 Lists", "Not counted"]
    assert three.select_one("meta[name=description]")["content"].startswith("Every small thing")


def test_the_small_things_of_the_text_arrive_on_paper_and_in_the_notebook(pdf_text, notebook):
    text = "\n".join(c.source for c in notebook.cells).replace("\u00a0", " ")
    for words in ("A quiet box.", "Equation 3.1", "and “marks”"):
        assert words in pdf_text
        assert words in text
    assert "A comment with" not in pdf_text + text
    assert "The note." in pdf_text
    assert "The note." in text


def test_citations_lead_to_the_page_of_references(page, book):
    assert page.select_one("a[href='references.html#ref-vaswani2017']")
    refs = (book / "report/references.html").read_text("utf-8")
    assert "Attention Is All You Need" in refs


def test_text_from_cells_is_never_markup(page):
    assert not page.select("article script")
    assert "<script>alert(1)</script>|`$*_[x](y)@z" in page.get_text()
    assert page.find("strong", string="strong")


def test_pictures_come_for_light_and_dark_pages_with_alt_text(page, book):
    figure = page.select_one("#fig-pair")
    images = figure.select("img")
    assert [i["class"] for i in images] == [["light-content"], ["dark-content"]]
    assert {i["alt"] for i in images} == {"A rising line."}
    assert all((book / "report" / i["src"]).exists() for i in images)


def test_what_a_filter_drops_is_not_counted(page):
    assert "must not be counted" not in page.get_text()


def test_code_is_shown_and_hidden_cells_stay_out(page):
    assert not page.select("details pre")
    assert 'print("plain output with ``` backticks")' in page.get_text()
    assert "import matplotlib" not in page.get_text()


def test_boxes_are_semantic(page):
    assert (
        page.select_one("aside.callout.warning .callout-title")
        .get_text()
        .strip()
        .endswith("Careful")
    )
    assert "inside the box" in page.select_one("aside.callout.warning").get_text()
    assert not page.select_one("details.callout.note").has_attr("open")


def test_conditional_content_follows_the_format(page, pdf_text):
    assert "Only on the web." in page.get_text()
    assert "Only on paper." not in page.get_text()
    assert "Only on paper." in pdf_text
    assert "Only on the web." not in pdf_text


def test_the_search_index_knows_every_section_and_works_without_a_server(book):
    script = (book / "site_libs/search-index.js").read_text("utf-8")
    entries = json.loads(script.removeprefix("window.bookIndex = ").rstrip().rstrip(";"))
    assert {e["chapter"] for e in entries} >= {"One", "Two", "Appendix one"}
    assert any(e["href"].endswith("#sec-deep") for e in entries)
    html = (book / "index.html").read_text("utf-8")
    assert not re.search(r"(src|href)=.https?://", html)


def test_search_puts_chapters_before_lists(book):
    script = (book / "site_libs/search-index.js").read_text("utf-8")
    entries = json.loads(script.removeprefix("window.bookIndex = ").rstrip().rstrip(";"))
    by_href = {e["href"]: e for e in entries}
    weights = [
        by_href[h]["weight"] for h in ("report/one.html", "report/app.html", "report/four.html")
    ]
    assert weights == sorted(weights, reverse=True), "chapters, appendices, pages of long lists"
    assert "Every row is a card" in by_href["report/four.html#sec-wide"]["text"]


@pytest.fixture(scope="module")
def four(book) -> BeautifulSoup:
    return BeautifulSoup((book / "report/four.html").read_text("utf-8"), "html.parser")


def test_pictures_keep_their_room_and_words_their_language(four):
    picture = four.select_one("#fig-wide img")
    assert (picture["width"], picture["height"]) == ("672", "288"), "seven by three inches"
    assert four.select_one("[lang=hi]").get_text() == "दिल्ली"
    assert four.select_one("[lang=zh]").get_text() == "北京是首都"


def test_the_head_of_a_page_says_how_it_begins_without_marks_of_references(page):
    described = page.select_one("meta[name=description]")["content"]
    assert "Figure 1.1" in described.replace("\u00a0", " ")


def test_a_hint_unfolds_on_the_page_is_text_in_the_notebook_and_absent_on_paper(
    four, notebook, pdf_text
):
    hint = four.select_one("details.callout.tip")
    assert not hint.has_attr("open")
    assert hint.select_one("summary").get_text().strip().endswith("Hint")
    text = "\n".join(c.source for c in notebook.cells)
    assert "> **Hint**" in text
    assert "Think of the *exponent* first." in text
    assert "exponent" not in pdf_text


def test_pages_are_accessible_in_the_basics(page):
    assert page.html["lang"] == "en"
    assert page.select_one("a.skip[href='#main']")
    assert page.select_one("main#main")
    assert all(b.get("aria-label") or b.get_text(strip=True) for b in page.select("button"))
    assert page.select_one("meta[name=viewport]")


def test_the_pdf_has_the_same_numbers(pdf_text, book):
    for text in (
        "Figure 1.1",
        "Table 1.2",
        "Attention Is All You Need",
        "Feature book",
    ):
        assert text in pdf_text
    assert "must not be counted" not in pdf_text
    reader = pypdf.PdfReader(book / "report.pdf")
    assert reader.outline
    assert "/MarkInfo" in reader.trailer["/Root"], "the PDF is tagged"


def test_the_notebook_is_valid_executed_and_static(notebook):
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    kinds = {k for c in code for o in c.outputs for k in o.get("data", {})}
    assert kinds <= {"image/png", "text/markdown", "text/html", "text/plain"}
    pictures = [o for c in code for o in c.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 2, "of a pair only the picture for light pages"
    assert pictures[0].metadata["image/png"]["alt"] == "A rising line."


def test_the_notebook_holds_the_code_that_a_reader_sees_and_what_it_needs(notebook):
    code = [c.source for c in notebook.cells if c.cell_type == "code"]
    assert not any(c.metadata for c in notebook.cells), "nothing is folded by a viewer's favour"
    assert "from math import sqrt" in code, "needed by a shown cell; pi and Box are not"
    assert "import matplotlib.pyplot as plt\nfrom IPython.display import Markdown" in code
    assert all(len(line) <= 88 for line in code[0].splitlines())
    text = "\n".join(code)
    for hidden in ("class Box", "axes.legend", "inside the box"):
        assert hidden not in text


def test_figures_of_hidden_code_stand_in_the_text_of_the_notebook(notebook):
    cell = next(c for c in notebook.cells if "Figure 4.1" in c.source)
    assert "![Four rising lines, the last one at 16.](attachment:" in cell.source
    assert "**Figure 4.1:** A wide figure: the fourth line ends at 16." in cell.source
    (bundle,) = cell.attachments.values()
    assert set(bundle) == {"image/png"}


def test_links_of_the_notebook_lead_to_places_in_it(notebook):
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    goals = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert {"sec-one", "fig-pair", "tbl-plain", "eq-sum", "ref-vaswani2017"} <= goals
    assert goals == set(re.findall(r'<a id="([^"]+)"></a>', text))


def test_the_notebook_reads_as_text(notebook):
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert "Figure 1.1" in text.replace("\u00a0", " ")
    assert "([Vaswani and Shazeer 2017](#ref-vaswani2017))" in text
    assert "six times seven is 42" in text
    assert "**strong**" in text
    assert "{python}" not in text
    assert ":::" not in text
    assert "**Careful**" in text
    assert "inside the box" in text
    assert "must not be counted" not in text


@pytest.mark.slow
def test_the_notebook_runs_again(book):
    from nbclient import NotebookClient

    again = nbformat.read(book / "report.ipynb", as_version=4)
    NotebookClient(again, resources={"metadata": {"path": str(book)}}, timeout=120).execute()
    shown = [cell for cell in again.cells if cell.cell_type == "code" and cell.outputs]
    assert shown, "cells that print do so again"
    assert all(output.output_type != "error" for cell in shown for output in cell.outputs)


def kept(*cells: tuple[str, bool]) -> tuple[list[str], dict[int, list[str]]]:
    found = kept_statements(cells)
    return found.setup, found.before


@pytest.mark.parametrize(
    ("cells", "setup", "before"),
    [
        ([("import a, b", False), ("a.x", True)], ["import a"], {}),
        ([("from a import b, c as d", False), ("d()", True)], ["from a import c as d"], {}),
        ([("import a\nx = a.y", False), ("x", True)], ["import a", "x = a.y"], {}),
        ([("x = 1\ny = 2", False), ("z = 3", True)], [], {}),
        ([("x = 1", True), ("y = x", False), ("y", True)], [], {2: ["y = x"]}),
        ([("x = 1", True), ("y = x", False), ("x", True)], [], {}),
        ([("import a", False), ("a", True), ("import a", False), ("a", True)], ["import a"], {}),
        ([("x = {}", False), ("x['k'] = 1", False), ("x", True)], ["x = {}", "x['k'] = 1"], {}),
        (
            [("@f\ndef g():\n    return h", False), ("g()", True)],
            ["@f\ndef g():\n    return h"],
            {},
        ),
        ([("!ls", False), ("x = 1", True)], [], {}),
        ([("x = 1", False)], [], {}),
    ],
)
def test_of_hidden_code_only_what_shown_code_needs_is_kept(cells, setup, before):
    assert kept(*cells) == (setup, before)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# T\n\n```{r}\n1\n```\n", r"report/x\.qmd:3: “{r}” is not known; a cell is opened by"),
        ("# T\n\n```{python}\n1\n", r"report/x\.qmd:3: this code fence is not closed"),
        ("# T\n\n- a\n\n  ```{python}\n  1\n  ```\n", r"report/x\.qmd:5: .* or is indented"),
        (
            "# T\n\n```{python}\n#| echo: false\n#| fig-capt: a\n```\n",
            r"report/x\.qmd:5: .*fig-capt",
        ),
        ("# T\n\n```{python}\n#| a: b: c\n1\n```\n", r"report/x\.qmd:3: the options of this cell"),
        ("# T\n\n```{python echo=FALSE}\n1\n```\n", r"x\.qmd:3: .*a cell is opened by"),
        ("# T\n\n```{{python}}\n1\n```\n", r"x\.qmd:3: .*a cell is opened by"),
        ("# T\n\nText `{r} 1`.\n", r"x\.qmd:3: inline code in “r”"),
    ],
)
def test_what_cannot_be_done_is_refused_with_file_and_line(tmp_path, text, sentence):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "x.qmd").write_text(text)
    with pytest.raises(BookError, match=sentence):
        parse_chapter(tmp_path, "report/x.qmd")


def small_book(root: Path, text: str) -> Path:
    root.mkdir(parents=True)
    (root / "_quarto.yml").write_text(
        "project: {type: book}\nbook: {title: T, chapters: [index.qmd, one.qmd]}\n"
    )
    (root / "index.qmd").write_text("# Home {.unnumbered}\n\nText.\n")
    (root / "one.qmd").write_text(text)
    return root


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# T\n\n@fig-gone\n", "one.qmd:3: “@fig-gone” refers to nothing"),
        ("# T\n\n[x](gone.qmd)\n", "one.qmd:3: the link to gone.qmd leads to no chapter"),
        ("# T\n\nAn ![x](x.png) b\n", "one.qmd:3: pictures come from cells"),
        ("# T\n\n::: {.magic}\nx\n:::\n", "one.qmd:3: the block class “.magic”"),
        ("# T\n\n::: {layout-ncol=2}\nx\n:::\n", "one.qmd:3: the attribute “layout-ncol” of"),
        ("# T\n\nA.\n\n{{< video x >}}\n", "one.qmd:5: “{{<” would be printed as it stands"),
        ("# T\n\n<br>\n", "the element RawInline of Pandoc's Markdown is not known here"),
        ("# T\n\nA.\n\n[@who2020]\n", "one.qmd:5: “@who2020” is neither a label of the book nor"),
        (
            "# T\n\nSee @nte-a.\n",
            "one.qmd:3: “@nte-a” is neither",
        ),
        ("# T\n\n## A {#sec-a}\n\n## B {#sec-a}\n", "one.qmd:3: the label “sec-a” is used twice"),
        ("# T\n\n::: {#tbl-a}\nx\n:::\n", "one.qmd:3: “tbl-a” has no caption"),
        ("No title.\n", "a chapter needs a title"),
        ("# T\n\nText.\n::: {.column}\nx\n:::\n", "one.qmd:4: “:::” would be printed"),
    ],
)
def test_faults_of_a_chapter_name_the_file_and_keep_the_former_book(tmp_path, text, sentence):
    root = small_book(tmp_path / "book", text)
    (root / "_book").mkdir()
    (root / "_book" / "index.html").write_text("old")
    with pytest.raises(BookError, match=sentence):
        build_book(root, formats=("html",))
    assert (root / "_book" / "index.html").read_text() == "old"
    assert sorted(p.name for p in root.iterdir() if p.name.startswith("._book")) == []


def test_a_failed_cell_names_chapter_cell_and_error(tmp_path):
    text = "# T\n\n```{python}\n#| label: sum\n1 / 0\n```\n"
    root = small_book(tmp_path / "book", text)
    with pytest.raises(BookError, match=r"one\.qmd:3: cell “sum” failed: ZeroDivisionError"):
        build_book(root, formats=("html",))


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """What `inline_values` says of prose in one kernel."""
    held = kernel(tmp_path_factory.mktemp("kernel"), {})
    with asyncio.Runner() as runner:
        run = runner.run(held.__aenter__())
        yield lambda prose: runner.run(inline_values(run, prose))
        runner.run(held.__aexit__(None, None, None))


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("nothing", r"one\.qmd:6: the inline value “nothing” failed: NameErr"),
        ("1 +", r"one\.qmd:6: the inline value “1 \+” failed: SyntaxErr"),
        ("(yield)", r"one\.qmd:6: the inline value “\(yield\)” failed: SyntaxErr"),
        ("1 / 0", r"one\.qmd:6: the inline value “1 / 0” failed: ZeroDivisionErr"),
    ],
)
def test_a_failed_inline_value_names_its_line(values, expression, sentence):
    text = f"Text.\nOne `{{python}} 1` and\n`{{python}} 2`,\nthen `{{python}} {expression}`."
    with pytest.raises(BookError, match=sentence):
        values(Markdown(text + "\nLast `{python} 3`.\n", "one.qmd", 3))
    assert values(Markdown("`{python} 1 + 1`", "one.qmd", 1)) == ["2"]


def test_inline_values_of_a_paragraph_keep_their_order_and_their_form(tmp_path):
    cell = (
        "```{python}\nclass Bold:\n    def _repr_markdown_(self):\n        return '**bold**'\n"
        "def said(x):\n    print('noise')\n    return x\n```\n"
    )
    prose = (
        "A `{python} said('*a*')`, `{python} Bold()`, `{python} (1, 2)`, `{python} 'ü\\n'`; "
        '`{python} "the model\'s"`.\n'
    )
    root = small_book(tmp_path / "book", f"# T\n\n{cell}\n{prose}")
    build_book(root, formats=("html",))
    page = next((root / "_book").rglob("one.html")).read_text("utf-8")
    assert "<p>A *a*, <strong>bold</strong>, (1, 2), ü ; the model’s.</p>" in page


def test_the_code_of_a_cell_never_runs_off_the_page(tmp_path):
    long = "value = " + " + ".join(f"number_{i}" for i in range(40))
    endless = "x = '" + "m" * 400 + "'"
    text = (
        f"# T\n\n```python\n{long}\n{endless}\n```\n\n| a | b |\n|---|---|\n| {'w' * 300} | 1 |\n"
    )
    root = small_book(tmp_path / "book", text)
    build_book(root, formats=("pdf",))
    shown = []
    for page in pypdf.PdfReader(next((root / "_book").glob("*.pdf"))).pages:
        width = float(page.mediabox.width)

        def visit(text, _cm, tm, _font, size, width=width):
            if text.strip():
                shown.append(text)
                # No glyph is wider than an em; runs that are short of the margin fit.
                assert tm[4] < width - 40, text

        page.extract_text(visitor_text=visit)
    joined = "".join("".join(shown).split())
    assert "number_39" in joined
    assert joined.count("m") >= 400
    assert joined.count("w") >= 300


def test_a_column_is_as_wide_as_its_longest_word(tmp_path):
    words = "some words that want more room than the page has"
    row = " | ".join([*[words] * 4, "understanding"])
    table = f"| a | b | c | d | e |\n|---|---|---|---|---|\n| {row} |\n"
    root = small_book(tmp_path / "book", f"# T\n\nText at the margin.\n\n{table}")
    build_book(root, formats=("pdf",))
    starts, ends, widths = [], [], []
    for page in pypdf.PdfReader(next((root / "_book").glob("*.pdf"))).pages:

        def visit(text, cm, tm, _font, size, width=float(page.mediabox.width)):
            x = tm[4] * cm[0] + cm[4]
            if "Text at" in text:
                starts.append(x)
            if "understanding" in text:
                # Each of its letters is on average at least 0.44 times as wide as the type is high.
                ends.append(x + len("understanding") * 0.44 * abs(size * tm[0] * cm[0]))
                widths.append(width)

        page.extract_text(visitor_text=visit)
    assert len(starts) == len(ends) == 1
    assert ends[0] <= widths[0] - starts[0], "the right margin is as wide as the left one"
