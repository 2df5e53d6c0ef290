"""Free text from a corpus folder, cut into documents, with the licence of every work.

Only public-domain, CC0 and CC-BY works are taken, so that the weights can be given away with
attribution alone. The folder is not part of the project; its README describes the files.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from internals.errors import UserError

SEPARATOR = "<|endoftext|>"
CHUNK_CHARACTERS = 3000
"""Books are cut at paragraphs into documents of about this length."""


@dataclass(frozen=True)
class Document:
    """A piece of text that is trained on, or held out, as a whole."""

    kind: str
    """``stories``, ``expository`` or ``generated``."""
    source: str
    """Row of the source table (``stories-12``) or the generator's kind of text."""
    text: str


def works(corpus: Path) -> Iterator[tuple[str, str, pd.Series]]:
    """Each work that may be used: kind, text, and its row in the source table.

    Raises:
        UserError: if a file of the corpus is missing or does not match its source table.
    """
    for kind in ("stories", "expository"):
        text_file, table_file = corpus / f"{kind}.txt.xz", corpus / f"{kind}-sources.tsv"
        for needed in (text_file, table_file):
            if not needed.exists():
                raise UserError(f"{needed} is missing; give a folder with the story corpus.")
        table = pd.read_csv(table_file, sep="\t", dtype=str, keep_default_na=False)
        with lzma.open(text_file, "rt", encoding="utf-8") as file:
            texts = file.read().split(SEPARATOR + "\n")
        texts = [text.removesuffix(SEPARATOR).strip() for text in texts]
        texts = [text for text in texts if text]
        if len(texts) != len(table):
            raise UserError(
                f"{text_file.name} has {len(texts)} works but its table {len(table)}; "
                "the corpus is incomplete, get it again."
            )
        for i, text in enumerate(texts):
            row = table.iloc[i]
            if usable(row["licence"]):
                yield kind, text, row.rename(f"{kind}-{i}")


def usable(licence: str) -> bool:
    """Public domain, CC0 and plain CC-BY; all that asks for more, or holds in one land, is out."""
    name = licence.lower()
    free = "public domain" in name or "cc0" in name or "cc-by" in name
    return free and not re.search(r"\b(sa|nc|nd)\b|\bin the usa\b", name)


def credits(corpus: Path, used: pd.DataFrame) -> pd.DataFrame:
    """Illustrators and translators of the works that were used, where the corpus names them.

    Args:
        corpus: folder of free text; its table `stories-credits.tsv` may be absent.
        used: table of works with ``source`` (see :func:`documents`).

    Returns:
        Columns ``id`` (row of ``used``), ``title``, ``author``, ``illustrator``, ``translator``,
        ``licence``, ``source``; no row without a table of credits.
    """
    names = ["title", "author", "illustrator", "translator", "licence", "source"]
    file = corpus / "stories-credits.tsv"
    if not file.exists() or not len(used):
        return pd.DataFrame(columns=["id", *names])
    table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
    # The table of credits names the collection first: "African Storybook (…) via SOURCE".
    keys = table["source"].str.split(" via ").str[-1]
    ids = pd.Series(used.index, index=used["source"])
    table["id"] = keys.map(ids[~ids.index.duplicated()])
    return table.loc[table["id"].notna(), ["id", *names]].reset_index(drop=True)


def chunks(text: str) -> Iterator[str]:
    """Cut a work at paragraphs into pieces of about :data:`CHUNK_CHARACTERS`."""
    part: list[str] = []
    size = 0
    for paragraph in text.split("\n\n"):
        part.append(paragraph)
        size += len(paragraph)
        if size >= CHUNK_CHARACTERS:
            yield "\n\n".join(part)
            part, size = [], 0
    if size >= CHUNK_CHARACTERS // 10 or len(text) < CHUNK_CHARACTERS:
        yield "\n\n".join(part)


def documents(
    corpus: Path, characters: dict[str, int], seed: int
) -> tuple[list[Document], pd.DataFrame]:
    """Documents of each kind up to a number of characters, and the works they come from.

    Short works (the modern stories) are taken whole; from books, pieces are drawn so that every
    book gives about the same number.
    """
    rng = np.random.default_rng([seed, 4])
    pools: dict[str, list[Document]] = {"stories": [], "expository": []}
    rows = {}
    for kind, text, row in works(corpus):
        parts = [Document(kind, str(row.name), part) for part in chunks(text)]
        rows[str(row.name)] = {"kind": kind, **row.to_dict()}
        pools[kind] += parts
    chosen: list[Document] = []
    for kind, pool in pools.items():
        chosen += _spread(pool, characters[kind], rng)
    used = sorted({d.source for d in chosen})
    return chosen, pd.DataFrame([rows[name] for name in used], index=pd.Index(used, name="id"))


def _spread(pool: list[Document], limit: int, rng: np.random.Generator) -> list[Document]:
    """Documents up to ``limit`` characters: round after round one from each work."""
    by_source: dict[str, list[Document]] = {}
    for document in pool:
        by_source.setdefault(document.source, []).append(document)
    queues = {s: [d[i] for i in rng.permutation(len(d))] for s, d in by_source.items()}
    chosen: list[Document] = []
    size = 0
    while queues and size < limit:
        for source in [sorted(queues)[i] for i in rng.permutation(len(queues))]:
            document = queues[source].pop()
            if not queues[source]:
                del queues[source]
            chosen.append(document)
            size += len(document.text)
            if size >= limit:
                break
    return chosen
