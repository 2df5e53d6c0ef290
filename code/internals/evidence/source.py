"""A chapter's source taken apart for the linter: prose, cells, inline code, divisions, labels.

Everything keeps its line. What is not prose (code, mathematics, links, attributes, references) is
blanked out rather than cut, so that positions stay true. Nothing is executed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> {0,3}|[ \t>]*)(?P<fence>`{3,}|~{3,})\s*(?P<info>.*)$")
_DIV = re.compile(r"^\s*(?P<colons>:{3,})\s*(?P<rest>.*?)\s*$")
_OPTION = re.compile(r"^\s*#\|\s*(?P<key>[\w-]+)\s*:\s*(?P<value>.*?)\s*$")
_INLINE = re.compile(r"(?P<ticks>`+)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)", re.S)
_ATTRIBUTES = re.compile(r"\{(?=[#.]|\s*[\w-]+=)(?:[^{}\"']|\"[^\"]*\"|'[^']*')*\}")
_IDENTIFIER = re.compile(r"(?:^|[\s{])#(?P<id>[A-Za-z][\w:.-]*)")
_PAIR = re.compile(r"(?P<key>[\w-]+)=(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>\S+))")
_CLASS = re.compile(r"(?:^|[\s{])\.(?P<name>[\w-]+)")
_REFERENCE = re.compile(r"(?<![\w\\])-?@(?P<key>[A-Za-z0-9_][\w:.#$%&+?<>~/-]*\w|\w)")
_FRONT_PROSE = re.compile(r"^(title|subtitle|description|abstract)\s*:\s*", re.I)

_BLANKED = (
    re.compile(r"<!--.*?-->", re.S),
    re.compile(r"\{\{<.*?>\}\}", re.S),
    re.compile(r"\$\$.*?\$\$", re.S),
    re.compile(r"(?<![\\$])\$(?!\s)(?:\\.|[^$\\])+?(?<!\s)\$(?!\d)", re.S),
    re.compile(r"\[[^\][]*@[^\]]*\]"),  # citations with pages, bracketed references
    re.compile(r"(?<=\])\((?:[^()\n]|\([^()\n]*\))*\)"),  # targets of links
    re.compile(r"^\s*\[[^\]]+\]:.*$", re.M),  # link definitions (and, below, footnote marks)
    re.compile(r"\[\^[^\]]+\]:?"),
    re.compile(r"<https?:[^>]*>|https?://\S+"),
    re.compile(r"</?[A-Za-z][^<>]*>"),
    re.compile(r"^\s*(?:>\s*)*\d+[.)](?=\s)", re.M),  # list numbers
    re.compile(r"(?<=#)\s+\d+(?:\.\d+)*\.?(?=\s)"),  # numbers typed into headings
)


@dataclass(frozen=True)
class Cell:
    """An executable cell."""

    line: int
    """Line of the first line of code (options included)."""
    code: str
    options: dict[str, tuple[int, str]]
    """Option name to line and value."""


@dataclass(frozen=True)
class Div:
    """A fenced division with its elder sibling."""

    line: int
    classes: tuple[str, ...]
    attributes: dict[str, str]
    identifier: str
    elder: Div | None
    """The division that ends directly before this one, with nothing in between."""


@dataclass(frozen=True)
class Label:
    """A place that can be referenced."""

    line: int
    id: str


@dataclass
class Chapter:
    """One source file, taken apart; made by `read_chapter`."""

    path: Path
    name: str
    """Path as the reader of a message should see it."""
    prose: str = ""
    cells: list[Cell] = field(default_factory=list)
    inline: list[tuple[int, str]] = field(default_factory=list)
    """Line and expression of inline code."""
    divs: list[Div] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    references: list[Label] = field(default_factory=list)
    """Keys after ``@``: cross-references and citations."""
    images: list[tuple[int, str, dict[str, str]]] = field(default_factory=list)
    """Line, caption and attributes of figures written in Markdown."""
    faults: list[tuple[int, str]] = field(default_factory=list)
    """Structure that cannot be read."""
    attribute_prose: list[tuple[int, str]] = field(default_factory=list)
    """Captions and alternative texts in attributes and cell options."""


def read_chapter(path: Path, name: str | None = None) -> Chapter:
    """Take a ``.qmd`` file apart."""
    chapter = Chapter(path, name or str(path))
    lines = path.read_text("utf-8").splitlines()
    _blank_front_matter(lines)
    _take_code(chapter, lines)
    text = _take_inline("\n".join(lines), chapter)
    text = re.sub(r"<!--.*?-->", _blank, text, flags=re.S)
    text = _take_divs(text, chapter)
    text = _take_images(text, chapter)
    text = _take_attributes(text, chapter)
    _take_references(text, chapter)
    for pattern in _BLANKED:
        text = pattern.sub(_blank, text)
    chapter.prose = _REFERENCE.sub(_blank, text)
    return chapter


def line_at(text: str, position: int) -> int:
    """Line number (from 1) of a position."""
    return text.count("\n", 0, position) + 1


def _blank(match: re.Match[str]) -> str:
    """Spaces of the same shape."""
    return re.sub(r"[^\n]", " ", match.group(0))


def _blank_front_matter(lines: list[str]) -> None:
    """Keep titles and descriptions, blank the other settings."""
    if not lines or lines[0].strip() != "---":
        return
    for index, line in enumerate(lines):
        if index and line.strip() in {"---", "..."}:
            lines[index] = ""
            break
        lines[index] = line if _FRONT_PROSE.match(line) else ""
    lines[0] = ""


def _take_code(chapter: Chapter, lines: list[str]) -> None:
    """Collect cells and blank every code block."""
    fence, start, info = "", 0, ""
    for index, line in enumerate(lines):
        match = _FENCE.match(line)
        if not fence and match and "`" not in match["info"]:
            fence, start, info = match["fence"], index, match["info"]
            lines[index] = ""
        elif fence:
            closes = match and not match["info"] and match["fence"].startswith(fence)
            if closes and info.replace(" ", "").startswith(("{python", "{{python")):
                _add_cell(chapter, start, index, chapter.path.read_text("utf-8").splitlines())
            fence = "" if closes else fence
            lines[index] = ""
    if fence:
        chapter.faults.append((start + 1, "this code block is never closed"))


def _add_cell(chapter: Chapter, start: int, end: int, source: list[str]) -> None:
    options: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(source[start + 1 : end], start + 2):
        match = _OPTION.match(line)
        if match:
            options[match["key"]] = (number, match["value"].strip("\"'"))
    chapter.cells.append(Cell(start + 2, "\n".join(source[start + 1 : end]), options))
    if "label" in options:
        chapter.labels.append(Label(*options["label"]))
    for key in ("fig-cap", "tbl-cap", "lst-cap", "fig-alt"):
        if key in options:
            chapter.attribute_prose.append(options[key])


def _take_inline(text: str, chapter: Chapter) -> str:
    def take(match: re.Match[str]) -> str:
        code = match["code"].strip()
        if code.startswith("{python}"):
            line = line_at(text, match.start())
            chapter.inline.append((line, code.removeprefix("{python}").strip()))
        return _blank(match)

    return _INLINE.sub(take, text)


def _take_divs(text: str, chapter: Chapter) -> str:
    """Collect fenced divisions with their siblings, and blank their fences."""
    stack: list[tuple[int, Div | None]] = []
    elder: Div | None = None
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        match = _DIV.match(line)
        if not match:
            elder = elder if not line.strip() else None
            continue
        lines[number - 1] = ""
        if match["rest"].strip(":").strip():
            div = _div(number, match["rest"], elder)
            chapter.divs.append(div)
            if div.identifier:
                chapter.labels.append(Label(number, div.identifier))
            stack.append((number, div))
            elder = None
        elif stack:
            elder = stack.pop()[1]
        else:
            chapter.faults.append((number, "this ::: closes no division"))
    chapter.faults += [(number, "this division is never closed") for number, _ in stack]
    return "\n".join(lines)


def _div(line: int, rest: str, elder: Div | None) -> Div:
    if not rest.startswith("{"):
        return Div(line, (rest.split()[0],), {}, "", elder)
    classes, attributes, identifier = parse_attributes(rest)
    # Pandoc takes id="…" for the identifier; the linter must not take a claim id for a label.
    return Div(line, classes, attributes, identifier, elder)


def parse_attributes(text: str) -> tuple[tuple[str, ...], dict[str, str], str]:
    """Classes, pairs and identifier of ``{#id .class key="value"}``."""
    pairs = {m["key"]: m["double"] or m["single"] or m["bare"] or "" for m in _PAIR.finditer(text)}
    rest = _PAIR.sub(" ", text).strip("{} ")
    found = _IDENTIFIER.search(rest)
    return (
        tuple(m["name"] for m in _CLASS.finditer(rest)),
        pairs,
        found["id"] if found else "",
    )


def _take_images(text: str, chapter: Chapter) -> str:
    pattern = re.compile(r"!\[(?P<caption>[^\]]*)\]\([^)]*\)(?P<attributes>\{[^{}]*\})?")
    for match in pattern.finditer(text):
        _, attributes, identifier = parse_attributes(match["attributes"] or "{}")
        pairs = {**attributes, "id": identifier}
        chapter.images.append((line_at(text, match.start()), match["caption"].strip(), pairs))
    return text


def _take_attributes(text: str, chapter: Chapter) -> str:
    def take(match: re.Match[str]) -> str:
        classes, pairs, identifier = parse_attributes(match.group(0))
        line = line_at(text, match.start())
        if identifier:
            chapter.labels.append(Label(line, identifier))
        chapter.attribute_prose += [
            (line, pairs[key]) for key in ("fig-alt", "fig-cap", "tbl-cap") if key in pairs
        ]
        if {"when", "when-claim", "written-for", "otherwise"} & set(classes):
            chapter.divs.append(Div(line, classes, pairs, identifier, None))
        return _blank(match)

    return _ATTRIBUTES.sub(take, text)


def _take_references(text: str, chapter: Chapter) -> None:
    for match in _REFERENCE.finditer(text):
        chapter.references.append(Label(line_at(text, match.start()), match["key"]))
    for match in re.finditer(r"\]\((?:[\w./-]+\.qmd)?#(?P<id>[\w:.-]+)\)", text):
        chapter.references.append(Label(line_at(text, match.start()), match["id"]))
    for _, caption in chapter.attribute_prose:
        for match in _REFERENCE.finditer(caption):
            chapter.references.append(Label(0, match["key"]))
