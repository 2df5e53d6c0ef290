"""A resolved chapter as HTML: the ``bb-*`` vocabulary becomes semantic elements.

Pandoc writes everything that is its own; this module replaces the rest by raw HTML around it.
"""

from __future__ import annotations

import html
from typing import Any

from bookbinder import ast, pandoc
from bookbinder.model import Chapter, Node

_ICONS = {"note": "ℹ", "tip": "✓", "warning": "!", "important": "!", "caution": "!"}


def body_html(chapter: Chapter) -> str:
    """The main part of a page."""
    counter = iter(range(10_000))
    blocks = ast.walk(ast.copied(list(chapter.blocks)), lambda node: _node(node, counter))
    return pandoc.write(blocks, ["-t", "html5", "--mathml", "--wrap=none"])


def inlines_html(inlines: tuple[Node, ...] | list[Node]) -> str:
    """A title as HTML."""
    return pandoc.write([ast.plain(list(inlines))], ["-t", "html5", "--mathml"]).strip()


def raw(text: str) -> Node:
    """A block of HTML."""
    return ast.raw_block("html", text)


def _node(node: Node, counter: Any) -> Any:
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
    if kind == "Link":
        # "target" names the label for writers; in HTML it would open a window.
        node["c"][0][2] = [pair for pair in node["c"][0][2] if pair[0] != "target"]
        return True
    if kind == "Image":
        ast.set_attr(node, "loading", "lazy")
        return True
    if kind == "Math" and node["c"][0]["t"] == "DisplayMath":
        return ast.span([node], classes=["math-box"])
    if kind != "Div":
        return True
    if ast.has_class(node, "cell"):
        # An attribute called "hidden" would hide it, whatever its value.
        node["c"][0][2] = []
        return True
    for name, build in _BUILDERS.items():
        if ast.has_class(node, name):
            return build(node, counter)
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


def _parts(node: Node) -> tuple[list[Node], list[Node]]:
    """Title or caption, and body, of one of our blocks."""
    title: list[Node] = []
    body: list[Node] = []
    for block in node["c"][1]:
        if ast.is_div(block, "bb-title") or ast.is_div(block, "bb-caption"):
            title = block["c"][1][0]["c"] if block["c"][1] else []
        elif ast.is_div(block, "bb-body"):
            body = block["c"][1]
    return title, body


def _float(node: Node, _: Any) -> list[Node]:
    caption, body = _parts(node)
    label, kind = ast.get(node, "label") or "", ast.get(node, "kind")
    text = [ast.span(ast.text(f"{label}:"), "", ["label"]), ast.SPACE, *caption]
    shown = [raw("<figcaption>"), ast.plain(text), raw("</figcaption>")]
    head = f'<figure id="{html.escape(ast.ident_of(node))}" class="float {kind}">'
    if kind == "fig":
        body = [raw('<div class="scroll-box">'), *body, raw("</div>")]
    inside = [*shown, *body] if kind == "tbl" else [*body, *shown]
    return [raw(head), *inside, raw("</figure>")]


def _callout(node: Node, _: Any) -> list[Node]:
    title, body = _parts(node)
    kind = next(c for c in ast.classes_of(node) if c in _ICONS)
    name = f' id="{html.escape(ast.ident_of(node))}"' if ast.ident_of(node) else ""
    icon = ast.span(ast.text(_ICONS[kind]), "", ["icon"])
    ast.set_attr(icon, "aria-hidden", "true")
    shown = ast.get(node, "icon") != "false" and ast.get(node, "appearance") != "minimal"
    head = ast.plain([icon, ast.SPACE, *title] if shown else title)
    look = ast.get(node, "appearance") or "default"
    kind = kind if look == "default" else f"{kind} {look}"
    collapse = ast.get(node, "collapse")
    if collapse:
        state = "" if collapse == "true" else " open"
        return [
            raw(f'<details class="callout {kind}"{name}{state}><summary>'),
            head,
            raw('</summary><div class="callout-body">'),
            *body,
            raw("</div></details>"),
        ]
    return [
        raw(f'<aside class="callout {kind}"{name}><div class="callout-title">'),
        head,
        raw('</div><div class="callout-body">'),
        *body,
        raw("</div></aside>"),
    ]


def _tabset(node: Node, counter: Any) -> list[Node]:
    number = next(counter)
    tabs = [_parts(tab) for tab in node["c"][1]]
    blocks = [raw('<div class="tabset"><div class="tabs" role="tablist">')]
    for i, (title, _) in enumerate(tabs):
        chosen = "true" if i == 0 else "false"
        blocks += [
            raw(
                f'<button role="tab" id="tab-{number}-{i}" aria-controls="panel-{number}-{i}" '
                f'aria-selected="{chosen}" tabindex="{0 if i == 0 else -1}">'
            ),
            ast.plain(title),
            raw("</button>"),
        ]
    blocks.append(raw("</div>"))
    for i, (title, body) in enumerate(tabs):
        hidden = "" if i == 0 else " data-hidden"
        blocks += [
            raw(
                f'<section role="tabpanel" id="panel-{number}-{i}" '
                f'aria-labelledby="tab-{number}-{i}" tabindex="0"{hidden}><p class="tab-title">'
            ),
            ast.plain(ast.copied(title)),
            raw("</p>"),
            *body,
            raw("</section>"),
        ]
    return [*blocks, raw("</div>")]


_BUILDERS = {"bb-float": _float, "bb-callout": _callout, "bb-tabset": _tabset}
