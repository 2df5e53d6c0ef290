"""Files in `data/` that a user may edit: read, and answered by one sentence where they are wrong.

The sentence names the file and the line. What the files mean is said in `internals.inputs` and
`internals.questions`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Hashable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from internals.errors import UserError
from internals.paths import ROOT

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class InputError(UserError):
    """A file in `data/` that cannot be used as it is."""


def fault(path: Path, where: int | str, what: str) -> InputError:
    """The error that says where: a line, or the id of the entry or the key that begins there."""
    line = where if isinstance(where, int) else _line_of(path, where)
    return InputError(f"{_shown(path)}, line {line}: {what}")


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def _line_of(path: Path, id: str) -> int:
    text = read_text(path)
    name = re.escape(id)
    found = re.search(rf"\bid:\s*[\"']?{name}[\"']?\s*(?:[,}}#]|$)|^{name}:", text, re.M)
    return text.count("\n", 0, found.start() if found else 0) + 1


def read_text(path: Path) -> str:
    """Text of a file in UTF-8.

    Raises:
        InputError: it is missing or in another encoding.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
        at = data.find(b"\0")
    except OSError as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else f"fails: {error.strerror}"
        raise InputError(
            f"{_shown(path)} {why}; restore it with `git checkout {_shown(path)}`."
        ) from None
    except UnicodeDecodeError as error:
        at = error.start
    if at >= 0:
        line = data.count(b"\n", 0, at) + 1
        raise fault(path, line, "this is not UTF-8; save the file in that encoding.")
    return text


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML in which a key comes once and every text can be written."""


class _Entry(dict[Any, Any]):
    """A mapping that knows its line."""

    line = 0


def _mapping(loader: Any, node: Any) -> _Entry:
    found = _Entry()
    found.line = node.start_mark.line + 1
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable) or key in found:
            raise yaml.MarkedYAMLError(
                problem=f"the key {key!r} comes twice or is no text",
                problem_mark=key_node.start_mark,
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


def _text(loader: Any, node: Any) -> str:
    text = str(loader.construct_scalar(node))
    if not _writable(text):
        raise yaml.MarkedYAMLError(problem="half a character", problem_mark=node.start_mark)
    return text


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:str", _text)


def _writable(text: str) -> bool:
    """Whether it is free of lone surrogates, which no file and no tokenizer takes."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def parsed(path: Path) -> Any:
    """Content of a YAML file, with every key once.

    Raises:
        InputError: as `read_text`; also for what is no YAML.
    """
    text = read_text(path)
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
        at = min(at, text.count("\n"))  # the end of a file may count as a line of its own
        why = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
        raise fault(
            path,
            at + 1,
            f"this is no valid YAML ({why}); check quotes, colons and indentation there.",
        ) from error


def read_yaml(path: Path, key: str) -> list[_Entry]:
    """The list under ``key`` of a YAML file that holds nothing else, each entry a mapping.

    Raises:
        InputError: as `parsed`; also for another shape.
    """
    content = parsed(path)
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise fault(path, 1, f"the file must hold a list named {key!r} with at least one entry.")
    if others := [name for name in content if name != key]:
        raise fault(path, 1, f"the file must hold {key!r} only; {others[0]!r} is not known.")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, _Entry):
            line = max([e.line for e in entries[: number - 1]], default=1)
            raise fault(path, line, f"entry {number} must be a mapping such as `id: …`.")
    return entries


def check_lists(path: Path) -> None:
    """Check a YAML file of named lists and mappings, whose rows are of one length in each list.

    Raises:
        InputError: as `parsed`; also for another shape.
    """
    content = parsed(path)
    if not isinstance(content, dict) or not content:
        raise fault(path, 1, "the file must hold named lists.")
    for name, value in content.items():
        if not isinstance(value, list | dict) or not value:
            raise fault(path, str(name), f"{name!r} must hold a list or mapping with entries.")
        sizes = {len(row) if isinstance(row, list) else -1 for row in value}
        if isinstance(value, list) and len(sizes) > 1:
            raise fault(path, str(name), f"the rows of {name!r} must be of one length.")


def fields(
    path: Path,
    key: str,
    names: tuple[str, ...],
    others: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
) -> Iterator[dict[str, Any]]:
    """Entries of ``path`` that have exactly the text fields ``names``, ids unique.

    ``others``: fields that are no text; that they are there is checked, not what they hold.
    ``optional``: text fields that may be missing.

    Raises:
        InputError: as `read_yaml`; also for a wrong entry.
    """
    seen: set[str] = set()
    for entry in read_yaml(path, key):
        wrong = partial(fault, path, entry.line)
        for name in (*names, *(name for name in optional if name in entry)):
            value = entry.get(name)
            if not isinstance(value, str) or not value:
                raise wrong(f"the entry needs `{name}:` with a text in quotes.")
        for name in others:
            if not entry.get(name):
                raise wrong(f"the entry needs `{name}:`; look at its neighbours in the file.")
        if unknown := sorted(set(map(str, entry)) - {*names, *others, *optional}):
            known = ", ".join((*names, *others, *optional))
            raise wrong(f"the entry has an unknown field `{unknown[0]}`; known are {known}.")
        id = entry["id"]
        if not _NAME.fullmatch(id):
            raise wrong(f"the id {id!r} is not allowed; use lower-case letters, digits, hyphens.")
        if id in seen:
            raise wrong(f"the id {id!r} comes a second time; ids must differ.")
        seen.add(id)
        yield entry


def check_table(path: Path, columns: str) -> None:
    """Check a table: CSV, TSV, or JSON Lines whose values are all texts.

    ``columns`` are the names of those it must have, with blanks between; ``#`` after one says that
    it holds numbers.

    Raises:
        InputError: as `read_text`; also for a missing column, or a row that does not fit.
    """
    names = [name.rstrip("#") for name in columns.split()]
    numbers = [name[:-1] for name in columns.split() if name.endswith("#")]
    line = 0
    for line, row in _rows(path):
        if missing := [name for name in names if name not in row]:
            raise fault(path, line, f"the column {missing[0]!r} is missing.")
        for name in numbers:
            if not _is_number(row[name]):
                raise fault(path, line, f"{name} is {row[name]!r}; it must be a number.")
    if not line:
        raise fault(path, 1, "the table has no rows; it must have one or more.")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a table with the numbers of their lines."""
    text = read_text(path)
    yield from _json_rows(path, text) if path.suffix == ".jsonl" else _separated(path, text)


def _separated(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    lines = io.StringIO(text.removeprefix("\ufeff"), newline="")
    reader = csv.reader(lines, delimiter="\t" if path.suffix == ".tsv" else ",")
    head, line = next(reader, []), 1
    if not head or len(set(head)) < len(head):
        raise fault(path, 1, "the first line must name the columns, each once.")
    try:
        for row in reader:
            line, first = reader.line_num, line + 1
            if row and len(row) != len(head):
                raise fault(path, first, f"{len(row)} values stand under {len(head)} columns.")
            if row:
                yield first, dict(zip(head, row, strict=True))
    except csv.Error as error:
        raise fault(path, line + 1, f"this row cannot be read ({error}).") from error


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    for line, content in enumerate(io.StringIO(text), start=1):
        try:
            row = json.loads(content, object_pairs_hook=_once)
        except ValueError as error:
            raise fault(path, line, f"this is no valid JSON ({error}).") from error
        values = row.values() if isinstance(row, dict) else [None]
        if not all(isinstance(v, str) and v and _writable(v) for v in values):
            raise fault(path, line, "the line must be an object {…} whose values are texts.")
        yield line, row


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
