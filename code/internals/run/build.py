"""`make report`: from a model's name to the finished book, by Quarto or without it.

The chapters are executed once, which measures what is not cached and gives the notebook. They share
one or two processes, each of which loads a model once. Without Quarto the same execution is
rendered; with it, Quarto renders site and PDF from the same execution.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bookbinder.build import Built, resolve_book, write_formats
from bookbinder.errors import BookError
from bookbinder.folders import ROOM_BYTES, check_output, check_room, own_folder, staged
from bookbinder.model import Book, ExecutedChapter
from internals import cache
from internals.book import SEED
from internals.errors import UserError
from internals.measure import effort
from internals.models.fetch import chosen_subject
from internals.models.load import ModelHandle, loads, open_model
from internals.models.memory import needed_bytes
from internals.models.resolve import tokenizer_file
from internals.models.weights import weight_files
from internals.paths import BOOK, BUILD, CACHE, DATA, ROOT
from internals.run import kernels, progress, provenance, quarto

_AFTER = ("index.qmd", "report/evidence.qmd", "report/reproducibility.qmd")
"""They tell what the other chapters have found and what it took."""


class ReportError(UserError):
    """The chapters could not be rendered; the message names file, line and fault."""


@dataclass
class _Clock:
    """Wall time of the steps of a build."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)


def build_report(
    spec: str,
    *,
    out: Path = BOOK,
    quarto_mode: str = "auto",
    tokenizers: str = "",
) -> Path:
    """Build the report about a model into ``out``, which is replaced as a whole at the end.

    Args:
        spec: name, Hub id, folder or GGUF file; where it is empty the default subject, or the
            embedded model with a line that says why.
        out: folder of the result; missing, empty or made by a build before.
        quarto_mode: ``auto``, ``skip`` or ``install`` (see :mod:`internals.run.quarto`).
        tokenizers: further tokenizers for chapter 2, Hub ids or folders separated by commas.

    Raises:
        UserError: ``REPORT_EFFORT`` is no number above 0 and up to 1.
        ModelError: the model cannot be used.
        InputError: a file in `data/` is wrong.
        ReportError: a chapter failed, or a folder cannot be used; the former report is untouched.
    """
    clock = _Clock()
    began = time.monotonic()
    quarto.checked_mode(quarto_mode)
    check_folders(out)
    handle, notice = checked(spec, tokenizers)
    if notice:
        print(notice, flush=True)
    found, line = quarto.obtain(quarto_mode)
    print(line, flush=True)
    print(f"Report about {handle.name} ({handle.fingerprint}).", flush=True)
    try:
        with (
            _own_folder() as build,
            progress.Monitor(build / "progress.jsonl") as monitor,
        ):
            env = _environment(handle.spec, build) | monitor.environment
            with clock.step("execute and resolve"):
                books, executed = resolved(handle, tokenizers, build, monitor.environment)
            with staged(out, own=BOOK) as staging:
                formats = ("ipynb",) if found else ("html", "pdf", "ipynb")
                built = write_formats(books, staging, formats)
                if found:
                    with clock.step("quarto render"):
                        _quarto(found, staging, env, handle, executed)
                chapters = {c.source.path: round(c.seconds, 2) for c in executed}
                clock.seconds["whole"] = round(time.monotonic() - began, 2)
                seconds = clock.seconds
                add_records(staging, handle, notice, found, built, seconds, chapters, build)
    except BookError as error:
        raise ReportError(str(error)) from error
    cache.trim()
    print(f"Done in {clock.seconds['whole']:.0f} s: {out / 'index.html'}", flush=True)
    return out


def checked(spec: str, tokenizers: str) -> tuple[ModelHandle, str | None]:
    """The subject, and a line that says why it is another one than usual; all inputs are sound.

    For the arguments and the errors see `build_report`. Both become those of this process.
    """
    from internals.run.check_inputs import check_all

    effort.factor()
    check_all()
    spec, notice = chosen_subject(spec)
    handle = open_model(spec)
    for name in filter(None, map(str.strip, tokenizers.split(","))):
        tokenizer_file(name)  # a wrong name is told now and not after minutes
    refuse_problems(ROOT)
    os.environ |= {"REPORT_MODEL": spec, "REPORT_TOKENIZERS": tokenizers}
    return handle, notice


def check_folders(out: Path) -> None:
    """Refuse folders that cannot be used, before anything is measured.

    Raises:
        ReportError: the folder of the result, of intermediate files or of the cache.
    """
    try:
        check_output(out, needed=(ROOT, DATA, CACHE, BUILD), own=BOOK)
        check_room(BUILD, "build", ROOM_BYTES)
        check_room(CACHE, "cache")
    except BookError as error:
        raise ReportError(str(error)) from error


def resolved(
    handle: ModelHandle, tokenizers: str, build: Path, env: Mapping[str, str] | None = None
) -> tuple[dict[str, Book], list[ExecutedChapter]]:
    """The executed book for each format; ``build`` takes pictures and evidence."""
    number = kernels.how_many(needed_bytes(weight_files(handle.source), 4))
    env = _environment(handle.spec, build) | dict(env or {})
    if number > 1:
        env[kernels.VARIABLE] = str(number)
    assets = build / "assets"
    assets.mkdir(exist_ok=True)
    books, executed = resolve_book(ROOT, assets, env=env, event=_say, after=_AFTER, kernels=number)
    # The notebook, run again, must speak of the same model.
    environment = _notebook_environment(handle.spec, tokenizers)
    books["ipynb"] = replace(books["ipynb"], environment=environment)
    return books, executed


def _environment(spec: str, build: Path) -> dict[str, str]:
    """What the kernel and the filters need to know."""
    return {"REPORT_MODEL": spec, "INTERNALS_BUILD": str(build), "PYTHONHASHSEED": "0"}


def _notebook_environment(spec: str, tokenizers: str) -> dict[str, str]:
    """What the notebook sets for itself, so that it speaks of the same model when run again."""
    return {"REPORT_MODEL": spec} | ({"REPORT_TOKENIZERS": tokenizers} if tokenizers else {})


def _say(path: str, number: int, total: int) -> None:
    print(f"[{number}/{total}] {path}", flush=True)


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Evidence and records of this build alone; when it succeeds they become the latest ones.

    Two builds at once, perhaps about two models, must not write into each other's ledger.
    """
    with own_folder(BUILD, "run-") as folder:
        yield folder
        _keep(folder)


def _keep(folder: Path) -> None:
    """Leave evidence and records where `quarto preview` and other tools look for them."""
    models = sorted((folder / "evidence").glob("*"))
    for new in (*models, folder / "measurements.jsonl"):
        old = BUILD / new.relative_to(folder)
        old.parent.mkdir(exist_ok=True)
        with suppress(OSError):  # another build that ends in this moment may be faster
            if old.is_dir():
                os.replace(old, folder / f"former-{new.name}")
            os.replace(new, old)


def refuse_problems(root: Path) -> None:
    """Stop before measuring if the prose of a chapter cannot be trusted."""
    from internals.book.lint import lint_book

    problems = lint_book(root)
    if problems:
        listed = "\n".join(map(str, problems[:20]))
        raise ReportError(f"{listed}\nThe chapters have {len(problems)} problem(s); mend them.")


def _quarto(
    found: quarto.Quarto,
    staging: Path,
    env: dict[str, str],
    handle: ModelHandle,
    executed: Sequence[ExecutedChapter],
) -> None:
    """Render site and PDF of the executed chapters with Quarto into ``staging``."""
    import sys

    import filelock

    from internals.run import pre_render

    env = {**os.environ, **env, "QUARTO_PYTHON": sys.executable}
    # Quarto keeps its state in the project's folder, so only one may render at a time.
    with filelock.FileLock(BUILD / "quarto.lock"), own_folder(ROOT, ".quarto-out-") as folder:
        pre_render.keep(handle, executed)
        done = subprocess.run(
            [str(found.path), "render", "--output-dir", folder.name],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
            raise ReportError(f"Quarto failed:\n{tail}")
        shutil.copytree(folder, staging, dirs_exist_ok=True)


def add_records(
    staging: Path,
    handle: Any,
    notice: str | None,
    found: quarto.Quarto | None,
    built: Built,
    seconds: Mapping[str, float],
    chapters: dict[str, float],
    build: Path,
) -> None:
    """Write evidence.json and build.json beside the book."""
    from internals.book import evidence
    from internals.run import bench

    evidence.export(handle, staging / "evidence.json")
    measured = cache.recorded(build)
    record = {
        "rendered_with": f"Quarto {found.version}" if found else "Pandoc and Typst",
        "model": {
            "spec": handle.spec,
            "name": handle.name,
            "fingerprint": handle.fingerprint,
            "revision": handle.source.revision,
            "notice": notice,
        },
        "seed": SEED,
        "commit": provenance.commit(),
        "libraries": provenance.library_versions(),
        "machine": provenance.machine(),
        "seconds": {**seconds, **built.seconds},
        "chapters_seconds": chapters,
        "model_loads": loads(build),
        "measurements": json.loads(measured.to_json(orient="records")),
        "facts": built.facts,
        "bench": bench.recorded(),
    }
    text = json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n"
    (staging / "build.json").write_text(text, "utf-8")
