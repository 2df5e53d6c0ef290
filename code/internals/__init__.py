"""Measurements on causal language models, for a report whose every number is of its own run.

Importing this package is cheap: torch and transformers are imported where they are needed.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "open_model"]


def __getattr__(name: str) -> Any:
    if name in {"load", "open_model"}:
        from internals import models

        return getattr(models, name)
    raise AttributeError(f"module 'internals' has no attribute {name!r}")
