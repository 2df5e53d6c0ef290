"""Claims in the Python of a chapter: where they are registered, whether they are measured, cited.

Read from the syntax tree of the cells; nothing is executed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from internals.evidence.source import Cell, Chapter

_FORMATTERS = {"number", "percent", "count"}
_PHRASES = {"word", "choose"}


@dataclass(frozen=True)
class Registration:
    """One call of ``report.claim``."""

    id: str
    line: int
    names: frozenset[str]
    """Variables that hold the claim."""


@dataclass
class Usage:
    """What the cells of one chapter do with claims."""

    registered: list[Registration] = field(default_factory=list)
    bound: set[str] = field(default_factory=set)
    """Every name that some cell defines."""
    aliases: dict[str, set[str]] = field(default_factory=dict)
    """Name to the names that its value was made from."""
    sentences: list[tuple[int, str]] = field(default_factory=list)
    """Texts that end up in prose or in the ledger: line and literal part."""
    faults: list[tuple[int, str]] = field(default_factory=list)
    strings: set[str] = field(default_factory=set)
    """Literal keys that are looked up in ``report.claims``."""

    def origins(self, names: set[str]) -> set[str]:
        """``names`` and everything they were made from."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.aliases.get(name, ())
        return found


def read_usage(chapter: Chapter) -> Usage:
    """Read all cells of a chapter."""
    usage = Usage()
    for cell in chapter.cells:
        tree = _parse(cell, usage)
        if tree is not None:
            _read_cell(tree, cell.line - 1, usage)
    return usage


def names_in(expression: str) -> set[str]:
    """Names that an expression reads; empty if it is no Python."""
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError:
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def is_literal_number(expression: str) -> bool:
    """Whether inline code is just a number typed by hand."""
    try:
        return isinstance(ast.literal_eval(expression), int | float)
    except (ValueError, SyntaxError, TypeError):
        return False


def claim_keys(expression: str) -> set[str]:
    """Literal ids in ``report.claims["id"]``."""
    try:
        return set(_keys(ast.parse(expression, mode="eval")))
    except SyntaxError:
        return set()


def _parse(cell: Cell, usage: Usage) -> ast.Module | None:
    lines = ["" if line.startswith(("%", "!")) else line for line in cell.code.split("\n")]
    try:
        return ast.parse("\n".join(lines))
    except SyntaxError as error:
        line = cell.line - 1 + (error.lineno or 1)
        usage.faults.append((line, f"this cell is not Python: {error.msg}"))
        return None


def _read_cell(tree: ast.Module, offset: int, usage: Usage) -> None:
    owners: dict[ast.Call, set[str]] = {}
    for node in ast.walk(tree):
        targets, value = _assignment(node)
        usage.bound |= targets | _other_bindings(node)
        if value is not None and targets:
            sources = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
            for target in targets:
                usage.aliases.setdefault(target, set()).update(sources - {target})
            for call in ast.walk(value):
                if isinstance(call, ast.Call):
                    owners.setdefault(call, set()).update(targets)
    usage.strings |= set(_keys(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            _read_call(node, node.func.attr, offset, owners.get(node, set()), usage)


def _read_call(call: ast.Call, name: str, offset: int, owners: set[str], usage: Usage) -> None:
    line = offset + call.lineno
    if name == "claim":
        _read_claim(call, line, owners, usage)
    elif name in _PHRASES:
        values = [*call.args, *(keyword.value for keyword in call.keywords)]
        usage.sentences += [(line, text) for value in values for text in _literals(value)]
    elif name in _FORMATTERS and call.args and _is_number(call.args[0]):
        usage.faults.append((line, f"{name}() gets a number typed by hand; give it a measured one"))


def _read_claim(call: ast.Call, line: int, owners: set[str], usage: Usage) -> None:
    arguments = {keyword.arg: keyword.value for keyword in call.keywords}
    first = call.args[0] if call.args else arguments.get("id")
    if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
        usage.faults.append((line, "the id of a claim must be written out as a string"))
        return
    id = first.value
    usage.registered.append(Registration(id, line, frozenset(owners)))
    sentence = call.args[1] if len(call.args) > 1 else arguments.get("sentence")
    if sentence is not None:
        usage.sentences += [(line, text) for text in _literals(sentence)]
    for name in ("value", "n", "interval"):
        if name in arguments and _is_number(arguments[name]):
            usage.faults.append((line, f"claim {id}: its {name} is typed by hand, not measured"))
    holds = arguments.get("holds")
    if isinstance(holds, ast.Constant) and isinstance(holds.value, bool):
        usage.faults.append((line, f"claim {id}: holds must be decided by the measurement"))
    for name in ("value", "holds"):
        if name not in arguments:
            usage.faults.append((line, f"claim {id} has no {name}"))


def _assignment(node: ast.AST) -> tuple[set[str], ast.expr | None]:
    """Names that a statement assigns, with the value; loops count as assignments."""
    if isinstance(node, ast.Assign):
        return _roots(node.targets), node.value
    if isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
        return _roots([node.target]), node.value
    if isinstance(node, ast.For | ast.comprehension):
        return _roots([node.target]), node.iter
    return set(), None


def _other_bindings(node: ast.AST) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    if isinstance(node, ast.withitem) and node.optional_vars is not None:
        return _roots([node.optional_vars])
    return set()


def _roots(targets: list[ast.expr]) -> set[str]:
    """``a``, ``b`` of ``a, b["x"] = …``."""
    found = set()
    for target in targets:
        if isinstance(target, ast.Tuple | ast.List):
            found |= _roots(target.elts)
        else:
            while isinstance(target, ast.Subscript | ast.Attribute | ast.Starred):
                target = target.value
            if isinstance(target, ast.Name):
                found.add(target.id)
    return found


def _literals(node: ast.expr) -> Iterator[str]:
    """Literal text in a string expression (also the fixed parts of an f-string)."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from _literals(part)
    elif isinstance(node, ast.BinOp):
        yield from _literals(node.left)
        yield from _literals(node.right)
    elif isinstance(node, ast.IfExp):
        yield from _literals(node.body)
        yield from _literals(node.orelse)


def _is_number(node: ast.expr) -> bool:
    """A literal number, or a tuple of them (True and None are not numbers here)."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return False
    values = value if isinstance(value, tuple | list) else [value]
    return bool(values) and all(type(v) in {int, float} for v in values)


def _keys(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Attribute)
            and node.value.attr == "claims"
            and isinstance(node.slice, ast.Constant)
        ):
            yield str(node.slice.value)
