"""Labels of a PDF: one for each id of the book, unique although ids may repeat by chapter."""

from __future__ import annotations

from collections.abc import Sequence

from bookbinder import ast
from bookbinder.model import Chapter


class Anchors:
    """Which label an id has, seen from a chapter.

    An id such as ``summary`` may occur in several chapters; a link to it means the own chapter's,
    else the first in the book.
    """

    def __init__(self, chapters: Sequence[Chapter]) -> None:
        self._own: dict[str, dict[str, str]] = {}
        self._anywhere: dict[str, str] = {}
        self._chapter = ""
        self._undefined: dict[str, str] = {}
        used: set[str] = set()
        for chapter in chapters:
            self._collect(chapter, used)

    def _collect(self, chapter: Chapter, used: set[str]) -> None:
        own = self._own.setdefault(chapter.path, {})
        ids = [chapter.anchor, *(ast.ident_of(node) for node in ast.descend(list(chapter.blocks)))]
        for ident in ids:
            if not ident or ident in own:
                continue
            label, count = ident, 1
            while label in used:
                count += 1
                label = f"{ident}--{count}"
            used.add(label)
            own[ident] = label
            self._anywhere.setdefault(ident, label)

    def enter(self, chapter: Chapter) -> None:
        """From here on, ids and links are those of this chapter."""
        self._chapter = chapter.path
        self._undefined = dict(self._own[chapter.path])

    def define(self, ident: str) -> str | None:
        """The label to set where an id stands; ``None`` where the id is empty or was seen."""
        return self._undefined.pop(ident, None) if ident else None

    def target(self, ident: str) -> str | None:
        """The label that a link to an id means; ``None`` if the book has no such place."""
        return self._own.get(self._chapter, {}).get(ident) or self._anywhere.get(ident)
