"""What a function's result depends on: the text of its module and of all modules that it imports.

Import statements are read, also those inside functions, and followed through the packages of this
project; nothing is imported for that. The price of so simple a rule: an edit of a module, even of
a remark in it, measures everything that imports it again.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_STARTED_S = time.time()
_PACKAGES = ("internals", "fable")
INERT = (
    *("internals.book", "internals.cache", "internals.errors", "internals.figures"),
    *("internals.findings", "internals.paths", "internals.run"),
    # What they make are the files of a model, whose content is part of every key.
    *("internals.models.convert", "internals.models.fetch", "internals.models.store"),
)
"""Modules and packages whose text cannot change what a measurement returns."""


@dataclass(frozen=True)
class Version:
    """Digest of everything that functions depend on."""

    digest: str
    files: tuple[Path, ...]

    @property
    def edited(self) -> bool:
        """Whether a file changed while this process ran: what is loaded may be older than that."""
        now = time.time()
        return any(_STARTED_S < file.stat().st_mtime <= now for file in self.files)


def version_of(*functions: Callable[..., Any], inert: tuple[str, ...] = INERT) -> Version:
    """Version of functions or classes; modules are read once in a process.

    Raises:
        TypeError: the source of one cannot be read.
    """
    texts: dict[str, str] = {}
    modules: dict[str, Path] = {}
    for function in map(inspect.unwrap, functions):
        module, name = function.__module__, getattr(function, "__qualname__", "<nameless>")
        reached = _reached(module, inert)
        modules |= reached
        texts[f"{module} {name}"] = ""
        if module not in reached or "<" in name:  # of a notebook, or of which there may be several
            try:
                texts[f"{module} {name}"] = inspect.getsource(function)
            except (OSError, TypeError):
                raise TypeError(
                    f"the source of {function!r} cannot be read, so its results cannot be stored; "
                    "define it in a module or a notebook cell"
                ) from None
    texts |= {name: _digest(file) for name, file in modules.items()}
    content = "\n".join(f"{name}\n{texts[name]}" for name in sorted(texts))
    return Version(hashlib.sha256(content.encode()).hexdigest(), tuple(modules.values()))


@cache
def _reached(root: str, inert: tuple[str, ...]) -> dict[str, Path]:
    """A module and all modules of its packages that it imports, directly or not."""
    reached: dict[str, Path] = {}
    waiting = [root]
    while waiting:
        module = waiting.pop()
        # The function's own module counts wherever it is: a finding depends on what it imports.
        passive = module != root and any(f"{module}.".startswith(f"{name}.") for name in inert)
        if not passive and module not in reached and (file := _file(module)):
            reached[module] = file
            waiting += _imports(module, file)
    return reached


@cache
def _imports(module: str, file: Path) -> tuple[str, ...]:
    """The modules of this project's packages that a module imports."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    own = {*_PACKAGES, module.partition(".")[0]}
    found: list[str] = []
    for node in _statements(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(name, package) if node.level else name
            inner = [f"{base}.{alias.name}" for alias in node.names if base.split(".")[0] in own]
            found += [name if _file(name) else base for name in inner]
    return tuple(name for name in dict.fromkeys(found) if name.partition(".")[0] in own)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements, also inside functions; what is imported for type checking alone is not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield node
            yield from _statements(node)


@cache
def _file(module: str) -> Path | None:
    """Where the text of a module is, which need not be loaded; None outside the project."""
    if loaded := getattr(sys.modules.get(module), "__file__", None):
        return Path(loaded)
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top) if rest else None
    bases = [Path(folder, *rest) for folder in (spec and spec.submodule_search_locations) or ()]
    files = [file for base in bases for file in (base.with_suffix(".py"), base / "__init__.py")]
    return next((file for file in files if file.is_file()), None)


@cache
def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
