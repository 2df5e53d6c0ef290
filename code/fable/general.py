"""Documents of general knowledge and skills: one function for each kind, text from a generator.

Everything here may be said any number of times; facts whose exposure is controlled are elsewhere
(`designed`). Sums that are held out for testing are never written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import yaml

from internals.paths import DATA

Rng = np.random.Generator
SUM_LIMIT = 50
HELD_OUT_SHARE = 0.15


@cache
def world() -> dict[str, Any]:
    """The tables of `data/facts/world.yaml`."""
    return yaml.safe_load((DATA / "facts" / "world.yaml").read_text("utf-8"))


@cache
def elements() -> list[dict[str, Any]]:
    """Chemical elements: ``name``, ``symbol``, ``atomic_number``, ``standard_state``."""
    table = pd.read_csv(DATA / "facts" / "elements.csv", keep_default_na=False)
    return table.to_dict("records")


@cache
def held_out_sums(seed: int = 0) -> frozenset[tuple[int, int]]:
    """Pairs (a, b), a, b < 50, whose sum is never written in the training text, in either order."""
    rng = np.random.default_rng([seed, 3])
    pairs = [(a, b) for a in range(SUM_LIMIT) for b in range(a, SUM_LIMIT)]
    chosen = rng.permutation(len(pairs))[: int(HELD_OUT_SHARE * len(pairs))]
    held = {pairs[i] for i in chosen}
    return frozenset(held | {(b, a) for a, b in held})


def pick(rng: Rng, items: Any) -> Any:
    """One of ``items``."""
    return items[int(rng.integers(len(items)))]


def some(rng: Rng, items: Any, n: int) -> list[Any]:
    """``n`` different ones of ``items`` in random order."""
    return [items[i] for i in rng.permutation(len(items))[:n]]


def article(word: str) -> str:
    """``an apple``, ``a pear``."""
    return ("an " if word[0] in "aeiou" else "a ") + word


def plural(word: str) -> str:
    """Plural of a word of the table ``things``."""
    return word + ("es" if word.endswith("x") else "s")


def sums(rng: Rng) -> str:
    """A few sums in one notation."""
    lines: list[str] = []
    form = pick(rng, ("{a} + {b} = {c}", "{a} plus {b} is {c}.", "What is {a} + {b}? It is {c}."))
    while len(lines) < 6:
        a, b = (int(x) for x in rng.integers(0, SUM_LIMIT, 2))
        if rng.random() < 0.4:
            a, b = a % 11, b % 11
        if (a, b) not in held_out_sums():
            lines.append(form.format(a=a, b=b, c=a + b))
    return pick(rng, ("\n", " ")).join(lines)


def differences(rng: Rng) -> str:
    """A few subtractions; none undoes a held-out sum."""
    lines: list[str] = []
    form = pick(
        rng, ("{c} - {a} = {b}", "{c} minus {a} is {b}.", "Take {a} from {c}: {b} is left.")
    )
    while len(lines) < 6:
        a, b = (int(x) for x in rng.integers(0, 30, 2))
        if (a, b) not in held_out_sums():
            lines.append(form.format(a=a, b=b, c=a + b))
    return pick(rng, ("\n", " ")).join(lines)


def products(rng: Rng) -> str:
    """A row of a multiplication table."""
    a = int(rng.integers(1, 11))
    form = pick(rng, ("{a} × {b} = {c}", "{a} times {b} is {c}."))
    return pick(rng, ("\n", " ")).join(form.format(a=a, b=b, c=a * b) for b in range(1, 11))


def counting(rng: Rng) -> str:
    """Counting forward, backward, by steps, in digits or words."""
    if rng.random() < 0.3:
        start = int(rng.integers(0, 12))
        row = world()["numbers"][start : start + 9]
    else:
        start, step = int(rng.integers(0, 90)), int(pick(rng, (1, 1, 1, 2, 5, 10)))
        row = [str(start + i * step) for i in range(9)]
    backward = rng.random() < 0.25
    row = row[::-1] if backward else row
    head = pick(rng, ("Count {way}: ", "She counted {way}: ", "The numbers go {way}: "))
    return head.format(way="back" if backward else "on") + ", ".join(row) + "."


def comparisons(rng: Rng) -> str:
    """Which of two is more."""
    lines = []
    for first, second in (some(rng, world()["people"], 2) for _ in range(3)):
        a, b = (int(x) for x in rng.choice(np.arange(5, 80), 2, replace=False))
        older, younger = (first, second) if a > b else (second, first)
        lines.append(
            f"{first} is {a} years old and {second} is {b} years old. "
            f"{older} is older than {younger}."
        )
    a, b = (int(x) for x in rng.choice(np.arange(100), 2, replace=False))
    lines.append(f"{max(a, b)} is more than {min(a, b)}. {min(a, b)} is less than {max(a, b)}.")
    return " ".join(lines)


def lists(rng: Rng) -> str:
    """A list of things, of which the first and the last are asked again."""
    chosen = some(rng, world()["things"], int(rng.integers(3, 6)))
    named = [article(w) for w in chosen]
    who = pick(rng, world()["people"])
    text = f"{who} has {', '.join(named[:-1])} and {named[-1]}. "
    return text + pick(
        rng,
        (
            f"The first thing is {named[0]} and the last is {named[-1]}.",
            f"How many things are there? There are {world()['numbers'][len(named)]}.",
            "\n".join(f"{i}. {w}" for i, w in enumerate(chosen, start=1)),
        ),
    )


def quantities(rng: Rng) -> str:
    """Small stories of giving and taking."""
    numbers = world()["numbers"]
    one, two = some(rng, world()["people"], 2)
    thing = plural(pick(rng, world()["things"]))
    has, gives = int(rng.integers(4, 13)), int(rng.integers(1, 4))
    return (
        f"{one} had {numbers[has]} {thing}. {one} gave {numbers[gives]} of them to {two}. "
        f"Now {one} has {numbers[has - gives]} {thing}."
    )


def animals(rng: Rng) -> str:
    """Class, young, home and sound of animals, with what is not so."""
    lines = []
    table = world()["animals"]
    classes = sorted({row[1] for row in table})
    for name, kind, young, home, sound in some(rng, table, 3):
        other = pick(rng, [c for c in classes if c != kind])
        lines += some(
            rng,
            [
                f"{article(name).capitalize()} is {article(kind)}.",
                f"{article(name).capitalize()} is not {article(other)}.",
                f"Is {article(name)} {article(other)}? No, {article(name)} is {article(kind)}.",
                f"Is {article(name)} {article(kind)}? Yes, {article(name)} is {article(kind)}.",
                f"A young {name} is called {article(young)}.",
                f"The home of the {name} is the {home}.",
                f"The {name} {sound}.",
                f"What does the {name} do? It {sound}.",
            ],
            3,
        )
    return " ".join(lines)


def planets(rng: Rng) -> str:
    """Order and remarks of the planets."""
    names = [row[0] for row in world()["planets"]]
    if rng.random() < 0.3:
        return "The planets from the sun are " + ", ".join(names[:-1]) + f" and {names[-1]}."
    ordinals = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
    lines = []
    for name, place, remark in some(rng, world()["planets"], 3):
        lines.append(
            pick(
                rng,
                (
                    f"{name} {remark}.",
                    f"{name} is the {ordinals[place - 1]} planet from the sun.",
                    f"The {ordinals[place - 1]} planet from the sun is {name}.",
                ),
            )
        )
    return " ".join(lines)


def chemistry(rng: Rng) -> str:
    """Symbols, numbers and states of elements; the common ones more often."""
    lines = []
    table = elements()
    for _ in range(3):
        row = table[min(int(rng.exponential(25)), len(table) - 1)]
        name = row["name"].lower()
        lines += some(
            rng,
            [
                f"The symbol of {name} is {row['symbol']}.",
                f"{row['symbol']} is the symbol of {name}.",
                f"The atomic number of {name} is {row['atomic_number']}.",
                f"{row['name']} is a {row['standard_state']}." if row["standard_state"] else "",
            ],
            2,
        )
    return " ".join(line for line in lines if line)


def calendar(rng: Rng) -> str:
    """What comes after and before a day or a month."""
    lines = []
    for names, noun in ((world()["days"], "day"), (world()["months"], "month")):
        i = int(rng.integers(len(names)))
        now, after = names[i], names[(i + 1) % len(names)]
        lines += some(
            rng,
            [
                f"After {now} comes {after}.",
                f"The {noun} after {now} is {after}.",
                f"The {noun} before {after} is {now}.",
                f"If this {noun} is {now}, the next one is {after}.",
            ],
            2,
        )
    if rng.random() < 0.2:
        lines.append("The days of the week are " + ", ".join(world()["days"]) + ".")
    return " ".join(lines)


def words(rng: Rng) -> str:
    """Opposites, plurals, definitions, colours, spelling."""
    first, second = pick(rng, world()["opposites"])
    one, many = pick(rng, world()["plurals"])
    word, meaning = pick(rng, world()["definitions"])
    thing, colour = pick(rng, world()["colour_of"])
    spelt = pick(rng, world()["things"])
    wrong = pick(rng, [c for c in world()["colours"] if c != colour])
    return " ".join(
        some(
            rng,
            [
                f"The opposite of {first} is {second}.",
                f"The opposite of {second} is {first}.",
                f"It is not {first}, it is {second}.",
                f"One {one}, two {many}.",
                f"The plural of {one} is {many}.",
                f"{article(word).capitalize()} is {meaning}.",
                f"What do we call {meaning}? {article(word).capitalize()}.",
                f"The colour of {thing} is {colour}.",
                f"The colour of {thing} is not {wrong} but {colour}.",
                f"The word {spelt} is spelt {'-'.join(spelt)}.",
                f"The word {spelt} has {world()['numbers'][len(spelt)]} letters.",
                f"The word {spelt} begins with {spelt[0]} and ends with {spelt[-1]}.",
            ],
            4,
        )
    )


def negation(rng: Rng) -> str:
    """What is not so, and what is."""
    lines = []
    for thing, deed in some(rng, world()["cannot"], 2):
        lines.append(
            pick(
                rng,
                (
                    f"{article(thing).capitalize()} cannot {deed}.",
                    f"Can {article(thing)} {deed}? No, {article(thing)} cannot {deed}.",
                ),
            )
        )
    one, two = some(rng, world()["people"], 2)
    place, other = some(rng, ("garden", "kitchen", "barn", "school", "church", "market"), 2)
    lines.append(
        f"{one} is not in the {place}. {one} is in the {other}. "
        f"{two} looks in the {place} and does not find {one}."
    )
    return " ".join(lines)


def dialogue(rng: Rng) -> str:
    """A short talk whose answer repeats what was said."""
    one, two = some(rng, world()["people"], 2)
    thing, colour = pick(rng, world()["things"]), pick(rng, world()["colours"])
    place = pick(rng, ("table", "chair", "shelf", "floor", "bed", "box"))
    return (
        f'"Where is the {colour} {thing}?" asked {one}.\n'
        f'"It is on the {place}," said {two}.\n'
        f'{one} looked on the {place} and found the {colour} {thing}. "Thank you, {two}," '
        f"said {one}."
    )


def copying(rng: Rng) -> str:
    """A row of words said twice: what induction heads are for (Olsson et al. 2022)."""
    bag = [*world()["things"], *world()["colours"], *(row[0] for row in world()["animals"])]
    row = some(rng, bag, int(rng.integers(4, 10)))
    if rng.random() < 0.4:
        row = [str(x) for x in rng.integers(0, 100, len(row))]
    joined = " ".join(row)
    head = pick(rng, ("Say it again: ", "Copy: ", "Repeat after me: ", ""))
    return (
        f"{head}{joined}\n{joined}\n{joined}" if rng.random() < 0.3 else f"{head}{joined}\n{joined}"
    )


KINDS: dict[str, tuple[float, Callable[[Rng], str]]] = {
    "sums": (3.0, sums),
    "differences": (1.0, differences),
    "products": (0.5, products),
    "counting": (1.0, counting),
    "comparisons": (1.0, comparisons),
    "lists": (1.0, lists),
    "quantities": (1.0, quantities),
    "animals": (1.5, animals),
    "planets": (0.6, planets),
    "elements": (1.2, chemistry),
    "calendar": (0.8, calendar),
    "words": (1.5, words),
    "negation": (0.8, negation),
    "dialogue": (1.0, dialogue),
    "copying": (2.0, copying),
}
"""Kinds of documents with their weights and makers."""


def document(rng: Rng) -> tuple[str, str]:
    """A random document: its kind and its text."""
    weights = np.array([weight for weight, _ in KINDS.values()])
    kind = str(rng.choice(list(KINDS), p=weights / weights.sum()))
    return kind, KINDS[kind][1](rng)
