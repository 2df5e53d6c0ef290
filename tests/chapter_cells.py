"""Run the cells of a chapter as the book does, for models that no book is built about."""

from __future__ import annotations

import ast
import io
from collections.abc import Iterable
from contextlib import redirect_stdout
from typing import Any

from internals.book.cells import NotMeasured, _bound
from internals.errors import NotApplicable
from internals.figures import style


def run_cells(
    cells: Iterable[str], report: Any, figures: Any
) -> tuple[dict[str, Any], str, list[str]]:
    """The names that the cells bound, what they printed, and those that did not apply.

    Findings are not bound; a cell that does not apply binds names that say so.
    """
    scope: dict[str, Any] = {"report": report, "style": style, "figures": figures}
    printed, missed = io.StringIO(), []
    with redirect_stdout(printed):
        for code in cells:
            code = "\n".join(x for x in code.splitlines() if not x.startswith(("f = ", "g = ")))
            try:
                exec(code, scope)
            except NotApplicable as why:
                missed.append(code)
                scope |= {n: NotMeasured(str(why)) for n in _bound(ast.parse(code))}
    return scope, printed.getvalue(), missed
