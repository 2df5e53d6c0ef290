"""The vocabulary of settings: every key that has an effect here, and no other.

A key that is missing below is refused with file and line, so that nothing is dropped silently.
Keys marked “no effect here” change no word of the book: they dress Quarto's own pages.
"""

from __future__ import annotations

from typing import Any

PROJECT_KEYS = {"type", "output-dir", "render", "execute-dir", "resources", "preview", "title",
    # no effect here: it is Quarto that runs them
    "pre-render", "post-render",
}  # fmt: skip

BOOK_KEYS = {
    "title", "subtitle", "author", "date", "date-format", "description", "chapters", "appendices",
    "output-file",
    # no effect here: furniture of Quarto's own site
    "repo-url", "repo-branch", "repo-subdir", "repo-actions", "site-url", "sidebar", "search",
    "downloads", "page-navigation", "open-graph", "twitter-card", "reader-mode",
    "back-to-top-navigation", "bread-crumbs", "keywords",
}  # fmt: skip

EXECUTE_KEYS = {
    "echo", "eval", "output", "warning", "error", "include", "enabled",
    # no effect here: there is one execution, and it is not frozen
    "freeze", "cache", "daemon", "keep-ipynb", "keep-md", "debug",
    "fig-width", "fig-height", "fig-dpi", "fig-format", "ipynb-shell-interactivity",
}  # fmt: skip

SHARED_KEYS = {
    "toc", "toc-depth", "number-sections", "number-depth", "lang", "bibliography", "csl",
    "filters", "execute", "date-format",
    # no effect here: the book has one look
    "code-copy", "code-overflow", "code-tools", "code-block-bg", "code-block-border-left",
    "highlight-style", "syntax-highlighting", "toc-title", "link-citations", "fig-responsive",
    "html-math-method", "df-print", "keywords", "callout-appearance", "callout-icon",
    "fig-width", "fig-height", "fig-dpi", "fig-format", "fig-align",
}  # fmt: skip

HTML_KEYS = SHARED_KEYS | {
    "css", "include-in-header", "include-after-body",
    # no effect here: the book has one look
    "theme", "toc-location", "toc-expand", "anchor-sections", "smooth-scroll",
    "link-external-newwindow", "link-external-icon", "mainfont", "monofont", "fontsize",
    "linestretch", "backgroundcolor", "respect-user-color-scheme", "citations-hover",
    "footnotes-hover", "crossrefs-hover", "lightbox", "grid", "max-width", "page-layout",
    "title-block-style", "reference-location", "email-obfuscation", "code-link", "axe",
}  # fmt: skip

TYPST_KEYS = SHARED_KEYS | {
    "papersize",
    # no effect here: the book has one template of its own
    "margin", "mainfont", "monofont", "mathfont", "sansfont", "fontsize", "section-numbering",
    "keep-typ", "font-paths", "include-in-header", "linestretch", "pdf-standard", "linkcolor",
    "citecolor", "codefont", "template-partials", "citeproc", "page-numbering", "margin-geometry",
}  # fmt: skip

TOP_KEYS = SHARED_KEYS | {
    "project", "book", "format", "profile", "jupyter", "engine", "editor", "metadata-files",
    "theme", "css",
    # no effect here: what a book's own cells may read
    "submission",
}  # fmt: skip

FRONT_KEYS = {"title", "description", "jupyter", "engine", "editor"}
"""A chapter's own front matter; everything else is a setting of the whole book."""

CROSSREF_KEYS: set[str] = set()
"""The names of numbered things are fixed."""

CELL_KEYS = {
    "label", "eval", "echo", "output", "warning", "error", "include", "renderings", "fig-cap",
    "fig-alt", "tbl-cap", "classes",
}  # fmt: skip

CELL_REFUSED = {
    **dict.fromkeys(
        ("fig-width", "fig-height", "fig-dpi"),
        "set size and dpi in the code; Jupyter cells take them from there",
    ),
    **dict.fromkeys(
        ("fig-subcap", "tbl-subcap", "layout", "layout-ncol", "layout-nrow", "layout-align"),
        "draw panels in one figure instead",
    ),
    "cache": "cells are not cached; cache inside the code instead",
    "html-table-processing": "tables are always processed; use an asis output for raw HTML",
    "content": "embed notebooks through code instead",
}

DEFAULT_EXECUTE: dict[str, Any] = {
    "echo": True, "eval": True, "output": True, "warning": True, "error": False, "include": True,
    "fig-width": 7, "fig-height": 5, "fig-dpi": 96,
}  # fmt: skip
