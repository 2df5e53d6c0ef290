"""A resolved chapter as HTML: the ``bb-*`` vocabulary becomes semantic elements.

Pandoc writes everything that is its own; this module replaces the rest by raw HTML around it.
"""

from __future__ import annotations

import html
from typing import Any

from bookbinder import ast, pandoc
from bookbinder.model import Chapter, Node
from bookbinder.prose import split

_ICONS = {"note": "ℹ", "tip": "✓", "warning": "!"}


def body_html(chapter: Chapter) -> str:
    """The main part of a page."""
    blocks = ast.walk(ast.copied(list(chapter.blocks)), _node)
    return pandoc.write(blocks, ["-t", "html5", "--mathml", "--wrap=none"])


def inlines_html(inlines: tuple[Node, ...] | list[Node]) -> str:
    """A title as HTML."""
    return pandoc.write([ast.plain(list(inlines))], ["-t", "html5", "--mathml"]).strip()


def raw(text: str) -> Node:
    """A block of HTML."""
    return ast.raw_block("html", text)


def _node(node: Node) -> Any:
    kind = node["t"]
    if kind == "Header":
        return _header(node)
    if kind == "Table":
        # Pandoc makes widths up from dashes; a browser that measures the cells does better.
        node["c"][2] = [[align, {"t": "ColWidthDefault"}] for align, _ in node["c"][2]]
        return [raw('<div class="table-box">'), node, raw("</div>")]
    if kind == "CodeBlock":
        return _code(node)
    if kind == "Para" and _is_equation(node):
        span = node["c"][0]
        number = ast.get(span, "number")
        return ast.div(
            [ast.plain(span["c"][1]), ast.plain(ast.text(f"({number})"))],
            ast.ident_of(span),
            ["equation"],
        )
    if kind == "Image":
        ast.set_attr(node, "loading", "lazy")
        return True
    if kind == "Math" and node["c"][0]["t"] == "DisplayMath":
        return ast.span([node], classes=["math-box"])
    if kind != "Div":
        return True
    if ast.has_class(node, "cell"):
        node["c"][0][2] = []  # its number is for the notebook
    if ast.has_class(node, "bb-float"):
        return _float(node)
    if ast.has_class(node, "bb-callout"):
        return _callout(node)
    return True


def _is_equation(node: Node) -> bool:
    return bool(node["c"]) and ast.has_class(node["c"][0], "bb-equation")


def _header(node: Node) -> Any:
    """Number before the title and an anchor behind it."""
    name = ast.ident_of(node)
    number = ast.get(node, "number")
    title = node["c"][2]
    if number:
        title = [ast.span(ast.text(number), "", ["number"]), ast.SPACE, *title]
    if name:
        mark = ast.link(ast.text("#"), f"#{name}", ["anchor"])
        ast.set_attr(mark, "aria-label", "Link to this section")
        title = [*title, mark]
    node["c"][2] = title
    return True


def _code(node: Node) -> Any:
    """A listing with a button to copy it; what a cell prints has none."""
    if all(name == "text" for name in ast.classes_of(node)):
        return True
    return [raw('<div class="listing">'), node, raw("</div>")]


def _float(node: Node) -> list[Node]:
    title, body = split(node)
    label, kind = ast.get(node, "label"), ast.get(node, "kind")
    text = [ast.span(ast.text(f"{label}:"), "", ["label"]), ast.SPACE, *title[0]["c"]]
    shown = [raw("<figcaption>"), ast.plain(text), raw("</figcaption>")]
    head = f'<figure id="{html.escape(ast.ident_of(node))}" class="float {kind}">'
    if kind == "fig":
        body = [raw('<div class="scroll-box">'), *body, raw("</div>")]
    inside = [*shown, *body] if kind == "tbl" else [*body, *shown]
    return [raw(head), *inside, raw("</figure>")]


def _callout(node: Node) -> list[Node]:
    """A box; one with ``collapse`` folds."""
    (title,), body = split(node)
    kind = next(c for c in ast.classes_of(node) if c in _ICONS)
    icon = ast.span(ast.text(_ICONS[kind]), "", ["icon"])
    ast.set_attr(icon, "aria-hidden", "true")
    head = [] if ast.get(node, "icon") == "false" else [icon, ast.SPACE]
    outer, inner, opened = "aside", 'div class="callout-title"', ""
    if collapse := ast.get(node, "collapse"):
        outer, inner = "details", "summary"
        opened = "" if collapse == "true" else " open"
    return [
        raw(f'<{outer} class="callout {kind}"{opened}><{inner}>'),
        ast.plain([*head, *title["c"]]),
        raw(f'</{inner.split()[0]}><div class="callout-body">'),
        *body,
        raw(f"</div></{outer}>"),
    ]
