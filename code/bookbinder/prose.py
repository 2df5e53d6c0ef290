"""Resolved text as plain Markdown for notebooks: what Jupyter, VS Code and GitHub all show.

Numbers, references and citations become words; boxes become block quotes; notes stand in brackets.
Formulas stay between dollars.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from bookbinder import ast, pandoc
from bookbinder.model import Book, Node

_WRITER = "commonmark+pipe_tables+strikeout+tex_math_dollars+raw_html"
_CUT = "bookbinder{}cut"
_CUTS = re.compile(r"^bookbinder\d+cut\n?", re.MULTILINE)
_EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def to_markdown(pieces: Sequence[Sequence[Node]]) -> list[str]:
    """Markdown of each piece, written by one call of Pandoc."""
    blocks: list[Node] = []
    for number, piece in enumerate(pieces):
        blocks += [ast.para([{"t": "Str", "c": _CUT.format(number)}]), *piece]
    text = pandoc.write(blocks, ["-t", _WRITER, "--wrap=none"])
    return [part.strip("\n") for part in _CUTS.split(text)[1:]]


class Prose:
    """Turns resolved blocks into blocks without ids, classes and our own divisions.

    Pictures that it meets are collected in ``pictures``.
    """

    def __init__(self, assets: Path, linked: Collection[str] = ()) -> None:
        self.assets = assets
        self.linked = linked
        """Ids to which something links; only they become places in the notebook."""
        self.pictures: dict[str, bytes] = {}
        """PNG files by the name under which a cell attaches them."""

    def plain(self, nodes: Sequence[Node]) -> list[Node]:
        """Plain blocks or inlines."""
        return ast.walk(ast.copied(list(nodes)), self._visit)

    def _visit(self, node: Node) -> Any:
        method = _METHODS.get(node["t"])
        return method(self, node) if method else True

    # --- blocks -----------------------------------------------------------------------------

    def _header(self, node: Node) -> Node:
        level, (ident, _, _), title = node["c"]
        return self.heading(level, ast.get(node, "number") or "", title, ident)

    def heading(self, level: int, number: str, title: Sequence[Node], ident: str) -> Node:
        """A heading of plain inlines that starts with its number."""
        before = [*self.place(ident), *([*ast.text(number), ast.SPACE] if number else [])]
        return {"t": "Header", "c": [level, ast.make_attr(), [*before, *title]]}

    def place(self, ident: str) -> list[Node]:
        """A place that links find; nothing where none leads."""
        if ident not in self.linked:
            return []
        return [{"t": "RawInline", "c": ["html", f'<a id="{html.escape(ident)}"></a>']}]

    def _code_block(self, node: Node) -> Node:
        (_, classes, _), code = node["c"]
        languages = [name for name in classes if name not in ("cell-code", "text")]
        return {"t": "CodeBlock", "c": [ast.make_attr("", languages[:1]), code]}

    def _table(self, node: Node) -> bool:
        # Relative widths would force Pandoc to write HTML.
        node["c"][2] = [[align, {"t": "ColWidthDefault"}] for align, _ in node["c"][2]]
        return True

    def _div(self, node: Node) -> list[Node]:
        title, body = split(node)
        if ast.has_class(node, "bb-callout"):
            return [{"t": "BlockQuote", "c": [*bold(title), *body]}]
        if ast.has_class(node, "bb-float"):
            return [*body, *self.caption(node, title)]
        if ast.classes_of(node)[:1] in (["bb-title"], ["bb-caption"], ["bb-body"]):
            return [node]  # `split` looks for it
        place = self.place(ast.ident_of(node))
        return [*([ast.para(place)] if place else []), *body]

    def caption(self, node: Node, caption: Sequence[Node]) -> list[Node]:
        """``**Figure 1.2:** caption`` as a paragraph."""
        label = {"t": "Strong", "c": ast.text(f"{ast.get(node, 'label')}:")}
        place = self.place(ast.ident_of(node))
        return [ast.para([*place, label, ast.SPACE, *caption[0]["c"]])]

    # --- inlines ----------------------------------------------------------------------------

    def _soft_break(self, node: Node) -> Node:
        return ast.SPACE

    def _code(self, node: Node) -> Node:
        return {"t": "Code", "c": [ast.make_attr(), node["c"][1]]}

    def _quoted(self, node: Node) -> list[Node]:
        left, right = "‘’" if node["c"][0]["t"] == "SingleQuote" else "“”"
        return [{"t": "Str", "c": left}, *node["c"][1], {"t": "Str", "c": right}]

    def _cite(self, node: Node) -> list[Node]:
        return node["c"][1]

    def _link(self, node: Node) -> list[Node]:
        _, inner, target = node["c"]
        if not (_EXTERNAL.match(target[0]) or target[0][1:] in self.linked):
            return inner
        return [{"t": "Link", "c": [ast.make_attr(), inner, target]}]

    def _span(self, node: Node) -> list[Node]:
        inlines = node["c"][1]
        if ast.has_class(node, "bb-equation"):
            kind, source = inlines[0]["c"]
            tagged = f"{source.strip()} \\tag{{{ast.get(node, 'number')}}}"
            inlines = [{"t": "Math", "c": [kind, tagged]}]
        return [*self.place(ast.ident_of(node)), *inlines]

    def _note(self, node: Node) -> list[Node]:
        return [*ast.text(" ["), *(n for block in node["c"] for n in block["c"]), *ast.text("]")]

    def _image(self, node: Node) -> Node:
        """In place of a picture of vectors its PNG, which every viewer shows."""
        _, alt, (url, _) = node["c"]
        file = (self.assets / url).with_suffix(".png")
        name = re.sub(r"[^\w.-]+", "-", url).replace(".svg", ".png")
        self.pictures[name] = file.read_bytes()
        return {"t": "Image", "c": [ast.make_attr(), alt, [f"attachment:{name}", ""]]}


_METHODS: dict[str, Callable[[Prose, Node], Any]] = {
    "Header": Prose._header,
    "CodeBlock": Prose._code_block,
    "Table": Prose._table,
    "Div": Prose._div,
    "SoftBreak": Prose._soft_break,
    "Code": Prose._code,
    "Quoted": Prose._quoted,
    "Cite": Prose._cite,
    "Link": Prose._link,
    "Span": Prose._span,
    "Note": Prose._note,
    "Image": Prose._image,
}


def split(node: Node) -> tuple[list[Node], list[Node]]:
    """Title (or caption) and body of one of our divisions; of others everything is body."""
    title: list[Node] = []
    body: list[Node] = []
    for child in node["c"][1]:
        if ast.is_div(child, "bb-title") or ast.is_div(child, "bb-caption"):
            title = child["c"][1]
        elif ast.is_div(child, "bb-body"):
            body += child["c"][1]
        else:
            body.append(child)
    return title, body


def bold(title: Sequence[Node]) -> list[Node]:
    """The title of a box as a bold paragraph."""
    return [ast.para([{"t": "Strong", "c": block["c"]}]) for block in title]


def linked_ids(book: Book) -> set[str]:
    """Ids in the book to which it links."""
    nodes = [node for c in book.chapters for node in ast.descend(list(c.blocks))]
    known = {ast.ident_of(node) for node in nodes} | {c.anchor for c in book.chapters}
    return known & {n["c"][2][0][1:] for n in nodes if n["t"] == "Link"} - {""}
