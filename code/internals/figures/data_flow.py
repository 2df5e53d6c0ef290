"""The data-flow diagram of a model: drawn from its measured shapes, for any placement of norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

from internals.figures import style

if TYPE_CHECKING:
    from internals.measure.architecture.components import DataFlow

SPINE_X = 1.35
"""Where the residual stream runs down the page."""
WIDTH = 10.0
_BOX_X, _BOX_WIDTH, _GAP = 3.2, 6.3, 0.3
_Box = tuple[list[str], str]
"""Lines of a box and the colour of its frame."""


@dataclass
class _Pen:
    """Draws from the top down; ``y`` is the height of the residual stream's end."""

    ax: Any
    y: float = 0.0

    def text(self, x: float, y: float, text: str, **options: Any) -> None:
        options = {"fontsize": 8, "va": "center", "color": style.ink().text} | options
        self.ax.text(x, y, style.plain(text), **options)

    def box(self, x: float, y: float, width: float, lines: list[str], colour: str) -> float:
        """A box whose first line is bold; returns its height."""
        height = _height(lines)
        patch = FancyBboxPatch(
            (x, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.09",
            fc=style.ink().panel,
            ec=colour,
            lw=1.2,
        )
        self.ax.add_patch(patch)
        top = y + height / 2 - 0.31
        for number, line in enumerate(lines):
            weight = "bold" if number == 0 else "normal"
            size = 8 if number == 0 else 7
            self.text(x + 0.14, top - 0.36 * number, line, weight=weight, fontsize=size)
        return height

    def arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        look = {"arrowstyle": "-|>", "color": style.ink().muted, "lw": 1, "shrinkA": 0}
        self.ax.annotate("", end, start, arrowprops={**look, "shrinkB": 0, "mutation_scale": 8})

    def shape(self, x: float, y: float, text: str) -> None:
        """The shape of what flows along a horizontal line."""
        self.text(x, y + 0.19, text, color=style.ink().muted, fontsize=7)

    def line(self, *points: tuple[float, float]) -> None:
        self.ax.plot(*zip(*points, strict=True), color=style.ink().muted, lw=1, zorder=0)

    def down(self, distance: float, label: str = "") -> None:
        """Carry the stream on, with the shape of what flows beside it."""
        self.arrow((SPINE_X, self.y), (SPINE_X, self.y - distance))
        if label:
            self.text(
                SPINE_X + 0.14, self.y - distance / 2, label, color=style.ink().muted, fontsize=7
            )
        self.y -= distance

    def station(self, lines: list[str], colour: str, width: float, left: float = 0.9) -> None:
        """A box on the stream itself, ``left`` of it to the left."""
        height = _height(lines)
        self.box(SPINE_X - left, self.y - height / 2, width, lines, colour)
        self.y -= height

    def plus(self) -> None:
        self.ax.add_patch(
            Circle((SPINE_X, self.y - 0.16), 0.16, fc=style.ink().paper, ec=style.ink().text, lw=1)
        )
        self.text(SPINE_X, self.y - 0.17, "+", ha="center", fontsize=9)
        self.y -= 0.32


def data_flow(flow: DataFlow) -> Figure:
    """One diagram for one model, shapes on the edges; the block is drawn once for all layers."""
    from internals.figures.style import figure as new_figure

    figure, ax = new_figure()
    pen = _Pen(ax)
    pen.text(SPINE_X, 0.18, "token ids", ha="center", weight="bold")
    pen.down(0.6, flow.shapes["ids"])
    _embedding(pen, flow)
    pen.down(0.75, flow.shapes["stream"])
    top = pen.y + 0.12
    if flow.placement == "parallel":
        _parallel(pen, flow)
    else:
        for boxes in _branches(flow):
            _branch(pen, boxes, flow)
    _frame(pen, top, flow.n_layers)
    pen.down(0.7, flow.shapes["stream"])
    if flow.has_final_norm:
        pen.station([f"final {flow.norm_kind}"], style.GREEN, 2.6)
        pen.down(0.6, flow.shapes["head_input"])
    tie = "the embedding once more (tied)" if flow.tied else "a matrix of its own (untied)"
    pen.station(["head", tie], style.BLUE, 4.2)
    pen.down(0.65, flow.shapes["logits"])
    cap = f", capped at ±{flow.logit_softcap:g}" if flow.logit_softcap else ""
    pen.text(SPINE_X, pen.y - 0.18, f"logits{cap}", ha="center", weight="bold")
    height = 0.9 - pen.y
    figure.set_size_inches(style.WIDTH_IN, style.WIDTH_IN * height / WIDTH)
    ax.set_xlim(0, WIDTH)
    ax.set_ylim(pen.y - 0.45, 0.45)
    ax.set_aspect("equal")
    ax.axis("off")
    return figure


def _embedding(pen: _Pen, flow: DataFlow) -> None:
    scaled = " × √d" if flow.scaled_embedding else ""
    pen.station(
        ["token embedding" + scaled, f"{flow.vocab:,} × {flow.d_embedding:,}"], style.BLUE, 3.4
    )
    if "position" not in flow.shapes:
        return
    pen.down(0.5, flow.shapes["embedding"])
    pen.plus()
    y = pen.y + 0.16
    lines = ["position embedding", f"{flow.context_length:,} × {flow.d_embedding:,}"]
    pen.box(6.4, y, 3.3, lines, style.BLUE)
    pen.arrow((6.4, y), (SPINE_X + 0.18, y))
    pen.shape(4.1, y, flow.shapes["position"])


def _attention(flow: DataFlow) -> list[str]:
    heads = f"{flow.n_heads} heads"
    if flow.n_kv_heads < flow.n_heads:
        heads = f"{flow.n_heads} query heads share {flow.n_kv_heads} key-value heads"
    place = "" if flow.position_scheme == "learned" else f", {flow.position_scheme} positions"
    norms = ["queries and keys are normalised"] if flow.norms_on_heads else []
    return [
        f"attention{place}",
        heads,
        *norms,
        f"queries: {flow.shapes['query']}",
        f"keys, values: {flow.shapes['key']}",
        f"pattern: {flow.shapes['pattern']}",
    ]


def _mlp(flow: DataFlow) -> list[str]:
    kind = "gated MLP" if flow.gated else "MLP"
    return [f"{kind} ({flow.activation})", f"inner: {flow.shapes['inner']}"]


def _branches(flow: DataFlow) -> list[list[_Box]]:
    """Branches of a block; each is a column of boxes beside the stream."""
    norm = ([flow.norm_kind], style.GREEN)
    before = [] if flow.placement == "post" else [norm]
    after = [norm] if flow.placement == "pre+post" else []
    attention, mlp = (_attention(flow), style.VERMILION), (_mlp(flow), style.PURPLE)
    return [[*before, attention, *after], [*before, mlp, *after]]


def _height(lines: list[str]) -> float:
    return 0.36 * len(lines) + 0.26


def _column(pen: _Pen, y: float, boxes: list[_Box]) -> float:
    """Boxes below one another, joined by arrows; returns the lower edge of the last one."""
    for number, (lines, colour) in enumerate(boxes):
        if number:
            pen.arrow((_BOX_X + 0.5, y), (_BOX_X + 0.5, y - _GAP))
            y -= _GAP
        pen.box(_BOX_X, y - _height(lines) / 2, _BOX_WIDTH, lines, colour)
        y -= _height(lines)
    return y


def _branch(pen: _Pen, boxes: list[_Box], flow: DataFlow) -> None:
    """Leave the stream, pass the boxes, and add what comes out to the stream."""
    leave = pen.y - 0.12
    pen.line((SPINE_X, leave), (_BOX_X + 0.5, leave))
    pen.arrow((_BOX_X + 0.5, leave), (_BOX_X + 0.5, leave - _GAP))
    y = _column(pen, leave - _GAP, boxes)
    _join(pen, (_BOX_X + 0.5, y), y - 0.6, flow)
    if flow.placement == "post":
        pen.down(0.35)
        pen.station([flow.norm_kind], style.GREEN, 1.8, left=0.45)
        pen.down(0.2)


def _join(pen: _Pen, start: tuple[float, float], y: float, flow: DataFlow) -> None:
    """Carry the stream down to ``y`` and add what comes from ``start``."""
    pen.line((SPINE_X, pen.y), (SPINE_X, y + 0.16))
    pen.line(start, (start[0], y))
    pen.arrow((start[0], y), (SPINE_X + 0.18, y))
    pen.shape(SPINE_X + 0.3, y, flow.shapes["attention"])
    pen.y = y + 0.16
    pen.plus()


def _parallel(pen: _Pen, flow: DataFlow) -> None:
    """Attention and MLP read the same stream; both results are added at once."""
    norm = ([flow.norm_kind], style.GREEN)
    columns: list[list[_Box]] = [
        [(_attention(flow), style.VERMILION)],
        [(_mlp(flow), style.PURPLE)],
    ]
    leave = pen.y - 0.12
    bus, right = 2.75, 9.72
    if flow.block_norms > 1:
        columns = [[norm, *boxes] for boxes in columns]
        pen.line((SPINE_X, leave), (bus, leave))
        y = leave - 0.2
    else:
        pen.line((SPINE_X, leave), (_BOX_X + 0.5, leave))
        pen.arrow((_BOX_X + 0.5, leave), (_BOX_X + 0.5, leave - _GAP))
        y = _column(pen, leave - _GAP, [norm])
        pen.line((bus, y + _height(norm[0]) / 2), (_BOX_X, y + _height(norm[0]) / 2))
        leave = y + _height(norm[0]) / 2
        y -= 0.25
    entry = y
    first_exit = 0.0
    for boxes in columns:
        entry = y - _height(boxes[0][0]) / 2
        pen.arrow((bus, entry), (_BOX_X, entry))
        y = _column(pen, y, boxes)
        out = y + _height(boxes[-1][0]) / 2
        pen.line((_BOX_X + _BOX_WIDTH, out), (right, out))
        first_exit = first_exit or out
        y -= 0.25
    pen.line((bus, leave), (bus, entry))
    _join(pen, (right, first_exit), y - 0.2, flow)


def _frame(pen: _Pen, top: float, layers: int) -> None:
    bottom = pen.y - 0.14
    pen.ax.add_patch(
        FancyBboxPatch(
            (0.75, bottom),
            9.1,
            top - bottom,
            boxstyle="round,pad=0,rounding_size=0.15",
            fc="none",
            ec=style.ink().muted,
            ls=(0, (4, 3)),
            lw=1,
        )
    )
    pen.text(0.38, (top + bottom) / 2, f"block, {layers} times", rotation=90, ha="center")
