"""What code that the book does not show is needed by the code that it shows.

Hidden cells import and bind names, many of them for figures and sentences alone. A notebook keeps
of them the statements without which its visible cells would not run, and nothing else.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

COLUMNS = 88


@dataclass
class Kept:
    """Hidden statements that visible cells need."""

    setup: list[str] = field(default_factory=list)
    """Those that need nothing but each other: they can stand at the start of the chapter."""
    before: dict[int, list[str]] = field(default_factory=dict)
    """Those that use what a visible cell has made, by the number of the next visible cell."""


@dataclass(frozen=True)
class _Statement:
    node: ast.stmt
    code: str
    cell: int
    bound: frozenset[str]
    used: frozenset[str]


def kept_statements(cells: Sequence[tuple[str, bool]]) -> Kept:
    """Sort the statements of a chapter's cells, given as code and whether it is shown."""
    parsed = [_statements(code, number) for number, (code, _) in enumerate(cells)]
    kept = _needed(cells, parsed)
    visible: set[str] = set()
    result = Kept()
    for number, (_, shown) in enumerate(cells):
        for statement in parsed[number]:
            if shown:
                visible |= statement.bound
            elif statement in kept:
                names = kept[statement]
                late = bool((statement.used | statement.bound) & visible)
                if late:
                    visible |= statement.bound
                follows = next(i for i in range(number, len(cells)) if cells[i][1])
                goal = result.before.setdefault(follows, []) if late else result.setup
                source = _source(statement, names)
                if source not in goal:
                    goal.append(source)
    return result


def _needed(
    cells: Sequence[tuple[str, bool]], parsed: Sequence[Sequence[_Statement]]
) -> dict[_Statement, frozenset[str]]:
    """Hidden statements that something visible after them needs, with the names needed of each."""
    needed: set[str] = set()
    kept: dict[_Statement, frozenset[str]] = {}
    for number in reversed(range(len(cells))):
        shown = cells[number][1]
        for statement in reversed(parsed[number]):
            names = statement.bound & needed
            if not (shown or names):
                continue
            if not shown:
                kept[statement] = frozenset(names)
            if not isinstance(statement.node, ast.For | ast.While | ast.If | ast.AugAssign):
                needed -= statement.bound - statement.used
            needed |= statement.used
    return kept


def _statements(code: str, cell: int) -> list[_Statement]:
    try:
        tree = ast.parse(code)
    except SyntaxError:  # a line for the shell or for IPython; it binds nothing
        return []
    lines = code.splitlines()
    found = []
    for node in tree.body:
        start = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        text = "\n".join(lines[start - 1 : node.end_lineno])
        found.append(_Statement(node, text, cell, frozenset(_bound(node)), frozenset(_used(node))))
    return found


def _bound(statement: ast.stmt) -> Iterable[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (_name(alias) for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from _base(node)


def _used(statement: ast.stmt) -> Iterable[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
    if isinstance(statement, ast.AugAssign):
        yield from _base(statement.target)


def _base(node: ast.expr) -> Iterable[str]:
    """The name of the object that ``x.a[0] = …`` changes."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _name(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _source(statement: _Statement, names: frozenset[str]) -> str:
    """The statement as written; of imports only what is needed."""
    node = statement.node
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return statement.code
    node.names = [alias for alias in node.names if _name(alias) in names]
    line = ast.unparse(node)
    if len(line) <= COLUMNS or isinstance(node, ast.Import):
        return line
    head, _, listed = line.partition(" import ")
    return f"{head} import (\n    " + ",\n    ".join(listed.split(", ")) + ",\n)"
