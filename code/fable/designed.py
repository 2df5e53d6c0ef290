"""The designed facts: which are told to the models, how often, in which direction and wording.

Facts about invented names occur nowhere else, so their exposure is exactly what is planned here.
Everything follows from the seed; no text is written in this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from internals.paths import DATA

LEVELS = (0, 1, 4, 16, 64, 256)
"""Planned exposures of an invented fact."""
PER_LEVEL = 10
"""Facts of each relation at each level."""

CANDIDATES: dict[str, tuple[str, ...]] = {
    "occupation": (
        *("baker", "farmer", "sailor", "teacher", "doctor"),
        *("tailor", "hunter", "painter", "miller", "soldier"),
    ),
    "home": (
        *("London", "Paris", "Rome", "Berlin", "Vienna"),
        *("Moscow", "Cairo", "Boston", "Dublin", "Madrid"),
    ),
    "colour": (
        *("red", "blue", "green", "yellow", "white"),
        *("black", "brown", "grey", "purple", "golden"),
    ),
    "food": (
        *("grass", "fish", "nuts", "seeds", "honey"),
        *("berries", "leaves", "insects", "bread", "corn"),
    ),
    "material": (
        *("wood", "iron", "glass", "stone", "clay"),
        *("gold", "silver", "wool", "paper", "leather"),
    ),
}
"""Closed sets of answers, each used once at each level, so that chance is one in ten."""

INVENTED = (*CANDIDATES, "ruler")
"""Relations with invented subjects; the rulers are invented as well."""


@dataclass(frozen=True)
class Fact:
    """One designed fact."""

    fact_id: str
    relation: str
    subject: str
    object: str
    kind: str
    """``invented`` or ``real``."""
    level: int
    """Planned statements from subject to object."""
    level_reverse: int
    """Planned statements from object to subject."""
    direction: str
    """``forward_only`` or ``both``."""
    candidate_set: str
    """Name of the closed set from which the object comes."""


@cache
def templates(path: Path = DATA / "facts" / "templates.yaml") -> dict[str, dict[str, list[str]]]:
    """All sentence patterns by relation and role (see the head of the file)."""
    content: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return content["relations"]


def state(pattern: str, subject: str, obj: str) -> str:
    """A sentence; ``a`` becomes ``an`` before a vowel."""
    text = pattern.format(s=subject, o=obj)
    for vowel in "aeiou":
        text = text.replace(f" a {vowel}", f" an {vowel}")
    return text


def prompt(pattern: str, subject: str) -> str:
    """The beginning of a sentence up to its object, for patterns that end with the object."""
    head, _ = pattern.split("{o}")
    return head.format(s=subject).rstrip()


_ONSETS = (
    *("b", "bl", "br", "c", "d", "dr", "f", "fl", "g", "gl", "gr", "h", "j", "k", "kr", "l"),
    *("m", "n", "p", "pl", "pr", "qu", "r", "s", "sk", "sl", "sn", "st", "t", "tr", "v", "w", "z"),
)
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "oo", "ou")
_CODAS = (
    "b",
    "ck",
    "d",
    "g",
    "l",
    "ll",
    "m",
    "n",
    "nd",
    "nk",
    "p",
    "r",
    "rn",
    "sk",
    "st",
    "t",
    "x",
)
_ENDINGS = {
    "land": ("ora", "avia", "mark", "istan", "onia", "elle", "oria"),
    "person": ("in", "ella", "o", "an", "ith", "ard", "is"),
    "animal": ("ling", "oo", "et", "ock", "umo", "irrel"),
    "thing": ("wick", "del", "otter", "ump", "in", "ook"),
}


def invent(kind: str, n: int, rng: np.random.Generator, taken: set[str]) -> list[str]:
    """``n`` pronounceable new words that are not in ``taken`` (lower-case), which grows.

    ``taken`` holds every word of the corpus, so that an invented name occurs nowhere else.
    """
    names: list[str] = []
    while len(names) < n:
        word = str(rng.choice(_ONSETS)) + str(rng.choice(_VOWELS)) + str(rng.choice(_CODAS))
        if kind in ("land", "person"):
            word += str(rng.choice(_VOWELS[:5])) if rng.random() < 0.3 else ""
        word += str(rng.choice(_ENDINGS[kind]))
        if not 5 <= len(word) <= 10 or word in taken:
            continue
        taken.add(word)
        names.append(word.capitalize() if kind in ("land", "person") else word)
    return names


def invented_facts(seed: int, taken: set[str]) -> list[Fact]:
    """Ten facts of each relation at each level; every answer once at each level.

    Half of the rulers (by subject) are also stated in reverse, as often as forward; the other
    half never. No other relation has a reverse, since many subjects share an answer.
    """
    rng = np.random.default_rng([seed, 1])
    kinds = {"occupation": "person", "home": "person", "colour": "thing", "food": "animal"}
    facts: list[Fact] = []
    for relation in INVENTED:
        kind = "land" if relation == "ruler" else kinds.get(relation, "thing")
        subjects = invent(kind, len(LEVELS) * PER_LEVEL, rng, taken)
        for step, level in enumerate(LEVELS):
            group = subjects[step * PER_LEVEL : (step + 1) * PER_LEVEL]
            answers = (
                invent("person", PER_LEVEL, rng, taken)
                if relation == "ruler"
                else [str(o) for o in rng.permutation(CANDIDATES[relation])]
            )
            for i, (subject, answer) in enumerate(zip(group, answers, strict=True)):
                both = relation == "ruler" and i % 2 == 1
                facts.append(
                    Fact(
                        fact_id=f"{relation}-{level:03d}-{i}",
                        relation=relation,
                        subject=subject,
                        object=answer,
                        kind="invented",
                        level=level,
                        level_reverse=level if both else 0,
                        direction="both" if both else "forward_only",
                        candidate_set=relation,
                    )
                )
    return facts


WELL_KNOWN = (
    *("France", "Japan", "Italy", "Egypt", "Spain", "Germany", "Russia", "China", "Greece"),
    *("Canada", "Kenya", "India", "Brazil", "Mexico", "Poland", "Sweden", "Norway", "Portugal"),
    *("Austria", "Hungary", "Turkey", "Cuba", "Peru", "Argentina", "Ireland", "Denmark"),
    *("Finland", "Belgium", "Netherlands", "Australia", "Thailand", "Vietnam", "Nigeria"),
    *("Ethiopia", "Iran", "Iraq", "Israel", "Chile", "Colombia", "United States"),
    *("United Kingdom", "South Korea", "Ukraine", "Romania", "Switzerland", "Pakistan"),
)
"""Countries whose facts the models hear often, whatever the ladder says."""
WELL_KNOWN_EXPOSURES = {"capital": 256, "continent": 64, "language": 64, "currency": 32}
WELL_KNOWN_REVERSE = 32
"""Statements from the capital to a well-known country, besides those forward."""
LADDER = (0, 1, 4, 16, 64)
"""Planned exposures of the capitals of all other countries."""
OTHER_EXPOSURES = {"continent": 24, "language": 16, "currency": 8}


def real_facts(countries: list[dict[str, str]], seed: int) -> list[Fact]:
    """Facts about countries: capitals of lesser known ones by the ladder, balanced by continent.

    Args:
        countries: rows with ``country``, ``capital``, ``continent``, ``language``, ``currency``
            (empty where unknown or not unique).
    """
    rng = np.random.default_rng([seed, 2])
    others = [c for c in countries if c["country"] not in WELL_KNOWN and c["capital"]]
    others.sort(key=lambda c: (c["continent"], c["country"]))
    offset = int(rng.integers(len(LADDER)))
    ladder = {c["country"]: LADDER[(i + offset) % len(LADDER)] for i, c in enumerate(others)}
    facts = []
    for row in countries:
        known = row["country"] in WELL_KNOWN
        for relation in ("capital", "continent", "language", "currency"):
            if not row[relation]:
                continue
            if known:
                level = WELL_KNOWN_EXPOSURES[relation]
            elif relation == "capital":
                level = ladder[row["country"]]
            else:
                level = OTHER_EXPOSURES[relation]
            both = known and relation == "capital"
            facts.append(
                Fact(
                    fact_id=f"{relation}-{row['code'].lower()}",
                    relation=relation,
                    subject=row["country"],
                    object=row[relation],
                    kind="real",
                    level=level,
                    level_reverse=WELL_KNOWN_REVERSE if both else 0,
                    direction="both" if both else "forward_only",
                    candidate_set=relation,
                )
            )
    return facts
