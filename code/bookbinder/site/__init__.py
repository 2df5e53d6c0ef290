"""The HTML site of a resolved book: one page a chapter, no network, works from disk."""

from bookbinder.site.write import write_site

__all__ = ["write_site"]
