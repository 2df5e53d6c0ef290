"""What a chapter imports: the model of this run, its findings, tables and numbers for prose.

    from internals import book
    report = book.start("probabilities")

Nothing here imports torch.
"""

from __future__ import annotations

import os
import random
import sys
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd

from internals.book import evidence, tables, wording
from internals.book.cells import guard_cells
from internals.book.cited import Cited
from internals.book.tables import Table
from internals.errors import UserError
from internals.findings import findings_of

__all__ = ["Report", "start"]

SEED = 20240


@dataclass(frozen=True)
class Report:
    """One chapter of the report about one model."""

    chapter: str
    subject: Any
    """`internals.models.ModelHandle`: what measurements take; cheap to hold, loads when needed."""
    found: dict[str, Cited]
    """The chapter's findings, by id; those of other chapters join when they are asked for."""
    notice: str = ""
    """Why the book is not about the default model, where it could not be had."""

    def load(self) -> tuple[Any, Any]:
        """Model and tokenizer as transformers gives them, loaded once in a process."""
        loaded = self.subject.loaded()
        return loaded.model, loaded.tokenizer

    @property
    def folder(self) -> str:
        """Folder of the model's files, for ``from_pretrained``."""
        return str(self.subject.folder)

    @cached_property
    def facts(self) -> Any:
        """Facts about the model, ready for prose: ``{python} report.facts.n_layers``."""
        return SimpleNamespace(**{n: _text(v) for n, v in evidence.facts(self.subject).items()})

    @property
    def note(self) -> Table | None:
        """The notice as a callout; nothing where there is none."""
        return Table(f"::: {{.callout-note}}\n{self.notice}\n:::\n") if self.notice else None

    @cached_property
    def run(self) -> Any:
        """What this run was made with (see `internals.book.about`)."""
        from internals.book.about import run_of

        return run_of(self.subject, SEED)

    def findings(self, module: ModuleType) -> Any:
        """The findings of a section, by the names of their functions; also of another chapter's.

        Raises:
            UserError: the chapter's package does not list the section.
        """
        own = findings_of(module)
        chapter = module.__name__.split(".")[-2]
        if not self.found.keys() >= {finding.id for finding in own.values()}:
            page = evidence.source_of(self.chapter)
            self.found.update(evidence.cited(chapter, self.subject, page))
            evidence.save(self.chapter, self.subject, self.found)
        missing = [f.id for f in own.values() if f.id not in self.found]
        if missing:
            raise UserError(
                f"{module.__name__} is in no SECTIONS of its chapter, so {missing[0]} is unknown."
            )
        return SimpleNamespace(**{name: self.found[f.id] for name, f in own.items()})

    def number(self, x: Any, unit: str = "", digits: int | None = None) -> str:
        """A number for prose (see `wording.number`)."""
        return wording.number(_python(x), unit=unit, digits=digits)

    def percent(self, share: Any, digits: int | None = None) -> str:
        """A fraction as percent."""
        return self.number(share, "share", digits)

    def table(self, frame: pd.DataFrame, **options: Any) -> Table:
        """A DataFrame as a table for HTML, PDF and notebook (see `tables.table`)."""
        return tables.table(frame, **options)


def start(chapter: str) -> Report:
    """Open a chapter about the model of this run: its findings, figure style, seeds.

    The model is the one named by the environment variable REPORT_MODEL, else the default.
    """
    from internals.models import open_model
    from internals.models.fetch import chosen_subject

    guard_cells()
    _set_up_display()
    _plain_strings()
    _seed()
    spec, notice = chosen_subject(os.environ.get("REPORT_MODEL", ""))
    subject = open_model(spec)
    found = evidence.cited(chapter, subject)
    evidence.save(chapter, subject, found)
    return Report(chapter, subject, found, notice or "")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else wording.number(value)


def _set_up_display() -> None:
    from internals.figures import style

    style.use()
    pd.set_option("display.max_rows", 40)
    pd.set_option("display.max_columns", 20)
    pd.set_option("display.width", 78)


def _plain_strings() -> None:
    """Let Quarto print inline strings as they are.

    It takes the kernel's ``repr`` of them, in which a no-break space is the four letters ``\\xa0``;
    and in place of an empty string it prints the expression, so nothing becomes a word joiner.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None and "QUARTO_DOCUMENT_PATH" in os.environ:
        plain = shell.display_formatter.formatters["text/plain"]
        plain.for_type(
            str, lambda text, printer, _cycle: printer.text(f"'{text or wording.JOINER}'")
        )


def _seed() -> None:
    """Fix every generator that is around; measurements take their seed as a parameter anyway."""
    import numpy as np

    random.seed(SEED)
    np.random.seed(SEED)  # some libraries still use the global generator
    if torch := sys.modules.get("torch"):
        torch.manual_seed(SEED)


def _python(x: Any) -> Any:
    return x.item() if hasattr(x, "item") else x
