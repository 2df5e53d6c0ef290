"""The vocabulary of settings: every key that has an effect here, and no other.

A key that is missing below is refused with file and line, so that nothing is dropped silently.
Keys marked “no effect here” matter to Quarto only and are harmless to leave out offline.
"""

from __future__ import annotations

from typing import Any

PROJECT_KEYS = {"type", "output-dir", "render", "execute-dir", "resources", "preview", "title"}

BOOK_KEYS = {
    "title", "subtitle", "author", "date", "date-format", "description", "abstract",
    "chapters", "appendices", "output-file", "repo-url", "repo-branch", "repo-subdir",
    "repo-actions", "site-url", "favicon", "image", "image-alt", "cover-image",
    "cover-image-alt", "sidebar", "search", "page-footer", "downloads", "page-navigation",
    "open-graph", "license", "keywords",
    # no effect here
    "reader-mode", "back-to-top-navigation", "bread-crumbs", "twitter-card",
}  # fmt: skip

EXECUTE_KEYS = {
    "echo", "eval", "output", "warning", "error", "include", "enabled",
    # no effect here: there is one execution, and it is not frozen
    "freeze", "cache", "daemon", "keep-ipynb", "keep-md", "debug",
    "fig-width", "fig-height", "fig-dpi", "fig-format", "ipynb-shell-interactivity",
}  # fmt: skip

CODE_KEYS = {
    "code-fold", "code-summary", "code-tools", "code-copy", "code-overflow", "code-line-numbers",
    "code-block-bg", "code-block-border-left", "highlight-style", "syntax-highlighting",
}  # fmt: skip

SHARED_KEYS = CODE_KEYS | {
    "toc", "toc-depth", "toc-title", "number-sections", "number-depth", "lang", "bibliography",
    "csl", "link-citations", "nocite", "filters", "crossref", "execute", "echo", "warning",
    "fig-width", "fig-height", "fig-dpi", "fig-format", "fig-align", "fig-cap-location",
    "tbl-cap-location", "callout-appearance", "callout-icon", "date-format", "keywords",
    "license", "copyright", "params", "reference-section-title", "fig-responsive",
    "html-math-method", "shift-heading-level-by", "df-print",
}  # fmt: skip

HTML_KEYS = SHARED_KEYS | {
    "theme", "css", "include-in-header", "include-before-body", "include-after-body",
    "toc-location", "toc-expand", "anchor-sections", "smooth-scroll", "link-external-newwindow",
    "link-external-icon", "mainfont", "monofont", "fontsize", "linestretch", "backgroundcolor",
    "respect-user-color-scheme", "citations-hover", "footnotes-hover", "crossrefs-hover",
    "lightbox", "grid", "max-width", "embed-resources", "page-layout", "title-block-style",
    "reference-location", "email-obfuscation", "minimal", "description", "code-link",
    "tbl-colwidths", "axe",
}  # fmt: skip

TYPST_KEYS = SHARED_KEYS | {
    "papersize", "margin", "mainfont", "monofont", "mathfont", "sansfont", "fontsize",
    "section-numbering", "columns", "keep-typ", "font-paths", "include-in-header",
    "include-before-body", "include-after-body", "output-file", "template", "template-partials",
    "linestretch", "pdf-standard", "linkcolor", "citecolor", "codefont", "page-numbering",
    "brand", "documentclass", "margin-geometry", "theorem-appearance",
}  # fmt: skip

TOP_KEYS = SHARED_KEYS | {
    "project", "book", "format", "profile", "jupyter", "engine", "editor", "metadata-files",
    "execute-dir", "title", "subtitle", "author", "date", "website", "theme", "css", "description",
}  # fmt: skip

FRONT_KEYS = (HTML_KEYS | TYPST_KEYS | SHARED_KEYS) | {
    "title", "subtitle", "author", "date", "description", "abstract", "format", "jupyter",
    "engine", "editor", "pagetitle", "categories", "aliases", "image", "order", "tags",
}  # fmt: skip

CROSSREF_KEYS = {
    "chapters", "fig-title", "tbl-title", "lst-title", "eq-title", "title-delim",
    "fig-prefix", "tbl-prefix", "lst-prefix", "eq-prefix", "sec-prefix", "ch-prefix",
    "apx-prefix", "thm-prefix", "ref-hyperlink", "appendix-title", "appendix-delim",
    "subref-labels", "ref-delim",
}  # fmt: skip

CELL_KEYS = {
    "label", "eval", "echo", "output", "warning", "error", "include", "renderings",
    "fig-cap", "fig-alt", "fig-align", "fig-subcap", "fig-scap", "fig-cap-location", "fig-link",
    "tbl-cap", "tbl-subcap", "tbl-cap-location", "tbl-colwidths", "layout-ncol", "layout-nrow",
    "layout", "layout-align", "column", "classes", "code-fold", "code-summary", "code-overflow",
    "code-line-numbers", "lst-label", "lst-cap", "out-width", "out-height", "id", "title", "tags",
}  # fmt: skip

CELL_REFUSED = {
    "fig-width": "set figsize in the code; Jupyter cells take figure sizes from there",
    "fig-height": "set figsize in the code; Jupyter cells take figure sizes from there",
    "fig-dpi": "set dpi in the code; Jupyter cells take it from there",
    "cache": "cells are not cached; cache inside the code instead",
    "html-table-processing": "tables are always processed; use an asis output for raw HTML",
    "content": "embed notebooks through code instead",
}

DEFAULT_EXECUTE: dict[str, Any] = {
    "echo": True, "eval": True, "output": True, "warning": True, "error": False, "include": True,
    "fig-width": 7, "fig-height": 5, "fig-dpi": 96,
}  # fmt: skip
