"""What a chapter imports: the model of this run, claims, numbers for prose, tables, the ledger.

    from internals import book
    report = book.start("architecture")

Nothing here imports torch: a chapter whose measurements are cached never needs it.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from internals.book import tables, wording
from internals.book.tables import Format, Table
from internals.cache import turns
from internals.evidence import store
from internals.evidence.claims import Claim, EvidenceError, make_claim
from internals.evidence.ledger import evidence_table, export_evidence

__all__ = ["DEFAULT_MODEL", "Report", "evidence_table", "export_evidence", "start"]

DEFAULT_MODEL = "fable-gpt2"
SEED = 20240


@dataclass(frozen=True)
class Report:
    """One chapter in the making."""

    chapter: str
    model: Any
    """`internals.models.ModelHandle`: cheap to hold; it loads when a measurement needs it."""
    evidence: store.ChapterEvidence
    _cells: dict[str, int | None]

    def claim(
        self,
        id: str,
        sentence: str,
        *,
        value: Any,
        holds: bool | None,
        interval: tuple[float, float] | None = None,
        n: int | None = None,
        unit: str = "",
        n_unit: str = "",
        reference: float = 0.0,
    ) -> Claim:
        """Register one empirical statement and what was measured about it.

        ``value``: a number or an `internals.stats.Estimate` (which brings interval and n).
        ``holds``: does the measurement support the sentence; None if it does not apply here.
        ``unit``: see `wording.number`; "share" and "points" take fractions.
        ``n_unit``: what n counts. ``reference``: the value that means "no difference".
        ``sentence`` may hold ``{value}``, ``{interval}``, ``{n}`` and ends with a full stop.
        Raises `EvidenceError` for a missing value, interval disorder or an id used twice.
        """
        self._refuse_twice(id)
        claim = make_claim(
            id,
            self.chapter,
            sentence,
            value=value,
            interval=interval,
            n=n,
            holds=holds,
            unit=unit,
            n_unit=n_unit,
            reference=reference,
            ledger=store.link_between(self.evidence.file, store.source_of("evidence")),
        )
        self.evidence.claims[id] = claim
        self.evidence.save()
        return claim

    def _refuse_twice(self, id: str) -> None:
        """An id may be used once; running the same notebook cell again is not a second use."""
        now = _cell_number()
        if id in self._cells and (now is None or self._cells[id] == now):
            raise EvidenceError(f"Claim id {id!r} is used twice in chapter {self.chapter}.")
        self._cells[id] = now

    @property
    def claims(self) -> Mapping[str, Claim]:
        """Claims of this chapter so far, by id."""
        return self.evidence.claims

    def fact(self, name: str) -> str:
        """A fact about the model, for prose."""
        facts = self.evidence.facts
        if name not in facts:
            raise EvidenceError(
                f"The model has no fact {name!r}; known are {wording.listing(sorted(facts))}."
            )
        value = facts[name]
        return value if isinstance(value, str) else wording.number(value)

    def number(
        self,
        x: float | None,
        *,
        unit: str = "",
        digits: int | None = None,
        interval: tuple[float, float] | None = None,
    ) -> str:
        """A number for prose (see `wording.number`)."""
        return wording.number(_python(x), unit=unit, digits=digits, interval=interval)

    def percent(
        self,
        share: float | None,
        *,
        digits: int | None = None,
        interval: tuple[float, float] | None = None,
    ) -> str:
        """A fraction as percent."""
        return wording.percent(_python(share), digits=digits, interval=interval)

    def count(self, n: float) -> str:
        """A whole number with thousands separators."""
        return wording.count(_python(n))

    def table(
        self,
        frame: pd.DataFrame,
        *,
        formats: Mapping[str, Format] | None = None,
        names: Mapping[str, str] | None = None,
        columns: Sequence[str] | None = None,
        code: Sequence[str] = (),
        align: Mapping[str, str] | None = None,
        max_rows: int | None = None,
    ) -> Table:
        """A DataFrame as a table for HTML, PDF and notebook (see `tables.table`)."""
        return tables.table(
            frame,
            formats=formats,
            names=names,
            columns=columns,
            code=code,
            align=align,
            max_rows=max_rows,
        )

    def printout(self, text: str, title: str) -> Table:
        """A long text in a fixed font; one of more than a page stands in a box that unfolds."""
        return tables.printout(text, title)


def start(chapter: str) -> Report:
    """Open a chapter: model of this run, figure style, seeds, an empty evidence file.

    The model is the one named by the environment variable REPORT_MODEL.
    """
    from internals.models import open_model

    turns.share_during_cells()
    spec = model_spec()
    model = open_model(spec)
    _set_up_display()
    _plain_strings()
    _seed()
    evidence = store.ChapterEvidence(
        chapter=chapter,
        file=store.source_of(chapter),
        model={"spec": spec, "name": model.name, "fingerprint": model.fingerprint},
        facts={**store.flat_facts(model.facts), "name": model.name, "spec": spec},
    )
    evidence.save()
    return Report(chapter, model, evidence, {})


def model_spec() -> str:
    """Model of this run: REPORT_MODEL, else the embedded one."""
    return os.environ.get("REPORT_MODEL", "").strip() or DEFAULT_MODEL


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
    shell = _shell()
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


def _cell_number() -> int | None:
    """Number of the running notebook cell, None outside a notebook."""
    shell = _shell()
    return None if shell is None else shell.execution_count


def _shell() -> Any:
    """The running IPython, None elsewhere."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _python(x: Any) -> Any:
    return x.item() if hasattr(x, "item") else x
