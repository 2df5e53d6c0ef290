"""What Quarto runs after it has rendered the project (`post-render` in _quarto.yml).

No page may ask the network for anything, and references of the home page, to which Quarto gives
titles alone, get their numbers. The search works from disk too. After a render of the whole book
the notebook and the records lie beside it, as after `make report`: `pre_render` has made them.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from internals.run.pre_render import RECORDS

# Quarto adds these to every page with an HTML output, for widgets of Jupyter; the book has none.
_FOREIGN = re.compile(
    r"<script[^>]*\bsrc=\"https://cdn\.jsdelivr\.net/npm/(?:requirejs|jquery)@[^>]*></script>\s*"
    r"|<script[^>]*>define\('jquery'.*?</script>\s*",
    re.DOTALL,
)
_REFERENCE = re.compile(
    r'(<a href="([^"#]+\.html)#?([^"]*)" class="quarto-xref">)<span>((?:(?!</a>).)*)</span></a>'
)
_NUMBERED = re.compile(r"(?:Chapter|Section|Appendix)\s[\dA-Z.]+")
# A page from disk may fetch no file, but it may load a script.
_SEARCH = (
    (r'window\.location\.protocol === "file:" && !shownWarning', "false"),
    (
        r'await fetch\(offsetURL\("search\.json"\)\)',
        'await (window.location.protocol === "file:" ? indexFromDisk() '
        ': fetch(offsetURL("search.json")))',
    ),
)
_INDEX_FROM_DISK = """
function indexFromDisk() {
  return new Promise((found, lost) => {
    const script = document.createElement("script");
    script.src = offsetURL("search.js");
    script.onload = () => found({ status: 200, json: async () => window.searchDocuments });
    script.onerror = () => lost(new Error("no search.js"));
    document.head.append(script);
  });
}
"""


def main() -> None:
    """Finish the book in Quarto's output folder."""
    out = Path(os.environ["QUARTO_PROJECT_OUTPUT_DIR"]).resolve()
    for page in out.rglob("*.html"):
        text = page.read_text("utf-8")
        if (mended := with_numbers(without_foreign_scripts(text), page)) != text:
            page.write_text(mended, "utf-8")
    search_from_disk(out)
    if RECORDS.is_dir() and os.environ.get("QUARTO_PROJECT_RENDER_ALL") == "1":
        shutil.copytree(RECORDS, out, dirs_exist_ok=True)


def search_from_disk(out: Path) -> None:
    """Let Quarto's search find its index where the site is opened as a file."""
    index, library = out / "search.json", out / "site_libs/quarto-search/quarto-search.js"
    if not (index.is_file() and library.is_file()):
        return
    (out / "search.js").write_text(f"window.searchDocuments = {index.read_text('utf-8')};", "utf-8")
    text = library.read_text("utf-8")
    for old, new in _SEARCH:
        text, done = re.subn(old, new, text)
        if not done:
            return  # mended before, or a version that does it in another way
    library.write_text(text + _INDEX_FROM_DISK, "utf-8")


def without_foreign_scripts(text: str) -> str:
    """A page without scripts of other hosts."""
    return _FOREIGN.sub("", text)


def with_numbers(text: str, page: Path) -> str:
    """A page whose references to chapters and sections all have numbers."""

    def numbered(found: re.Match[str]) -> str:
        start, path, anchor, words = found.groups()
        goal = (page.parent / path).resolve()
        if _NUMBERED.fullmatch(words) or not goal.is_file():
            return found[0]
        name = _name(goal.read_text("utf-8"), anchor)
        return f"{start}<span>{name}</span></a>" if name else found[0]

    return _REFERENCE.sub(numbered, text)


def _name(goal: str, anchor: str) -> str:
    """What a section of a page, or the whole page, is called: ``Section 1.2``, ``Chapter 1``."""
    if anchor:
        found = re.search(rf'<section id="{re.escape(anchor)}"[^>]*\bdata-number="([^"]+)"', goal)
        return f"Section {found[1]}" if found else ""
    title = re.search(r'<h1 class="title">.*?</h1>', goal, re.DOTALL)
    found = title and re.search(r'chapter-number">([^<]+)<|(Appendix [A-Z])', title[0])
    return (found[2] or f"Chapter {found[1]}") if found else ""


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        if os.environ.get("INTERNALS_DEBUG"):
            raise
        sys.exit(f"The rendered book could not be finished: {error}")
