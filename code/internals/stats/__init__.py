"""Statistics of the report: intervals and tests whose unit is the prompt, document or fact.

Tokens of one prompt are not independent, so every function takes `clusters`: labels that say which
values belong to one unit. Results are frozen dataclasses; nothing here runs a model or draws.
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
    wilson,
)
from internals.stats.significance import (
    Significance,
    benjamini_hochberg,
    sign_flip_test,
)
from internals.stats.subsets import over_groups

__all__ = [
    "Estimate",
    "Significance",
    "auroc",
    "benjamini_hochberg",
    "bootstrap_ci",
    "correlation",
    "difference",
    "exact",
    "over_groups",
    "paired_difference",
    "quartiles",
    "sign_flip_test",
    "wilson",
]
