"""The feature book through Quarto and without it: the same words, numbers, pictures and pages.

Quarto renders it with the settings of the real book. Left out are a token that looks like a
reference, which Quarto does not escape, and words behind a reference, which it drops.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pypdf
import pytest
from bs4 import BeautifulSoup

from bookbinder.build import build_book
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
PAGES = [f"report/{name}.html" for name in ("one", "two", "three", "four", "app")]


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


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Path, Path]:
    """Folders of the two books."""
    root = tmp_path_factory.mktemp("both")
    ours, theirs = feature_book(root / "ours"), feature_book(root / "theirs")
    build_book(ours, formats=("html", "pdf"))
    done = subprocess.run(
        [str(FOUND.path), "render"],
        cwd=theirs,
        env={**os.environ, "QUARTO_PYTHON": sys.executable},  # INTERNALS_BUILD is set: no records
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return ours / "_book", theirs / "_book"


def main_of(book: Path, page: str) -> BeautifulSoup:
    soup = BeautifulSoup((book / page).read_text("utf-8"), "html.parser").find("main")
    for extra in soup.select(".anchor, .turn, .page-navigation, .breadcrumb, .quarto-title-meta"):
        extra.decompose()
    return soup


def words(node) -> str:
    """The text of a node without what the two mark differently."""
    text = " ".join(node.get_text(" ", strip=True).replace("\u00a0", " ").split())
    return re.sub(r" (?=[.,;:)’”])|(?<=[(“‘]) ", "", text)


@pytest.mark.parametrize("page", PAGES)
def test_headings_have_the_same_numbers(both, page):
    def headings(book):
        # Tabs begin with headings, which become buttons here and list items there.
        return [words(h) for h in main_of(book, page).find_all(["h1", "h2", "h3"])]

    ours, theirs = map(headings, both)
    assert ours == theirs


@pytest.mark.parametrize("page", PAGES)
def test_captions_have_the_same_numbers(both, page):
    ours, theirs = ([words(c) for c in main_of(b, page).find_all("figcaption")] for b in both)
    assert ours == theirs


@pytest.mark.parametrize("page", ["index.html", *PAGES])
def test_references_read_the_same(both, page):
    def references(book):
        links = [words(a) for a in main_of(book, page).find_all("a", href=True)]
        pattern = r"(Figure|Table|Equation|Section|Appendix|Chapter) [\dA-Z.]+|[\d.]+|.* \d{4}"
        return [text for text in links if re.fullmatch(pattern, text)]

    ours, theirs = map(references, both)
    assert ours == theirs
    assert ours or page.endswith("app.html")


@pytest.mark.parametrize("page", ["index.html", *PAGES])
def test_paragraphs_read_the_same(both, page):
    def paragraphs(book):
        main = main_of(book, page)
        for other in main.select("math, .MathML, .tab-title, figcaption, table, header, .callout"):
            other.decompose()
        # A numbered formula ends a paragraph here and does not there.
        return " ".join(text for p in main.select("p") if (text := words(p)))

    ours, theirs = map(paragraphs, both)
    assert ours == theirs


@pytest.mark.parametrize("page", PAGES)
def test_there_are_as_many_pictures_tables_and_formulas_and_all_pictures_exist(both, page):
    counts = []
    for book in both:
        main = main_of(book, page)
        counts.append([len(main.select(kind)) for kind in ("img", "table", "math", "pre code")])
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


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("page", ["index.html", *PAGES])
def test_no_page_asks_the_network(both, page, tmp_path):
    for number, book in enumerate(both):
        log = tmp_path / f"net-{number}.json"
        subprocess.run(
            [
                *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
                *(
                    "--no-first-run",
                    "--disable-background-networking",
                    "--disable-component-update",
                ),
                *(f"--user-data-dir={tmp_path / f'profile-{number}'}", f"--log-net-log={log}"),
                *("--disable-sync", "--disable-extensions", (book / page).as_uri()),
            ],
            capture_output=True,
            timeout=120,
            check=True,
        )
        asked = set(
            re.findall(r'"initiator":"file[^"]*"[^}]*"url":"(https?://[^"]+)', log.read_text())
        )
        asked |= set(re.findall(r"https?://(?:fonts|cdn|unpkg)[^\"\\]+", log.read_text()))
        assert asked == set()


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
