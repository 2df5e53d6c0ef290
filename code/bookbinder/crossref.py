"""Numbers and cross-references: chapters, sections, figures, tables and equations.

Numbers are those of Quarto's books: 1.2 for the second figure of chapter 1, A.1 in an appendix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from bookbinder import ast
from bookbinder.errors import BookError
from bookbinder.model import Chapter, Label, Node

NAMES = {"fig": "Figure", "tbl": "Table", "eq": "Equation", "sec": "Section"}
_FLOAT = re.compile(r"(fig|tbl)-.+")
_FLOATS = ("Div", "Figure", "Table")
_REFERENCE = re.compile(r"([Ff]ig|[Tt]bl|[Ee]q|[Ss]ec)-.+")
_EQUATION = re.compile(r"\{#(eq-[\w:.-]+)\}")
_BLANKS = ("Space", "SoftBreak")
_CALLOUT = re.compile(r"callout-(note|tip|warning|important|caution)")


@dataclass
class Numbering:
    """What has been numbered so far, over all chapters."""

    depth: int = 3
    """Deepest numbered heading (``number-depth``)."""
    chapters: int = 0
    appendices: int = 0
    labels: dict[str, Label] = field(default_factory=dict)
    home: dict[str, str] = field(default_factory=dict)
    """Chapter of every id of the book."""


def number_chapter(numbering: Numbering, chapter: Chapter) -> Chapter:
    """Number a chapter and everything in it; bring floats and boxes into one form."""
    number = _chapter_number(numbering, chapter)
    counters = {"fig": 0, "tbl": 0, "eq": 0}
    sections: list[int] = []

    def add(name: str, kind: str, label: str, title: str) -> None:
        if name in numbering.labels:
            raise BookError(f"the label “{name}” is used twice.", chapter.path, needle=name)
        text = f"{NAMES[kind]} {label}".strip()
        if kind == "sec" and name == chapter.anchor:
            text = f"{'Appendix' if chapter.kind == 'appendix' else 'Chapter'} {label}"
        numbering.labels[name] = Label(name, kind, label, text, chapter.path, title)

    def next_number(kind: str) -> str:
        counters[kind] += 1
        return f"{number}.{counters[kind]}" if number else str(counters[kind])

    def visit(node: Node) -> Any:
        kind = node["t"]
        if kind == "Header":
            _number_header(node, number, sections, add, numbering.depth)
        elif kind in _FLOATS and _FLOAT.fullmatch(ast.ident_of(node)):
            return _float(node, next_number, add, chapter.path)
        elif kind == "Para":
            return _equations(node, next_number, add)
        elif kind == "Div" and any(_CALLOUT.fullmatch(c) for c in ast.classes_of(node)):
            return _callout(node)
        elif kind == "Div" and ast.has_class(node, "panel-tabset"):
            return _tabset(node, chapter.path)
        elif kind == "Div" and ast.has_class(node, "cell"):
            return node
        return True

    if chapter.anchor.startswith("sec-"):
        add(chapter.anchor, "sec", number or "", chapter.title_text)
    blocks = _top_down(list(chapter.blocks), visit)
    for node in ast.descend(blocks):
        if name := ast.ident_of(node):
            numbering.home.setdefault(name, chapter.path)
    numbering.home.setdefault(chapter.anchor, chapter.path)
    return replace(chapter, number=number, blocks=tuple(blocks))


def _top_down(tree: Any, visit: Any) -> Any:
    """Visit elements in the order of the text: a float before what it contains."""
    if isinstance(tree, list):
        done: list[Any] = []
        for item in tree:
            new = _top_down(item, visit)
            done += new if isinstance(new, list) and isinstance(item, dict) else [new]
        return done
    if isinstance(tree, dict) and "t" in tree:
        new = visit(tree)
        node = tree if new is True else new
        if isinstance(node, dict) and "c" in node:
            node["c"] = _top_down(node["c"], visit) if new is True else _inside(node, visit)
        return node
    return tree


def _inside(node: Node, visit: Any) -> Any:
    """Visit what a rebuilt element contains, but not the element itself again."""
    content = node["c"]
    if node["t"] in ("Div", "Span"):
        return [content[0], _top_down(content[1], visit)]
    return content


def _chapter_number(numbering: Numbering, chapter: Chapter) -> str | None:
    if chapter.number is None or chapter.kind == "index":
        return None
    if chapter.kind == "appendix":
        numbering.appendices += 1
        return chr(ord("A") + numbering.appendices - 1)
    if chapter.kind == "chapter":
        numbering.chapters += 1
        return str(numbering.chapters)
    return None


def _number_header(
    node: Node, number: str | None, sections: list[int], add: Any, depth: int
) -> None:
    level, _, title = node["c"]
    if ast.has_class(node, "unnumbered") or level < 2:
        return
    del sections[level - 1 :]
    sections += [0] * (level - 1 - len(sections))
    sections[level - 2] += 1
    label = ".".join([*([number] if number else []), *map(str, sections)])
    shown = label if number and level <= depth else ""
    if shown:
        ast.set_attr(node, "number", shown)
    if ast.ident_of(node).startswith("sec-"):
        add(ast.ident_of(node), "sec", shown, ast.to_text(title))


def _float(node: Node, next_number: Any, add: Any, path: str) -> Node:
    """A float of any origin as ``Div.bb-float [Div.bb-body, Div.bb-caption]``."""
    name = ast.ident_of(node)
    kind = name.split("-")[0]
    body, caption = _body_and_caption(node)
    if not caption:
        raise BookError(f"“{name}” has no caption.", path, needle=name)
    for inner in ast.descend(body):
        if _FLOAT.fullmatch(ast.ident_of(inner)):
            part = ast.ident_of(inner)
            raise BookError(
                f"“{part}” stands inside “{name}”, but figures within figures are not known here.",
                path,
                needle=part,
            )
    number = next_number(kind)
    add(name, kind, number, ast.to_text(caption))
    inner = ast.div(body, classes=["bb-body"])
    title = ast.div([ast.plain(caption)], classes=["bb-caption"])
    label = f"{NAMES[kind]} {number}"
    return ast.div([inner, title], name, ["bb-float"], kind=kind, number=number, label=label)


def _body_and_caption(node: Node) -> tuple[list[Node], list[Node]]:
    kind = node["t"]
    if kind == "Div":
        blocks = list(node["c"][1])
        if blocks and blocks[-1]["t"] in ("Para", "Plain") and len(blocks) > 1:
            return blocks[:-1], blocks[-1]["c"]
        return blocks, []
    caption = node["c"][1]
    long = caption[1]
    inlines = long[0]["c"] if long else []
    node["c"][0][0] = ""
    node["c"][1] = [None, []]
    if kind == "Figure":
        return list(node["c"][2]), inlines
    return [node], inlines


def _equations(node: Node, next_number: Any, add: Any) -> Any:
    """``$$…$$ {#eq-x}`` becomes a numbered equation, also in the middle of a paragraph."""
    inlines = node["c"]
    parts: list[Node] = []
    rest: list[Node] = []
    at = 0
    while at < len(inlines):
        end, name = _labelled(inlines, at)
        if name:
            parts += _paragraph(rest)
            number = next_number("eq")
            add(name, "eq", number, "")
            equation = ast.span([inlines[at]], name, ["bb-equation"], number=number)
            parts.append(ast.para([equation]))
            rest = []
        else:
            rest.append(inlines[at])
        at = end
    return [*parts, *_paragraph(rest)] if parts else True


def _labelled(inlines: list[Node], at: int) -> tuple[int, str]:
    """End of what begins at ``at``, and the label if it is a displayed formula that has one."""
    math = inlines[at]
    if math["t"] != "Math" or math["c"][0]["t"] != "DisplayMath":
        return at + 1, ""
    end = at + 1
    while end < len(inlines) and inlines[end]["t"] in _BLANKS:
        end += 1
    mark = inlines[end]["c"] if end < len(inlines) and inlines[end]["t"] == "Str" else ""
    found = _EQUATION.fullmatch(mark)
    return (end + 1, found[1]) if found else (at + 1, "")


def _paragraph(inlines: list[Node]) -> list[Node]:
    while inlines and inlines[0]["t"] in _BLANKS:
        inlines = inlines[1:]
    while inlines and inlines[-1]["t"] in _BLANKS:
        inlines = inlines[:-1]
    return [ast.para(inlines)] if inlines else []


def _callout(node: Node) -> Node:
    """``Div.bb-callout.<kind> [Div.bb-title, Div.bb-body]``."""
    kind = next(m[1] for c in ast.classes_of(node) if (m := _CALLOUT.fullmatch(c)))
    blocks = list(node["c"][1])
    title = ast.text(ast.get(node, "title") or kind.capitalize())
    if blocks and blocks[0]["t"] == "Header":
        title = blocks.pop(0)["c"][2]
    parts = [
        ast.div([ast.plain(title)], classes=["bb-title"]),
        ast.div(blocks, classes=["bb-body"]),
    ]
    return ast.div(
        parts,
        ast.ident_of(node),
        ["bb-callout", kind],
        collapse=ast.get(node, "collapse") or "",
        icon=ast.get(node, "icon") or "true",
        appearance=ast.get(node, "appearance") or "default",
    )


def _tabset(node: Node, path: str) -> Node:
    """``Div.bb-tabset [Div.bb-tab [Div.bb-title, Div.bb-body] …]``; headings begin the tabs."""
    tabs: list[Node] = []
    for block in node["c"][1]:
        if block["t"] == "Header":
            title = ast.div([ast.plain(block["c"][2])], classes=["bb-title"])
            tabs.append(ast.div([title, ast.div([], classes=["bb-body"])], classes=["bb-tab"]))
        elif tabs:
            tabs[-1]["c"][1][1]["c"][1].append(block)
        else:
            raise BookError(
                "a tab set must begin with a heading, the title of its first tab.",
                path,
                needle="panel-tabset",
            )
    return ast.div(tabs, ast.ident_of(node), ["bb-tabset"])


def apply_references(chapter: Chapter, numbering: Numbering) -> Chapter:
    """Replace ``@fig-x`` and its like by links with their final text."""

    def visit(node: Node) -> Any:
        if node["t"] != "Cite":
            return True
        names = [c["citationId"] for c in node["c"][0]]
        if not all(_REFERENCE.fullmatch(name) for name in names):
            return True
        found: list[Node] = []
        for i, citation in enumerate(node["c"][0]):
            found += ast.text(", ") if i else []
            found.append(_reference(citation, numbering, chapter.path))
            found += citation["citationSuffix"]
        return found

    return replace(chapter, blocks=tuple(ast.walk(list(chapter.blocks), visit)))


def _reference(citation: dict[str, Any], numbering: Numbering, path: str) -> Node:
    """``@fig-x`` as a link; ``[Fig. @fig-x, left]`` takes the author's words for the name."""
    given = citation["citationId"]
    name = given[0].lower() + given[1:]
    label = numbering.labels.get(name)
    if label is None:
        raise BookError(
            f"“@{given}” refers to nothing; no such label is in the book.", path, needle=f"@{given}"
        )
    prefix = ast.to_text(citation["citationPrefix"])
    bare = citation["citationMode"]["t"] == "SuppressAuthor" or bool(prefix)
    text = (label.number if bare else label.text) or label.title
    shown = f"{prefix} {text}" if prefix else text
    link = ast.link(ast.text(shown.replace(" ", "\u00a0", 1)), f"#{name}", ["bb-xref"], target=name)
    return link
