"""Which characters the book can draw, with which of its own fonts, and what to print otherwise.

The PDF is set with the files in `assets/fonts` and the fonts inside the `typst` package only. A
character outside them is printed as its number (``⟨U+E000⟩``), so that nothing turns into an
empty box unnoticed. For the site, `web_faces` cuts those files down to the characters in use.
"""

from __future__ import annotations

import functools
import hashlib
import json
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typst

FOLDER = Path(__file__).parent / "assets" / "fonts"
BODY = "Libertinus Serif"
"""Text of the PDF; comes with the `typst` package."""
MONO = "JetBrains Mono"
"""Code of the PDF."""
WEB_FAMILY = "Book Glyphs"
"""The one family name under which the site's cut fonts are declared."""

_TEXT_LAST = ("DejaVu Sans Mono",)
"""In running text only after every proportional font."""


@dataclass(frozen=True)
class Face:
    """One shipped font file."""

    file: Path
    family: str
    weight: int
    starts: tuple[int, ...]
    """First code point of each run that it draws, ascending."""
    ends: tuple[int, ...]
    """Last code point of each run."""

    def draws(self, point: int) -> bool:
        """Whether the font has a glyph for a code point."""
        at = bisect_right(self.starts, point) - 1
        return at >= 0 and point <= self.ends[at]


@functools.cache
def faces() -> tuple[Face, ...]:
    """All shipped fonts in the order in which they are tried for code."""
    entries = json.loads((FOLDER / "coverage.json").read_text(encoding="utf-8"))
    return tuple(
        Face(
            FOLDER / entry["file"],
            entry["family"],
            entry["weight"],
            tuple(first for first, _ in entry["ranges"]),
            tuple(last for _, last in entry["ranges"]),
        )
        for entry in entries
    )


def families(*, mono: bool) -> list[str]:
    """Font families for Typst, best first; the chains for text and code hold the same fonts."""
    names = list(dict.fromkeys(face.family for face in faces()))
    if mono:
        return names
    last = [MONO, *_TEXT_LAST]
    return [BODY, *(name for name in names if name not in last), *last]


def for_typst() -> typst.Fonts:
    """Exactly the fonts of the book and those inside Typst; none of the machine."""
    import typst

    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=True, font_paths=[FOLDER])


# --- what can be drawn ------------------------------------------------------------------------


def _invisible(char: str) -> bool:
    """Whether a character has no glyph by definition (spaces, joiners, line ends)."""
    point = ord(char)
    return (
        char in "\t\n\r"
        or unicodedata.category(char) in ("Cf", "Zs", "Zl", "Zp")
        or 0xFE00 <= point <= 0xFE0F
        or 0xE0100 <= point <= 0xE01EF
        or point in (0x034F, 0x115F, 0x1160, 0x3164, 0xFFA0)
    )


@functools.cache
def can_draw(char: str) -> bool:
    """Whether some font of the book has a glyph for a character, or it needs none.

    Control characters have none, though some fonts map them to an empty one.
    """
    if _invisible(char):
        return True
    return unicodedata.category(char) != "Cc" and any(face.draws(ord(char)) for face in faces())


def missing_glyphs(text: str) -> list[str]:
    """The characters of a text that no font of the book draws, each once, by code point."""
    return sorted(char for char in set(text) if not can_draw(char))


def code_point(char: str) -> str:
    """The visible form of a character that cannot be drawn: ``⟨U+1F98A⟩``."""
    return f"⟨U+{ord(char):04X}⟩"


def visible_fallback(text: str) -> str:
    """``text`` with each character that cannot be drawn replaced by its number."""
    if text.isascii() and text.isprintable():
        return text
    missing = missing_glyphs(text)
    return text.translate({ord(char): code_point(char) for char in missing}) if missing else text


# --- measuring code ---------------------------------------------------------------------------


@functools.cache
def _widths(file: Path) -> dict[int, float]:
    """Advance widths in em by code point."""
    from fontTools.ttLib import TTFont

    with TTFont(file, lazy=True) as font:
        unit = font["head"].unitsPerEm
        metrics = font["hmtx"].metrics
        return {point: metrics[name][0] / unit for point, name in font.getBestCmap().items()}


@functools.cache
def _char_columns(char: str) -> float:
    if char.isascii():
        return 1.0
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0.0
    for face in faces():
        if face.draws(ord(char)):
            return _widths(face.file)[ord(char)] / _widths(faces()[0].file)[ord("0")]
    return 1.0


def columns(text: str) -> float:
    """Width of one line of code, in widths of a code letter (a CJK character takes 1.67)."""
    if text.isascii():
        return float(len(text))
    return sum(map(_char_columns, text))


# --- the site ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class WebFace:
    """One ``@font-face`` rule of the site."""

    family: str
    weight: int
    style: str
    file: Path
    unicode_range: str

    def css(self, url: str) -> str:
        """The rule, with the font at ``url``."""
        kind = self.file.suffix[1:]
        return (
            f'@font-face{{font-family:"{self.family}";font-style:{self.style};'
            f"font-weight:{self.weight};font-display:swap;"
            f'src:url("{url}") format("{kind}");unicode-range:{self.unicode_range}}}'
        )


# What the text fonts of Windows, macOS, Android and Linux desktops all draw.
_EVERYWHERE = (
    (0x0020, 0x007E),
    (0x00A0, 0x017F),
    (0x0391, 0x03C9),
    (0x0410, 0x044F),
    (0x2010, 0x2022),
    (0x2026, 0x2026),
    (0x2030, 0x203A),
)


def _needs_web_font(char: str) -> bool:
    point = ord(char)
    everywhere = any(first <= point <= last for first, last in _EVERYWHERE)
    return not everywhere and not _invisible(char)


def web_faces(text: str, folder: Path) -> list[WebFace]:
    """Cut the shipped fonts down to what a site prints, into ``folder``.

    ``text`` is all text of the site in any order. Characters that every system draws are left to
    it; the rest is divided among the fonts, each under the family name `WEB_FAMILY` with its own
    ``unicode-range``. File names carry a hash of their contents' recipe, so an existing file is
    used again.
    """
    wanted = {char for char in set(text) if _needs_web_font(char)}
    cut: list[WebFace] = []
    for face in _web_order():
        chars = {char for char in wanted if face.draws(ord(char))}
        wanted -= chars
        if chars:
            file = _cut(face, chars, folder)
            cut.append(WebFace(WEB_FAMILY, 400, "normal", file, _unicode_range(chars)))
    return cut


def _web_order() -> list[Face]:
    chain = families(mono=False)
    regular = [face for face in faces() if face.weight < 600]
    return sorted(regular, key=lambda face: chain.index(face.family))


def _unicode_range(chars: Iterable[str]) -> str:
    runs: list[list[int]] = []
    for point in sorted(map(ord, chars)):
        if runs and runs[-1][1] == point - 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return ",".join(f"U+{a:X}" if a == b else f"U+{a:X}-{b:X}" for a, b in runs)


def _flavour() -> str:
    """``woff2`` where its compressor is installed, else ``woff``."""
    try:
        import brotli  # noqa: F401
    except ImportError:
        return "woff"
    return "woff2"


def _cut(face: Face, chars: Iterable[str], folder: Path) -> Path:
    from fontTools import subset
    from fontTools.ttLib import TTFont

    points = sorted(map(ord, chars))
    recipe = f"{face.file.name} {face.file.stat().st_size} {points}"
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:10]
    flavour = _flavour()
    target = folder / f"{face.file.stem}-{digest}.{flavour}"
    if target.exists():
        return target
    options = subset.Options(flavor=flavour, layout_features=["*"], notdef_outline=True)
    cutter = subset.Subsetter(options)
    # Joiners take part in the shaping of Indic and Arabic text and in emoji sequences.
    cutter.populate(unicodes=[*points, 0x200C, 0x200D, 0xFE0F])
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    with TTFont(face.file, lazy=True, recalcTimestamp=False) as font:
        cutter.subset(font)
        font.flavor = flavour
        font.save(part)
    part.replace(target)
    return target
