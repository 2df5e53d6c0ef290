"""The feature book through Quarto and without it: the same numbers and the same words in links."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from bookbinder.build import build_book
from internals.run import quarto

FIXTURE = Path(__file__).parent / "book_fixture"
FOUND = quarto.find()
pytestmark = pytest.mark.skipif(
    FOUND is None, reason=f"no Quarto {'.'.join(map(str, quarto.MINIMUM))} or newer on PATH"
)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Folders of the two sites."""
    root = tmp_path_factory.mktemp("both")
    ours, theirs = root / "ours", root / "theirs"
    shutil.copytree(FIXTURE, ours)
    shutil.copytree(FIXTURE, theirs)
    build_book(ours, formats=("html",))
    done = subprocess.run(
        [str(FOUND.path), "render", "--to", "html"],
        cwd=theirs,
        env={**os.environ, "QUARTO_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return ours / "_book", theirs / "_book"


def main_of(book: Path, page: str):
    return BeautifulSoup((book / page).read_text("utf-8"), "html.parser").find("main")


def words(node) -> str:
    return " ".join(node.get_text(" ", strip=True).replace("\u00a0", " ").split())


@pytest.mark.parametrize(
    "page", ["report/one.html", "report/two.html", "report/three.html", "report/app.html"]
)
def test_headings_have_the_same_numbers(both, page):
    def headings(book):
        found = main_of(book, page).find_all(["h1", "h2", "h3"])
        return [re.sub(r" ?#$", "", words(h)) for h in found]

    ours, theirs = map(headings, both)
    assert ours == theirs


@pytest.mark.parametrize(
    "page", ["report/one.html", "report/two.html", "report/three.html", "report/app.html"]
)
def test_captions_have_the_same_numbers(both, page):
    def captions(book):
        return [words(c) for c in main_of(book, page).find_all("figcaption")]

    ours, theirs = map(captions, both)
    assert ours == theirs


@pytest.mark.parametrize("page", ["report/one.html", "report/two.html", "report/three.html"])
def test_references_read_the_same(both, page):
    def references(book):
        links = main_of(book, page).find_all("a", href=True)
        texts = [words(a) for a in links]
        pattern = r"(Figure|Table|Equation|Section|Appendix|Chapter) [\dA-Z.]+|[\d.]+|.* \d{4}"
        return [t for t in texts if re.fullmatch(pattern, t)]

    ours, theirs = map(references, both)
    assert ours == theirs
    assert len(ours) > 2 or page.endswith("two.html")
