"""Numbers for prose: digits by the width of the interval, units, thousands.

Text comes out, ready for a sentence; nothing here measures or stores.
A number is never shown finer than its interval allows, and never as minus zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MINUS = "\u2212"
NO_BREAK = "\u00a0"
MISSING = "not measured"
JOINER = "\u2060"
"""No line ends at this place."""

MAX_DECIMALS = 5
"""More decimals than this are shown as a power of ten."""

_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_ATTACHED = {"%", "×", "°"}
_PLURAL_LENGTH = 4

Interval = tuple[float, float]


def decimals_for(low: float, high: float) -> int:
    """Decimals that the half-width of an interval justifies (may be negative: round to tens).

    Two digits of the half-width when they lie between 10 and 35, else one: the rule of the
    Particle Data Group (Review of Particle Physics, section "Rounding").
    """
    half = abs(high - low) / 2
    if not math.isfinite(half) or half <= 0:
        raise ValueError(f"an interval of positive, finite width is needed, not [{low}, {high}]")
    exponent = math.floor(math.log10(half))
    leading = half / 10.0**exponent
    if leading >= 9.5:
        exponent, leading = exponent + 1, 1.0
    return -exponent + (1 if leading < 3.55 else 0)


def significant_decimals(x: float, digits: int = 3) -> int:
    """Decimals that show ``digits`` significant digits of ``x``."""
    if x == 0 or not math.isfinite(x):
        return 0
    return digits - 1 - math.floor(math.log10(abs(x)))


def number(
    x: float | int | None,
    *,
    interval: Interval | None = None,
    unit: str = "",
    digits: int | None = None,
) -> str:
    """``x`` with its unit, for a sentence.

    Units: ``share`` prints a fraction as percent, ``points`` a difference of fractions as
    percentage points; any other unit follows the number.
    Digits: ``digits`` decimals if given, else what the interval justifies, else three
    significant digits; whole numbers (``int``) stay exact.
    """
    if x is None or (isinstance(x, float) and math.isnan(x)):
        return MISSING
    if isinstance(x, bool):
        return "yes" if x else "no"
    scale = scale_of(unit)
    value = float(x) * scale
    if digits is None and interval is None and scale == 1 and float(x).is_integer():
        text = fixed(value, 0)
    else:
        text = _rounded(value, _decimals(value, interval, scale, digits))
    if text.startswith("<") and unit != "share" and (interval is None or interval[0] < 0):
        text = "≈ 0"  # "< 0.1" would also be true of −3
    if unit == "share":
        text = _not_quite_all(float(x), text)
    return with_unit(text, unit)


def interval_text(
    interval: Interval | None,
    *,
    unit: str = "",
    reference: float = 0.0,
) -> str:
    """``[low, high]`` with the digits that its own width justifies; the unit once, at the end.

    A bound that would round to ``reference``, the value of no difference, although it differs from
    it, gets the digits that show on which side it lies. A dash stands for a value that has no
    interval: an exact count, or too few runs to take one from.
    """
    if interval is None:
        return "–"
    low, high = interval
    scale = scale_of(unit)
    decimals = _decimals(max(abs(low), abs(high)) * scale, interval, scale, None)
    inner = ", ".join(
        _bound(bound * scale, _apart(bound * scale, reference * scale, decimals))
        for bound in (low, high)
    )
    return with_unit(f"[{inner}]", unit)


def estimate(value: float, interval: Interval, *, unit: str = "", reference: float = 0.0) -> str:
    """Value and interval, the unit once: ``0.12 bits [0.01, 0.20]``."""
    bounds = interval_text(interval, unit=unit, reference=reference)
    return f"{number(value, interval=interval, unit=unit)} {bounds.partition(']')[0]}]"


def count(n: float | int) -> str:
    """A whole number with thousands separators."""
    if float(n) != int(n):
        raise ValueError(f"a count must be a whole number, but is {n}")
    return fixed(float(n), 0) if abs(n) < 2**53 else f"{int(n):,}".replace("-", MINUS)


def listing(items: Sequence[str]) -> str:
    """``a, b and c``."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def scale_of(unit: str) -> float:
    """Fractions are stored as fractions and shown as percent."""
    return 100.0 if unit in {"share", "points"} else 1.0


def with_unit(text: str, unit: str) -> str:
    """Attach a unit: "%" touches the number, words follow after a space that does not break."""
    if not unit:
        return text
    if unit == "share":
        return f"{text}%"
    if unit == "points":
        return f"{text}{NO_BREAK}percentage point{'' if text == '1' else 's'}"
    if unit in _ATTACHED:
        return f"{text}{unit}"
    if text in {"1", f"{MINUS}1"} and unit.endswith("s") and len(unit) >= _PLURAL_LENGTH:
        unit = unit[:-1]
    return f"{text}{NO_BREAK}{unit}"


def fixed(value: float, decimals: int) -> str:
    """``value`` with thousands separators and a true minus sign; never minus zero."""
    rounded = round(value, decimals) + 0.0  # adding zero turns -0.0 into 0.0
    return f"{rounded:,.{max(decimals, 0)}f}".replace("-", MINUS)


def scientific(value: float, digits: int) -> str:
    """``3.1 × 10⁻⁷`` with ``digits`` significant digits."""
    mantissa, exponent = f"{value:.{max(digits, 1) - 1}e}".split("e")
    power = str(int(exponent)).translate(_SUPERSCRIPT)
    return f"{mantissa.replace('-', MINUS)}{NO_BREAK}×{NO_BREAK}10{power}"


def _decimals(value: float, interval: Interval | None, scale: float, digits: int | None) -> int:
    if digits is not None:
        return digits
    # A width of rounding errors is none.
    if interval is not None and not math.isclose(*interval, rel_tol=1e-9):
        return max(decimals_for(interval[0] * scale, interval[1] * scale), 0)
    decimals = significant_decimals(value)
    if scale != 1:  # percentages need no third decimal
        return min(max(decimals, 0), 1)
    return max(decimals, 0)


def _rounded(value: float, decimals: int) -> str:
    """Fixed or scientific; a value that would round to nothing says so."""
    if not math.isfinite(value):
        return "infinite" if value > 0 else f"{MINUS}infinite"
    if decimals > MAX_DECIMALS and value != 0:
        return scientific(value, significant_digits(value, decimals))
    if value != 0 and round(value, decimals) == 0:
        return f"< {fixed(10.0**-decimals, decimals)}" if value > 0 else "≈ 0"
    return fixed(value, decimals)


def _apart(value: float, reference: float, decimals: int) -> int:
    """``decimals``, or more, so that ``value`` does not look equal to ``reference``.

    What is equal up to :data:`MAX_DECIMALS` is equal but for rounding errors.
    """
    for more in range(decimals, MAX_DECIMALS + 1):
        if round(value, more) != round(reference, more):
            return more
    return decimals


def _bound(value: float, decimals: int) -> str:
    if decimals > MAX_DECIMALS and value != 0:
        return scientific(value, significant_digits(value, decimals))
    return fixed(value, min(decimals, MAX_DECIMALS))


def significant_digits(value: float, decimals: int) -> int:
    """Significant digits of ``value`` that lie above its ``decimals``-th decimal (1 to 4)."""
    return min(max(math.floor(math.log10(abs(value))) + decimals + 1, 1), 4)


def _not_quite_all(share: float, text: str) -> str:
    """99.97 % must not be printed as 100 %."""
    if share < 1 and text.startswith("100") and set(text[3:]) <= {".", "0"}:
        decimals = len(text.partition(".")[2])
        return f"> {fixed(100 - 10.0**-decimals, decimals)}"
    return text
