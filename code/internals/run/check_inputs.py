"""All files in `data/` that a user may edit, checked in the first seconds of a report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from internals import inputs, questions
from internals.datafiles import check_lists, check_table
from internals.paths import DATA

_TABLES = {
    "facts/architectures.csv": "name layers# kv_heads# heads# d_head# context# window "
    "parameters_billion# source",
    "facts/countries.csv": "code country capital continent languages currency_codes",
    "facts/elements.csv": "atomic_number# symbol name standard_state group year_discovered",
    "heldout/documents.jsonl": "kind source licence text",
    "parallel/udhr.tsv": "article# language_code language script text",
    "words/counts.csv": "word count#",
    "words/wordsim353.tsv": "word1 word2 rating#",
}
"""Columns of the tables, for `check_table`."""
READERS: dict[str, Callable[[Path], Any]] = {
    "prompts/samples.yaml": inputs.samples,
    "prompts/next_token.yaml": inputs.prompts,
    "prompts/changes.yaml": inputs.changes,
    "prompts/openings.yaml": inputs.openings,
    "questions/tricks10.yaml": inputs.tricks,
    "questions/answerable.yaml": inputs.answerable,
    "questions/pairs.yaml": questions.trick_pairs,
    "questions/ambiguity.yaml": questions.ambiguous_words,
    "words/categories.yaml": inputs.categories,
    "words/senses.yaml": inputs.senses,
    "facts/templates.yaml": check_lists,
    "facts/world.yaml": check_lists,
    **{name: partial(check_table, columns=names) for name, names in _TABLES.items()},
}
"""How each file is read and checked."""


def check_all(data: Path = DATA) -> None:
    """Read every file, so that a fault is told before anything is measured.

    Raises:
        InputError: for the first fault; it names file and line.
    """
    for name, read in READERS.items():
        read(data / name)
