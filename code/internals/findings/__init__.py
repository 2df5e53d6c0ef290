"""Findings: one package a chapter, one module a section, named as the section's label."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from internals.findings.core import VERDICTS, Finding, Result, evaluate, finding, findings_of
from internals.findings.rules import above, at_least, at_most, below, between, exactly, outside
from internals.stats import Estimate, exact

__all__ = [
    "VERDICTS",
    "Estimate",
    "Finding",
    "Result",
    "above",
    "at_least",
    "at_most",
    "below",
    "between",
    "chapters",
    "evaluate",
    "exact",
    "exactly",
    "finding",
    "findings_of",
    "outside",
    "sections",
]


def chapters() -> list[str]:
    """Ids of the chapters that have findings."""
    return [m.name for m in pkgutil.iter_modules(__path__) if m.ispkg]


def sections(chapter: str) -> list[ModuleType]:
    """The modules of a chapter's findings, in the order in which its package lists them."""
    package = importlib.import_module(f"{__name__}.{chapter}")
    return [importlib.import_module(f"{package.__name__}.{name}") for name in package.SECTIONS]
