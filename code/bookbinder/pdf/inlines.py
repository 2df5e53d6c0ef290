"""Inline elements for Pandoc's Typst writer: words, code, links, formulas, notes, images."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from bookbinder import ast, fonts
from bookbinder.model import Node
from bookbinder.pdf import markup
from bookbinder.pdf.anchors import Anchors
from bookbinder.pdf.markup import Code

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(px|in|cm|mm|pt|em|%)?")
_EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_LONG_WORD = 28
"""Words from this length on may be broken anywhere (addresses, identifiers)."""

_CALLS = {
    "Emph": "emph",
    "Strong": "strong",
    "Strikeout": "strike",
    "Superscript": "super",
    "Subscript": "sub",
    "SmallCaps": "smallcaps",
    "Underline": "underline",
}
_SPAN_CALLS = {"mark": "highlight", "smallcaps": "smallcaps", "underline": "underline"}


class InlineWriter:
    """Turns inlines into inlines that Pandoc's Typst writer prints as meant."""

    def __init__(self, anchors: Anchors) -> None:
        self.anchors = anchors
        self.replaced: set[str] = set()
        """Characters that were printed as their numbers."""

    def inlines(self, nodes: Sequence[Node]) -> list[Node]:
        """Everything but blanks and formulas becomes source; words stay where that is safe."""
        out: list[Node] = []
        for node in nodes:
            kind = node["t"]
            if function := _CALLS.get(kind):
                out += markup.wrap(f"#{function}[", self.inlines(node["c"]))
            elif method := _INLINES.get(kind):
                out += method(self, node)
            else:
                out.append(node)
        return out

    def visible(self, text: str) -> str:
        """Text with what no font draws replaced by its number."""
        shown = fonts.visible_fallback(text)
        if shown != text:
            self.replaced.update(fonts.missing_glyphs(text))
        return shown

    def _str(self, node: Node) -> list[Node]:
        shown = self.visible(node["c"])
        if len(shown) >= _LONG_WORD:
            return [markup.inline(markup.call("bb-long", shown))]
        return [markup.word(shown)]

    def _soft_break(self, node: Node) -> list[Node]:
        return [ast.SPACE]

    def _code(self, node: Node) -> list[Node]:
        (_, classes, _), source = node["c"]
        named = {"lang": classes[0]} if classes else {}
        code = markup.call("raw", self.visible(source), **named)
        return [*self._anchor(node), markup.inline(code)]

    def _math(self, node: Node) -> list[Node]:
        start = markup.opening("bb-math", node["c"][1])
        return [markup.inline(start + ")["), node, markup.inline("];")]

    def _quoted(self, node: Node) -> list[Node]:
        single = node["c"][0]["t"] == "SingleQuote"
        left, right = ("‘", "’") if single else ("“", "”")
        return [markup.word(left), *self.inlines(node["c"][1]), markup.word(right)]

    def _cite(self, node: Node) -> list[Node]:
        return self.inlines(node["c"][1])

    def _link(self, node: Node) -> list[Node]:
        _, inlines, (url, _) = node["c"]
        inner = self.inlines(inlines)
        if url.startswith("#"):
            label = self.anchors.target(url[1:])
            return (
                inner
                if label is None
                else markup.wrap(f"#link(label({markup.string(label)}))[", inner)
            )
        if _EXTERNAL.match(url):
            return markup.wrap(f"#link({markup.string(url)})[", inner)
        return inner

    def _note(self, node: Node) -> list[Node]:
        out: list[Node] = []
        for i, block in enumerate(node["c"]):
            if i:
                out.append(markup.inline("#parbreak();"))
            if block["t"] in ("Para", "Plain"):
                out += self.inlines(block["c"])
            else:
                out += self.inlines(ast.text(ast.to_text(block)))
        return markup.wrap("#footnote[", out)

    def _span(self, node: Node) -> list[Node]:
        if ast.has_class(node, "bb-equation"):
            return [*self._anchor(node), *self._equation(node)]
        inner = self.inlines(node["c"][1])
        for name in ast.classes_of(node):
            if function := _SPAN_CALLS.get(name):
                inner = markup.wrap(f"#{function}[", inner)
        if settings := language(node):
            inner = markup.wrap(f"#text({settings})[", inner)
        return [*self._anchor(node), *inner]

    def _equation(self, node: Node) -> list[Node]:
        number = ast.get(node, "number") or ""
        math = next(item for item in node["c"][1] if item["t"] == "Math")
        start = markup.opening("bb-equation", number, math["c"][1])
        return [markup.inline(start + ")["), math, markup.inline("];")]

    def _raw(self, node: Node) -> list[Node]:
        return [node] if node["c"][0] == "typst" else []

    def _anchor(self, node: Node) -> list[Node]:
        label = self.anchors.define(ast.ident_of(node))
        return [] if label is None else [markup.inline(markup.call("bb-anchor", label))]

    def _image(self, node: Node) -> list[Node]:
        return [*self._anchor(node), markup.inline(f"#{image('bb-inline-image', node)};")]


_INLINES: dict[str, Callable[[InlineWriter, Node], list[Node]]] = {
    "Str": InlineWriter._str,
    "SoftBreak": InlineWriter._soft_break,
    "Code": InlineWriter._code,
    "Math": InlineWriter._math,
    "Quoted": InlineWriter._quoted,
    "Cite": InlineWriter._cite,
    "Link": InlineWriter._link,
    "Image": InlineWriter._image,
    "Note": InlineWriter._note,
    "Span": InlineWriter._span,
    "RawInline": InlineWriter._raw,
}


def image(function: str, node: Node) -> str:
    """A call (without ``#``) that prints an ``Image``; its inlines are the alternative text."""
    _, inlines, (url, _) = node["c"]
    named = {
        "alt": ast.to_text(inlines) or None,
        "width": length(ast.get(node, "width")),
        "height": length(ast.get(node, "height")),
    }
    return f"{function}({markup.string('/' + url.removeprefix('./'))}, {markup.arguments(named)})"


def length(value: str | None) -> Code:
    """A Typst length for ``50%``, ``3in``, ``300px`` or a bare number of pixels."""
    match = _LENGTH.fullmatch(value.strip()) if value else None
    if not match:
        return Code("auto")
    number, unit = match[1], match[2] or "px"
    return Code(f"{float(number) * 0.75:g}pt" if unit == "px" else number + unit)


def language(node: Node) -> str:
    """Arguments of ``text`` for the attributes ``lang`` and ``dir``."""
    parts = []
    if lang := (ast.get(node, "lang") or "").split("-")[0]:
        parts.append(f"lang: {markup.string(lang)}")
    if (direction := ast.get(node, "dir")) in ("rtl", "ltr"):
        parts.append(f"dir: {direction}")
    return ", ".join(parts)
