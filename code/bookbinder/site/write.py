"""Pages, navigation and search index of the site."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bookbinder import ast, fonts
from bookbinder.document import relative
from bookbinder.model import Book, Chapter, Entry
from bookbinder.site.render import body_html, inlines_html
from bookbinder.site.search import write_index

ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class _Line:
    """One line of the sidebar."""

    href: str | None
    number: str
    title: str
    current: bool
    depth: int


def write_site(book: Book, out: Path) -> dict[str, Any]:
    """Write every page, the style, the script, the search index and the pictures in use."""
    from jinja2 import Environment, FileSystemLoader

    out.mkdir(parents=True, exist_ok=True)
    libraries = out / "site_libs"
    libraries.mkdir(exist_ok=True)
    for name in ("book.css", "book.js", "tables.css", "minisearch.js"):
        shutil.copy(ASSETS / name, libraries / name)
    # Quarto takes scripts from HTML only, hence the tag around this one.
    script = (ASSETS / "tables.html").read_text("utf-8").strip()
    script = script.removeprefix("<script>").removesuffix("</script>")
    (libraries / "tables.js").write_text(script, "utf-8")
    with ThreadPoolExecutor(2) as pool:
        bodies = [fonts.visible_fallback(b) for b in pool.map(body_html, book.chapters)]
        titles = list(pool.map(lambda c: inlines_html(c.title), book.chapters))
    _fonts(bodies, out)
    environment = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("page.html")
    for number, chapter in enumerate(book.chapters):
        page = out / chapter.href
        page.parent.mkdir(parents=True, exist_ok=True)
        text = _pictures(bodies[number], book, chapter, out)
        root = relative(chapter.href, "index.html").removesuffix("index.html")
        page.write_text(
            template.render(
                book=book.project,
                chapter=chapter,
                title=titles[number] if chapter.titled else html.escape(book.project.title),
                body=text,
                root=root,
                sidebar=_sidebar(book, chapter, titles),
                contents=_contents(chapter),
                before=_neighbour(book, number - 1, chapter),
                after=_neighbour(book, number + 1, chapter),
                downloads=[f"{root}{book.project.output_file}.{k}" for k in ("pdf", "ipynb")],
                is_home=chapter.kind == "index",
            ),
            "utf-8",
        )
    write_index(book, bodies, libraries)
    return {"pages": len(book.chapters)}


def _fonts(bodies: Sequence[str], out: Path) -> None:
    """Fonts for what not every system draws, cut down to the characters in use."""
    text = html.unescape(re.sub(r"<[^>]+>", "", "".join(bodies)))
    rules = fonts.web_faces(text, out / "site_libs" / "fonts")
    (out / "site_libs" / "fonts.css").write_text("\n".join(rules) + "\n", "utf-8")


def _pictures(text: str, book: Book, chapter: Chapter, out: Path) -> str:
    """Copy the pictures of a page beside it; say where they are and how large.

    A browser that knows the size of a picture keeps room for it, so that a link into the page
    leads to the right place before the pictures above are there.
    """
    root = relative(chapter.href, "index.html").removesuffix("index.html")

    def replace(found: re.Match[str]) -> str:
        tag, url = found[0], html.unescape(found[1])
        source = book.assets / url
        goal = out / url
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, goal)
        width, height = _size(source.read_text("utf-8"))
        added = f' width="{width}" height="{height}" style="--natural-width:{width}px"'
        place = f'src="{html.escape(root + url)}"'
        return tag.replace(f'src="{found[1]}"', place + added, 1)

    return re.sub(r'<img\b[^>]*?\bsrc="([^"]+)"[^>]*>', replace, text)


def _size(svg: str) -> tuple[int, int]:
    """Width and height in CSS pixels of a picture that Matplotlib has written in points."""
    width, height = re.findall(r'\b(?:width|height)="([\d.]+)pt"', svg[:2000])[:2]
    return round(float(width) * 4 / 3), round(float(height) * 4 / 3)


def _plain(title: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", title))


def _sidebar(book: Book, current: Chapter, titles: Sequence[str]) -> list[_Line]:
    names = {c.path: (c, _plain(t)) for c, t in zip(book.chapters, titles, strict=True)}

    def lines(entries: Sequence[Entry], depth: int) -> list[_Line]:
        found = []
        for entry in entries:
            if entry.path in names:
                chapter, title = names[entry.path]
                href = relative(current.href, chapter.href)
                number = chapter.number or ""
                here = chapter.path == current.path
                found.append(_Line(href, number, entry.title or title, here, depth))
            else:
                found.append(_Line(None, "", entry.title or "", False, depth))
            found += lines(entry.children, depth + 1)
        return found

    main = [e for e in book.project.entries if e.kind != "appendix"]
    rest = [e for e in book.project.entries if e.kind == "appendix"]
    appendix = [_Line(None, "", "Appendices", False, 0)] if rest else []
    return lines(main, 0) + appendix + lines(rest, 1)


def _contents(chapter: Chapter) -> list[dict[str, Any]]:
    """Headings of a page for its table of contents."""
    found = []
    for node in ast.descend(list(chapter.blocks)):
        if node["t"] == "Header" and node["c"][0] in (2, 3) and ast.ident_of(node):
            number = ast.get(node, "number") or ""
            found.append(
                {
                    "level": node["c"][0],
                    "href": f"#{ast.ident_of(node)}",
                    "number": number,
                    "title": ast.to_text(node["c"][2]),
                }
            )
    return found


def _neighbour(book: Book, number: int, current: Chapter) -> dict[str, str] | None:
    if not 0 <= number < len(book.chapters):
        return None
    chapter = book.chapters[number]
    title = f"{chapter.number} {chapter.title_text}" if chapter.number else chapter.title_text
    return {"href": relative(current.href, chapter.href), "title": title}
