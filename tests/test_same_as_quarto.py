"""Two books through Quarto and without it: the same words, numbers, pictures and pages.

The feature book, with the settings of the real one; and a chapter of the real book with its ledger,
about the embedded model. Left out of the first are a token that looks like a reference, which
Quarto does not escape, and words behind a reference, which it drops.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pypdf
import pytest
import yaml
from bs4 import BeautifulSoup

from bookbinder.build import build_book
from bookbinder.execute import execute_book
from bookbinder.frozen import freeze
from bookbinder.parse import parse_chapter
from bookbinder.project import chapter_files, load_project
from internals.run import quarto

ROOT = Path(__file__).parents[1]
FIXTURE = Path(__file__).parent / "book_fixture"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
FOUND = quarto.find()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        FOUND is None, reason=f"no Quarto {'.'.join(map(str, quarto.MINIMUM))} or newer on PATH"
    ),
]
CHAPTER = "report/02-tokenization.qmd"
"""It refers to no other chapter."""
PAGES = [
    *[("features", f"report/{name}.html") for name in ("one", "two", "three", "four", "app")],
    *[("real", f"report/{name}.html") for name in ("02-tokenization", "evidence")],
]
HOMES = [("features", "index.html"), ("real", "index.html")]


def feature_book(folder: Path) -> Path:
    """The feature book with the formats of the real one."""
    shutil.copytree(FIXTURE, folder)
    (folder / "code").symlink_to(ROOT / "code")
    config = (folder / "_quarto.yml").read_text("utf-8")
    real = (ROOT / "_quarto.yml").read_text("utf-8")
    config = config[: config.index("\nformat:")] + real[real.index("\nformat:") :]
    script = "type: book\n  post-render: code/internals/run/post_render.py"
    (folder / "_quarto.yml").write_text(config.replace("type: book", script), "utf-8")
    for name, lost in (("one", "@z"), ("three", ", last line")):
        chapter = folder / "report" / f"{name}.qmd"
        chapter.write_text(chapter.read_text("utf-8").replace(lost, ""), "utf-8")
    return folder


def real_book(folder: Path) -> Path:
    """A chapter of the real book with its ledger."""
    folder.mkdir()
    for name in ("data", "code"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "index.qmd").write_text("# Home {.unnumbered}\n\nA book: @sec-tokenization.\n")
    (folder / "report").mkdir()
    names = (CHAPTER, "report/evidence.qmd", "report/references.qmd", "report/references.bib")
    for name in names:
        shutil.copy(ROOT / name, folder / name)
    (folder / "report/filters").symlink_to(ROOT / "report/filters")
    config = yaml.safe_load((ROOT / "_quarto.yml").read_text("utf-8"))
    config["book"] |= {"chapters": ["index.qmd", CHAPTER], "appendices": list(names[1:3])}
    (folder / "_quarto.yml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    return folder


def run(command: list[str], root: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """``books("real")`` are the folders of that book by the two ways."""
    environment = {**os.environ, "QUARTO_PYTHON": sys.executable}

    @cache
    def rendered(name: str) -> tuple[Path, Path]:
        root = tmp_path_factory.mktemp("both")
        ours, theirs = root / "ours", root / "theirs"
        if name == "features":
            build_book(feature_book(ours), formats=("html", "pdf"))
            # INTERNALS_BUILD is set: no records
            run([str(FOUND.path), "render"], feature_book(theirs), environment)
            return ours / "_book", theirs / "_book"
        own = {k: v for k, v in environment.items() if k != "INTERNALS_BUILD"}
        own |= {"REPORT_MODEL": "fable-gpt2", "QUARTO": "skip"}
        report = [sys.executable, "-m", "internals", "report", "fable-gpt2"]
        shutil.copytree(real_book(ours), theirs, symlinks=True)
        run(report, ours, own | {"INTERNALS_ROOT": str(ours)})
        run([str(FOUND.path), "render"], theirs, own | {"INTERNALS_ROOT": str(theirs)})
        return ours / "_book", theirs / "_book"

    return rendered


@pytest.fixture(scope="module")
def frozen(tmp_path_factory) -> Path:
    """The feature book through Quarto, from chapters that were executed before."""
    folder = feature_book(tmp_path_factory.mktemp("frozen") / "book")
    config = (folder / "_quarto.yml").read_text("utf-8")
    (folder / "_quarto.yml").write_text(config + "execute:\n  freeze: auto\n", "utf-8")
    project = load_project(folder)
    sources = [parse_chapter(folder, path) for path in chapter_files(project.entries)]
    freeze(execute_book(project, sources), project, folder / "_freeze")
    run([str(FOUND.path), "render"], folder, {**os.environ, "QUARTO_PYTHON": sys.executable})
    return folder


@pytest.fixture
def both(books, request) -> tuple[Path, Path]:
    """Folders of the two books."""
    return books(getattr(request, "param", "features"))


def test_both_ways_leave_the_same_files(books):
    ours, theirs = books("real")
    names = ("index.html", "report.pdf", "report.ipynb", "evidence.json", "build.json")
    for name in names:
        assert (ours / name).is_file(), name
        assert (theirs / name).is_file(), name
    one, other = (json.loads((b / "evidence.json").read_text("utf-8")) for b in (ours, theirs))
    assert one == other
    cells = [json.loads((b / "report.ipynb").read_text("utf-8"))["cells"] for b in (ours, theirs)]
    first, second = ([cell["source"] for cell in of] for of in cells)
    assert first == second


def main_of(book: Path, page: str) -> BeautifulSoup:
    soup = BeautifulSoup((book / page).read_text("utf-8"), "html.parser").find("main")
    for extra in soup.select(".anchor, .turn, .page-navigation, .breadcrumb, .quarto-title-meta"):
        extra.decompose()
    return soup


@pytest.mark.parametrize("page", [page for book, page in PAGES if book == "features"])
def test_a_page_that_was_executed_before_is_the_one_that_quarto_executes(books, frozen, page):
    _, theirs = books("features")
    one, other = (main_of(book, page) for book in (frozen / "_book", theirs))
    for of in (one, other):
        for table in of.select(".cell-output-display table, .cell-output-display pre"):
            table.decompose()  # of a bare DataFrame Quarto makes a table, and we its text
    assert words(one) == words(other)
    images = [[i.get("alt") for i in of.find_all("img")] for of in (one, other)]
    assert images[0] == images[1]
    assert all((frozen / "_book/report" / i["src"]).is_file() for i in one.find_all("img"))


def test_quarto_executes_no_page_that_was_executed_before(frozen):
    pictures = {file.name for file in (frozen / "_freeze").rglob("*.svg")}
    assert pictures
    assert not any("-output-" in name for name in pictures), "so Quarto calls its own"


def words(node) -> str:
    """The text of a node without what the two mark differently."""
    text = " ".join(node.get_text(" ", strip=True).replace("\u00a0", " ").split())
    return re.sub(r" (?=[.,;:)’”])|(?<=[(“‘]) ", "", text)


@pytest.mark.parametrize(("both", "page"), PAGES, indirect=["both"])
def test_headings_have_the_same_numbers(both, page):
    def headings(book):
        # Tabs begin with headings, which become buttons here and list items there.
        return [words(h) for h in main_of(book, page).find_all(["h1", "h2", "h3"])]

    ours, theirs = map(headings, both)
    assert ours == theirs


@pytest.mark.parametrize(("both", "page"), PAGES, indirect=["both"])
def test_captions_have_the_same_numbers(both, page):
    ours, theirs = ([words(c) for c in main_of(b, page).find_all("figcaption")] for b in both)
    assert ours == theirs


@pytest.mark.parametrize(("both", "page"), [*HOMES, *PAGES], indirect=["both"])
def test_references_read_the_same(both, page):
    def references(book):
        links = [words(a) for a in main_of(book, page).find_all("a", href=True)]
        pattern = r"(Figure|Table|Equation|Section|Appendix|Chapter) [\dA-Z.]+|[\d.]+|.* \d{4}"
        return [text for text in links if re.fullmatch(pattern, text)]

    ours, theirs = map(references, both)
    assert ours == theirs
    assert ours or page.endswith("app.html")


@pytest.mark.parametrize(("both", "page"), [*HOMES, *PAGES], indirect=["both"])
def test_paragraphs_read_the_same(both, page):
    def paragraphs(book):
        main = main_of(book, page)
        for other in main.select("math, .MathML, .tab-title, figcaption, table, header, .callout"):
            other.decompose()
        # A numbered formula ends a paragraph here and does not there.
        return " ".join(text for p in main.select("p") if (text := words(p)))

    ours, theirs = map(paragraphs, both)
    assert ours == theirs


@pytest.mark.parametrize(("both", "page"), PAGES, indirect=["both"])
def test_there_are_as_many_pictures_tables_and_formulas_and_all_pictures_exist(both, page):
    counts = []
    for book in both:
        main = main_of(book, page)
        # A DataFrame as it is becomes a table through Quarto, and is printed here.
        kinds = ("img", "table:not(.dataframe)", "math", "pre code, .dataframe")
        counts.append([len(main.select(kind)) for kind in kinds])
        for picture in main.select("img"):
            assert (book / page).parent.joinpath(picture["src"]).exists()
            assert picture.get("alt")
    assert counts[0] == counts[1]


def test_tables_are_sorted_and_hints_unfold_in_both(both):
    for book in both:
        main = main_of(book, "report/four.html")
        assert main.select_one(".sortable.filterable table")
        assert "Think of the exponent first" in words(main)
        page = (book / "report/four.html").read_text("utf-8")
        scripts = page + "".join(p.read_text("utf-8") for p in book.rglob("tables.js"))
        assert "aria-sort" in scripts


def visited(page: Path, scratch: Path, *arguments: str) -> str:
    """What Chromium makes of a page that is opened from disk."""
    flags = ["headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-sync"]
    flags += ["disable-background-networking", "disable-component-update", "disable-extensions"]
    flags += [f"user-data-dir={scratch}", "virtual-time-budget=4000", "dump-dom", *arguments]
    command = [BROWSER, *(f"--{flag}" for flag in flags), page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(("both", "page"), [*HOMES, *PAGES], indirect=["both"])
def test_no_page_asks_the_network(both, page, tmp_path):
    for number, book in enumerate(both):
        log = tmp_path / f"net-{number}.json"
        visited(book / page, tmp_path / f"profile-{number}", f"log-net-log={log}")
        asked = set(
            re.findall(r'"initiator":"file[^"]*"[^}]*"url":"(https?://[^"]+)', log.read_text())
        )
        asked |= set(re.findall(r"https?://(?:fonts|cdn|unpkg)[^\"\\]+", log.read_text()))
        assert asked == set()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_the_search_of_quarto_works_from_disk(both, tmp_path):
    page = both[1] / "report/four.html"
    ask = 'readSearchData().then((i) => { document.title = i.search("footnote")[0].item.href })'
    asking = page.with_name("asking.html")
    asking.write_text(page.read_text("utf-8") + f"<script>{ask}</script>", "utf-8")
    assert "<title>report/two.html" in visited(asking, tmp_path)


def right_edges(pdf: Path) -> list[tuple[float, str]]:
    """Where words end, as shares of the page's width; pypdf knows only where they begin."""
    command = ["pdftotext", "-bbox", str(pdf), "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = []
    for page in re.split(r"<page ", text)[1:]:
        width = float(re.search(r'width="([\d.]+)"', page)[1])
        words = re.findall(r'xMax="([\d.]+)" yMax="[\d.]+">(.*?)</word>', page)
        found += [(float(x) / width, word) for x, word in words]
    return found


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no poppler on this machine")
@pytest.mark.parametrize("name", ["features", "real"])
def test_no_word_of_a_pdf_ends_in_the_margin(books, name):
    for book in books(name):
        edges = right_edges(book / "report.pdf")
        assert len(edges) > 500
        assert [word for edge, word in edges if edge > 0.91] == []


def test_both_pdfs_hold_the_same_and_nothing_crosses_the_margin(both):
    texts = []
    for book in both:
        pages = pypdf.PdfReader(book / "report.pdf").pages
        for page in pages:
            width = float(page.mediabox.width)

            def visit(text, cm, tm, _font, _size, width=width):
                if text.strip():
                    x = tm[4] * cm[0] + cm[4]
                    assert 40 < x < width - 40, text

            page.extract_text(visitor_text=visit)
        texts.append(" ".join(" ".join(p.extract_text() for p in pages).split()))
    for said in (
        "Figure 4.1",
        "Table 4.1",
        "Appendix A",
        "Vaswani and Shazeer 2017",
        "Only on paper",
    ):
        assert all(said in text.replace("\u00a0", " ") for text in texts), said
    for text in texts:
        assert "exponent" not in text, "hints stand on the site alone"
        assert "Bibliography" not in text
