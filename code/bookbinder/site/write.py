"""Pages, navigation and search index of the site."""

from __future__ import annotations

import html
import json
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
    for name in ("book.css", "book.js", "minisearch.js"):
        if (ASSETS / name).exists():
            (out / "site_libs").mkdir(exist_ok=True)
            shutil.copy(ASSETS / name, out / "site_libs" / name)
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
                title=titles[number],
                body=text,
                root=root,
                sidebar=_sidebar(book, chapter, titles),
                contents=_contents(chapter),
                before=_neighbour(book, number - 1, chapter),
                after=_neighbour(book, number + 1, chapter),
                downloads=[f"{root}{book.project.output_file}.{k}" for k in ("pdf", "ipynb")],
                extra=_extra(book),
                is_home=chapter.kind == "index",
            ),
            "utf-8",
        )
    _search_index(book, bodies, out)
    return {"pages": len(book.chapters)}


def _fonts(bodies: Sequence[str], out: Path) -> None:
    """Fonts for what not every system draws, cut down to the characters in use."""
    text = html.unescape(re.sub(r"<[^>]+>", "", "".join(bodies)))
    faces = fonts.web_faces(text, out / "site_libs" / "fonts")
    rules = [face.css(f"fonts/{face.file.name}") for face in faces]
    (out / "site_libs" / "fonts.css").write_text("\n".join(rules) + "\n", "utf-8")


def _extra(book: Book) -> dict[str, str]:
    """The project's own style and script."""
    css = book.project.html.get("css") or []
    files = [css] if isinstance(css, str) else css
    found = {"css": "\n".join((book.project.root / f).read_text("utf-8") for f in files)}
    for key in ("include-in-header", "include-after-body"):
        value = book.project.html.get(key) or []
        items = value if isinstance(value, list) else [value]
        texts = []
        for item in items:
            if isinstance(item, dict):
                texts.append(item.get("text") or (book.project.root / item["file"]).read_text())
            else:
                texts.append((book.project.root / item).read_text("utf-8"))
        found[key.replace("-", "_")] = "\n".join(texts)
    return found


def _pictures(text: str, book: Book, chapter: Chapter, out: Path) -> str:
    """Copy the pictures of a page beside it and set their links."""
    root = relative(chapter.href, "index.html").removesuffix("index.html")

    def replace(found: re.Match[str]) -> str:
        url = html.unescape(found[2])
        source = book.assets / url
        if not source.is_file():
            return found[0]
        goal = out / url
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, goal)
        return f'{found[1]}"{html.escape(root + url)}"'

    return re.sub(r'(<img\b[^>]*?\bsrc=)"([^"]+)"', replace, text)


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
                found.append(_Line(href, number, title, chapter.path == current.path, depth))
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


def _search_index(book: Book, bodies: Sequence[str], out: Path) -> None:
    """One entry for each section, in a script, since pages on disk may not fetch files."""
    entries: list[dict[str, Any]] = []
    for chapter, body in zip(book.chapters, bodies, strict=True):
        parts = re.split(r'<h[23][^>]*\bid="([^"]+)"[^>]*>(.*?)</h[23]>', body, flags=re.S)
        sections = [("", "", parts[0])]
        sections += list(zip(parts[1::3], parts[2::3], parts[3::3], strict=True))
        for name, title, text in sections:
            plain = re.sub(r"<(script|style|math)\b.*?</\1>|<[^>]+>", " ", text, flags=re.S)
            entries.append(
                {
                    "id": len(entries),
                    "href": chapter.href + (f"#{name}" if name else ""),
                    "chapter": chapter.title_text,
                    "title": _plain(
                        re.sub(r'<a class="anchor".*?</a>|<a [^>]*class="anchor".*?</a>', "", title)
                    ).strip(" #"),
                    "text": " ".join(html.unescape(plain).split()),
                }
            )
    data = json.dumps(entries, ensure_ascii=False).replace("</", "<\\/")
    folder = out / "site_libs"
    folder.mkdir(exist_ok=True)
    (folder / "search-index.js").write_text(f"window.bookIndex = {data};\n", "utf-8")
