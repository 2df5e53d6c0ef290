"""Errors that a user can cause and mend.

Each carries one sentence: what is wrong and what to do.
The command line prints it without a stack trace (set INTERNALS_DEBUG=1 to see the trace).
"""

from __future__ import annotations


class UserError(Exception):
    """Base of every error whose message is written for the user of the report."""


class ModelError(UserError):
    """A model that cannot be found, fetched, read or used."""


class NotApplicable(UserError):
    """An experiment that cannot be made with this model; the message says why.

    It costs the book one sentence, never the build: see `internals.book.cells`.
    """

    def _repr_markdown_(self) -> str:
        """What stands in a sentence in the place of the value that could not be had."""
        return "not measured"


def first_line(error: Exception) -> str:
    """The first line of what a library says of a failure, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")
