"""Pictures that were drawn before, found by the code that draws and the tables that it takes.

Drawing takes about a second a figure; a report in which nothing changed should not pay it again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from internals.cache import keys, storage
from internals.cache.modules import version_of

_PASSIVE = ("internals.cache", "internals.run", "internals.paths", "internals.errors")
"""Modules whose text cannot change a picture."""


def picture(
    render: Callable[..., Any],
    draw: Callable[..., Any],
    tables: Sequence[Any],
    options: Mapping[str, Any],
    mode: str,
) -> Any:
    """``render(draw, *tables, mode=mode, **options)``, from the store if it is there."""
    name = f"{draw.__module__}.{draw.__qualname__}".replace("<locals>.", "")
    try:
        version = version_of(draw, render, inert=_PASSIVE)
        parts = {
            "source": version.digest,
            "tables": [keys.canonical(table) for table in tables],
            "options": keys.canonical(dict(options)),
            # For measurements a model is its weights; a picture may also show its name.
            "names": [getattr(value, "name", "") for value in (*tables, *options.values())
                      if isinstance(getattr(value, "fingerprint", None), str)],
            "mode": mode,
            "library": _library(),
            "style": _style(),
        }  # fmt: skip
    except TypeError:  # an argument without content, or a function without source
        return render(draw, *tables, mode=mode, **options)
    key = keys.digest(parts)
    found = storage.load(name, key)
    if found is storage.MISSING:
        found = render(draw, *tables, mode=mode, **options)
        if not version.edited:
            storage.save(name, key, found)
    return found


@functools.cache
def _library() -> str:
    return metadata.version("matplotlib")


@functools.cache
def _style() -> str:
    """Digest of the sheet with fonts, sizes and colours."""
    return keys.file_digest(Path(__file__).with_name("internals.mplstyle"))
