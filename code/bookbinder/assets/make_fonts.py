"""Cut the fonts in `fonts/` from their originals, so that their origin and size can be checked.

Not part of a build: run it by hand (``python make_fonts.py ORIGINALS``) when a font is added or
renewed. ORIGINALS is a folder that holds, anywhere below it, the files named in `RECIPES`;
`fonts/README.md` says from which packages they come. Hinting goes (a PDF and a modern screen
have no use for it), and so does what another font of the set already draws.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fontTools import subset
from fontTools.ttLib import TTFont

FONTS = Path(__file__).parent / "fonts"


def span(*ranges: str) -> set[int]:
    """Code points of ranges such as ``"0600-06FF"`` (both ends included)."""
    points: set[int] = set()
    for item in ranges:
        first, _, last = item.partition("-")
        points.update(range(int(first, 16), int(last or first, 16) + 1))
    return points


def double_bytes(codec: str, leads: range, trails: Iterable[int]) -> set[int]:
    """What the two-byte codes of a national standard stand for."""
    trails = list(trails)
    points: set[int] = set()
    for lead in leads:
        for trail in trails:
            try:
                points.update(map(ord, bytes([lead, trail]).decode(codec)))
            except UnicodeDecodeError:
                continue
    return points


def common_cjk() -> set[int]:
    """The characters of everyday use by the national standards, with kana and punctuation.

    GB 2312 (6,763 simplified), Big5 level 1 (5,401 traditional), JIS X 0208 level 1
    (2,965 kanji), KS X 1001 (2,350 syllables).
    """
    high = range(0xA1, 0xFF)
    return (
        double_bytes("gb2312", range(0xB0, 0xF8), high)
        | double_bytes("big5", range(0xA4, 0xC7), [*range(0x40, 0x7F), *high])
        | double_bytes("euc_jp", range(0xB0, 0xD0), high)
        | double_bytes("euc_kr", range(0xB0, 0xC9), high)
        | span("3000-30FF", "3100-312F", "3130-318F", "31F0-31FF", "3200-33FF", "FF00-FFEF")
    )


@dataclass(frozen=True)
class Recipe:
    """One font file: from which original, with which characters."""

    source: str
    keep: frozenset[int] | None = None
    """``None`` keeps all."""
    features: tuple[str, ...] = ("*",)
    """Layout features; scripts need theirs, a code font must not have ligatures."""
    number: int = -1
    """Index in a collection."""

    @property
    def name(self) -> str:
        """File name of the result."""
        stem = Path(self.source).stem
        return stem + (".otf" if self.source.endswith(".ttc") else ".ttf")


JOINERS = span("200C", "200D", "25CC", "0020", "00A0")

# Noto fonts of one script each; a font holds Latin letters too, which are of no use here.
SCRIPTS = {
    "NotoNaskhArabic-Regular.ttf": span("0600-06FF", "0750-077F", "08A0-08FF", "FB50-FDFF",
                                        "FE70-FEFF"),
    "NotoSansHebrew-Regular.ttf": span("0590-05FF", "FB1D-FB4F"),
    "NotoSansDevanagari-Regular.ttf": span("0900-097F", "A8E0-A8FF", "1CD0-1CFF"),
    "NotoSansBengali-Regular.ttf": span("0980-09FF", "0964-0965"),
    "NotoSansGurmukhi-Regular.ttf": span("0A00-0A7F"),
    "NotoSansGujarati-Regular.ttf": span("0A80-0AFF"),
    "NotoSansTamil-Regular.ttf": span("0B80-0BFF"),
    "NotoSansTelugu-Regular.ttf": span("0C00-0C7F"),
    "NotoSansKannada-Regular.ttf": span("0C80-0CFF"),
    "NotoSansMalayalam-Regular.ttf": span("0D00-0D7F"),
    "NotoSansSinhala-Regular.ttf": span("0D80-0DFF"),
    "NotoSansThai-Regular.ttf": span("0E00-0E7F"),
    "NotoSansLao-Regular.ttf": span("0E80-0EFF"),
    "NotoSansMyanmar-Regular.ttf": span("1000-109F"),
    "NotoSansGeorgian-Regular.ttf": span("10A0-10FF", "1C90-1CBF", "2D00-2D2F"),
    "NotoSansEthiopic-Regular.ttf": span("1200-137F"),
    "NotoSansKhmer-Regular.ttf": span("1780-17FF"),
    "NotoSansArmenian-Regular.ttf": span("0530-058F", "FB13-FB17"),
}  # fmt: skip

# Letters beyond ASCII, phonetic signs and all kinds of symbols.
DEJAVU = span("0020-02FF", "0300-052F", "1D00-1FFF", "2000-2BFF", "2C60-2C7F", "2DE0-2DFF",
              "A640-A69F", "A700-A7FF", "FB00-FB06", "FE00-FE0F", "FE20-FE2F", "FFF9-FFFD",
              "1F030-1F0FF")  # fmt: skip
SYMBOLS = span("2300-23FF", "2460-27BF", "2900-2BFF", "1F100-1F2FF", "1F700-1F77F", "1F800-1F8FF",
               "1FB00-1FBFF", "10100-101FF", "1F780-1F7FF", "1F650-1F67F", "4DC0-4DFF",
               "1F000-1F0FF")  # fmt: skip
MATH = span("1D400-1D7FF", "2100-214F", "2190-21FF", "2200-22FF", "27C0-27FF", "2900-2AFF",
            "1EE00-1EEFF")  # fmt: skip

RECIPES = (
    Recipe("JetBrainsMono-Regular.ttf", features=("ccmp", "mark", "mkmk", "locl")),
    Recipe("JetBrainsMono-Bold.ttf", features=("ccmp", "mark", "mkmk", "locl")),
    Recipe("DejaVuSansMono.ttf"),
    *(Recipe(name, frozenset(keep | JOINERS)) for name, keep in SCRIPTS.items()),
    Recipe("NotoSansCJK-Regular.ttc", frozenset(common_cjk()), features=(), number=2),
    Recipe("DejaVuSans.ttf", frozenset(DEJAVU)),
    Recipe("NotoSansMath-Regular.ttf", frozenset(MATH), features=()),
    Recipe("NotoSansSymbols-Regular.ttf", frozenset(SYMBOLS), features=()),
    Recipe("NotoSansSymbols2-Regular.ttf", frozenset(SYMBOLS | span("2800-28FF")), features=()),
    Recipe("noto-emoji-emoji-400-normal.woff"),
)


def cut(recipe: Recipe, original: Path, target: Path, taken: set[int]) -> set[int]:
    """Write one font without the characters in ``taken``; answer what it draws.

    ``taken`` only applies to fonts of symbols (``features == ()``), whose ranges overlap.
    """
    options = subset.Options(
        hinting=False,
        layout_features=list(recipe.features),
        name_IDs=[0, 1, 2, 3, 4, 5, 6, 13, 14],
        notdef_outline=True,
        glyph_names=False,
        drop_tables=["DSIG", "VORG", "BASE", "STAT", "meta", "MATH", "GDEF"]
        if recipe.features == ()
        else ["DSIG", "STAT", "meta"],
    )
    font = TTFont(original, fontNumber=recipe.number, lazy=True)
    keep = set(font.getBestCmap()) if recipe.keep is None else set(recipe.keep)
    if recipe.features == ():
        keep -= taken
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=keep)
    cutter.subset(font)
    font.flavor = None
    subset.save_font(font, target, options)
    return set(TTFont(target, lazy=True).getBestCmap())


def ranges(points: Iterable[int]) -> list[list[int]]:
    """Runs of consecutive code points as ``[first, last]``."""
    runs: list[list[int]] = []
    for point in sorted(points):
        if runs and runs[-1][1] == point - 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return runs


def describe(file: Path) -> dict[str, Any]:
    """What a build wants to know of a font without opening it."""
    font = TTFont(file, lazy=True)
    names = font["name"]
    return {
        "file": file.name,
        "family": names.getBestFamilyName(),
        "weight": font["OS/2"].usWeightClass,
        "ranges": ranges(font.getBestCmap()),
    }


def find(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """The originals, in order."""
    for name in names:
        hits = sorted(folder.rglob(name))
        if not hits:
            raise SystemExit(f"{name} is not in {folder}; fonts/README.md says where it comes from")
        yield hits[0]


def main(folder: Path) -> None:
    """Cut all fonts, write `coverage.json` (chain order) and print the sizes."""
    FONTS.mkdir(exist_ok=True)
    taken: set[int] = set()
    total = 0
    faces = []
    for recipe, original in zip(RECIPES, find(folder, (r.source for r in RECIPES)), strict=True):
        name = "NotoEmoji-Regular.ttf" if "emoji" in recipe.source else recipe.name
        target = FONTS / name
        taken |= cut(recipe, original, target, taken)
        faces.append(describe(target))
        total += target.stat().st_size
        print(f"{target.stat().st_size / 1024:8.0f} kB  {name}")
    text = ",\n".join(json.dumps(face, separators=(",", ":")) for face in faces)
    (FONTS / "coverage.json").write_text(f"[{text}]\n", encoding="utf-8")
    print(f"{total / 1024:8.0f} kB  in all; {len(taken):,} characters")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
