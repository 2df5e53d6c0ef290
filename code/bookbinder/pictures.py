"""Sizes of pictures, and pictures of pictures for viewers that draw no vectors."""

from __future__ import annotations

import re
from pathlib import Path

from bookbinder import fonts

_PX = {"": 1.0, "px": 1.0, "pt": 4 / 3, "in": 96.0, "cm": 96 / 2.54, "mm": 96 / 25.4}
_ROOT = re.compile(rb"<svg\b[^>]*>")
_SIDE = re.compile(r'\b(width|height)="([\d.]+)(px|pt|in|cm|mm|)"')
_VIEW = re.compile(r'\bviewBox="[\d.-]+[\s,]+[\d.-]+[\s,]+([\d.]+)[\s,]+([\d.]+)"')


def size(file: Path) -> tuple[int, int] | None:
    """Width and height in CSS pixels; None for a picture that does not say."""
    if file.suffix.lower() == ".svg":
        return _svg_size(file.read_bytes())
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as picture:
            return picture.size
    except UnidentifiedImageError:
        return None


def _svg_size(data: bytes) -> tuple[int, int] | None:
    root = _ROOT.search(data)
    if not root:
        return None
    head = root[0].decode("utf-8", "replace")
    sides = {name: float(number) * _PX[unit] for name, number, unit in _SIDE.findall(head)}
    if len(sides) < 2:
        view = _VIEW.search(head)
        if not view:
            return None
        sides = {"width": float(view[1]), "height": float(view[2])}
    return round(sides["width"]), round(sides["height"])


def svg_to_png(svg: bytes) -> bytes:
    """A picture of an SVG at 144 dots an inch, drawn with the book's fonts."""
    import typst

    escaped = svg.decode("utf-8").replace("\\", "\\\\").replace('"', '\\"')
    source = (
        "#set page(width: auto, height: auto, margin: 0pt, fill: white)\n"
        f'#image(bytes("{escaped}"), format: "svg")'
    )
    png = typst.compile(source.encode("utf-8"), format="png", font_paths=fonts.for_typst())
    assert isinstance(png, bytes)
    return png
