"""One look for all figures: sizes, colours, light and dark, text that the font can print.

Figures are functions from tables to a matplotlib `Figure`; `show` draws such a function once for
light and once for dark pages. `figure` needs no pyplot: it belongs to nobody but its maker.
"""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from internals.figures import stored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Mode = Literal["light", "dark"]
MODES: tuple[Mode, ...] = ("light", "dark")
"""The order that `renderings: [light, dark]` expects."""

STYLE_FILE = Path(__file__).with_name("internals.mplstyle")

WIDTH_IN = 5.8
"""Width of a figure: text stays legible at 360 px and fits an A4 page unscaled."""
RATIO = 0.618

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, YELLOW, GREY = "#56B4E9", "#E69F00", "#F0E442", "#8A8F98"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE)
"""Okabe and Ito (2008): told apart with any colour vision."""
CONTROL = GREY
"""Controls (random twins, shuffled text, uniform attention) are grey in the whole book."""
SEQUENTIAL = "viridis"
MARKERS = ("o", "s", "^", "D", "v", "P")
"""Colour is never the only sign: series differ in marker or dash as well."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)))


@dataclass(frozen=True)
class Ink:
    """Colours of one theme, for what is neither data nor default text."""

    text: str
    muted: str
    """Secondary text, axes."""
    grid: str
    paper: str
    """Background of the page; for halos and for text on dark fields."""
    panel: str
    """Fill of a box that is no data."""


INKS: dict[Mode, Ink] = {
    "light": Ink("#1F2328", "#5B636D", "#E3E6EA", "#FFFFFF", "#F2F4F7"),
    "dark": Ink("#E6E8EB", "#A2ABB6", "#343A42", "#16191D", "#23282F"),
}

_current: Mode = "light"


def use(mode: Mode = "light") -> None:
    """Set the style for everything that is drawn from now on in this process."""
    import matplotlib

    global _current
    _current = mode
    matplotlib.rcParams.update(_settings(mode))


@contextmanager
def theme(mode: Mode) -> Iterator[Ink]:
    """Draw under one theme; afterwards the settings are as they were."""
    import matplotlib

    global _current
    before = _current
    # Seaborn lays its grids out by itself and warns where another layout was asked for.
    with matplotlib.rc_context(_settings(mode) | {"figure.constrained_layout.use": False}):
        _current = mode
        try:
            yield INKS[mode]
        finally:
            _current = before


def ink() -> Ink:
    """Colours of the theme that is being drawn."""
    return INKS[_current]


@functools.cache
def _settings(mode: Mode) -> Any:
    """rcParams of one theme (a dict; its keys are too many for a type)."""
    from matplotlib import rc_params_from_file

    colours = INKS[mode]
    file = rc_params_from_file(str(STYLE_FILE), fail_on_error=True, use_default_template=False)
    settings: dict[str, Any] = {str(name): value for name, value in file.items()}
    settings.update(dict.fromkeys(("text.color", "axes.titlecolor"), colours.text))
    muted = ("axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    settings.update(dict.fromkeys(muted, colours.muted))
    settings.update(dict.fromkeys(("figure.facecolor", "savefig.facecolor"), colours.paper))
    settings.update({"axes.facecolor": "none", "grid.color": colours.grid})
    settings.update({"legend.labelcolor": colours.text, "patch.edgecolor": colours.paper})
    return settings


def figure(
    rows: int = 1,
    columns: int = 1,
    *,
    width_in: float = WIDTH_IN,
    height_in: float | None = None,
    ratio: float = RATIO,
    **options: Any,
) -> tuple[Figure, Any]:
    """A new figure with its axes (one `Axes`, or an array of them for several).

    ``height_in`` overrides ``ratio`` (height over width). ``options`` go to `Figure.subplots`.
    """
    from matplotlib.figure import Figure

    height = width_in * ratio if height_in is None else height_in
    fig = Figure(figsize=(width_in, height), layout="constrained")
    return fig, fig.subplots(rows, columns, **options)


def finish(grid: Any, height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """The figure of a seaborn grid (or axes, or a figure) in the book's size, laid out anew."""
    fig: Figure = getattr(grid, "figure", grid)
    fig.set_layout_engine("constrained")
    fig.set_size_inches(width_in, height_in)
    return fig


def below(grid: Any, height_in: float, columns: int = 4) -> Figure:
    """`finish`, with the legend of a seaborn grid in a row under the panels."""
    if grid.legend is not None:
        handles, labels = grid.legend.legend_handles, [t.get_text() for t in grid.legend.texts]
        title = grid.legend.get_title().get_text()
        grid.legend.remove()
        grid.figure.legend(
            handles, labels, title=title, loc="outside lower center", ncols=columns, frameon=False
        )
    return finish(grid, height_in)


def plain_ticks(axis: Any) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5 of each decade, written as plain numbers; where
    the axis spans many decades at 1 alone, as powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    if low > 0 and high / low < 2000:
        axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


@dataclass(frozen=True)
class Picture:
    """One drawing, ready for a page."""

    mode: Mode
    svg: str
    """Transparent, letters as outlines; for the web page and the PDF."""
    png: bytes | None
    """On paper of its own; for notebooks, which are light."""


def render(
    draw: Callable[..., Figure], *tables: Any, mode: Mode = "light", **options: Any
) -> Picture:
    """Draw ``draw(*tables, **options)`` under one theme; equal input gives equal bytes."""
    with theme(mode) as colours:
        fig = draw(*tables, **options)
        vector = _vector(fig)
        png = _raster(fig, colours.paper) if mode == "light" else None
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(fig)  # pyplot would keep a figure of its own for ever
    return Picture(mode, vector[vector.index("<svg") :], png)


def _vector(fig: Figure) -> str:
    """The figure as SVG on no paper, laid out here and drawn once.

    `Figure.savefig` would draw it a second time, unseen, to lay it out.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    canvas = FigureCanvasSVG(fig)
    fig.set_dpi(72)  # letters are measured as this canvas writes them
    if engine := fig.get_layout_engine():
        engine.execute(fig)
        fig.set_layout_engine("none")
    fig.set_facecolor("none")
    vector = io.StringIO()
    # No date and no program name: the same figure is the same file.
    canvas.print_svg(vector, metadata={"Date": None, "Creator": None})
    return vector.getvalue()


def _raster(fig: Figure, paper: str) -> bytes:
    """The figure as PNG, drawn once more where everything has its place already.

    A palette makes it a third of the bytes, so that the notebook stays light.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    fig.set_facecolor(paper)
    if matplotlib.rcParams["savefig.dpi"] != "figure":
        fig.set_dpi(matplotlib.rcParams["savefig.dpi"])
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    small = io.BytesIO()
    image.quantize(256, method=Image.Quantize.MEDIANCUT).save(small, "png", optimize=True)
    return small.getvalue()


def show(draw: Callable[..., Figure], *tables: Any, **options: Any) -> None:
    """Display ``draw(*tables, **options)`` twice, for light and for dark pages.

    The cell carries `#| renderings: [light, dark]`; PDF and notebook keep the light one. The
    notebook sets BOOK_RENDERINGS=light, so that running it again shows each figure once.
    """
    from IPython.display import display

    wanted = os.environ.get("BOOK_RENDERINGS", "").split()
    for mode in wanted or MODES:
        picture = stored.picture(render, draw, tables, options, mode)
        bundle: dict[str, Any] = {"text/plain": "figure"}
        if picture.png:
            bundle["image/png"] = picture.png
        # The build takes the vector picture; a notebook that is run again shows one of points.
        display(bundle if wanted else bundle | {"image/svg+xml": picture.svg}, raw=True)


def plain(text: str) -> str:
    """``text`` as matplotlib prints it: no mathematics, and nothing that the font lacks.

    A dollar sign would start a formula; a character without a glyph becomes its code point, as in
    ``⟨4E2D⟩``, so that no empty box stands for a token.
    """
    return "".join(_printable(character) for character in text).replace("$", r"\$")


def _printable(character: str) -> str:
    if character.isprintable() and ord(character) in _glyphs():
        return character
    return f"⟨{ord(character):04X}⟩"


@functools.cache
def _glyphs() -> frozenset[int]:
    """Code points for which the figure font has a glyph."""
    from matplotlib import font_manager

    path = font_manager.findfont("DejaVu Sans")
    return frozenset(font_manager.get_font(path).get_charmap())
