"""A resolved book as Typst source: our own vocabulary becomes calls of `template.typ`.

Lists, quotations and formulas go through Pandoc's Typst writer. Numbers are those of the tree;
nothing is counted again. A link to a place that the book does not have becomes plain text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from bookbinder import ast, fonts
from bookbinder.model import Book, Chapter, Node
from bookbinder.pdf import markup
from bookbinder.prose import linked_ids, split

_EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_LONG_WORD = 28
"""Words from this length on may be broken anywhere (addresses, identifiers)."""
_CODE_NOTE = "Characters that cannot be printed are shown as ⟨U+number⟩."
_ALIGN = {"AlignRight": "right", "AlignCenter": "center"}
_CALLS = {"Emph": "emph", "Strong": "strong", "Strikeout": "strike", "Superscript": "super",
          "Subscript": "sub"}  # fmt: skip


class Writer:
    """Turns the chapters of one book into blocks for Pandoc's Typst writer."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.replaced: set[str] = set()
        """Characters that were printed as their numbers."""
        self._linked = linked_ids(book)
        self._unset = set(self._linked)
        """Places to which something links, and which have not come yet."""
        self._level = 1
        self._floating: set[str] = set()
        """Figures of the chapter that may move to the foot of a page."""

    def whole_book(self) -> list[Node]:
        """All chapters, each part announced before its first one."""
        out: list[Node] = []
        part: str | None = None
        for chapter in self.book.chapters:
            if chapter.part not in (None, part):
                out.append(self._heading("part", 1, "", self._source(ast.text(chapter.part)), ""))
            part = chapter.part
            out += self._chapter(chapter)
        return out

    def _chapter(self, chapter: Chapter) -> list[Node]:
        self._level = 1 if chapter.part is None else 2
        self._floating = _floating(chapter)
        rank = "appendix" if chapter.kind == "appendix" else "chapter"
        title = self._source(list(chapter.title))
        head = self._heading(rank, self._level, chapter.number or "", title, chapter.anchor)
        return [head, *self._source(list(chapter.blocks))]

    def _source(self, nodes: list[Node]) -> list[Node]:
        """Everything that Pandoc's writer does not know or may misread turned into source."""
        nodes = ast.copied(nodes)
        for node in ast.descend(nodes):
            if node["t"] == "Image":  # its words are text and no content
                node["c"][1] = [ast.to_text(node["c"][1])]
        return ast.walk(nodes, self._visit)

    def _visit(self, node: Node) -> Any:
        kind = node["t"]
        if function := _CALLS.get(kind):
            return markup.wrap(f"#{function}[", node["c"])
        if method := _METHODS.get(kind):
            return method(self, node)
        return True

    def _visible(self, text: str) -> str:
        """Text with what no font draws replaced by its number."""
        shown = fonts.visible_fallback(text)
        if shown != text:
            self.replaced.update(fonts.missing_glyphs(text))
        return shown

    def _anchor(self, ident: str) -> list[Node]:
        if ident not in self._unset:
            return []
        self._unset.remove(ident)
        return [markup.inline(markup.call("bb-anchor", ident))]

    def _heading(
        self, rank: str, level: int, number: str, title: Sequence[Node], ident: str
    ) -> Node:
        start = markup.opening("bb-heading", rank, level, number) + ", ["
        label = ident if self._anchor(ident) else None
        return ast.plain(markup.wrap(start, title, f"], id: {markup.literal(label)});"))

    # --- inlines ----------------------------------------------------------------------------

    def _str(self, node: Node) -> list[Node]:
        shown = self._visible(node["c"])
        if len(shown) >= _LONG_WORD:
            return [markup.inline(markup.call("bb-long", shown))]
        return [markup.word(shown)]

    def _soft_break(self, node: Node) -> Node:
        return ast.SPACE

    def _code(self, node: Node) -> list[Node]:
        return [markup.inline(markup.call("raw", self._visible(node["c"][1])))]

    def _math(self, node: Node) -> list[Node]:
        start = markup.opening("bb-math", node["c"][1])
        return [markup.inline(start + ")["), node, markup.inline("];")]

    def _quoted(self, node: Node) -> list[Node]:
        left, right = "‘’" if node["c"][0]["t"] == "SingleQuote" else "“”"
        return [markup.word(left), *node["c"][1], markup.word(right)]

    def _cite(self, node: Node) -> list[Node]:
        return node["c"][1]

    def _link(self, node: Node) -> list[Node]:
        _, inner, (url, _) = node["c"]
        if url[1:] in self._linked:
            return markup.wrap(f"#link(label({markup.string(url[1:])}))[", inner)
        if _EXTERNAL.match(url):
            return markup.wrap(f"#link({markup.string(url)})[", inner)
        return inner

    def _span(self, node: Node) -> list[Node]:
        (name, _, _), inner = node["c"]
        if ast.has_class(node, "bb-equation"):
            math = next(item for item in inner if item["t"] == "Math")
            start = markup.opening("bb-equation", ast.get(node, "number"), math["c"][1])
            inner = [markup.inline(start + ")["), math, markup.inline("];")]
        elif settings := _language(node):
            inner = markup.wrap(f"#text({settings})[", inner)
        return [*self._anchor(name), *inner]

    def _image(self, node: Node) -> Node:
        _, alt, (url, _) = node["c"]
        path, words = markup.string("/" + url), markup.literal("".join(alt) or None)
        return markup.inline(f"#align(center, bb-image({path}, alt: {words}));")

    # --- blocks -----------------------------------------------------------------------------

    def _header(self, node: Node) -> Node:
        depth, (name, _, _), title = node["c"]
        number = ast.get(node, "number") or ""
        return self._heading(f"section{depth}", self._level + depth - 1, number, title, name)

    def _code_block(self, node: Node) -> Node:
        (_, classes, _), source = node["c"]
        source = source.rstrip("\n")
        shown = self._visible(source)
        named = {} if shown == source else {"note": _CODE_NOTE}
        if "text" in classes:
            return markup.block(markup.call("bb-output", shown, **named))
        lang = classes[0] if classes else None
        return markup.block(markup.call("bb-code", shown, lang=lang, **named))

    def _table(self, node: Node) -> list[Node]:
        """The template measures the cells and chooses widths and type size."""
        _, _, columns, head, bodies, _ = node["c"]
        aligns = [_ALIGN.get(align["t"], "left") for align, _ in columns]
        start = markup.block(f"#bb-table(({', '.join(aligns)},), (")
        body = [row for part in bodies for row in part[3]]
        return [start, *_rows(head[1]), markup.block("), ("), *_rows(body), markup.block("));")]

    def _div(self, node: Node) -> list[Node]:
        name, classes, _ = node["c"][0]
        title, body = split(node)
        anchor = [ast.plain(place)] if (place := self._anchor(name)) else []
        if "bb-callout" in classes:
            icon = "false" if ast.get(node, "icon") == "false" else "true"
            start = markup.opening("bb-callout", classes[1])
            body = _titled(start, title, body, f", icon: {icon}")
        elif "bb-float" in classes:
            kind, label, number = (ast.get(node, key) or "" for key in ("kind", "label", "number"))
            options = {"top": kind == "tbl", "floating": name in self._floating}
            start = markup.opening("bb-float", kind, label.removesuffix(number).strip(), number)
            body = _titled(start, title, body, f", {markup.arguments(options)}")
        elif "csl-entry" in classes:
            body = [markup.block("#bb-entry["), *body, markup.block("];")]
        elif settings := _language(node):
            body = [markup.block(f"#[#set text({settings})"), *body, markup.block("];")]
        elif classes and classes[0] in ("bb-title", "bb-body", "bb-caption"):
            return [node]  # `split` looks for it
        return [*anchor, *body]


def _rows(rows: Sequence[Any]) -> list[Node]:
    """Rows as arrays of contents."""
    out: list[Node] = []
    for _, cells in rows:
        content = [part for *_, blocks in cells for part in (*_content(blocks), markup.block(","))]
        out += [markup.block("("), *content, markup.block("),")]
    return out


def _content(nodes: Sequence[Node]) -> list[Node]:
    """``[…]`` around blocks; one paragraph stays on one line."""
    if len(nodes) == 1 and nodes[0]["t"] in ("Plain", "Para"):
        return [ast.plain(markup.wrap("[", nodes[0]["c"], "]"))]
    return [markup.block("["), *nodes, markup.block("]")]


def _titled(start: str, title: Sequence[Node], body: Sequence[Node], end: str) -> list[Node]:
    """A call with ``start``, then title and body as contents, then ``end``."""
    between, last = markup.block(", ["), markup.block(f"]{end});")
    return [markup.block(start + ","), *_content(title), between, *body, last]


def _language(node: Node) -> str:
    """Arguments of ``text`` for the attributes ``lang`` and ``dir``."""
    parts = []
    if lang := (ast.get(node, "lang") or "").split("-")[0]:
        parts.append(f"lang: {markup.string(lang)}")
    if direction := ast.get(node, "dir"):
        parts.append(f"dir: {direction}")
    return ", ".join(parts)


_PAGE = 4000
"""Characters of text that fill a page."""


def _floating(chapter: Chapter) -> set[str]:
    """Figures that may move: none of the first page of a chapter, which Typst would leave behind on
    the page before where the chapter moves to a new one, and not the last, which would stand in the
    next chapter; nor the one before it if it would come to stand below it, on the same page."""
    found: list[tuple[str, int]] = []
    length = 0
    for node in ast.descend(list(chapter.blocks)):
        if node["t"] == "Str":
            length += len(node["c"]) + 1
        elif node["t"] == "CodeBlock":
            length += 90 * (node["c"][1].count("\n") + 1)
        elif ast.is_div(node, "bb-float") and ast.get(node, "kind") == "fig":
            found.append((ast.ident_of(node), length))
            length += _PAGE // 4
    return {name for name, at in found[:-1] if _PAGE < at < found[-1][1] - 0.9 * _PAGE}


_METHODS: dict[str, Callable[[Writer, Node], Any]] = {
    "Str": Writer._str,
    "SoftBreak": Writer._soft_break,
    "Code": Writer._code,
    "Math": Writer._math,
    "Quoted": Writer._quoted,
    "Cite": Writer._cite,
    "Link": Writer._link,
    "Span": Writer._span,
    "Image": Writer._image,
    "Header": Writer._header,
    "CodeBlock": Writer._code_block,
    "Table": Writer._table,
    "Div": Writer._div,
}
