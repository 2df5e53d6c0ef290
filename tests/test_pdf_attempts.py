"""A PDF is set with what the contents and Typst allow: PDF/UA-1, else tags, else plain."""

from __future__ import annotations

import pytest
import typst

from bookbinder import pdf
from bookbinder.errors import BookError


@pytest.fixture
def refuse(monkeypatch):
    """Let Typst refuse the first attempts with the given messages; returns what it was asked."""
    asked: list[tuple[list[str], bool]] = []

    def prepare(*messages):
        left = list(messages)

        def compile_with_warnings(_text, *, pdf_standards, pdf_tags, **_):
            asked.append((pdf_standards, pdf_tags))
            if left:
                error = typst.TypstError()
                error.message, error.hints = left.pop(0), []
                raise error
            return b"%PDF", []

        monkeypatch.setattr(typst, "compile_with_warnings", compile_with_warnings)
        return asked

    return prepare


def test_a_plain_success_needs_one_attempt(refuse, tmp_path):
    asked = refuse()
    assert pdf.compile_source("x", tmp_path) == (b"%PDF", [])
    assert asked == [(["ua-1"], True)]


def test_a_picture_without_text_costs_the_standard_only(refuse, tmp_path):
    asked = refuse("PDF/UA-1 error: missing alt text")
    _, notes = pdf.compile_source("x", tmp_path)
    assert asked[-1] == ([], True)
    assert notes == ["not PDF/UA-1: PDF/UA-1 error: missing alt text"]


def test_a_fault_in_the_tags_of_typst_costs_the_tags_only(refuse, tmp_path):
    """Typst 0.15 fails with this message on some documents."""
    message = "internal error: tags weren't properly closed"
    asked = refuse(message, message)
    content, notes = pdf.compile_source("x", tmp_path)
    assert content == b"%PDF"
    assert asked[-1] == ([], False)
    assert notes == [f"not PDF/UA-1: {message}", f"not tagged: {message}"]


def test_a_fault_of_the_document_is_told(refuse, tmp_path):
    refuse("unknown variable: y")
    with pytest.raises(BookError, match="unknown variable: y"):
        pdf.compile_source("x", tmp_path)
