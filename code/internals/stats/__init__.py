"""Statistics of the report: intervals and tests whose unit is the prompt, document or fact.

Tokens of one prompt are not independent, so every function takes `clusters`: labels that say which
values belong to one unit. Nothing here runs a model or draws.
"""

from __future__ import annotations

from internals.stats.association import auroc, correlation
from internals.stats.intervals import (
    Estimate,
    bootstrap_ci,
    difference,
    exact,
    paired_difference,
    quartiles,
    share,
    wilson,
)
from internals.stats.significance import benjamini_hochberg
from internals.stats.subsets import over_groups

__all__ = [
    "Estimate",
    "auroc",
    "benjamini_hochberg",
    "bootstrap_ci",
    "correlation",
    "difference",
    "exact",
    "over_groups",
    "paired_difference",
    "quartiles",
    "share",
    "wilson",
]
