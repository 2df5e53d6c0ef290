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
_LINE, _PAD, _GAP, _STEP = 0.25, 0.13, 0.17, 0.34
"""Height of a line, room in a box around its lines, between boxes, and for a shape on the spine."""
_BOX_X, _BOX_WIDTH, _IN_X, _BUS_X, _OUT_X = 3.9, 5.6, 4.4, 3.45, 9.72
"""Boxes beside the spine: left edge, width, where they are entered, lines around parallel ones."""
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

    def note(self, x: float, y: float, text: str) -> None:
        """The shape of what flows, or of what a box holds."""
        self.text(x, y, text, color=style.ink().muted)

    def frame(self, x: float, y: float, width: float, height: float, **look: Any) -> None:
        shape = "round,pad=0,rounding_size=0.09"
        self.ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, **look))

    def box(self, x: float, y: float, width: float, box: _Box) -> float:
        """A box below ``y`` whose first line is bold; returns its lower edge."""
        lines, colour = box
        low = y - _LINE * len(lines) - _PAD
        self.frame(x, low, width, y - low, fc=style.ink().panel, ec=colour, lw=1.2)
        for number, line in enumerate(lines):
            weight = "normal" if number else "bold"
            at = y - (_PAD + _LINE) / 2 - _LINE * number
            self.text(x + 0.14, at, line, weight=weight)
        return low

    def column(self, y: float, boxes: list[_Box]) -> float:
        """Boxes below one another, joined by arrows; returns the lower edge of the last one."""
        for number, box in enumerate(boxes):
            if number:
                self.arrow((_IN_X, y), (_IN_X, y - _GAP))
                y -= _GAP
            y = self.box(_BOX_X, y, _BOX_WIDTH, box)
        return y

    def arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        look = {"arrowstyle": "-|>", "color": style.ink().muted, "lw": 1, "shrinkA": 0}
        self.ax.annotate("", end, start, arrowprops={**look, "shrinkB": 0, "mutation_scale": 8})

    def line(self, *points: tuple[float, float]) -> None:
        self.ax.plot(*zip(*points, strict=True), color=style.ink().muted, lw=1, zorder=0)

    def down(self, label: str = "", distance: float = _STEP) -> None:
        """Carry the stream on, with the shape of what flows beside it."""
        self.arrow((SPINE_X, self.y), (SPINE_X, self.y - distance))
        self.note(SPINE_X + 0.14, self.y - distance / 2 + 0.03, label)
        self.y -= distance

    def station(self, title: str, colour: str, note: str = "", left: float = 0.9) -> None:
        """A box on the stream itself, ``left`` of it to the left; what it holds to its right."""
        width, y = 0.6 + 0.165 * len(title), self.y
        self.y = self.box(SPINE_X - left, y, width, ([title], colour))
        self.note(SPINE_X - left + 0.15 + width, (y + self.y) / 2, note)

    def plus(self) -> None:
        ink = style.ink()
        self.ax.add_patch(Circle((SPINE_X, self.y - 0.16), 0.16, fc=ink.paper, ec=ink.text, lw=1))
        self.text(SPINE_X, self.y - 0.17, "+", ha="center", fontsize=9)
        self.y -= 0.32

    def join(self, start: tuple[float, float], y: float, label: str) -> None:
        """Carry the stream down to ``y`` and add what comes from ``start``."""
        self.line((SPINE_X, self.y), (SPINE_X, y + 0.16))
        self.line(start, (start[0], y))
        self.arrow((start[0], y), (SPINE_X + 0.18, y))
        self.note(SPINE_X + 0.3, y + 0.17, label)
        self.y = y + 0.16
        self.plus()


def data_flow(flow: DataFlow) -> Figure:
    """One diagram for one model, shapes on the edges; the block is drawn once for all layers."""
    figure, ax = style.figure()
    pen, facts = _Pen(ax), flow.facts
    pen.text(SPINE_X, 0.14, "token ids", ha="center", weight="bold")
    pen.down(flow.shapes["ids"])
    matrix = f"{facts.vocab_size_embedding:,} × {facts.d_embedding:,}"
    scaled = " times √d" if facts.scaled_embedding else ""
    pen.station("token embedding", style.BLUE, matrix + scaled)
    if "position" in flow.shapes:
        pen.down(flow.shapes["embedding"])
        pen.plus()
        y = pen.y + 0.16
        lines = ["position embedding", f"{facts.context_length:,} × {facts.d_embedding:,}"]
        pen.box(6.4, y + _LINE + _PAD / 2, 3.3, (lines, style.BLUE))
        pen.arrow((6.4, y), (SPINE_X + 0.18, y))
        pen.note(4.1, y + 0.17, flow.shapes["position"])
    pen.down(flow.shapes["stream"], 0.42)
    top = pen.y + 0.06
    (_parallel if facts.norm_placement == "parallel" else _branches)(pen, flow)
    bottom = pen.y - 0.1
    dashed = {"fc": "none", "ec": style.ink().muted, "ls": (0, (4, 3)), "lw": 1}
    pen.frame(0.75, bottom, 9.1, top - bottom, **dashed)
    blocks = f"block, {facts.n_layers} times"
    pen.text(0.38, (top + bottom) / 2, blocks, rotation=90, ha="center")
    pen.down(flow.shapes["stream"], 0.46)
    if facts.has_final_norm:
        pen.station(f"final {facts.norm_kind}", style.GREEN)
        pen.down(flow.shapes["head_input"])
    tied = "the embedding once more" if facts.tied_embeddings else "a matrix of its own"
    matrix = f"{facts.d_embedding:,} × {facts.vocab_size_embedding:,}, {tied}"
    pen.station("head", style.BLUE, matrix)
    pen.down(flow.shapes["logits"])
    cap = f", capped at ±{facts.logit_softcap:g}" if facts.logit_softcap else ""
    pen.text(SPINE_X, pen.y - 0.16, f"logits{cap}", ha="center", weight="bold")
    figure.set_size_inches(style.WIDTH_IN, style.WIDTH_IN * (0.62 - pen.y) / WIDTH)
    ax.set(xlim=(0, WIDTH), ylim=(pen.y - 0.34, 0.28), aspect="equal")
    ax.axis("off")
    return figure


def _boxes(flow: DataFlow) -> tuple[_Box, _Box, _Box]:
    """Norm, attention and MLP."""
    facts, shapes = flow.facts, flow.shapes
    heads = f"{facts.n_heads} heads"
    if facts.grouped_query:
        heads = f"{facts.n_heads} query heads share {facts.n_kv_heads} key-value heads"
    place = "" if facts.position_scheme == "learned" else f", {facts.position_scheme} positions"
    norms = ["queries and keys are normalised"] if flow.norms_on_heads else []
    edges = [f"queries: {shapes['query']}", f"keys, values: {shapes['key']}"]
    lines = [f"attention{place}", heads, *norms, *edges, f"pattern: {shapes['pattern']}"]
    kind = "gated MLP" if facts.mlp_kind == "gated" else "MLP"
    mlp = [f"{kind} ({facts.activation})", f"inner: {shapes['inner']}"]
    return ([facts.norm_kind], style.GREEN), (lines, style.VERMILION), (mlp, style.PURPLE)


def _branches(pen: _Pen, flow: DataFlow) -> None:
    """Attention, then MLP: leave the stream, pass the boxes, add what comes out to the stream."""
    placement = flow.facts.norm_placement
    norm, *parts = _boxes(flow)
    before, after = [norm] * (placement != "post"), [norm] * (placement == "pre+post")
    for part in parts:
        leave = pen.y - 0.08
        pen.line((SPINE_X, leave), (_IN_X, leave))
        pen.arrow((_IN_X, leave), (_IN_X, leave - _GAP))
        y = pen.column(leave - _GAP, [*before, part, *after])
        pen.join((_IN_X, y), y - 0.26, flow.shapes["stream"])
        if placement == "post":
            pen.down(distance=0.3)
            pen.station(flow.facts.norm_kind, style.GREEN, left=0.4)
            pen.down(distance=0.2)


def _parallel(pen: _Pen, flow: DataFlow) -> None:
    """Attention and MLP read the same stream; both results are added at once."""
    norm, *parts = _boxes(flow)
    leave = pen.y - 0.12
    each = (flow.facts.n_norms - flow.facts.has_final_norm) // flow.facts.n_layers > 1
    if each:
        pen.line((SPINE_X, leave), (_BUS_X, leave))
        y = leave - 0.2
    else:  # one norm serves both
        pen.line((SPINE_X, leave), (_IN_X, leave))
        pen.arrow((_IN_X, leave), (_IN_X, leave - _GAP))
        y = pen.column(leave - _GAP, [norm])
        leave = y + (_LINE + _PAD) / 2
        pen.line((_BUS_X, leave), (_BOX_X, leave))
        y -= 0.25
    exits = []
    for part in parts:
        entry = y - (_LINE + _PAD) / 2
        pen.line((_BUS_X, leave), (_BUS_X, entry))
        pen.arrow((_BUS_X, entry), (_BOX_X, entry))
        y = pen.column(y, [*[norm] * each, part])
        exits.append(y + (_LINE + _PAD) / 2)
        pen.line((_BOX_X + _BOX_WIDTH, exits[-1]), (_OUT_X, exits[-1]))
        y -= 0.25
    pen.join((_OUT_X, exits[0]), y - 0.2, flow.shapes["stream"])
