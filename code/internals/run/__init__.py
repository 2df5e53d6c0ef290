"""Command line, build of the report, bench, checks of a finished book."""
