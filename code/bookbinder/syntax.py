"""The part of Quarto's Markdown that is understood; anything else is refused with file and line.

Read line by line in the source, before anything is executed, so that a mistake costs a second and
not a build. Pandoc's own Markdown (lists, notes, tables, formulas) passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bookbinder.errors import BookError

_SHORTCODE = re.compile(r"\{\{<\s*(/?[\w-]+)([^>]*)>\}\}")
_CODE = re.compile(r"(`+)(.+?)\1(?!`)")
_OTHER_INLINE = re.compile(r"`\{(\w+)\}\s")
_ATTRIBUTES = re.compile(r"(?<=[\])])\{([^{}]*)\}")
_HEADING = re.compile(r"#{1,6}\s.*?\{([^{}]*)\}\s*$")
_DIVISION = re.compile(r"\s*:{3,}\s*([^:\s].*?)\s*:*\s*$")
_CAPTION = re.compile(r"\s*(?:Table)?:\s.*\{([^{}]*)\}\s*$")
_PART = re.compile(
    r"""\#(?P<id>[^\s"'=]+)|\.(?P<cls>[^\s"'=]+)|(?P<key>[\w:-]+)=(?:"[^"]*"|'[^']*'|[^\s"']+)"""
    r"""|=(?P<raw>\w+)|(?P<bare>-)"""
)
_ANNOTATION = re.compile(r"#\s*<\d+>\s*$")
_LABEL = re.compile(
    r"(?:lst|thm|lem|cor|prp|cnj|def|exm|exr|rem|alg|sol|nte|tip|wrn|imp|cau|prf|vid)-\w"
)
_CELL_OPENING = "a cell is opened by ```{python} alone; its options are lines “#| key: value”"

_Known = dict[str, frozenset[str]]


def _each(names: str, attributes: str = "") -> _Known:
    """The same attributes for several classes, both written as words."""
    return dict.fromkeys(names.split(), frozenset(attributes.split()))


_BY_FILTERS: _Known = {
    **_each("when", "fact is not"),
    **_each("holds", "claims"),
}
"""Divisions and spans for which a book may have a filter of its own; so has ``.x-…``."""
_CONDITIONAL = _each("content-visible content-hidden", "when-format unless-format")

DIVISIONS: _Known = {
    **_each(
        "callout-note callout-tip callout-warning callout-important callout-caution",
        "title collapse icon appearance",
    ),
    **_CONDITIONAL,
    **_each("panel-tabset light-content dark-content nowrap"),
    **_each("stacked sortable filterable"),
    **_BY_FILTERS,
}
"""Classes of divisions and the attributes that have an effect on them."""
SPANS: _Known = {**_each("smallcaps underline mark nowrap"), **_CONDITIONAL, **_BY_FILTERS}
"""Classes of bracketed text and their attributes."""
_HEADINGS = _each("unnumbered")
_LANGUAGE = frozenset({"lang", "dir"})
_PICTURE = frozenset({"width", "height", "fig-alt", "alt"})
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Attributes:
    """What stands between braces."""

    identifier: str
    classes: tuple[str, ...]
    keys: tuple[str, ...]


class LineCheck:
    """Checks the lines of one chapter in order; it remembers open comments."""

    def __init__(self) -> None:
        self._comment = False

    def check(self, line: str, before: str, file: str, number: int) -> None:
        """Refuse what a line of Markdown outside code would lose.

        Raises:
            BookError: with file and line.
        """
        line = self._without_comments(line)
        for message in _faults(line, before):
            raise BookError(message + ".", file, number)

    def _without_comments(self, line: str) -> str:
        kept = ""
        while line:
            if self._comment:
                _, found, line = line.partition("-->")
                self._comment = not found
            else:
                # A comment's mark inside code is text.
                masked = _mask_code(line)
                at = masked.find("<!--")
                kept += line if at < 0 else line[:at]
                line = "" if at < 0 else line[at + 4 :]
                self._comment = at >= 0
        return kept


def check_fence(info: str, lines: list[str], file: str, number: int) -> None:
    """Refuse what a code block (not a cell) would lose; ``lines`` is its content.

    Raises:
        BookError: with file and line.
    """
    if found := re.match(r"\{(\w+)\}", info):
        raise BookError(f"cells in “{found[1]}” cannot be run here, only Python.", file, number)
    if re.match(r"\{+\w", info):
        raise BookError(f"{_CELL_OPENING}.", file, number)
    if info.startswith("{"):
        given = attributes(info.strip("{} "))
        if given is None or given.keys:
            raise BookError(f"the code block has attributes without effect: {info}.", file, number)
    refuse_annotations(lines, file, number)


def refuse_annotations(lines: list[str], file: str, number: int) -> None:
    """Marks such as ``# <1>`` at the end of a line of code would be printed as they stand."""
    for offset, line in enumerate(lines, start=1):
        if _ANNOTATION.search(line):
            raise BookError("code annotations are not known here.", file, number + offset)


def attributes(text: str) -> Attributes | None:
    """Identifier, classes and keys of ``#a .b c="d"``; None if it cannot be read."""
    rest = _PART.sub("", text)
    if rest.strip():
        return None
    found = list(_PART.finditer(text))
    return Attributes(
        next((m["id"] for m in found if m["id"]), ""),
        tuple(m["cls"] or "unnumbered" for m in found if m["cls"] or m["bare"]),
        tuple(m["key"] for m in found if m["key"]),
    )


def _faults(line: str, before: str) -> Iterator[str]:
    if (found := _OTHER_INLINE.search(line)) and found[1] != "python":
        yield f"inline code in “{found[1]}” cannot be run here, only Python"
    text = _mask_code(line)
    for shortcode in _SHORTCODE.finditer(text):
        yield f"the shortcode “{shortcode[1]}” is not known here"
    for reference in re.finditer(r"(?<![\w.])-?@([\w-]+)", text):
        if _LABEL.match(reference[1]):
            yield f"references to “{reference[1]}” are not known here"
    if division := _DIVISION.fullmatch(text):
        yield from _division(division[1], before)
    elif heading := _HEADING.match(text):
        yield from _judge(heading[1], _HEADINGS, frozenset({"keywords"}), "a heading")
    elif caption := _CAPTION.fullmatch(text):
        yield from _judge(caption[1], {}, _NOTHING, "a table's caption")
    yield from _bracketed(text)


def _division(spec: str, before: str) -> Iterator[str]:
    """A division that follows text directly would be read as part of its paragraph."""
    if before.strip() and not before.strip().startswith((":::", "```", "~~~", "#")):
        yield "a line that opens with ::: needs an empty line before it"
    if spec.startswith("{"):
        yield from _judge(spec.strip("{}"), DIVISIONS, _LANGUAGE, "a block")
    else:
        yield from _judge("." + spec, DIVISIONS, _LANGUAGE, "a block")


def _bracketed(text: str) -> Iterator[str]:
    """``[text]{…}``, ``![…](…){…}`` and ``[…](…){…}``."""
    for found in _ATTRIBUTES.finditer(text):
        before = text[: found.start()]
        target = before.endswith(")")
        picture = target and re.search(r"!\[[^\]]*\]\([^()]*\)$", before)
        if picture:
            yield from _judge(found[1], {}, _PICTURE, "a picture")
        elif target and re.search(r"\]\([^()]*\)$", before):
            yield from _judge(found[1], {}, _NOTHING, "a link")
        elif not target:
            yield from _judge(found[1], SPANS, _LANGUAGE, "a span")


def _judge(text: str, known: _Known, shared: frozenset[str], what: str) -> Iterator[str]:
    given = attributes(text)
    if given is None:
        yield f"the attributes {{{text}}} of {what} cannot be read"
        return
    if _LABEL.match(given.identifier):
        yield f"blocks with a label like “{given.identifier}” are not known here"
    allowed = set(shared)
    for name in given.classes:
        if name.startswith("x-"):
            return
        if name not in known:
            yield f"the class “.{name}” of {what} is not known here"
        allowed |= known.get(name, _NOTHING)
    for key in given.keys:
        if key not in allowed:
            yield f"the attribute “{key}” of {what} has no effect here"


def _mask_code(line: str) -> str:
    """The line with inline code and formulas blanked out, at the same places."""
    line = _CODE.sub(lambda m: "`" + " " * (len(m[0]) - 2) + "`", line)
    return re.sub(r"\\.", "  ", line)
