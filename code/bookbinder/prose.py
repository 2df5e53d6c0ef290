"""Resolved text as plain Markdown for notebooks: what Jupyter, VS Code and GitHub all show.

Numbers, references and citations become words; boxes become block quotes; notes go to the end of
the chapter; raw HTML is left out, since GitHub's viewer strips it. Formulas stay between dollars.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from bookbinder import ast, pandoc, pictures
from bookbinder.errors import BookError
from bookbinder.model import Book, Node

_WRITER = "commonmark+pipe_tables+strikeout+tex_math_dollars+raw_html"
_CUT = "bookbinder{}cut"
_CUTS = re.compile(r"^bookbinder\d+cut\n?", re.MULTILINE)
_EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def to_markdown(pieces: Sequence[Sequence[Node]]) -> list[str]:
    """Markdown of each piece, written by one call of Pandoc."""
    if not pieces:
        return []
    blocks: list[Node] = []
    for number, piece in enumerate(pieces):
        blocks += [ast.para([{"t": "Str", "c": _CUT.format(number)}]), *piece]
    text = pandoc.write(blocks, ["-t", _WRITER, "--wrap=none"])
    return [part.strip("\n") for part in _CUTS.split(text)[1:]]


class Prose:
    """Turns resolved blocks into blocks without ids, classes and raw parts.

    Notes and pictures that it meets are collected in ``notes`` and ``pictures``.
    """

    def __init__(self, assets: Path, linked: Collection[str] = ()) -> None:
        self.assets = assets
        self.linked = linked
        """Ids to which something links; only they become places in the notebook."""
        self.level = 1
        """Level of the last heading."""
        self.notes: list[list[Node]] = []
        """Notes since the last `take_notes`."""
        self.pictures: dict[str, bytes] = {}
        """PNG or JPEG files by the name under which a cell attaches them."""

    def take_notes(self) -> list[Node]:
        """A numbered list of the notes so far, under a title; empty if there are none."""
        notes, self.notes = self.notes, []
        if not notes:
            return []
        style = [1, {"t": "Decimal"}, {"t": "Period"}]
        return [_bold("Notes"), {"t": "OrderedList", "c": [style, notes]}]

    # --- blocks -----------------------------------------------------------------------------

    def blocks(self, nodes: Sequence[Node]) -> list[Node]:
        """Plain blocks."""
        out: list[Node] = []
        for node in nodes:
            method = _BLOCKS.get(node["t"])
            out += method(self, node) if method else []
        return out

    def _paragraph(self, node: Node) -> list[Node]:
        return [{"t": node["t"], "c": self.inlines(node["c"])}]

    def _line_block(self, node: Node) -> list[Node]:
        return [{"t": "LineBlock", "c": [self.inlines(line) for line in node["c"]]}]

    def _header(self, node: Node) -> list[Node]:
        level, _, title = node["c"]
        self.level = level
        return [self.heading(level, ast.get(node, "number") or "", title, ast.ident_of(node))]

    def heading(self, level: int, number: str, title: Sequence[Node], ident: str = "") -> Node:
        """A heading that starts with its number."""
        before = [*self.place(ident), *([*ast.text(number), ast.SPACE] if number else [])]
        return {"t": "Header", "c": [level, ast.make_attr(), [*before, *self.inlines(title)]]}

    def place(self, ident: str) -> list[Node]:
        """A place that links find; nothing where none leads."""
        if not ident or ident not in self.linked:
            return []
        return [{"t": "RawInline", "c": ["html", f'<a id="{html.escape(ident)}"></a>']}]

    def _code_block(self, node: Node) -> list[Node]:
        (_, classes, _), code = node["c"]
        languages = [name for name in classes if name not in ("cell-code", "sourceCode", "text")]
        return [{"t": "CodeBlock", "c": [ast.make_attr("", languages[:1]), code]}]

    def _quote(self, node: Node) -> list[Node]:
        return [{"t": "BlockQuote", "c": self.blocks(node["c"])}]

    def _bullets(self, node: Node) -> list[Node]:
        return [{"t": "BulletList", "c": [self.blocks(item) for item in node["c"]]}]

    def _numbers(self, node: Node) -> list[Node]:
        style, items = node["c"]
        return [{"t": "OrderedList", "c": [style, [self.blocks(item) for item in items]]}]

    def _definitions(self, node: Node) -> list[Node]:
        """Terms in bold, each definition an item below: Markdown has no other form."""
        out: list[Node] = []
        for term, definitions in node["c"]:
            out.append(ast.para([{"t": "Strong", "c": self.inlines(term)}]))
            out.append({"t": "BulletList", "c": [self.blocks(item) for item in definitions]})
        return out

    def _rule(self, node: Node) -> list[Node]:
        return [node]

    def _figure(self, node: Node) -> list[Node]:
        _, (_, caption), body = node["c"]
        return [*self.blocks(body), *self.blocks(caption)]

    def _table(self, node: Node) -> list[Node]:
        _, (_, caption), columns, head, bodies, foot = node["c"]
        plain = [
            ast.make_attr(),
            [None, []],
            # Relative widths would force Pandoc to write HTML.
            [[align, {"t": "ColWidthDefault"}] for align, _ in columns],
            self._rows(head),
            [[ast.make_attr(), n, *map(self._row_list, parts)] for _, n, *parts in bodies],
            self._rows(foot),
        ]
        return [{"t": "Table", "c": plain}, *self.blocks(caption)]

    def _rows(self, part: list) -> list:
        return [ast.make_attr(), self._row_list(part[1])]

    def _row_list(self, rows: list) -> list:
        return [
            [ast.make_attr(), [[ast.make_attr(), *spec, self._cell(body)] for _, *spec, body in c]]
            for _, c in rows
        ]

    def _cell(self, blocks: Sequence[Node]) -> list[Node]:
        done = self.blocks(blocks)
        # A pipe table holds one line a cell; a paragraph would force HTML.
        if len(done) == 1 and done[0]["t"] == "Para":
            return [ast.plain(done[0]["c"])]
        return done

    # --- our own divisions ------------------------------------------------------------------

    def _div(self, node: Node) -> list[Node]:
        for name in ast.classes_of(node):
            if method := _DIVS.get(name):
                return method(self, node)
        place = self.place(ast.ident_of(node))
        return [*([ast.para(place)] if place else []), *self.blocks(node["c"][1])]

    def _callout(self, node: Node) -> list[Node]:
        title, body = split(node)
        return [{"t": "BlockQuote", "c": [*self.title(title), *self.blocks(body)]}]

    def title(self, title: Sequence[Node]) -> list[Node]:
        """The title of a box as a bold paragraph."""
        if not title:
            return []
        return [ast.para([{"t": "Strong", "c": self.inlines(title[0]["c"])}])]

    def tab_heading(self, title: Sequence[Node]) -> list[Node]:
        """The title of a tab as a heading one level below the section's."""
        return [self.heading(min(self.level + 1, 6), "", title[0]["c"] if title else [])]

    def _tabset(self, node: Node) -> list[Node]:
        out: list[Node] = []
        for tab in node["c"][1]:
            title, body = split(tab)
            out += [*self.tab_heading(title), *self.blocks(body)]
        return out

    def _float(self, node: Node) -> list[Node]:
        caption, body = split(node)
        return [*self.blocks(body), *self.caption(node, caption)]

    def caption(self, node: Node, caption: Sequence[Node]) -> list[Node]:
        """``**Figure 1.2:** caption`` as a paragraph."""
        label = ast.get(node, "label") or ""
        name = [{"t": "Strong", "c": ast.text(f"{label}:")}] if label else []
        first, rest = ([], list(caption))
        if rest and rest[0]["t"] in ("Plain", "Para"):
            first, rest = self.inlines(rest[0]["c"]), rest[1:]
        if not (name or first):
            return []
        place = self.place(ast.ident_of(node))
        words = [*place, *name, *([ast.SPACE] if name else []), *first]
        return [ast.para(words), *self.blocks(rest)]

    # --- inlines ----------------------------------------------------------------------------

    def inlines(self, nodes: Sequence[Node]) -> list[Node]:
        """Plain inlines."""
        out: list[Node] = []
        for node in nodes:
            method = _INLINES.get(node["t"])
            out += method(self, node) if method else [node]
        return out

    def _same(self, node: Node) -> list[Node]:
        return [{"t": node["t"], "c": self.inlines(node["c"])}]

    def _unwrap(self, node: Node) -> list[Node]:
        return self.inlines(node["c"])

    def _soft_break(self, node: Node) -> list[Node]:
        return [ast.SPACE]

    def _code(self, node: Node) -> list[Node]:
        return [{"t": "Code", "c": [ast.make_attr(), node["c"][1]]}]

    def _quoted(self, node: Node) -> list[Node]:
        left, right = "‘’" if node["c"][0]["t"] == "SingleQuote" else "“”"
        inner = self.inlines(node["c"][1])
        return [{"t": "Str", "c": left}, *inner, {"t": "Str", "c": right}]

    def _cite(self, node: Node) -> list[Node]:
        return self.inlines(node["c"][1])

    def _link(self, node: Node) -> list[Node]:
        _, inlines, target = node["c"]
        inner = self.inlines(inlines)
        if not (_EXTERNAL.match(target[0]) or target[0][1:] in self.linked):
            return inner
        return [{"t": "Link", "c": [ast.make_attr(), inner, target]}]

    def _span(self, node: Node) -> list[Node]:
        inlines = self.inlines(node["c"][1])
        if ast.has_class(node, "bb-equation") and (number := ast.get(node, "number")):
            inlines = [_tagged(item, number) if item["t"] == "Math" else item for item in inlines]
        return [*self.place(ast.ident_of(node)), *inlines]

    def _note(self, node: Node) -> list[Node]:
        self.notes.append(self.blocks(node["c"]))
        return [{"t": "Superscript", "c": ast.text(str(len(self.notes)))}]

    def _image(self, node: Node) -> list[Node]:
        _, alt, (url, _) = node["c"]
        if _EXTERNAL.match(url):
            return [node]
        name, data = _picture(self.assets / url, url)
        self.pictures[name] = data
        return [{"t": "Image", "c": [ast.make_attr(), alt, [f"attachment:{name}", ""]]}]

    def _nothing(self, node: Node) -> list[Node]:
        return []


_BLOCKS: dict[str, Callable[[Prose, Node], list[Node]]] = {
    "Para": Prose._paragraph,
    "Plain": Prose._paragraph,
    "LineBlock": Prose._line_block,
    "Header": Prose._header,
    "CodeBlock": Prose._code_block,
    "BlockQuote": Prose._quote,
    "BulletList": Prose._bullets,
    "OrderedList": Prose._numbers,
    "DefinitionList": Prose._definitions,
    "HorizontalRule": Prose._rule,
    "Figure": Prose._figure,
    "Table": Prose._table,
    "Div": Prose._div,
}
_DIVS: dict[str, Callable[[Prose, Node], list[Node]]] = {
    "bb-callout": Prose._callout,
    "bb-tabset": Prose._tabset,
    "bb-float": Prose._float,
}
_INLINES: dict[str, Callable[[Prose, Node], list[Node]]] = {
    **dict.fromkeys(("Emph", "Strong", "Strikeout", "Superscript", "Subscript"), Prose._same),
    **dict.fromkeys(("SmallCaps", "Underline"), Prose._unwrap),
    "SoftBreak": Prose._soft_break,
    "Code": Prose._code,
    "Quoted": Prose._quoted,
    "Cite": Prose._cite,
    "Link": Prose._link,
    "Span": Prose._span,
    "Note": Prose._note,
    "Image": Prose._image,
    "RawInline": Prose._nothing,
}


def split(node: Node) -> tuple[list[Node], list[Node]]:
    """Title (or caption) and body of one of our divisions."""
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


def _bold(text: str) -> Node:
    return ast.para([{"t": "Strong", "c": ast.text(text)}])


def _tagged(math: Node, number: str) -> Node:
    kind, source = math["c"]
    return {"t": "Math", "c": [kind, f"{source.strip()} \\tag{{{number}}}"]}


def _picture(file: Path, url: str) -> tuple[str, bytes]:
    """Name and bytes of a picture that every viewer shows; in place of an SVG its PNG."""
    if not file.is_file():
        raise BookError(f"the picture {url} is missing")
    name = re.sub(r"[^\w.-]+", "-", url)
    if file.suffix.lower() != ".svg":
        return name, file.read_bytes()
    drawn = file.with_suffix(".png")
    data = drawn.read_bytes() if drawn.is_file() else pictures.svg_to_png(file.read_bytes())
    return f"{name[:-4]}.png", data


def linked_ids(book: Book) -> set[str]:
    """Ids in the book to which it links."""
    nodes = [node for c in book.chapters for node in ast.descend(list(c.blocks))]
    known = {ast.ident_of(node) for node in nodes} | {c.anchor for c in book.chapters}
    return known & {n["c"][2][0][1:] for n in nodes if n["t"] == "Link"}
