"""From executed chapters to a resolved book: numbers, references, citations, one tree a format.

Works on Pandoc's syntax tree. Of what Quarto's Markdown adds to Pandoc's only the blocks and
attributes named here are known; anything else is refused with file and line.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from bookbinder import ast, pandoc
from bookbinder.crossref import Numbering, apply_references, number_chapter
from bookbinder.errors import BookError
from bookbinder.markdown import chapter_markdown
from bookbinder.model import Book, Cell, Chapter, Entry, ExecutedChapter, Node, Project

FORMATS = {"html": {"html"}, "typst": {"typst", "pdf"}, "ipynb": {"ipynb", "jupyter"}}
"""The views into which a book is resolved, with their names in conditions."""
_READERS = 2
_SYNTAX = re.compile(r"\{\{<|:{3,}(?:\{.*)?$")
"""Of Quarto and Pandoc, left over; a random text may well begin with colons."""
_CLASSES = re.compile(
    r"cell.*|callout-(note|tip|warning)|content-(visible|hidden)|findings-instead"
    r"|stacked|sortable|filterable"
)
_KEYS = {"title", "collapse", "icon", "when-format", "unless-format", "index", "lang", "dir"}


def resolve(
    project: Project, executed: Sequence[ExecutedChapter], assets: Path, env: dict[str, str]
) -> dict[str, Book]:
    """Resolve a book into one :class:`Book` for each of `FORMATS`.

    Raises:
        BookError: with the file, and the line where the fault can be found in the source.
    """
    try:
        return _resolve(project, executed, assets, env)
    except BookError as error:
        raise _located(error, executed) from None


def _located(error: BookError, executed: Sequence[ExecutedChapter]) -> BookError:
    """The error with the line at which its needle stands in the chapter's own source."""
    for chapter in executed:
        if chapter.source.path != error.file or not error.needle:
            continue
        for segment in chapter.source.segments:
            if isinstance(segment, Cell):
                if error.needle in "\n".join([*map(str, segment.options.values()), segment.code]):
                    return BookError(error.message, error.file, segment.line)
            elif (at := segment.text.find(error.needle)) >= 0:
                return BookError(error.message, error.file, segment.line_of(at))
    return error


def _resolve(
    project: Project, executed: Sequence[ExecutedChapter], assets: Path, env: dict[str, str]
) -> dict[str, Book]:
    places = dict(_places(project.entries))
    numbering = Numbering()
    with ThreadPoolExecutor(_READERS) as pool:  # threads that wait for Pandoc
        read = list(pool.map(lambda chapter: _read(project, chapter, assets, env), executed))
    chapters = []
    for chapter, blocks in zip(executed, read, strict=True):
        entry, part = places[chapter.source.path]
        chapters.append(number_chapter(numbering, _chapter(chapter, entry, part, blocks)))
    chapters = _cite(project, [_described(apply_references(c, numbering)) for c in chapters])
    return {
        fmt: Book(
            project, fmt, tuple(_view(c, fmt, numbering.home, chapters) for c in chapters), assets
        )
        for fmt in FORMATS
    }


def _places(
    entries: Sequence[Entry], part: str | None = None
) -> Iterator[tuple[str, tuple[Entry, str | None]]]:
    """Entry and title of the part of each chapter, by its path."""
    for entry in entries:
        if entry.path:
            yield entry.path, (entry, part)
        yield from _places(entry.children, entry.title)


def stem(path: str) -> str:
    """``report/01-x.qmd`` to ``report/01-x``."""
    return str(PurePosixPath(path).with_suffix(""))


def _read(
    project: Project, chapter: ExecutedChapter, assets: Path, env: dict[str, str]
) -> list[Node]:
    """Markdown of an executed chapter, through Pandoc and the book's own filters."""
    path = chapter.source.path
    text = chapter_markdown(chapter, assets, stem(path).replace("/", "-"))
    filters = [f"--lua-filter={project.root / name}" for name in project.filters]
    args = ["-f", "markdown", "-t", "json", *filters, "-M", f"chapter-file={path}"]
    env = {**env, "QUARTO_PROJECT_DIR": str(project.root)}
    try:
        tree = json.loads(pandoc.run(args, text, cwd=project.root, env=env))
    except BookError as error:
        raise BookError(error.message, path) from None
    blocks = list(ast.walk(tree["blocks"], _cleaned))
    for node in ast.descend(blocks):
        if fault := _fault(node, assets):
            raise BookError(fault[0], path, needle=fault[1])
    return blocks


def _cleaned(node: Node) -> Any:
    """Without comments, and without the mark behind a cell's picture (see `markdown._image`)."""
    if node["t"] in ("RawBlock", "RawInline") and node["c"][1].startswith("<!--"):
        return []
    if node["t"] == "Para" and [n["t"] for n in node["c"]] == ["Image", "LineBreak"]:
        return ast.plain(node["c"][:1])
    return True


def _fault(node: Node, assets: Path) -> tuple[str, str] | None:
    """What of an element would be lost or printed as it stands, and where to look for it."""
    kind = node["t"]
    if kind == "Div":
        for name in ast.classes_of(node):
            if not _CLASSES.fullmatch(name):
                return f"the block class “.{name}” is not known here.", name
        for key, _ in ast.attr_of(node)[2]:
            if key not in _KEYS:
                return f"the attribute “{key}” of a block has no effect here.", key
    elif kind == "Str" and _SYNTAX.match(node["c"]):
        return f"“{node['c']}” would be printed as it stands.", node["c"]
    elif kind == "Image" and not (assets / node["c"][2][0]).is_file():
        return "pictures come from cells; there is no other.", node["c"][2][0]
    elif kind in ("RawBlock", "RawInline", "DefinitionList", "LineBlock", "Figure"):
        return f"the element {kind} of Pandoc's Markdown is not known here.", ""
    return None


def _chapter(
    chapter: ExecutedChapter, entry: Entry, part: str | None, blocks: list[Node]
) -> Chapter:
    """Split off the title; everything else stays to be numbered."""
    path = chapter.source.path
    first = next((i for i, b in enumerate(blocks) if b["t"] == "Header"), None)
    titled = first is not None and blocks[first]["c"][0] == 1
    if first is not None and titled:
        header = blocks.pop(first)
    elif entry.kind == "index":
        header = {"t": "Header", "c": [1, ast.make_attr(), ast.text(entry.title or "Home")]}
    else:
        raise BookError("a chapter needs a title (“# Title”).", path, 1)
    title = header["c"][2]
    text = ast.to_text(title)
    return Chapter(
        path=path,
        href=stem(path) + ".html",
        kind=entry.kind,
        number=None if ast.has_class(header, "unnumbered") or entry.kind == "index" else "",
        part=part,
        title=tuple(title),
        title_text=text,
        anchor=ast.ident_of(header) or re.sub(r"\W+", "-", text.lower()).strip("-"),
        description="",
        blocks=tuple(blocks),
        results=chapter.results,
        titled=titled,
    )


def _described(chapter: Chapter) -> Chapter:
    """With a description for the page's head: how the text begins."""
    first = next((b for b in chapter.blocks if b["t"] == "Para"), None)
    text = " ".join(ast.to_text(first).split())
    short = text if len(text) <= 200 else text[:197].rsplit(" ", 1)[0] + " …"
    return replace(chapter, description=short)


def _cite(project: Project, chapters: list[Chapter]) -> list[Chapter]:
    """Resolve citations of all chapters in one call of citeproc."""
    known = _bibliography_keys(project)
    for chapter in chapters:
        for node in ast.descend(list(chapter.blocks)):
            for key in [c["citationId"] for c in node["c"][0]] if node["t"] == "Cite" else ():
                if key not in known:
                    raise BookError(
                        f"“@{key}” is neither a label of the book nor in the bibliography.",
                        chapter.path,
                        needle=f"@{key}",
                    )
    wrapped = [ast.div(c.blocks, f"bb-chapter-{i}") for i, c in enumerate(chapters)]
    args = ["-t", "json", "--citeproc", "-M", "link-citations=true"]
    args += [f"--bibliography={project.root / b}" for b in project.bibliography]
    tree = json.loads(pandoc.write(wrapped, args, cwd=project.root))
    found = {ast.ident_of(block): block["c"][1] for block in tree["blocks"]}
    return [replace(c, blocks=tuple(found[f"bb-chapter-{i}"])) for i, c in enumerate(chapters)]


def _bibliography_keys(project: Project) -> set[str]:
    keys: set[str] = set()
    for name in project.bibliography:
        file = project.root / name
        if not file.is_file():
            raise BookError(f"the bibliography {name} is missing.", "_quarto.yml")
        keys |= set(re.findall(r"^\s*@\w+\{\s*([^,\s]+)\s*,", file.read_text("utf-8"), re.M))
    return keys


def _view(chapter: Chapter, fmt: str, home: dict[str, str], chapters: list[Chapter]) -> Chapter:
    """The chapter for one format: its own blocks, pictures and link targets."""
    pages = {c.path: c for c in chapters}

    def visit(node: Node) -> Any:
        if node["t"] in ("Image", "Div", "Span"):
            if (fmt != "html" and ast.has_class(node, "dark-content")) or not _visible(node, fmt):
                return []
        elif node["t"] == "Link":
            node["c"][2][0] = _target(node["c"][2][0], chapter, pages, fmt, home)
        return True

    return replace(chapter, blocks=tuple(ast.walk(ast.copied(list(chapter.blocks)), visit)))


def _visible(node: Node, fmt: str) -> bool:
    """Quarto's conditional content by format; pictures for dark pages are for pages."""
    if ast.has_class(node, "dark-content"):
        return fmt == "html"
    shown, hidden = ast.has_class(node, "content-visible"), ast.has_class(node, "content-hidden")
    when, unless = ast.get(node, "when-format"), ast.get(node, "unless-format")
    names = FORMATS[fmt]
    holds = (when is None or when in names) and (unless is None or unless not in names)
    return holds != hidden if shown or hidden else True


def _target(
    url: str, chapter: Chapter, pages: dict[str, Chapter], fmt: str, home: dict[str, str]
) -> str:
    """A link as this format needs it: between pages in HTML, inside one document elsewhere."""
    if url.startswith("#"):
        where = home.get("refs" if url.startswith("#ref-") else url[1:])
        if fmt == "html" and where and where != chapter.path:
            return relative(chapter.href, pages[where].href) + url
        return url
    path, _, anchor = url.partition("#")
    if not path.endswith(".qmd"):
        return url
    goal = os.path.normpath(PurePosixPath(chapter.path).parent / path)
    if goal not in pages:
        message = f"the link to {url} leads to no chapter of the book."
        raise BookError(message, chapter.path, needle=url)
    if fmt == "html":
        return relative(chapter.href, pages[goal].href) + (f"#{anchor}" if anchor else "")
    return "#" + (anchor or pages[goal].anchor)


def relative(source: str, goal: str) -> str:
    """A link from one page to another."""
    return PurePosixPath(os.path.relpath(goal, PurePosixPath(source).parent)).as_posix()
