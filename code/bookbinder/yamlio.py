"""YAML as Quarto reads it: only true/false are booleans, dates stay text; with line numbers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import yaml

from bookbinder.errors import BookError

KeyPath = tuple[str, ...]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema, as far as Quarto's files use it."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, rx) for tag, rx in rules if not tag.endswith((":timestamp", ":bool"))]
    for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def load(text: str, file: str, first_line: int = 1) -> tuple[Any, dict[KeyPath, int]]:
    """Parse YAML; also the line of every mapping key.

    Args:
        text: YAML source.
        file: name for messages.
        first_line: line of the file at which ``text`` begins.

    Raises:
        BookError: the YAML is malformed or repeats a key.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[KeyPath, int] = {}
        if node is not None:
            _note_lines(node, (), lines, file, first_line)
        data = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + first_line
        raise BookError(f"this YAML cannot be read: {error.problem}.", file, line) from None
    except yaml.YAMLError as error:
        raise BookError(f"this YAML cannot be read: {error}.", file, first_line) from None
    finally:
        loader.dispose()
    return data, lines


def _note_lines(
    node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], file: str, first_line: int
) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + first_line
            if key in seen:
                raise BookError(f"the key “{key}” is given twice; keep one.", file, line)
            seen.add(key)
            lines[(*path, key)] = line
            _note_lines(value_node, (*path, key), lines, file, first_line)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _note_lines(item, (*path, str(i)), lines, file, first_line)


def closest(word: str, known: Iterable[str]) -> str:
    """`` Did you mean “…”?`` or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean “{near[0]}”?" if near else ""


def check_keys(
    data: Mapping[str, Any],
    known: Collection[str],
    where: str,
    file: str,
    lines: Mapping[KeyPath, int],
    path: KeyPath = (),
) -> None:
    """Refuse keys that would have no effect.

    Raises:
        BookError: a key is unknown; the message suggests the nearest known one.
    """
    for key in data:
        if key not in known:
            raise BookError(
                f"the key “{key}” is not supported {where}.{closest(str(key), known)}",
                file,
                lines.get((*path, str(key))),
            )


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two configurations as Quarto does: mappings key by key, lists joined, else replaced."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = merge(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            result[key] = old + [item for item in value if item not in old]
        else:
            result[key] = value
    return result
