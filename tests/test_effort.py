"""The one rule that makes measurements of large models smaller."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from internals.errors import UserError
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


def test_a_draft_takes_less_but_never_less_than_three(monkeypatch):
    small = SimpleNamespace(n_parameters=1)
    monkeypatch.setenv(effort.VARIABLE, "0.1")
    assert effort.units(small, 600) == 60
    assert effort.units(small, 10) == 3
    assert effort.units(small, 2) == 2


@pytest.mark.parametrize("text", ["0", "-1", "2", "much"])
def test_a_wrong_effort_is_one_sentence(monkeypatch, text):
    monkeypatch.setenv(effort.VARIABLE, text)
    with pytest.raises(UserError, match="must be a number above 0 and up to 1"):
        effort.factor()


def test_a_draft_is_never_taken_for_the_full_measurement(monkeypatch):
    from internals.cache import measurement
    from internals.measure.training_record import passes  # any function of the package

    @measurement
    def counted() -> int:
        return passes()

    full = counted.key()
    monkeypatch.setenv(effort.VARIABLE, "0.5")
    assert counted.key() != full
