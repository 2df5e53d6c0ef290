"""What a run was made with: the model, the checkout, machine and libraries; and what its author
declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from internals import paths
from internals.book.tables import Table
from internals.run import provenance

UNKNOWN = "unknown (no git checkout)"


_WORDS = {"cpu": "processor", "memory_gib": "memory (GiB)", "python": "Python"}


@dataclass(frozen=True)
class Run:
    """Facts about a run, ready for prose."""

    spec: str
    fingerprint: str
    revision: str
    commit: str
    seed: str
    table: pd.DataFrame
    """Columns ``item`` and ``value``: machine, then libraries."""

    @property
    def statement(self) -> Table | None:
        """``submission: ai-use:`` of ``_quarto.yml`` as a section; nothing where it is empty."""
        submission = _metadata().get("submission") or {}
        text = str(submission.get("ai-use") or "").strip()
        return Table(f"## Use of AI tools {{.unnumbered}}\n\n{text}\n") if text else None


def run_of(subject: Any, seed: int) -> Run:
    """The run about a model."""
    rows = [*provenance.machine().items(), *sorted(provenance.library_versions().items())]
    return Run(
        subject.spec,
        subject.fingerprint,
        subject.source.revision or "none (local files)",
        provenance.commit() or UNKNOWN,
        str(seed),
        pd.DataFrame([(_WORDS.get(k, k), str(v)) for k, v in rows], columns=["item", "value"]),
    )


def _metadata() -> dict[str, Any]:
    file = paths.ROOT / "_quarto.yml"
    return dict(yaml.safe_load(file.read_text("utf-8")) or {}) if file.is_file() else {}
