"""A tested module of this project as code on the page."""

from __future__ import annotations

import inspect
from types import ModuleType

from internals.book.tables import Table


def listing(module: ModuleType) -> Table:
    """The source of a module from its first definition on."""
    source = inspect.getsource(module)
    return Table(f"```python\n{source[source.index('class ') :].strip()}\n```\n")
