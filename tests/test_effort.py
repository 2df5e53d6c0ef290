"""The one rule that makes measurements of large models smaller."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from internals.measure import effort


@pytest.mark.parametrize(
    ("parameters", "wanted", "least", "taken"),
    [
        (7_000_000, 600, 100, 600),  # small: everything
        (40_000_000, 600, 100, 600),
        (80_000_000, 600, 100, 300),  # twice the size, half the texts
        (124_439_808, 600, 250, 250),  # never below the minimum
        (7_000_000_000, 24, 10, 10),
        (7_000_000_000, 6, 10, 6),  # and never above what was asked for
    ],
)
def test_units_fall_with_size(parameters, wanted, least, taken):
    assert effort.units(SimpleNamespace(n_parameters=parameters), wanted, least) == taken
