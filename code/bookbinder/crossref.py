"""Numbers and cross-references: chapters, sections, figures, tables and equations.

Numbers are those of Quarto's books: 1.2 for the second figure of chapter 1, A.1 in an appendix.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from bookbinder import ast
from bookbinder.errors import BookError
from bookbinder.model import Chapter, Node

NAMES = {"fig": "Figure", "tbl": "Table", "eq": "Equation", "sec": "Section"}
DEPTH = 3
"""Deepest numbered heading, as of Quarto's books."""
_FLOAT = re.compile(r"(fig|tbl)-.+")
_REFERENCE = re.compile(r"(fig|tbl|eq|sec)-.+")
_EQUATION = re.compile(r"\{#(eq-[\w:.-]+)\}")
_CALLOUT = re.compile(r"callout-(\w+)")


@dataclass
class Numbering:
    """What has been numbered so far, over all chapters."""

    chapters: int = 0
    appendices: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    """What a reference to each label says: ``Figure 1.2``, or a title where there is no number."""
    home: dict[str, str] = field(default_factory=dict)
    """Chapter of every id of the book."""


def number_chapter(numbering: Numbering, chapter: Chapter) -> Chapter:
    """Number a chapter and everything in it; bring floats and boxes into one form."""
    number = _chapter_number(numbering, chapter)
    counters = {"fig": 0, "tbl": 0, "eq": 0}
    sections: list[int] = []

    def add(name: str, text: str) -> None:
        if name in numbering.labels:
            raise BookError(f"the label “{name}” is used twice.", chapter.path, needle=name)
        numbering.labels[name] = text

    def numbered(name: str) -> str:
        """The next number of the label's kind."""
        kind = name.partition("-")[0]
        counters[kind] += 1
        found = f"{number}.{counters[kind]}" if number else str(counters[kind])
        add(name, f"{NAMES[kind]} {found}")
        return found

    def visit(node: Node) -> Any:
        kind = node["t"]
        if kind == "Header":
            _number_header(node, number, sections, add)
        elif kind in ("Div", "Table") and _FLOAT.fullmatch(ast.ident_of(node)):
            return _float(node, numbered, chapter.path)
        elif kind == "Para":
            return _equation(node, numbered)
        elif kind == "Div" and any(_CALLOUT.fullmatch(c) for c in ast.classes_of(node)):
            return _callout(node)
        return True

    if chapter.anchor.startswith("sec-"):
        name = "Appendix" if chapter.kind == "appendix" else "Chapter"
        add(chapter.anchor, f"{name} {number}" if number else chapter.title_text)
    blocks = _top_down(list(chapter.blocks), visit)
    for node in ast.descend(blocks):
        if name := ast.ident_of(node):
            numbering.home.setdefault(name, chapter.path)
    numbering.home.setdefault(chapter.anchor, chapter.path)
    return replace(chapter, number=number, blocks=tuple(blocks))


def _top_down(tree: Any, visit: Callable[[Node], Any]) -> Any:
    """Visit elements in the order of the text: a float before what it contains."""
    if isinstance(tree, list):
        return [_top_down(item, visit) for item in tree]
    if isinstance(tree, dict) and "t" in tree:
        new = visit(tree)
        node = tree if new is True else new
        if node["t"] == "Div":  # one that was built anew is not visited again
            node["c"] = [node["c"][0], _top_down(node["c"][1], visit)]
        elif "c" in node and new is True:
            node["c"] = _top_down(node["c"], visit)
        return node
    return tree


def _chapter_number(numbering: Numbering, chapter: Chapter) -> str | None:
    if chapter.number is None:
        return None
    if chapter.kind == "appendix":
        numbering.appendices += 1
        return chr(ord("A") + numbering.appendices - 1)
    numbering.chapters += 1
    return str(numbering.chapters)


def _number_header(
    node: Node, number: str | None, sections: list[int], add: Callable[[str, str], None]
) -> None:
    level, (name, _, _), title = node["c"]
    if ast.has_class(node, "unnumbered") or level < 2:
        return
    del sections[level - 1 :]
    sections += [0] * (level - 1 - len(sections))
    sections[level - 2] += 1
    shown = ".".join([number, *map(str, sections)]) if number and level <= DEPTH else ""
    if shown:
        ast.set_attr(node, "number", shown)
    if name.startswith("sec-"):
        add(name, f"Section {shown}" if shown else ast.to_text(title))


def _float(node: Node, numbered: Callable[[str], str], path: str) -> Node:
    """A figure or table as ``Div.bb-float [Div.bb-body, Div.bb-caption]``."""
    name = ast.ident_of(node)
    body, caption = _body_and_caption(node)
    if not caption:
        raise BookError(f"“{name}” has no caption.", path, needle=name)
    kind = name.partition("-")[0]
    number = numbered(name)
    inner = ast.div(body, classes=["bb-body"])
    title = ast.div([ast.plain(caption)], classes=["bb-caption"])
    label = f"{NAMES[kind]} {number}"
    return ast.div([inner, title], name, ["bb-float"], kind=kind, number=number, label=label)


def _body_and_caption(node: Node) -> tuple[list[Node], list[Node]]:
    """Of a division the caption is the last paragraph."""
    if node["t"] == "Div":
        *body, last = node["c"][1] or [ast.plain([])]
        return body, last["c"] if body and last["t"] == "Para" else []
    caption = node["c"][1][1]
    node["c"][0][0] = ""
    node["c"][1] = [None, []]
    return [node], caption[0]["c"] if caption else []


def _equation(node: Node, numbered: Callable[[str], str]) -> Any:
    """A paragraph of ``$$…$$ {#eq-x}`` alone becomes a numbered equation."""
    math, *_, last = node["c"] if len(node["c"]) > 1 else [{"t": ""}] * 2
    found = _EQUATION.fullmatch(last["c"]) if last["t"] == "Str" else None
    if math["t"] != "Math" or not found:
        return True
    number = numbered(found[1])
    return ast.para([ast.span([math], found[1], ["bb-equation"], number=number)])


def _callout(node: Node) -> Node:
    """``Div.bb-callout.<kind> [Div.bb-title, Div.bb-body]``."""
    kind = next(m[1] for c in ast.classes_of(node) if (m := _CALLOUT.fullmatch(c)))
    title = ast.text(ast.get(node, "title") or kind.capitalize())
    parts = [
        ast.div([ast.plain(title)], classes=["bb-title"]),
        ast.div(node["c"][1], classes=["bb-body"]),
    ]
    kept = {key: ast.get(node, key) or "" for key in ("collapse", "icon")}
    return ast.div(parts, ast.ident_of(node), ["bb-callout", kind], **kept)


def apply_references(chapter: Chapter, numbering: Numbering) -> Chapter:
    """Replace ``@fig-x`` and its like by links with their final text."""

    def visit(node: Node) -> Any:
        names = [c["citationId"] for c in node["c"][0]] if node["t"] == "Cite" else []
        if not (names and all(_REFERENCE.fullmatch(name) for name in names)):
            return True
        found: list[Node] = []
        for name in names:
            if name not in numbering.labels:
                message = f"“@{name}” refers to nothing; no such label is in the book."
                raise BookError(message, chapter.path, needle=f"@{name}")
            text = ast.text(numbering.labels[name].replace(" ", "\u00a0", 1))
            found += [*ast.text(", "), ast.link(text, f"#{name}", ["bb-xref"])]
        return found[len(ast.text(", ")) :]

    return replace(chapter, blocks=tuple(ast.walk(list(chapter.blocks), visit)))
