"""What a function's result depends on, read from the source: its own text and that of its helpers.

Names are followed statically through the modules of the function's own package, so that nothing has
to be imported. Comments, docstrings and annotations do not count; other packages do not either.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

_STARTED_NS = time.time_ns()

INERT = (
    "internals.book",
    "internals.cache",
    "internals.errors",
    "internals.figures",
    "internals.findings.core",
    "internals.findings.rules",
    "internals.paths",
    "internals.run.progress",
)
"""Modules whose text cannot change what a measurement returns."""


@dataclass(frozen=True)
class Definition:
    """A top-level name of a module; ``name`` is None for the module as a whole."""

    module: str
    name: str | None

    def __str__(self) -> str:
        return self.module if self.name is None else f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Source:
    """One parsed module."""

    module: str
    is_package: bool
    nodes: dict[str, list[ast.stmt]]
    """Statements that define each top-level name."""
    imports: dict[str, Definition]
    """Imported names; ``name`` None where a module itself was imported."""
    stars: tuple[str, ...]
    """Modules imported with ``*``."""
    read: dict[str, Passage] = field(default_factory=dict)
    """Definitions that were read before."""


@dataclass(frozen=True)
class Passage:
    """The text of a definition and the names that stand in it."""

    text: str
    names: tuple[tuple[tuple[list[str], ...], dict[str, Definition], tuple[str, ...]], ...]
    """For each statement the dotted names, what its imports mean, and starred modules."""


@dataclass(frozen=True)
class Version:
    """Digest of everything a function depends on."""

    digest: str
    parts: tuple[str, ...]
    """The definitions behind the digest, for people."""
    edited: bool
    """A file changed while this process ran: what is loaded may be older than what was read."""


def version_of(
    *objects: Callable[..., Any] | ModuleType | type, inert: tuple[str, ...] = INERT
) -> Version:
    """Version of functions, classes or modules and of all they call in their own packages,
    except in the modules ``inert``."""
    walk = _Walk(inert)
    for thing in objects:
        walk.add_object(thing)
    return walk.version()


class _Walk:
    """Breadth-first walk over definitions."""

    def __init__(self, inert: tuple[str, ...]) -> None:
        self._inert = inert
        self._texts: dict[str, str] = {}
        self._queue: list[Definition] = []
        self._files: set[Path] = set()
        self._packages: set[str] = {"internals", "fable"}
        self._sources: dict[str, Source | None] = {}

    def add_object(self, thing: Any) -> None:
        thing = inspect.unwrap(thing) if callable(thing) else thing
        if isinstance(thing, ModuleType):
            self._packages.add(thing.__name__.partition(".")[0])
            self._enqueue(Definition(thing.__name__, None))
            return
        module, qualname = thing.__module__, thing.__qualname__
        self._packages.add(module.partition(".")[0])
        source = self._source(module)
        if source is not None and qualname in source.nodes:
            self._enqueue(Definition(module, qualname))
        else:
            self._add_loose(thing, source)

    def _add_loose(self, thing: Any, source: Source | None) -> None:
        """A function of a notebook cell, or one defined inside another: only its own text."""
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
        except (OSError, TypeError, SyntaxError):
            raise TypeError(
                f"the source of {thing.__qualname__} cannot be read, so its results cannot be "
                "cached; define it in a module or a notebook cell"
            ) from None
        source = source or Source(thing.__module__, False, {}, {}, ())
        label = f"{thing.__module__}.{thing.__qualname__}"
        self._add(label, _read_passage(tree.body, source), source)

    def version(self) -> Version:
        while self._queue:
            self._visit(self._queue.pop())
        parts = tuple(sorted(self._texts))
        text = "\n".join(f"{part}\n{self._texts[part]}" for part in parts)
        now = time.time_ns()
        edited = any(_STARTED_NS < path.stat().st_mtime_ns <= now for path in self._files)
        return Version(hashlib.sha256(text.encode()).hexdigest(), parts, edited)

    def _enqueue(self, definition: Definition) -> None:
        if str(definition) not in self._texts:
            self._texts[str(definition)] = ""
            self._queue.append(definition)

    def _visit(self, definition: Definition) -> None:
        source = self._source(definition.module)
        if source is None:
            return
        if definition.name is None:
            for name in source.nodes:
                self._enqueue(Definition(definition.module, name))
            return
        self._add_nodes(str(definition), source.nodes[definition.name], source)

    def _add_nodes(self, label: str, nodes: list[ast.stmt], source: Source) -> None:
        if label not in source.read:
            source.read[label] = _read_passage(nodes, source)
        self._add(label, source.read[label], source)

    def _add(self, label: str, passage: Passage, source: Source) -> None:
        self._texts[label] = passage.text
        for chains, imports, stars in passage.names:
            for chain in chains:
                self._resolve(chain, source, imports)
            for module in stars:
                if self._is_own(module):
                    self._enqueue(Definition(module, None))

    def _resolve(self, chain: list[str], source: Source, imports: dict[str, Definition]) -> None:
        """Follow ``stats.bootstrap_ci`` from the module where it is written to its definition."""
        name, *rest = chain
        if name in source.nodes:
            self._enqueue(Definition(source.module, name))
        elif name in imports:
            self._follow(imports[name], rest)

    def _follow(self, target: Definition, rest: list[str]) -> None:
        if not self._is_own(target.module):
            return
        source = self._source(target.module)
        if target.name is None:
            if not rest:
                self._enqueue(target)
            else:
                self._follow(Definition(target.module, rest[0]), rest[1:])
        elif source is not None and target.name in source.nodes:
            self._enqueue(target)
        elif source is not None and source.imports.get(target.name, target) != target:
            self._follow(source.imports[target.name], rest)
        elif self._source(f"{target.module}.{target.name}") is not None:
            self._follow(Definition(f"{target.module}.{target.name}", None), rest)
        else:  # made at run time (module __getattr__, star import): take the whole module
            self._enqueue(Definition(target.module, None))

    def _is_own(self, module: str) -> bool:
        inert = any(module == name or module.startswith(f"{name}.") for name in self._inert)
        return module.partition(".")[0] in self._packages and not inert

    def _source(self, module: str) -> Source | None:
        if module not in self._sources:
            path = _file_of(module)
            if path is not None:
                self._files.add(path)
            self._sources[module] = None if path is None else _parse(module, path)
        return self._sources[module]


def _read_passage(nodes: list[ast.stmt], source: Source) -> Passage:
    names = []
    for node in nodes:
        imports = dict(source.imports)
        stars = list(source.stars)
        for statement in ast.walk(node):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                stars += _read_import(statement, source, imports)
        names.append((tuple(_chains(node)), imports, tuple(stars)))
    return Passage("\n".join(map(_canonical, nodes)), tuple(names))


def _file_of(module: str) -> Path | None:
    """Source file of a module, found without importing it."""
    top, *rest = module.split(".")
    loaded = sys.modules.get(module)
    if loaded is not None and getattr(loaded, "__file__", None):
        path = Path(str(loaded.__file__))
        return path if path.suffix == ".py" and path.is_file() else None
    if not rest or top not in sys.modules:
        return None
    for folder in getattr(sys.modules[top], "__path__", ()):
        base = Path(folder).joinpath(*rest)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


_parsed: dict[Path, tuple[tuple[int, int], Source]] = {}


def _parse(module: str, path: Path) -> Source:
    """Parse a module once for each state of its file."""
    stat = path.stat()
    state = (stat.st_mtime_ns, stat.st_size)
    if path not in _parsed or _parsed[path][0] != state:
        tree = ast.parse(path.read_bytes(), filename=str(path))
        _parsed[path] = (state, _index(module, path.name == "__init__.py", tree))
    return _parsed[path][1]


def _index(module: str, is_package: bool, tree: ast.Module) -> Source:
    source = Source(module, is_package, {}, {}, ())
    stars: list[str] = []
    for node in _top_level(tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            stars += _read_import(node, source, source.imports)
        for name in _defined(node):
            source.nodes.setdefault(name, []).append(node)
    return Source(module, is_package, source.nodes, source.imports, tuple(stars))


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of the module, also those under ``if`` and ``try``; type-checking ones not."""
    for node in body:
        if isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.dump(node.test):
                yield from _top_level(node.body)
            yield from _top_level(node.orelse)
        elif isinstance(node, ast.Try):
            yield from _top_level(node.body)
            for handler in node.handlers:
                yield from _top_level(handler.body)
            yield from _top_level(node.orelse + node.finalbody)
        else:
            yield node


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        targets: list[ast.expr] = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    else:
        return []
    return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]


def _read_import(
    node: ast.Import | ast.ImportFrom, source: Source, table: dict[str, Definition]
) -> list[str]:
    """Enter what ``node`` imports into ``table``; return the modules imported with a star."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            whole = alias.name if alias.asname else alias.name.partition(".")[0]
            table[alias.asname or whole] = Definition(whole, None)
        return []
    module = _absolute(node, source)
    for alias in node.names:
        if alias.name != "*":
            table[alias.asname or alias.name] = Definition(module, alias.name)
    return [module for alias in node.names if alias.name == "*"]


def _absolute(node: ast.ImportFrom, source: Source) -> str:
    if not node.level:
        return node.module or ""
    package = source.module if source.is_package else source.module.rpartition(".")[0]
    name = "." * node.level + (node.module or "")
    return importlib.util.resolve_name(name, package) if package else (node.module or "")


def _chains(node: ast.AST) -> Iterator[list[str]]:
    """Dotted names read in ``node``, longest form only, annotations left out."""
    stack: list[ast.AST] = [node]
    while stack:
        current = stack.pop()
        chain = _dotted(current)
        if chain:
            yield chain
            continue
        for name, value in ast.iter_fields(current):
            if name in {"annotation", "returns"}:
                continue
            values = value if isinstance(value, list) else [value]
            stack.extend(child for child in values if isinstance(child, ast.AST))


def _dotted(node: ast.AST) -> list[str] | None:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value)
        return None if inner is None else [*inner, node.attr]
    return None


def _canonical(node: ast.AST) -> str:
    """Text of a definition without what cannot change its result, which is cut out of ``node``."""
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and _doc(part):
            part.body = part.body[1:] or [ast.Pass()]
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            part.returns = None
        if isinstance(part, ast.arg):
            part.annotation = None
    return ast.dump(node)


def _doc(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return ast.get_docstring(node, clean=False) is not None
