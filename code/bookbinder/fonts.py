"""Which characters the book can draw, with which of its own fonts, and what to print otherwise.

The PDF is set with the files in `assets/fonts` and the fonts inside the `typst` package only. A
character outside them is printed as its number (``⟨U+E000⟩``), so that nothing turns into an
empty box unnoticed. For the site, `web_faces` cuts those files down to the characters in use.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typst

FOLDER = Path(__file__).parent / "assets" / "fonts"
BODY = "Libertinus Serif"
"""Text of the PDF; comes with the `typst` package."""
WEB_FAMILY = "Book Glyphs"
"""The one family name under which the site's cut fonts are declared."""

_MONO = ("JetBrainsMono-Regular.ttf", "JetBrainsMono-Bold.ttf", "DejaVuSansMono.ttf")
"""Code of the PDF; in running text only after every proportional font."""
_SCRIPTS = (
    *("NaskhArabic", "SansHebrew", "SansDevanagari", "SansBengali", "SansGurmukhi", "SansGujarati"),
    *("SansTamil", "SansTelugu", "SansKannada", "SansMalayalam", "SansSinhala", "SansThai"),
    *("SansLao", "SansMyanmar", "SansGeorgian", "SansEthiopic", "SansKhmer", "SansArmenian"),
)
_OTHERS = (
    *(f"Noto{script}-Regular.ttf" for script in _SCRIPTS),
    *("NotoSansCJK-Regular.otf", "DejaVuSans.ttf", "NotoSansMath-Regular.ttf"),
    *("NotoSansSymbols-Regular.ttf", "NotoSansSymbols2-Regular.ttf", "NotoEmoji-Regular.ttf"),
)


@dataclass(frozen=True)
class Face:
    """One shipped font file."""

    file: Path
    family: str
    points: frozenset[int]
    """Code points for which it has a glyph."""


@functools.cache
def face(name: str) -> Face:
    """A font of the book by the name of its file."""
    from fontTools.ttLib import TTFont

    with TTFont(FOLDER / name, lazy=True) as font:
        points = frozenset(font.getBestCmap())
        return Face(FOLDER / name, font["name"].getBestFamilyName(), points)


def families(*, mono: bool) -> list[str]:
    """Font families for Typst, best first; the chains for text and code hold the same fonts."""
    files = (*_MONO, *_OTHERS) if mono else (*_OTHERS, *_MONO)
    names = list(dict.fromkeys(face(name).family for name in files))
    return names if mono else [BODY, *names]


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
    return unicodedata.category(char) != "Cc" and ord(char) in _drawn()


@functools.cache
def _drawn() -> frozenset[int]:
    return frozenset().union(*(face(name).points for name in (*_MONO, *_OTHERS)))


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


# --- the site ---------------------------------------------------------------------------------

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


def web_faces(text: str, folder: Path) -> list[str]:
    """Cut the shipped fonts down to what a site prints, into ``folder``; their CSS rules.

    ``text`` is all text of the site in any order. Characters that every system draws are left to
    it; the rest is divided among the fonts, each under the family name `WEB_FAMILY` with its own
    ``unicode-range``.
    """
    wanted = {ord(char) for char in set(text) if _needs_web_font(char)}
    rules: list[str] = []
    for name in (*_OTHERS, *_MONO):
        points = wanted & face(name).points
        wanted -= points
        if points:
            file = _cut(face(name).file, points, folder)
            ranges = ",".join(f"U+{point:X}" for point in sorted(points))
            rules.append(
                f'@font-face{{font-family:"{WEB_FAMILY}";font-display:swap;src:url("fonts/{file}") '
                f'format("woff2");unicode-range:{ranges}}}'
            )
    return rules


def _cut(original: Path, points: Iterable[int], folder: Path) -> str:
    from fontTools import subset
    from fontTools.ttLib import TTFont

    options = subset.Options(flavor="woff2", layout_features=["*"], notdef_outline=True)
    cutter = subset.Subsetter(options)
    # Joiners take part in the shaping of Indic and Arabic text and in emoji sequences.
    cutter.populate(unicodes=[*points, 0x200C, 0x200D, 0xFE0F])
    folder.mkdir(parents=True, exist_ok=True)
    with TTFont(original, lazy=True, recalcTimestamp=False) as font:
        cutter.subset(font)
        font.flavor = "woff2"
        font.save(folder / f"{original.stem}.woff2")
    return f"{original.stem}.woff2"
