"""Measurements on causal language models, for a report whose every number is of its own run.

Importing this package is cheap: torch and transformers are imported where they are needed.
"""

from __future__ import annotations

import os
from typing import Any

# Threads of PyTorch that wait in a busy loop make a report ten times slower as soon as another
# program uses a core; asleep they cost next to nothing. It must be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["__version__", "load", "open_model"]


def __getattr__(name: str) -> Any:
    if name in {"load", "open_model"}:
        from internals import models

        return getattr(models, name)
    raise AttributeError(f"module 'internals' has no attribute {name!r}")
