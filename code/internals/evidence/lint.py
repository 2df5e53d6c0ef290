"""The linter of the chapters: numbers typed by hand, claims without measurement, loose labels.

It reads sources and reports file and line; it runs nothing. Exceptions stand, with their reason, in
``report/lint-allow.yaml``; an exception that is no longer needed is a problem too.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from internals import paths
from internals.errors import UserError
from internals.evidence import store
from internals.evidence.claims import VERDICTS
from internals.evidence.source import Chapter, Div, Label, line_at, read_chapter
from internals.evidence.usage import (
    Registration,
    Usage,
    claim_keys,
    is_literal_number,
    names_in,
    read_usage,
)

ALLOW_FILE = "report/lint-allow.yaml"

_NUMBER = re.compile(r"(?<![\w\\])[-−+]?\d[\d.,]*(?:\s?%)?")
_PERCENT_WORD = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|"
    r"fifty|sixty|seventy|eighty|ninety|hundred)[\s-]+(?:percent|per\s+cent)\b",
    re.I,
)
_TOUCHING = re.compile(r"[^`]``\{python\} ")
_SPAN_AFTER_CITATION = re.compile(r"\[[^\[\]]*(?<!\w)@\w[^\[\]]*\]\[")
_CROSSREF = re.compile(r"(fig|tbl|eq|lst|sec)-")
_MUST_BE_CITED = re.compile(r"(fig|tbl|eq|lst)-")
_BUILTINS = set(dir(builtins))
_CONDITIONS = {"written-for", "when", "when-claim"}


@dataclass(frozen=True, order=True)
class Problem:
    """What is wrong, and where."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


def _touching(chapter: Chapter) -> Iterator[tuple[int, str]]:
    """Inline values with nothing between: Quarto replaces the first and prints the other."""
    for line, text in enumerate(chapter.path.read_text("utf-8").splitlines(), 1):
        if _TOUCHING.search(text):
            yield line, "two inline values touch, which Quarto cannot read; write &NoBreak; between"


def _span_after_citation(chapter: Chapter) -> Iterator[tuple[int, str]]:
    """A citation and a span with nothing between: Pandoc reads ``[a][b]`` as one link."""
    for line, text in enumerate(chapter.path.read_text("utf-8").splitlines(), 1):
        if _SPAN_AFTER_CITATION.search(text):
            yield line, "a span touches the citation before it; write &NoBreak; between"


@dataclass
class Exemption:
    """One entry of the allow-list."""

    pattern: re.Pattern[str]
    reason: str
    line: int
    used: bool = False


class AllowListError(UserError):
    """The allow-list cannot be read."""


def lint_book(root: Path | None = None, *, facts: Collection[str] | None = None) -> list[Problem]:
    """Lint every chapter that ``_quarto.yml`` names, and the allow-list."""
    root = root or paths.ROOT
    files = [root / name for name in store.book_files(root) if (root / name).is_file()]
    return lint_chapters(files, root=root, facts=facts, whole_book=True)


def lint_chapters(
    files: Iterable[Path],
    *,
    root: Path | None = None,
    facts: Collection[str] | None = None,
    whole_book: bool = False,
) -> list[Problem]:
    """Problems in ``files``, by file and line.

    Labels, references and claim ids are looked up in the whole book. ``facts``: names that a
    chapter may ask for (by default the fields of `ModelFacts`). ``whole_book``: also report
    exceptions that nothing needs.
    """
    root = root or paths.ROOT
    wanted = [path.resolve() for path in files]
    others = [(root / name).resolve() for name in store.book_files(root)]
    readable = [p for p in dict.fromkeys([*wanted, *others]) if p.is_file()]
    book = [(read_chapter(path, _name(path, root)), path in wanted) for path in readable]
    usages = {chapter.name: read_usage(chapter) for chapter, _ in book}
    allowed, problems = _read_allow_list(root)
    context = _Context(
        chapters=[chapter for chapter, _ in book],
        usages=usages,
        facts=set(known_facts() if facts is None else facts),
        allowed=allowed,
    )
    for chapter, is_wanted in book:
        found = sorted(context.problems_of(chapter))  # always run: it marks exceptions as used
        problems += found if is_wanted else []
    if whole_book:
        problems += [
            Problem(ALLOW_FILE, e.line, f"nothing needs the exception “{e.pattern.pattern}”")
            for e in allowed
            if not e.used
        ]
    return sorted(problems)


def known_facts() -> set[str]:
    """Names of the facts that every model has."""
    import dataclasses

    from internals.models import ModelFacts

    derived = {n for n, member in vars(ModelFacts).items() if isinstance(member, property)}
    return {f.name for f in dataclasses.fields(ModelFacts)} | derived | {"name", "spec"}


@dataclass
class _Context:
    """The book as a whole, against which one chapter is checked."""

    chapters: Sequence[Chapter]
    usages: dict[str, Usage]
    facts: set[str]
    allowed: list[Exemption]

    def __post_init__(self) -> None:
        self.claims: dict[str, list[tuple[str, Registration]]] = {}
        self.labels: dict[str, list[tuple[str, Label]]] = {}
        self.cited: set[str] = set()
        for chapter in self.chapters:
            for claim in self.usages[chapter.name].registered:
                self.claims.setdefault(claim.id, []).append((chapter.name, claim))
            for label in chapter.labels:
                self.labels.setdefault(label.id, []).append((chapter.name, label))
            self.cited |= {reference.id.rstrip(".") for reference in chapter.references}

    def problems_of(self, chapter: Chapter) -> Iterator[Problem]:
        usage = self.usages[chapter.name]
        checks = (
            chapter.faults,
            usage.faults,
            self._typed_numbers(chapter, usage),
            self._claims(chapter, usage),
            self._inline(chapter, usage),
            self._divs(chapter),
            self._labels(chapter),
            self._figures(chapter),
            _touching(chapter),
            _span_after_citation(chapter),
        )
        for check in checks:
            for line, message in check:
                yield Problem(chapter.name, line, message)

    def _typed_numbers(self, chapter: Chapter, usage: Usage) -> Iterator[tuple[int, str]]:
        prose = list(enumerate(chapter.prose.split("\n"), 1))
        for line, text in [*prose, *chapter.attribute_prose, *usage.sentences]:
            text = self._without_exceptions(re.sub(r"\{(?:value|interval|n)\}", " ", text))
            for match in [*_NUMBER.finditer(text), *_PERCENT_WORD.finditer(text)]:
                yield (
                    line,
                    f"the number “{match.group(0).rstrip('.,')}” is typed by hand; take it from "
                    "a measurement",
                )

    def _without_exceptions(self, text: str) -> str:
        for exemption in self.allowed:
            text, times = exemption.pattern.subn(lambda m: " " * len(m.group(0)), text)
            exemption.used = exemption.used or times > 0
        return text

    def _claims(self, chapter: Chapter, usage: Usage) -> Iterator[tuple[int, str]]:
        used = _used_names(chapter, usage)
        ids = _used_ids(chapter, usage)
        for claim in usage.registered:
            first_file, first = self.claims[claim.id][0]
            if first is not claim:
                yield (
                    claim.line,
                    f"claim id {claim.id} is used before, at {first_file}:{first.line}",
                )
            elif not claim.names & used and claim.id not in ids:
                yield claim.line, f"claim {claim.id} is registered but never cited"

    def _inline(self, chapter: Chapter, usage: Usage) -> Iterator[tuple[int, str]]:
        for line, expression in chapter.inline:
            if is_literal_number(expression):
                yield line, f"the inline number “{expression}” is typed by hand"
            for name in sorted(names_in(expression) - usage.bound - _BUILTINS):
                yield line, f"inline code uses {name}, which no cell of this chapter defines"
            yield from self._unknown_ids(line, claim_keys(expression), chapter)

    def _divs(self, chapter: Chapter) -> Iterator[tuple[int, str]]:
        for div in chapter.divs:
            if "otherwise" in div.classes and not (
                div.elder is not None and "written-for" in div.elder.classes
            ):
                yield div.line, ".otherwise must follow directly after .written-for"
            if "written-for" in div.classes and not div.attributes.get("models", "").strip():
                yield div.line, '.written-for needs models="…"'
            if "when" in div.classes:
                yield from self._fact(div)
            if "when-claim" in div.classes:
                yield from _verdict(div)
            if _CONDITIONS & set(div.classes):
                yield from self._unknown_ids(div.line, _ids_of(div), chapter)

    def _fact(self, div: Div) -> Iterator[tuple[int, str]]:
        fact = div.attributes.get("fact", "")
        if fact not in self.facts:
            yield div.line, f"models have no fact “{fact}”"
        if ("is" in div.attributes) == ("not" in div.attributes):
            yield div.line, '.when needs either is="…" or not="…"'

    def _unknown_ids(
        self, line: int, ids: Iterable[str], chapter: Chapter
    ) -> Iterator[tuple[int, str]]:
        for id in ids:
            if id not in self.claims:
                yield line, f"claim {id} is used but never registered"
            elif all(name != chapter.name for name, _ in self.claims[id]):
                yield line, f"claim {id} is registered in another chapter; chapters stand alone"

    def _labels(self, chapter: Chapter) -> Iterator[tuple[int, str]]:
        for label in chapter.labels:
            places = self.labels[label.id]
            if len(places) > 1 and places[0][1] is not label:
                where = f"{places[0][0]}:{places[0][1].line}"
                yield label.line, f"the label {label.id} is used before, at {where}"
            elif _MUST_BE_CITED.match(label.id) and label.id not in self.cited:
                yield label.line, f"the label {label.id} is never referenced"
        for reference in chapter.references:
            id = reference.id.rstrip(".")
            if _CROSSREF.match(id) and id not in self.labels and reference.line:
                yield reference.line, f"@{id} refers to nothing"

    def _figures(self, chapter: Chapter) -> Iterator[tuple[int, str]]:
        for cell in chapter.cells:
            line, label = cell.options.get("label", (cell.line, ""))
            needed = {"fig": ("fig-cap", "fig-alt"), "tbl": ("tbl-cap",), "lst": ("lst-cap",)}
            for option in needed.get(label.partition("-")[0], ()):
                if not cell.options.get(option, (0, ""))[1]:
                    yield line, f"{label} has no {option}"
            if "fig-cap" in cell.options and not label.startswith("fig-"):
                yield cell.options["fig-cap"][0], "this figure has a caption but no fig- label"
        for line, caption, attributes in chapter.images:
            if not caption and not attributes.get("fig-alt"):
                yield line, "this image has neither caption nor fig-alt"
            elif attributes["id"].startswith("fig-") and not attributes.get("fig-alt"):
                yield line, f"{attributes['id']} has no fig-alt"


def _used_names(chapter: Chapter, usage: Usage) -> set[str]:
    """Variables behind the inline code, however many steps away."""
    names = {name for _, expression in chapter.inline for name in names_in(expression)}
    return usage.origins(names)


def _used_ids(chapter: Chapter, usage: Usage) -> set[str]:
    ids = {id for div in chapter.divs for id in _ids_of(div)}
    ids |= {id for _, expression in chapter.inline for id in claim_keys(expression)}
    return ids | usage.strings


def _ids_of(div: Div) -> list[str]:
    if "written-for" in div.classes:
        return re.findall(r"[^\s,]+", div.attributes.get("claims", ""))
    if "when-claim" in div.classes:
        found = div.attributes.get("claim") or div.attributes.get("id") or div.identifier
        return [found] if found else []
    return []


def _verdict(div: Div) -> Iterator[tuple[int, str]]:
    for verdict in div.attributes.get("verdict", "").split("|"):
        if verdict not in VERDICTS:
            yield div.line, f"“{verdict}” is not a verdict; use one of {', '.join(VERDICTS)}"


def _read_allow_list(root: Path) -> tuple[list[Exemption], list[Problem]]:
    """Entries ``- pattern: …`` with ``reason: …``; a missing file is an empty list."""
    path = root / ALLOW_FILE
    if not path.is_file():
        return [], []
    text = path.read_text("utf-8")
    try:
        entries = yaml.safe_load(text) or []
    except yaml.YAMLError as error:
        raise AllowListError(f"{ALLOW_FILE} is not valid YAML: {error}.") from error
    lines = [line_at(text, m.start()) for m in re.finditer(r"^\s*-\s", text, re.M)]
    allowed, problems = [], []
    for line, entry in zip(lines, entries, strict=False):
        if not isinstance(entry, dict) or not entry.get("pattern") or not entry.get("reason"):
            problems.append(Problem(ALLOW_FILE, line, "an exception needs a pattern and a reason"))
            continue
        try:
            pattern = re.compile(str(entry["pattern"]))
        except re.error as error:
            problems.append(Problem(ALLOW_FILE, line, f"this pattern cannot be read: {error}"))
            continue
        allowed.append(Exemption(pattern, str(entry["reason"]), line))
    return allowed, problems


def _name(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root.resolve()).as_posix()
    except ValueError:
        return str(path)
