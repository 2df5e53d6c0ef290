"""The linter of the chapters: what hides the answer, what leads nowhere, what was typed by hand.

It reads sources and reports file and line; it runs nothing.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import importlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from internals import paths
from internals.book import evidence
from internals.book.source import Chapter, read_chapter
from internals.findings import chapters, findings_of, sections

HIDDEN_LINES_A_CELL = 3
WIDEST_LINE = 88
_UNITS = r"(?:%|×|ms\b|s\b|MB|MiB|GB|GiB|bits?\b|tokens?\b|times\b|percent\b)"
_TYPED = re.compile(rf"(?<![\w.,-])\d+(?:[.,]\d+)?\s?{_UNITS}")
_NO_NUMBER = re.compile(
    r"`[^`]*`|\$[^$]*\$|\[[^\]]*\]\([^)]*\)|\{[^}]*\}|https?://\S+|^>.*$|^\|.*$|^#.*$", re.M
)
_TOUCHING = re.compile(r"[^`]``\{python\} ")
_MIXED = re.compile(r"\[(?=[^]]*@\w+\d{4})[^]]*@(?:sec|fig|tbl|eq)-")
_PLAIN = (
    ast.Import, ast.ImportFrom, ast.Assign, ast.Expr, ast.Name, ast.Attribute, ast.Call,
    ast.Subscript, ast.Constant, ast.keyword, ast.alias, ast.Tuple, ast.List, ast.Dict, ast.Load,
    ast.Store, ast.UnaryOp, ast.USub, ast.Starred,
)  # fmt: skip
_BUILTINS = set(dir(builtins))


@dataclass(frozen=True, order=True)
class Problem:
    """What is wrong, and where."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


def book_chapters(root: Path | None = None) -> list[Chapter]:
    """Every page of the book that has a source."""
    root = root or paths.ROOT
    files = [root / name for name in evidence.book_files(root)]
    return [read_chapter(path, root) for path in files if path.is_file()]


def lint_book(root: Path | None = None) -> list[Problem]:
    """Problems of every chapter that ``_quarto.yml`` names, by file and line."""
    book = book_chapters(root)
    labels = {label for chapter in book for label in chapter.labels}
    cited = {label for chapter in book for _, label in chapter.cited}
    found = []
    for chapter in book:
        checks = (
            _cells(chapter),
            _values(chapter),
            _conditions(chapter),
            _labels(chapter, labels, cited),
            _pictures(chapter),
            _form(chapter),
            _numbers(chapter),
        )
        found += [Problem(chapter.name, line, text) for check in checks for line, text in check]
    return sorted(set(found))


def _cells(chapter: Chapter) -> Iterator[tuple[int, str]]:
    """Hidden cells import, bind or draw; visible ones fit the page."""
    for cell in chapter.cells:
        try:
            tree = ast.parse(cell.code)
        except SyntaxError as error:
            yield cell.line, f"this cell is no Python: {error.msg}"
            continue
        if not cell.hidden:
            wide = [line for line in cell.lines if len(line) > WIDEST_LINE]
            yield from (
                (cell.line, f"a line of {len(line)} columns: {line[:40]}…") for line in wide
            )
            continue
        if len(cell.lines) > HIDDEN_LINES_A_CELL:
            yield cell.line, f"a hidden cell of {len(cell.lines)} lines; show it or move it"
        odd = next((n for n in ast.walk(tree) if not isinstance(n, (_PLAIN, ast.Module))), None)
        if odd is not None:
            yield cell.line, f"a hidden cell computes ({type(odd).__name__}); it may bind and draw"


def _values(chapter: Chapter) -> Iterator[tuple[int, str]]:
    """Inline values are names of the chapter; findings are there under their names."""
    bound = {name for cell in chapter.cells for name in _names_bound(cell.code)} | _BUILTINS
    for line, text in enumerate(chapter.text.splitlines(), 1):
        if _TOUCHING.search(text):
            yield line, "two inline values touch, which Quarto cannot read; write &NoBreak; between"
        if _MIXED.search(text):
            yield line, "a reference to a part of the book stands in one bracket with a citation"
    for line, expression in chapter.inline:
        try:
            tree = ast.parse(expression, mode="eval")
        except SyntaxError:
            yield line, f"the inline value “{expression}” is no Python"
            continue
        if isinstance(tree.body, ast.Constant):
            yield line, f"the inline value “{expression}” is typed by hand"
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        yield from ((line, f"no cell binds {name}") for name in sorted(names - bound))
        if "if" in expression.split():
            yield line, "an inline value chooses its words; use .holds or .when"
    yield from _findings_by_name(chapter)


def _findings_by_name(chapter: Chapter) -> Iterator[tuple[int, str]]:
    """``f.entropy`` must be a finding of the module that ``f`` was bound to before it."""
    places: list[tuple[int, str]] = []
    for cell in chapter.cells:
        for module, name in _findings_bound(cell.code):
            places.append((cell.line, f"={name}={module}"))
    places += [(line, expression) for line, expression in chapter.inline]
    known: dict[str, set[str]] = {}
    for line, text in sorted(places, key=lambda place: (place[0], not place[1].startswith("="))):
        if text.startswith("="):
            _, name, module = text.split("=")
            known[name] = set(findings_of(importlib.import_module(module)))
            section = module.rpartition(".")[2].replace("_", "-")
            own = module.split(".")[-2] == evidence.chapter_id(chapter.name)
            if own and f"sec-{section}" not in chapter.labels:
                yield line, f"findings of {module} need a section with the label sec-{section}"
            continue
        name, _, attribute = text.partition(".")
        if name in known and attribute.partition(".")[0] not in known[name]:
            yield line, f"{name} has no finding “{attribute}”"


def _findings_bound(code: str) -> Iterator[tuple[str, str]]:
    """Module and name of each ``name = report.findings(module)``."""
    imported = {
        alias or name: f"internals.findings.{package}.{name}"
        for package, names in re.findall(r"from internals\.findings\.(\w+) import (.+)", code)
        for name, _, alias in (part.partition(" as ") for part in names.split(", "))
    }
    for match in re.finditer(r"(\w+) = report\.findings\((\w+)\)", code):
        if match[2] in imported:
            yield imported[match[2]], match[1]


def _names_bound(code: str) -> Iterator[str]:
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return  # reported by _cells
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)


def _conditions(chapter: Chapter) -> Iterator[tuple[int, str]]:
    """Findings and facts that paragraphs depend on exist."""
    from internals.models import ModelFacts

    id = evidence.chapter_id(chapter.name)
    borrowed = [m for cell in chapter.cells for m, _ in _findings_bound(cell.code)]
    modules = [*(sections(id) if id in chapters() else []), *map(importlib.import_module, borrowed)]
    ids = {finding.id for module in modules for finding in findings_of(module).values()}
    facts = {field.name for field in dataclasses.fields(ModelFacts)}
    facts |= {name for name, value in vars(ModelFacts).items() if isinstance(value, property)}
    for division in chapter.divisions:
        for kind in {"holds", "findings"} & set(division.classes):
            claims = [c.lstrip("!") for c in division.attributes.get("claims", "").split()]
            if not claims:
                yield division.line, f'.{kind} needs claims="…"'
            yield from ((division.line, f"there is no finding {c}") for c in claims if c not in ids)
        if "when" in division.classes and division.attributes.get("fact") not in facts:
            yield division.line, f"models have no fact “{division.attributes.get('fact')}”"


def _labels(chapter: Chapter, labels: set[str], cited: set[str]) -> Iterator[tuple[int, str]]:
    for line, label in chapter.cited:
        if label not in labels:
            yield line, f"@{label} refers to nothing"
    for label, line in chapter.labels.items():
        if not label.startswith("sec-") and label not in cited:
            yield line, f"{label} is never referred to"


def _pictures(chapter: Chapter) -> Iterator[tuple[int, str]]:
    """Tables have captions; pictures have words for those who do not see them."""
    for cell in chapter.cells:
        label = cell.label
        if label.startswith("tbl-") and not cell.options.get("tbl-cap"):
            yield cell.line, f"{label} has no tbl-cap"
        draws = "renderings" in cell.options or label.startswith("fig-")
        if draws and not cell.options.get("fig-alt"):
            yield cell.line, "this picture has no fig-alt"


def _form(chapter: Chapter) -> Iterator[tuple[int, str]]:
    """A section that asks a question says its answer first."""
    for line, text in chapter.sections:
        if re.search(r"(?m)^> ", text) and "**In short.**" not in text:
            yield line, "a section with a question needs “**In short.**”"


def _numbers(chapter: Chapter) -> Iterator[tuple[int, str]]:
    prose = _NO_NUMBER.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), chapter.prose)
    for match in _TYPED.finditer(prose):
        yield chapter.line(match.start()), f"“{match[0]}” is typed by hand; take it from the run"


def extracted(chapters: Sequence[Chapter], folder: Path) -> list[Path]:
    """The cells of each chapter as one module of the package ``cells``, for Ruff and mypy.

    Lines keep their numbers. A name that is imported again gets another name from there on, since
    for mypy a name stands for one module.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").touch()
    files = []
    for chapter in chapters:
        lines = [""] * (chapter.text.count("\n") + 1)
        imports: Counter[str] = Counter()
        for cell in chapter.cells:
            imports.update(re.findall(r"import \w+ as (\w+)", cell.code))
            again = {name: name + "_" * (n - 1) for name, n in imports.items() if n > 1}
            code = re.sub(r"\b\w+\b", lambda m, new=again: new.get(m[0], m[0]), cell.code)  # type: ignore[misc]
            for number, line in enumerate(code.splitlines(), cell.start - 1):
                lines[number] = line
        file = folder / f"{evidence.chapter_id(chapter.name)}.py".replace("-", "_")
        file.write_text("\n".join(lines).rstrip() + "\n", "utf-8")
        files.append(file)
    return files
