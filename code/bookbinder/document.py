"""From executed chapters to a resolved book: numbers, references, citations, one tree a format.

Works on Pandoc's syntax tree. The vocabulary of the resolved tree (``bb-*`` classes) is written
down in this module's constants and in `model`; writers need to know nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from bookbinder import ast, pandoc
from bookbinder.crossref import Numbering, apply_references, number_chapter
from bookbinder.errors import BookError
from bookbinder.markdown import chapter_markdown
from bookbinder.model import Book, Cell, Chapter, Entry, ExecutedChapter, Node, Project
from bookbinder.parse import line_of
from bookbinder.project import walk_entries

READER = "markdown"
_READERS = 2
_CALLOUTS = ("note", "tip", "warning", "important", "caution")
_KNOWN = re.compile(
    r"bb-.*|cell.*|callout-.*|panel-tabset|content-(visible|hidden)"
    r"|references|light-content|dark-content|figure|claim.*|text|python|x-.*|refs"
    r"|when|holds|findings-instead|stacked|sortable|filterable|nowrap"
)


def resolve(
    project: Project, executed: Sequence[ExecutedChapter], assets: Path, env: dict[str, str]
) -> dict[str, Book]:
    """Resolve a book into one :class:`Book` for each format (``html``, ``typst``, ``ipynb``).

    Raises:
        BookError: with the file, and the line where the fault can be found in the source.
    """
    try:
        return _resolve(project, executed, assets, env)
    except BookError as error:
        raise _located(error, executed) from None


def _located(error: BookError, executed: Sequence[ExecutedChapter]) -> BookError:
    """The error with the line at which its needle stands in the chapter's own source."""
    if error.line is not None or not error.needle:
        return error
    for chapter in executed:
        if chapter.source.path != error.file:
            continue
        for segment in chapter.source.segments:
            if isinstance(segment, Cell):
                text = "\n".join([*map(str, segment.options.values()), segment.code])
                if error.needle in text:
                    return BookError(error.message, segment.file, segment.line)
            elif (at := segment.text.find(error.needle)) >= 0:
                return BookError(error.message, *line_of(segment, at))
    return error


def _resolve(
    project: Project, executed: Sequence[ExecutedChapter], assets: Path, env: dict[str, str]
) -> dict[str, Book]:
    entries = {e.path: e for e in walk_entries(project.entries) if e.path}
    parts = _parts(project.entries)
    numbering = Numbering(project.number_depth)
    chapters = []
    with ThreadPoolExecutor(_READERS) as pool:  # threads that wait for Pandoc
        read = list(pool.map(lambda chapter: _read(project, chapter, assets, env), executed))
    for chapter, blocks in zip(executed, read, strict=True):
        path = chapter.source.path
        entry = entries[path]
        chapters.append(
            number_chapter(numbering, _chapter(chapter, entry, parts.get(path), blocks))
        )
    chapters = [_described(apply_references(c, numbering), numbering) for c in chapters]
    chapters, bibliography = _cite(project, chapters)
    where = next((c.path for c in chapters if _has_refs(c)), None)
    return {
        fmt: Book(
            project,
            fmt,
            tuple(_view(c, fmt, numbering, chapters, where) for c in chapters),
            dict(numbering.labels),
            assets,
            bibliography,
            where,
        )
        for fmt in ("html", "typst", "ipynb")
    }


def _parts(entries: Sequence[Entry]) -> dict[str, str]:
    """Title of the part of each chapter."""
    return {
        child.path: entry.title or ""
        for entry in entries
        if entry.kind == "part"
        for child in entry.children
        if child.path
    }


def stem(path: str) -> str:
    """``report/01-x.qmd`` to ``report/01-x``."""
    return str(PurePosixPath(path).with_suffix(""))


def _read(
    project: Project, chapter: ExecutedChapter, assets: Path, env: dict[str, str]
) -> list[Node]:
    """Markdown of an executed chapter, through Pandoc and the book's own filters."""
    path = chapter.source.path
    text = chapter_markdown(project, chapter, assets, stem(path).replace("/", "-"))
    filters = [f"--lua-filter={project.root / name}" for name in project.filters]
    args = ["-f", READER, "-t", "json", *filters, "-M", f"chapter-file={path}"]
    try:
        tree = json.loads(
            pandoc.run(
                args,
                text,
                cwd=project.root,
                env={**os.environ, **env, "QUARTO_PROJECT_DIR": str(project.root)},
            )
        )
    except BookError as error:
        raise BookError(error.message, path) from None
    _refuse_unknown(tree["blocks"], path)
    blocks = list(ast.walk(tree["blocks"], _unbroken))
    for node in ast.descend(blocks):
        if node["t"] == "Image":
            if alt := ast.get(node, "fig-alt"):
                node["c"][1] = ast.text(alt)
                node["c"][0][2] = [pair for pair in node["c"][0][2] if pair[0] != "fig-alt"]
            node["c"][2][0] = _image(node["c"][2][0], project.root, path, assets)
    return blocks


def _image(url: str, root: Path, path: str, assets: Path) -> str:
    """Copy a picture of the project to the assets; returns its place there."""
    if (assets / url).is_file() or re.match(r"\w+:", url):
        return url
    file = root / url.lstrip("/") if url.startswith("/") else root / Path(path).parent / url
    if not file.is_file():
        raise BookError(f"the picture {url} is missing.", path, needle=url)
    goal = f"images/{stem(path).replace('/', '-')}-{file.name}"
    (assets / "images").mkdir(parents=True, exist_ok=True)
    shutil.copy(file, assets / goal)
    return goal


def _unbroken(node: Node) -> Any:
    """Take the mark behind a cell's picture away again (see `markdown._image`)."""
    if node["t"] == "Para" and [n["t"] for n in node["c"]] == ["Image", "LineBreak"]:
        return ast.plain(node["c"][:1])
    return True


def _refuse_unknown(blocks: list[Node], path: str) -> None:
    """A class with which nothing would happen is a mistake of the author."""
    for node in ast.descend(blocks):
        if node["t"] == "Div":
            for name in ast.classes_of(node):
                if not _KNOWN.fullmatch(name):
                    message = f"the block class “.{name}” is not known here."
                    raise BookError(message, path, needle=name)


def _chapter(
    chapter: ExecutedChapter, entry: Entry, part: str | None, blocks: list[Node]
) -> Chapter:
    """Split off the title; everything else stays to be numbered."""
    path = chapter.source.path
    front = chapter.source.front
    first = next((i for i, b in enumerate(blocks) if b["t"] == "Header"), None)
    header: Node = ast.div([])
    titled = True
    if first is not None and blocks[first]["c"][0] == 1:
        header = blocks.pop(first)
        title = header["c"][2]
    elif "title" in front:
        title = ast.text(str(front["title"]))
    elif entry.kind == "index":
        title, titled = ast.text(entry.title or "Home"), False
    else:
        raise BookError("a chapter needs a title (“# Title” or “title:”).", path, 1)
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
        description=None,
        blocks=tuple(blocks),
        results=chapter.results,
        front=front,
        keywords=ast.get(header, "keywords") or "",
        titled=titled,
    )


def _described(chapter: Chapter, numbering: Numbering) -> Chapter:
    """With a description for the page's head: the author's, or how the text begins."""
    if given := chapter.front.get("description"):
        text = re.sub(
            r"@([a-z]+-[\w-]*\w)",
            lambda m: numbering.labels[m[1]].text if m[1] in numbering.labels else m[0],
            str(given),
        )
        return replace(chapter, description=text)
    first = next((b for b in chapter.blocks if b["t"] == "Para"), None)
    if first is None:
        return chapter
    text = " ".join(ast.to_text(first).split())
    short = text if len(text) <= 200 else text[:197].rsplit(" ", 1)[0] + " …"
    return replace(chapter, description=short)


def _has_refs(chapter: Chapter) -> bool:
    nodes = ast.descend(list(chapter.blocks))
    return any(ast.is_div(n) and ast.ident_of(n) == "refs" for n in nodes)


def _cite(project: Project, chapters: list[Chapter]) -> tuple[list[Chapter], tuple[Node, ...]]:
    """Resolve citations of all chapters in one call of citeproc."""
    cites = [n for c in chapters for n in ast.descend(list(c.blocks)) if n["t"] == "Cite"]
    if not cites or not project.bibliography:
        if cites:
            key = cites[0]["c"][0][0]["citationId"]
            where = next(c.path for c in chapters if cites[0] in ast.descend(list(c.blocks)))
            message = f"“@{key}” is cited, but no bibliography is named in _quarto.yml."
            raise BookError(message, where, needle=f"@{key}")
        return chapters, ()
    known = _bibliography_keys(project)
    for chapter in chapters:
        for node in ast.descend(list(chapter.blocks)):
            if node["t"] == "Cite":
                for citation in node["c"][0]:
                    if citation["citationId"] not in known:
                        raise BookError(
                            f"“@{citation['citationId']}” is neither a label of the book nor in "
                            "the bibliography.",
                            chapter.path,
                            needle=f"@{citation['citationId']}",
                        )
    wrapped = [ast.div(c.blocks, f"bb-chapter-{i}") for i, c in enumerate(chapters)]
    args = ["-f", "json", "-t", "json", "--citeproc", "-M", "link-citations=true"]
    args += [f"--bibliography={project.root / b}" for b in project.bibliography]
    args += [f"--csl={project.root / project.csl}"] if project.csl else []
    tree = json.loads(pandoc.run(args, pandoc.document(wrapped), cwd=project.root))
    found = {}
    for block in tree["blocks"]:
        name = ast.ident_of(block)
        if name.startswith("bb-chapter-"):
            found[int(name.removeprefix("bb-chapter-"))] = block["c"][1]
    done = [replace(c, blocks=tuple(found[i])) for i, c in enumerate(chapters)]
    references = next(
        (n for n in ast.descend(tree["blocks"]) if ast.is_div(n) and ast.ident_of(n) == "refs"),
        None,
    )
    return done, tuple(references["c"][1]) if references else ()


def _bibliography_keys(project: Project) -> set[str]:
    keys: set[str] = set()
    for name in project.bibliography:
        file = project.root / name
        if not file.is_file():
            raise BookError(f"the bibliography {name} is missing.", "_quarto.yml")
        keys |= set(re.findall(r"^\s*@\w+\{\s*([^,\s]+)\s*,", file.read_text("utf-8"), re.M))
    return keys


def _view(
    chapter: Chapter, fmt: str, numbering: Numbering, chapters: list[Chapter], refs: str | None
) -> Chapter:
    """The chapter for one format: its own raw blocks, pictures and link targets."""
    pages = {c.path: c for c in chapters}

    def visit(node: Node) -> Any:
        kind = node["t"]
        if kind in ("RawBlock", "RawInline"):
            wanted = {"html": ("html", "html5"), "typst": ("typst",), "ipynb": ("html",)}[fmt]
            return True if node["c"][0] in wanted else []
        if kind in ("Image", "Div", "Span"):
            if fmt != "html" and ast.has_class(node, "dark-content"):
                return []
            if ast.has_class(node, "bb-html-only") and fmt != "html":
                return []
            if ast.has_class(node, "bb-not-html") and fmt == "html":
                return []
            if not _visible(node, fmt):
                return []
            if ast.is_div(node, "cell") and ast.get(node, "hidden") == "true":
                return []
        if kind == "Link":
            node["c"][2][0] = _target(node["c"][2][0], chapter, pages, fmt, numbering, refs)
        return True

    return replace(chapter, blocks=tuple(ast.walk(ast.copied(list(chapter.blocks)), visit)))


def _visible(node: Node, fmt: str) -> bool:
    """Quarto's conditional content by format."""
    names = {"html": {"html"}, "typst": {"typst", "pdf"}, "ipynb": {"ipynb", "jupyter"}}[fmt]
    shown, hidden = ast.has_class(node, "content-visible"), ast.has_class(node, "content-hidden")
    if not (shown or hidden):
        return True
    when, unless = ast.get(node, "when-format"), ast.get(node, "unless-format")
    holds = (when is None or when in names) and (unless is None or unless not in names)
    return holds if shown else not holds


def _target(
    url: str,
    chapter: Chapter,
    pages: dict[str, Chapter],
    fmt: str,
    numbering: Numbering,
    refs: str | None,
) -> str:
    """A link as this format needs it: between pages in HTML, inside one document elsewhere."""
    if url.startswith("#"):
        name = url[1:]
        home = numbering.home.get(name)
        if name.startswith("ref-") and refs:
            home = refs
        if fmt == "html" and home and home != chapter.path:
            return relative(chapter.href, pages[home].href) + url
        return url
    path, _, anchor = url.partition("#")
    if not path.endswith(".qmd"):
        return url
    goal = str(PurePosixPath(os.path.normpath(PurePosixPath(chapter.path).parent / path)))
    if goal not in pages:
        message = f"the link to {url} leads to no chapter of the book."
        raise BookError(message, chapter.path, needle=url)
    if fmt == "html":
        return relative(chapter.href, pages[goal].href) + (f"#{anchor}" if anchor else "")
    return "#" + (anchor or pages[goal].anchor)


def relative(source: str, goal: str) -> str:
    """A link from one page to another."""
    return PurePosixPath(os.path.relpath(goal, PurePosixPath(source).parent)).as_posix()
