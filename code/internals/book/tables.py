"""Tables for the page: a DataFrame becomes one Markdown table for HTML, PDF and notebook.

Cell text is untrusted (it may be a token): every character that Markdown, HTML or Typst could take
as markup is escaped. Nothing here measures.
"""

from __future__ import annotations

import inspect
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from internals.book import wording

Format = str | int | Callable[[Any], str]

_MARKUP = frozenset("\\`*_{}[]<>#!|$@^~&'\":=")
_RUNS = re.compile(r"(?<=[-.])[-.]|[-.](?=[-.])|(?<=www)\.")
"""Dashes and points that would turn into typographic dashes, ellipses or addresses."""
_LONGEST_WORD = 32
_WIDEST = 48
_NARROWEST = 3


@dataclass(frozen=True)
class Table:
    """A table ready for the page; a notebook, Quarto and Pandoc read its Markdown."""

    markdown: str

    def _repr_markdown_(self) -> str:
        return self.markdown

    def __str__(self) -> str:
        return self.markdown


def table(
    frame: pd.DataFrame,
    *,
    formats: Mapping[str, Format] | None = None,
    names: Mapping[str, str] | None = None,
    columns: Sequence[str] | None = None,
    code: Sequence[str] = (),
) -> Table:
    """Render ``frame`` (its index is left out); numbers stand on the right.

    ``formats``: per column a unit of `wording.number` ("share", "ms" …: values get it), a number of
    decimals, or a function to text. ``names``: headings; by default ``entropy_bits`` becomes
    "Entropy (bits)". ``code``: columns set in monospace (tokens).

    Raises:
        KeyError: ``formats``, ``names`` or ``code`` name a column that is not there.
    """
    shown = frame if columns is None else frame.loc[:, list(columns)]
    formats, names = formats or {}, names or {}
    if unknown := {*formats, *names, *code} - set(shown.columns):
        raise KeyError(f"no column {unknown.pop()!r} to format; there are {list(shown.columns)}")
    cells = [_column(shown[name], formats.get(name), name in code) for name in shown.columns]
    heads = [escape(names.get(name, heading(str(name)))) for name in shown.columns]
    sides = [_side(shown[name]) for name in shown.columns]
    return Table(pipe_table(heads, list(zip(*cells, strict=True)), sides))


def listing(module: ModuleType) -> Table:
    """The source of a tested module, from its first class on, as code on the page."""
    source = inspect.getsource(module)
    return Table(f"```python\n{source[source.index('class ') :].strip()}\n```\n")


def pipe_table(heads: Sequence[str], rows: Sequence[Sequence[str]], sides: Sequence[str]) -> str:
    """Markdown pipe table of ready Markdown cells.

    The dashes under the headings carry the relative widths that Pandoc uses for wide tables.
    """
    widths = [
        min(max(_NARROWEST, *(len(text) for text in column)), _WIDEST)
        for column in zip(heads, *rows, strict=True)
    ]
    rules = [_rule(width, side) for width, side in zip(widths, sides, strict=True)]
    lines = [_line(heads), _line(rules), *(_line(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(width: int, side: str) -> str:
    return ":" + "-" * (width - 1) if side == "left" else "-" * (width - 1) + ":"


def heading(column: str) -> str:
    """``entropy_bits`` to "Entropy (bits)"; names without a known unit lose their underscores."""
    words = column.split("_")
    unit = _UNITS.get(words[-1]) if len(words) > 1 else None
    if unit:
        words = words[:-1]
    text = " ".join(_ACRONYMS.get(word, word) for word in words).strip()
    text = text if len(text) == 1 else text[:1].upper() + text[1:]
    return f"{text} ({unit})" if unit else text


_ACRONYMS = {"kl": "KL", "id": "ID", "ids": "IDs", "rms": "RMS", "oov": "OOV", "bpe": "BPE"}
_UNITS = {
    "bits": "bits",
    "nats": "nats",
    "ms": "ms",
    "s": "s",
    "seconds": "s",
    "mib": "MiB",
    "gib": "GiB",
    "bytes": "bytes",
    "pct": "%",
    "share": "%",
}


def escape(text: object) -> str:
    """Text that Markdown shows as it is: token text must never become markup.

    Control and direction characters appear as their Python escapes, so that no token can break
    a row or turn the reading direction of the page.
    """
    visible = "".join(_visible(character) for character in str(text))
    escaped = "".join(f"\\{c}" if c in _MARKUP else c for c in _breakable(visible))
    return _RUNS.sub(r"\\\g<0>", escaped)


def escape_code(text: object) -> str:
    """Monospaced text; where a code span cannot hold it inside a table, escaped plain text."""
    visible = "".join(_visible(character) for character in str(text))
    if not visible.strip() or set(visible) & set("`|\\$"):
        return escape(text)
    return f"`{visible}`"


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} and character != "\u200d":
        return character.encode("unicode_escape").decode("ascii")
    return character


def _breakable(text: str) -> str:
    """Let very long words break, so that no cell runs off the printed page."""
    if len(text) <= _LONGEST_WORD:
        return text
    pieces, run = [], 0
    for character in text:
        run = 0 if character.isspace() else run + 1
        if run > _LONGEST_WORD:
            pieces.append("\u200b")
            run = 1
        pieces.append(character)
    return "".join(pieces)


def _side(column: pd.Series) -> str:
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return "right" if numeric else "left"


def _column(column: pd.Series, how: Format | None, code: bool) -> list[str]:
    if callable(how):
        return [escape(how(value)) for value in column]
    if _side(column) == "right":
        return _numbers(column, how)
    show = escape_code if code else escape
    return [_cell(value, how, show) for value in column]


def _cell(value: Any, how: Format | None, show: Callable[[object], str]) -> str:
    if value is None or (
        not isinstance(value, str) and pd.api.types.is_scalar(value) and pd.isna(value)
    ):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | float | np.number):
        plain = value.item() if isinstance(value, np.number) else value
        unit, digits = _unit_and_digits(how)
        return escape(wording.number(plain, unit=unit, digits=digits))
    if isinstance(value, tuple | list):
        return ", ".join(_cell(part, how, show) for part in value)
    return show(value)


def _unit_and_digits(how: Format | None) -> tuple[str, int | None]:
    if isinstance(how, str):
        return how, None
    return "", how if isinstance(how, int) else None


def _numbers(column: pd.Series, how: Format | None) -> list[str]:
    """Numbers of one column with the same number of decimals, so that they can be compared."""
    unit, digits = _unit_and_digits(how)
    values = [None if pd.isna(v) else float(v) for v in column]
    if digits is None:
        digits = _common_decimals([v * wording.scale_of(unit) for v in values if v is not None])
    texts = []
    for value in values:
        exact = value is not None and digits == 0 and value.is_integer() and not unit
        shown = int(value) if exact and value is not None else value
        text = "–" if value is None else wording.number(shown, unit=unit, digits=digits)
        texts.append(escape(text))
    return texts


def _common_decimals(values: Sequence[float]) -> int | None:
    """Three significant digits for the largest number, or None where powers of ten are needed."""
    finite = [abs(v) for v in values if math.isfinite(v) and v != 0]
    if not finite or all(v.is_integer() for v in finite):
        return 0
    decimals = max(wording.significant_decimals(max(finite)), 0)
    if min(finite) < 10.0 ** -(decimals + 1):
        return None  # spread over orders of magnitude: each number chooses its own digits
    return decimals
