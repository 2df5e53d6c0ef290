"""A resolved book as Typst source: our own vocabulary becomes calls of `template.typ`.

Text, lists and formulas go through Pandoc's Typst writer. Numbers are those of the tree; nothing
is counted again. A link to a place that the book does not have becomes plain text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from bookbinder import ast
from bookbinder.model import Book, Chapter, Node
from bookbinder.pdf import markup, tables
from bookbinder.pdf.anchors import Anchors
from bookbinder.pdf.inlines import InlineWriter, image, language
from bookbinder.prose import split

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_BLANKS = ("SoftBreak", "Space")
_CALLOUTS = ("note", "tip", "warning", "important", "caution")
_CODE_NOTE = "Characters that cannot be printed are shown as ⟨U+number⟩."
_RANKS = {"appendix": "appendix", "part": "part"}


class Writer(InlineWriter):
    """Turns the chapters of one book into blocks for Pandoc's Typst writer."""

    def __init__(self, book: Book) -> None:
        super().__init__(Anchors(book.chapters))
        self.book = book
        self._level = 1
        self._floating: set[str] = set()
        """Figures of the chapter that may move to the foot of a page."""

    # --- chapters ---------------------------------------------------------------------------

    def whole_book(self) -> list[Node]:
        """All chapters, each part announced by a page of its own."""
        out: list[Node] = []
        part: str | None = None
        for chapter in self.book.chapters:
            if chapter.part not in (None, part) and chapter.kind != "part":
                out.append(self._heading("part", 1, "", ast.text(chapter.part or ""), None))
            part = chapter.title_text if chapter.kind == "part" else chapter.part
            out += self._whole_chapter(chapter)
        return out

    def _whole_chapter(self, chapter: Chapter) -> list[Node]:
        self.anchors.enter(chapter)
        in_part = chapter.part is not None and chapter.kind != "part"
        self._level = 2 if in_part else 1
        self._floating = _floating(chapter)
        rank = _RANKS.get(chapter.kind, "chapter")
        label = self.anchors.define(chapter.anchor)
        number = chapter.number or ""
        head = self._heading(rank, self._level, number, chapter.title, label)
        return [head, *self.blocks(chapter.blocks)]

    def _heading(
        self, rank: str, level: int, number: str, title: Sequence[Node], label: str | None
    ) -> Node:
        start = markup.opening("bb-heading", rank, level, number) + ", ["
        end = f"], id: {markup.literal(label)});"
        return ast.plain(markup.wrap(start, self.inlines(title), end))

    # --- blocks -----------------------------------------------------------------------------

    def blocks(self, nodes: Sequence[Node]) -> list[Node]:
        """Blocks with everything that Pandoc's writer does not know turned into source."""
        out: list[Node] = []
        for node in nodes:
            method = _BLOCKS.get(node["t"])
            out += method(self, node) if method else [node]
        return out

    def _anchor_block(self, node: Node) -> list[Node]:
        label = self.anchors.define(ast.ident_of(node))
        return [] if label is None else [markup.block(markup.call("bb-anchor", label))]

    def _paragraph(self, node: Node) -> list[Node]:
        content = [item for item in node["c"] if item["t"] not in _BLANKS]
        if len(content) == 1 and content[0]["t"] == "Image":
            picture = image("bb-image", content[0])
            return [*self._anchor_block(content[0]), markup.block(f"#align(center, {picture});")]
        return [{"t": node["t"], "c": self.inlines(node["c"])}]

    def _line_block(self, node: Node) -> list[Node]:
        return [{"t": "LineBlock", "c": [self.inlines(line) for line in node["c"]]}]

    def _quote(self, node: Node) -> list[Node]:
        return [{"t": "BlockQuote", "c": self.blocks(node["c"])}]

    def _bullets(self, node: Node) -> list[Node]:
        return [{"t": "BulletList", "c": [self.blocks(item) for item in node["c"]]}]

    def _numbers(self, node: Node) -> list[Node]:
        style, items = node["c"]
        return [{"t": "OrderedList", "c": [style, [self.blocks(item) for item in items]]}]

    def _definitions(self, node: Node) -> list[Node]:
        pairs = [
            [self.inlines(term), [self.blocks(definition) for definition in definitions]]
            for term, definitions in node["c"]
        ]
        return [{"t": "DefinitionList", "c": pairs}]

    def _header(self, node: Node) -> list[Node]:
        depth, (ident, _, _), title = node["c"]
        label = self.anchors.define(ident)
        number = ast.get(node, "number") or ""
        return [self._heading(f"section{depth}", self._level + depth - 1, number, title, label)]

    def _rule(self, node: Node) -> list[Node]:
        return [markup.block("#bb-rule();")]

    def _raw_block(self, node: Node) -> list[Node]:
        return [node] if node["c"][0] == "typst" else []

    def _code_block(self, node: Node) -> list[Node]:
        (_, classes, _), source = node["c"]
        languages = [name for name in classes if name not in ("cell-code", "sourceCode")]
        lang = languages[0] if languages else None
        return [*self._anchor_block(node), self._listing("bb-code", source, lang=lang)]

    def _listing(self, function: str, source: str, **named: object) -> Node:
        source = _ANSI.sub("", source).rstrip("\n")
        shown = self.visible(source)
        if shown != source:
            named["note"] = _CODE_NOTE
        return markup.block(markup.call(function, shown, **named))

    def _figure(self, node: Node) -> list[Node]:
        _, (_, caption), body = node["c"]
        return [*self._anchor_block(node), *self._float(node, body, caption, kind="fig")]

    def _table(self, node: Node) -> list[Node]:
        anchor, (_, caption) = self._anchor_block(node), node["c"][1]
        if caption:
            bare = {"t": "Table", "c": [node["c"][0], [None, []], *node["c"][2:]]}
            return [*anchor, *self._float(node, [bare], caption, kind="tbl", top=True)]
        return [*anchor, *tables.table(node, self.blocks)]

    # --- our own divisions ------------------------------------------------------------------

    def _div(self, node: Node) -> list[Node]:
        anchor = self._anchor_block(node)
        for name in ast.classes_of(node):
            if method := _DIVS.get(name):
                return [*anchor, *method(self, node)]
        body = self.blocks(node["c"][1])
        if settings := language(node):
            body = [markup.block(f"#[#set text({settings})"), *body, markup.block("];")]
        return [*anchor, *body]

    def _content(self, nodes: Sequence[Node]) -> list[Node]:
        """``[…]`` around blocks; one paragraph stays on one line."""
        if not nodes:
            return [markup.block("none")]
        if len(nodes) == 1 and nodes[0]["t"] in ("Plain", "Para"):
            return [ast.plain(markup.wrap("[", self.inlines(nodes[0]["c"]), "]"))]
        return [markup.block("["), *self.blocks(nodes), markup.block("]")]

    def _titled(
        self, start: str, title: Sequence[Node], body: Sequence[Node], end: str = ""
    ) -> list[Node]:
        """A call with ``start``, then title and body as contents, then ``end``."""
        return [
            markup.block(start + ","),
            *self._content(title),
            markup.block(", ["),
            *self.blocks(body),
            markup.block(f"]{end});"),
        ]

    def _callout(self, node: Node) -> list[Node]:
        title, body = split(node)
        kind = next((name for name in ast.classes_of(node) if name in _CALLOUTS), "note")
        look = ast.get(node, "appearance") or "default"
        icon = "false" if ast.get(node, "icon") == "false" else "true"
        end = f", icon: {icon}, appearance: {markup.string(look)}"
        return self._titled(markup.opening("bb-callout", kind), title, body, end)

    def _tabset(self, node: Node) -> list[Node]:
        out: list[Node] = []
        for tab in node["c"][1]:
            out += [*self._anchor_block(tab), *self._titled("#bb-tab(none", *split(tab))]
        return out

    def _entry(self, node: Node) -> list[Node]:
        return [markup.block("#bb-entry["), *self.blocks(node["c"][1]), markup.block("];")]

    def _output(self, node: Node) -> list[Node]:
        error = ast.has_class(node, "cell-output-error")
        out: list[Node] = []
        for child in node["c"][1]:
            if child["t"] == "CodeBlock":
                out.append(self._listing("bb-output", child["c"][1], error=error))
            else:
                out += self.blocks([child])
        return out

    def _float_div(self, node: Node) -> list[Node]:
        caption, body = split(node)
        kind = ast.get(node, "kind") or "fig"
        return self._float(node, body, caption, kind=kind, top=kind == "tbl")

    def _float(
        self,
        node: Node,
        body: Sequence[Node],
        caption: Sequence[Node],
        *,
        kind: str,
        top: bool = False,
    ) -> list[Node]:
        number = ast.get(node, "number") or ""
        name = (ast.get(node, "label") or "").removesuffix(number).strip(" \u00a0")
        options = markup.arguments({"top": top, "floating": ast.ident_of(node) in self._floating})
        start = markup.opening("bb-float", kind, name, number)
        return self._titled(start, caption, body, f", {options}")


_PAGE = 4000
"""Characters of text that fill a page."""


def _floating(chapter: Chapter) -> set[str]:
    """Figures that may move: none of the first page of a chapter, which Typst would leave behind on
    the page before where the chapter moves to a new one, and not the last, which would stand in the
    next chapter."""
    found: list[str] = []
    length = 0
    for node in ast.descend(list(chapter.blocks)):
        if node["t"] == "Str":
            length += len(node["c"]) + 1
        elif node["t"] == "CodeBlock":
            length += 90 * (node["c"][1].count("\n") + 1)
        elif ast.is_div(node, "bb-float") and ast.get(node, "kind") == "fig":
            found += [ast.ident_of(node)] if length > _PAGE else []
            length += _PAGE // 4
    return set(found[:-1])


_Method = Callable[[Writer, Node], list[Node]]

_BLOCKS: dict[str, _Method] = {
    "Para": Writer._paragraph,
    "Plain": Writer._paragraph,
    "LineBlock": Writer._line_block,
    "BlockQuote": Writer._quote,
    "BulletList": Writer._bullets,
    "OrderedList": Writer._numbers,
    "DefinitionList": Writer._definitions,
    "Header": Writer._header,
    "HorizontalRule": Writer._rule,
    "RawBlock": Writer._raw_block,
    "CodeBlock": Writer._code_block,
    "Figure": Writer._figure,
    "Table": Writer._table,
    "Div": Writer._div,
}
_DIVS: dict[str, _Method] = {
    "bb-callout": Writer._callout,
    "bb-tabset": Writer._tabset,
    "bb-float": Writer._float_div,
    "cell-output": Writer._output,
    "csl-entry": Writer._entry,
}
