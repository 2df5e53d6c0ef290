"""The one error that a reader of a message can cause and mend: place and one sentence."""

from __future__ import annotations

from pathlib import PurePath


class BookError(Exception):
    """A fault in the book's sources, with the file and (where known) the line.

    ``str(error)`` is one sentence, prefixed by ``file:line:`` as editors and terminals expect.
    """

    def __init__(
        self,
        message: str,
        file: str | PurePath | None = None,
        line: int | None = None,
        *,
        needle: str = "",
    ) -> None:
        self.message = message
        self.needle = needle
        """Text at the fault: finds the line where only the syntax tree was read."""
        self.file = None if file is None else str(file)
        self.line = line
        place = "" if self.file is None else f"{self.file}:" + (f"{line}: " if line else " ")
        super().__init__(place + message)
