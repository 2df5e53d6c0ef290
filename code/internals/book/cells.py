"""A cell whose experiment does not apply to the model says so, and the chapter goes on.

`NotApplicable`, raised anywhere below a cell, costs that cell alone: its output is one sentence,
and the names that it would have bound stand for "not measured" from then on. Every other error
stops the build.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from internals.book import wording
from internals.errors import NotApplicable


class NotMeasured:
    """Stands for a value that could not be had; whoever works with it is told why."""

    def __init__(self, reason: str) -> None:
        self.__dict__["reason"] = reason

    def __str__(self) -> str:
        return wording.MISSING

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return wording.MISSING

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise NotApplicable(self.__dict__["reason"])

    __call__ = __getitem__ = __iter__ = __len__ = __bool__ = __float__ = __array__ = _refuse
    __add__ = __sub__ = __mul__ = __truediv__ = __radd__ = __rsub__ = __rmul__ = _refuse
    __lt__ = __gt__ = __le__ = __ge__ = __format__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name.startswith("_repr_") or name.startswith("_ipython"):
            raise AttributeError(name)  # what a display asks every value
        self._refuse()


@contextmanager
def going_on(names: tuple[str, ...], namespace: dict[str, Any]) -> Iterator[None]:
    """Say that a cell does not apply, and bind the names that it would have bound."""
    from IPython.display import display

    try:
        yield
    except NotApplicable as reason:
        for name in names:
            namespace[name] = NotMeasured(str(reason))
        sentence = f"Not measured for this model: {str(reason).rstrip('.')}."
        display({"text/plain": sentence, "text/markdown": f"*{sentence}*"}, raw=True)


# No `try`: Python would tell its line in place of the one that failed.
_GUARD = """
with __import__("internals.book.cells", fromlist=["_"]).going_on({names!r}, globals()):
    pass
"""


class Guard(ast.NodeTransformer):
    """Put ``with going_on(…)`` around a cell; its last value is displayed as ever."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        if not node.body:
            return node
        guarded = ast.parse(_GUARD.format(names=_bound(node)))
        block = guarded.body[0]
        assert isinstance(block, ast.With)
        last = node.body[-1]
        if isinstance(last, ast.Expr):  # only at the top level does IPython display it by itself
            hook = ast.parse('__import__("sys").displayhook', mode="eval").body
            call = ast.Call(func=hook, args=[last.value], keywords=[])
            node.body[-1] = ast.copy_location(ast.Expr(call), last)
        block.body = node.body
        return ast.fix_missing_locations(guarded)


def _bound(module: ast.Module) -> tuple[str, ...]:
    """Names that the statements of a cell bind at its top level."""
    found: dict[str, None] = {}
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found[statement.name] = None
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found[node.id] = None
    return tuple(name for name in found if not name.startswith("_"))


def guard_cells() -> None:
    """From the next cell on, cells of this notebook are guarded; elsewhere nothing happens."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None and not any(isinstance(t, Guard) for t in shell.ast_transformers):
        shell.ast_transformers.append(Guard())
