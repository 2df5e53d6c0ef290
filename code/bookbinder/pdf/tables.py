"""Pandoc tables as calls of the template's `bb-table`.

The template measures the cells and chooses widths and type size; here a table only becomes rows of
cells, each with its column, spans, alignment and contents. Relative widths of the source are not
used: Pandoc makes them up from dashes, and measured ones are better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bookbinder.model import Node
from bookbinder.pdf import markup

Blocks = Callable[[Sequence[Node]], list[Node]]

_ALIGN = {
    "AlignLeft": "left",
    "AlignRight": "right",
    "AlignCenter": "center",
    "AlignDefault": "left",
}


def table(node: Node, blocks: Blocks) -> list[Node]:
    """The blocks that print a ``Table`` (without its caption)."""
    _, _, columns, head, bodies, foot = node["c"]
    aligns = [_ALIGN[spec[0]["t"]] for spec in columns]
    out: list[Node] = [markup.block(f"#bb-table(({', '.join(aligns)},), (")]
    out += _rows(head[1], aligns, blocks)
    out.append(markup.block("), ("))
    for body in bodies:
        _, _, inner_head, rows = body
        out.append(markup.block("(head: ("))
        out += _rows(inner_head, aligns, blocks)
        out.append(markup.block("), rows: ("))
        out += _rows(rows, aligns, blocks)
        out.append(markup.block(")),"))
    out.append(markup.block("), ("))
    out += _rows(foot[1], aligns, blocks)
    out.append(markup.block("));"))
    return out


def _rows(rows: Sequence[list], aligns: Sequence[str], blocks: Blocks) -> list[Node]:
    """Rows as arrays of cell dictionaries; columns taken by spans from above are skipped."""
    out: list[Node] = []
    taken: dict[int, int] = {}
    for _, cells in rows:
        out.append(markup.block("("))
        taken = {column: left - 1 for column, left in taken.items() if left > 1}
        here: dict[int, int] = {}
        at = 0
        for _, align, rowspan, colspan, content in cells:
            while at in taken:
                at += 1
            out += _cell(at, align, rowspan, colspan, blocks(content), aligns)
            here.update({at + i: rowspan for i in range(colspan) if rowspan > 1})
            at += colspan
        taken |= here
        out.append(markup.block("),"))
    return out


def _cell(
    at: int, align: Node, rowspan: int, colspan: int, content: list[Node], aligns: Sequence[str]
) -> list[Node]:
    own = align["t"]
    side = aligns[min(at, len(aligns) - 1)] if own == "AlignDefault" else _ALIGN[own]
    start = f"(x: {at}, colspan: {colspan}, rowspan: {rowspan}, align: {side}, body: ["
    if len(content) == 1 and content[0]["t"] in ("Plain", "Para"):
        return [{"t": "Plain", "c": markup.wrap(start, content[0]["c"], "]),")}]
    return [markup.block(start), *content, markup.block("]),")]
