"""Capitals of the world: what the model says first, how sure it is, and whether it is right.

A name counts as right with or without its accents, and under a second spelling in common use.
Countries with more than one capital, or none that is generally agreed on, are left out, and so are
those whose own name is part of the answer (Luxembourg, Mexico City): that would test copying.
"""

from __future__ import annotations

import csv
import unicodedata
from typing import TYPE_CHECKING

import pandas as pd

from internals.cache import measurement
from internals.measure import effort
from internals.measure.probabilities.asked import Asked, ask
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

FILE = "data/facts/countries.csv"
TEMPLATES = ("The capital of {} is", "The capital of {} is the city of", "Country: {}\nCapital:")
NAMING = TEMPLATES[1]
"""The wording after which little but a name can follow."""
LEFT_OUT = {
    *("Benin", "Bolivia", "Eswatini", "Ivory Coast", "South Africa", "Sri Lanka"),
    *("Hong Kong", "Israel", "Montserrat", "Palestine", "Western Sahara"),
}
ALSO = {"Kyiv": "Kiev", "Ulan Bator": "Ulaanbaatar", "Malé": "Male", "Hagåtña": "Hagatna"}
"""Second spellings beside those without accents."""
SHOWN, _NEW = 3, 6
"""Countries in each table by name, and tokens that are written for them."""


@measurement(files=[FILE])
def capitals(model: ModelHandle) -> pd.DataFrame:
    """First choices for the capital of every country

    Columns: ``country``, ``capital``, ``template``, ``token`` (the first choice) and, as in
    `asked.ask`, ``confidence``, ``correct``, ``whole``.
    """
    from internals.tokens import display, prompt_ids, word_ids

    loaded = model.loaded()
    rows = [(c, name, template) for c, name in countries(loaded) for template in TEMPLATES]
    questions = [
        Asked(
            tuple(prompt_ids(loaded.tokenizer, template.format(country))),
            tuple(tuple(word_ids(loaded.tokenizer, form)) for form in spellings(name)),
        )
        for country, name, template in rows
    ]
    table = ask(loaded, questions)
    table.insert(0, "token", [display(loaded.tokenizer, i) for i in table.pop("choice")])
    asked = pd.DataFrame(rows, columns=["country", "capital", "template"])
    return pd.concat([asked, table], axis=1)


def countries(loaded: LoadedModel) -> list[tuple[str, str]]:
    """Countries and territories with their capitals, in the order of the file."""
    with (DATA / "facts/countries.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["country"], row["capital"]) for row in csv.DictReader(file)]
    kept = [
        (country, capital)
        for country, capital in rows
        if capital and country not in LEFT_OUT
        if not _shared(country, capital)
    ]
    step = max(1, round(len(kept) / effort.units(loaded.facts, len(kept), least=len(kept))))
    return kept[::step]


def _shared(country: str, capital: str) -> bool:
    """Whether the name of one is part of the other's, accents aside."""
    a, b = spellings(country)[-1], spellings(capital)[-1]
    return a in b or b in a


def spellings(capital: str) -> tuple[str, ...]:
    """The name, the name without accents, and a second spelling where there is one."""
    bare = "".join(
        c for c in unicodedata.normalize("NFKD", capital) if not unicodedata.combining(c)
    )
    return tuple(dict.fromkeys([capital, bare, ALSO.get(capital, capital)]))


@measurement(files=[FILE])
def by_name(model: ModelHandle, shown: int = SHOWN) -> pd.DataFrame:
    """Capitals by name: sure and wrong, unsure and right

    One wording, `NAMING`. Columns: ``group`` (``sure and wrong``, ``unsure and right``),
    ``country``, ``capital``, ``says`` (what greedy decoding writes, up to the end of the name),
    ``confidence`` (of its first token). What is said counts as wrong only if the capital's name
    does not begin it; right are answers of which every piece is the first choice.
    """
    from internals.generation.generate import generate
    from internals.tokens import prompt_ids

    loaded = model.loaded()
    table = capitals(model)
    table = table[table["template"] == NAMING].sort_values("confidence", kind="stable")
    groups = {
        "sure and wrong": table[~table["correct"]].iloc[::-1].head(shown),
        "unsure and right": table[table["whole"]].head(shown),
    }
    rows = []
    for group, part in groups.items():
        prompts = [prompt_ids(loaded.tokenizer, NAMING.format(c)) for c in part["country"]]
        written = generate(loaded.model, prompts, _NEW).ids if prompts else ()
        says = [name_in(loaded.tokenizer.decode(list(ids))) for ids in written]
        rows.append(part.assign(group=group, says=says))
    columns = ["group", "country", "says", "confidence", "capital"]
    return pd.concat(rows, ignore_index=True)[columns]


def name_in(text: str) -> str:
    """The beginning of a continuation, up to the first mark or line break."""
    stripped = text.strip()
    ends = [i for mark in ".,;:!?\n(" if (i := stripped.find(mark)) > 0]
    return stripped[: min(ends, default=len(stripped))].strip()
