"""Reading and building Pandoc's JSON syntax tree: plain dicts, walkers and constructors.

Elements are ``{"t": type, "c": content}``; an ``attr`` is ``[id, classes, [[key, value], …]]``.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Node = dict[str, Any]
Attr = list[Any]
Replacement = Node | list[Node] | None

SPACE: Node = {"t": "Space"}

_ATTR_AT = {
    "Div": 0, "Span": 0, "Code": 0, "CodeBlock": 0, "Link": 0, "Image": 0,
    "Header": 1, "Figure": 0, "Table": 0,
}  # fmt: skip


def make_attr(
    ident: str = "", classes: Sequence[str] = (), attrs: dict[str, Any] | None = None
) -> Attr:
    """An ``attr`` triple; values are turned into text."""
    return [ident, list(classes), [[k, str(v)] for k, v in (attrs or {}).items()]]


def div(blocks: Sequence[Node], ident: str = "", classes: Sequence[str] = (), **attrs: Any) -> Node:
    """A ``Div``; an underscore in a keyword becomes a hyphen."""
    named = {key.replace("_", "-"): value for key, value in attrs.items()}
    return {"t": "Div", "c": [make_attr(ident, classes, named), list(blocks)]}


def span(
    inlines: Sequence[Node], ident: str = "", classes: Sequence[str] = (), **attrs: Any
) -> Node:
    """A ``Span``; an underscore in a keyword becomes a hyphen."""
    named = {key.replace("_", "-"): value for key, value in attrs.items()}
    return {"t": "Span", "c": [make_attr(ident, classes, named), list(inlines)]}


def link(inlines: Sequence[Node], url: str, classes: Sequence[str] = (), **attrs: Any) -> Node:
    """A ``Link`` without a title."""
    named = {key.replace("_", "-"): value for key, value in attrs.items()}
    return {"t": "Link", "c": [make_attr("", classes, named), list(inlines), [url, ""]]}


def text(string: str) -> list[Node]:
    """Inlines for plain text: words and spaces (a no-break space stays in its word)."""
    nodes: list[Node] = []
    for i, word in enumerate(string.split(" ")):
        if i:
            nodes.append(SPACE)
        if word:
            nodes.append({"t": "Str", "c": word})
    return nodes


def plain(inlines: Sequence[Node]) -> Node:
    """A ``Plain`` block."""
    return {"t": "Plain", "c": list(inlines)}


def para(inlines: Sequence[Node]) -> Node:
    """A ``Para`` block."""
    return {"t": "Para", "c": list(inlines)}


def raw_block(fmt: str, content: str) -> Node:
    """A ``RawBlock``."""
    return {"t": "RawBlock", "c": [fmt, content]}


def attr_of(node: Node) -> Attr:
    """The ``attr`` of an element, an empty one if its type has none (changes do not stick)."""
    at = _ATTR_AT.get(node.get("t", ""))
    return make_attr() if at is None else node["c"][at]


def ident_of(node: Node) -> str:
    """The identifier of an element, or an empty string."""
    return attr_of(node)[0]


def classes_of(node: Node) -> list[str]:
    """The classes of an element."""
    return attr_of(node)[1]


def has_class(node: Node, name: str) -> bool:
    """Whether an element carries a class."""
    return name in classes_of(node)


def get(node: Node, key: str, default: str | None = None) -> str | None:
    """An attribute's value."""
    for name, value in attr_of(node)[2]:
        if name == key:
            return value
    return default


def set_attr(node: Node, key: str, value: Any) -> None:
    """Set or replace an attribute in place."""
    pairs = attr_of(node)[2]
    for pair in pairs:
        if pair[0] == key:
            pair[1] = str(value)
            return
    pairs.append([key, str(value)])


def is_div(node: Node, cls: str | None = None) -> bool:
    """Whether a node is a ``Div`` (with a class)."""
    return node.get("t") == "Div" and (cls is None or has_class(node, cls))


def walk(tree: Any, visit: Callable[[Node], Replacement | bool]) -> Any:
    """Rebuild a tree bottom-up.

    ``visit`` sees every element after its children and answers ``True`` (keep, possibly changed
    in place), ``None`` or ``[]`` (remove), another element, or a list of them (splice).
    """
    if isinstance(tree, list):
        result: list[Any] = []
        for item in tree:
            if isinstance(item, dict) and "t" in item:
                new = _walk_node(item, visit)
                if new is True:
                    result.append(item)
                elif isinstance(new, list):
                    result.extend(new)
                elif new is not None:
                    result.append(new)
            else:
                result.append(walk(item, visit))
        return result
    if isinstance(tree, dict):
        if "t" in tree:
            new = _walk_node(tree, visit)
            return tree if new is True else new
        return {key: walk(value, visit) for key, value in tree.items()}
    return tree


def _walk_node(node: Node, visit: Callable[[Node], Replacement | bool]) -> Any:
    if "c" in node:
        node["c"] = walk(node["c"], visit)
    return visit(node)


def copied(tree: Any) -> Any:
    """A copy that shares nothing with ``tree``; ten times faster than `copy.deepcopy`."""
    return pickle.loads(pickle.dumps(tree, pickle.HIGHEST_PROTOCOL))


def descend(tree: Any) -> Iterator[Node]:
    """Every element below and including ``tree``, in document order."""
    left = [tree]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if "t" not in item:
                left.extend(reversed(item.values()))
                continue
            yield item
            item = item.get("c")
        if isinstance(item, list):
            left.extend(part for part in reversed(item) if isinstance(part, list | dict))
        elif isinstance(item, dict):
            left.append(item)


def to_text(tree: Any) -> str:
    """Plain text of inlines or blocks: for metadata, search and labels (notes left out)."""
    parts: list[str] = []
    _collect(tree, parts)
    return "".join(parts).strip()


_BREAKS = {"Space": " ", "SoftBreak": " ", "LineBreak": " "}
_BLOCKS = {"Para", "Plain", "Header", "CodeBlock", "LineBlock"}


def _collect(tree: Any, parts: list[str]) -> None:
    if isinstance(tree, list):
        for item in tree:
            _collect(item, parts)
        return
    if not isinstance(tree, dict):
        return
    kind = tree.get("t")
    if kind is None:
        for value in tree.values():
            _collect(value, parts)
    elif kind == "Str":
        parts.append(tree["c"])
    elif kind in _BREAKS:
        parts.append(_BREAKS[kind])
    elif kind in ("Code", "CodeBlock", "Math"):
        parts.append(tree["c"][1])
    elif kind == "Quoted":
        single = tree["c"][0]["t"] == "SingleQuote"
        parts.append("‘" if single else "“")
        _collect(tree["c"][1], parts)
        parts.append("’" if single else "”")
    elif kind not in ("Note", "RawInline", "RawBlock"):
        _collect(tree.get("c"), parts)
    if kind in _BLOCKS:
        parts.append("\n")
