"""No character is lost: fonts cover it, or its number is printed; a box in the PDF is an error."""

from __future__ import annotations

from pathlib import Path

import pypdf
import pytest
import typst
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from bookbinder import fonts
from bookbinder.build import build_book
from bookbinder.errors import BookError
from bookbinder.pdf import check

SAMPLES = "中文 かな 한국어 العربية हिन्दी ไทย Ελληνικά Кириллица עברית 🚀😀 ∑∫≤ →⇒ ½ €"


def small_book(root: Path, text: str) -> Path:
    root.mkdir()
    (root / "_quarto.yml").write_text(
        "project: {type: book}\nbook: {title: T, chapters: [index.qmd]}\n"
    )
    (root / "index.qmd").write_text(f"# Home {{.unnumbered}}\n\n{text}\n", "utf-8")
    return root


def test_scripts_of_the_samples_are_drawn():
    assert fonts.missing_glyphs(SAMPLES) == []


@given(st.text(max_size=60))
def test_what_is_printed_can_be_drawn(text):
    shown = fonts.visible_fallback(text)
    assert fonts.missing_glyphs(shown) == []
    drawable = [c for c in text if fonts.can_draw(c)]
    assert all(c in shown for c in drawable)


def test_a_character_without_a_glyph_is_shown_as_its_number(tmp_path):
    root = small_book(tmp_path / "book", f"Private: \ue000. Known: {SAMPLES}\n\n    code \ue001")
    built = build_book(root, formats=("html", "pdf"))
    html = BeautifulSoup((root / "_book/index.html").read_text("utf-8"), "html.parser")
    assert "⟨U+E000⟩" in html.get_text()
    assert "⟨U+E001⟩" in html.get_text()
    assert built.facts["pdf"]["replaced"] == ["⟨U+E000⟩", "⟨U+E001⟩"]
    text = "".join(p.extract_text() for p in pypdf.PdfReader(root / "_book/T.pdf").pages)
    assert "⟨U+E000⟩" in text
    assert "中文" in text


def test_the_box_of_a_missing_glyph_is_found_in_a_pdf():
    def pdf(text: str) -> bytes:
        bare = typst.Fonts(include_system_fonts=False, include_embedded_fonts=True)
        source = f'#set text(font: "Libertinus Serif", fallback: false)\n{text}'
        return typst.compile(source.encode("utf-8"), font_paths=bare)

    assert check.pages_with_missing_glyphs(pdf("plain text")) == []
    assert check.pages_with_missing_glyphs(pdf("plain #pagebreak() 中")) == [2]


def test_a_box_fails_the_build_and_names_the_page(tmp_path, monkeypatch):
    root = small_book(tmp_path / "book", "Text.")
    monkeypatch.setattr(check, "pages_with_missing_glyphs", lambda _: [3])
    with pytest.raises(BookError, match="without a glyph on page 3"):
        build_book(root, formats=("pdf",))
    assert not (root / "_book").exists()
