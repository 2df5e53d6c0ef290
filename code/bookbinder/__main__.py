"""`python -m bookbinder FOLDER`: build the Quarto book in a folder without Quarto."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bookbinder.build import FORMATS, build_book
from bookbinder.errors import BookError


def main() -> None:
    """Build a book; an error is one line with file and line number."""
    parser = argparse.ArgumentParser(prog="bookbinder", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of _quarto.yml")
    parser.add_argument("--out", type=Path, help="result folder (default: the project's)")
    parser.add_argument("--formats", default=",".join(FORMATS), help="html,pdf,ipynb")
    options = parser.parse_args()
    try:
        built = build_book(
            options.folder,
            options.out,
            formats=tuple(options.formats.split(",")),
            event=lambda path, number, total: print(f"[{number}/{total}] {path}", flush=True),
        )
    except BookError as error:
        sys.exit(str(error))
    for step, seconds in built.seconds.items():
        print(f"{seconds:7.2f} s  {step}")


if __name__ == "__main__":
    main()
