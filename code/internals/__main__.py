"""`python -m internals`."""

from internals.run.cli import main

main()
