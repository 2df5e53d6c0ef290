"""`python -m internals`."""

from internals.cli import main

main()
