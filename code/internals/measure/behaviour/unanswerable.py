"""Questions with and without an answer, and what a model says to them.

For models whose training data is known: facts stated often, and three kinds of questions without an
answer. For other models: capitals of real countries, and of invented ones whose names have equally
many tokens. Unit: the question, one for each fact.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from internals.cache import measurement
from internals.measure import effort
from internals.measure.behaviour.sampled_answers import (
    LONGEST,
    SAMPLES,
    normal_form,
    room,
    sample_answers,
)
from internals.measure.capability import EXPOSURE, start_ids
from internals.measure.windows import HELD_OUT
from internals.paths import DATA

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

OFTEN, NEVER, NEW, FAMILIAR = "stated often", "never stated", "new name", "familiar name"
REAL, INVENTED = "real country", "invented country"
KNOWN_LEVELS = (64, 256)
"""Statements from which a fact counts as one that the model could know."""
UNANSWERABLE = 60
"""Questions of each kind without an answer."""
COUNTRIES = 120
OTHER_QUESTION = {
    "occupation": "home",
    "home": "occupation",
    "colour": "material",
    "material": "colour",
    "food": "colour",
    "ruler": "capital",
}
"""What is asked about a familiar name: a relation that was stated about other names only."""


DECLINES = frozenset({"unknown", "nobody", "none", "nothing", "nowhere"})
"""Answers that refuse by themselves."""
MAY_DECLINE = frozenset({"no", "not", "never", "i"})
"""First words of a refusal, as “not known”, but also of ordinary continuations, as “not far”."""
REFUSAL = re.compile(
    r"\W*(i (do not|don't|did not|cannot|can't|could not) (know|tell|say|remember|answer)"
    r"|i am not (sure|certain)|i have no idea|no[ -]?one|no (answer|idea)"
    r"|(not|never)( yet)? (known|recorded|written|said|told|stated|given|sure|certain|clear))\b"
)
"""What an answer that begins with such a word must go on with, to count as a refusal."""


@dataclass(frozen=True)
class Question:
    """One question; ``answer`` is empty where there is none."""

    group: str
    relation: str
    subject: str
    prompt: str
    answer: str


@measurement(files=[EXPOSURE, HELD_OUT, "data/facts/templates.yaml", "data/facts/countries.csv"])
def asked(model: ModelHandle, samples: int = SAMPLES, seed: int = 0) -> pd.DataFrame:
    """Questions with and without an answer

    Columns: ``group`` (stated often, never stated, new name, familiar name; for models whose
    training data is unknown real country, invented country), ``relation``, ``subject``,
    ``answerable``, ``samples``, ``entropy`` (bits, of the sampled answers in groups),
    ``next_entropy`` (bits, of the next token), ``tokens`` (of the whole question), ``pieces`` (of
    the name), ``rarity`` (mean surprisal in bits of these pieces by their frequency in held-out
    text), ``said`` (the most frequent answer in normal form), ``correct`` (it is the right one;
    never, where there is none), ``declined`` (it refuses an answer, see `refuses`). Empty if no
    question fits into the context.
    """
    loaded = model.loaded()
    chosen = [q for q in _questions(loaded, seed) if len(_head(loaded, q)) <= room(loaded)]
    rarity = _rarity(loaded, [q.subject for q in chosen])
    heads = [_head(loaded, q) for q in chosen]
    rows = []
    answers = sample_answers(loaded, heads, samples, seed)
    for question, head, rare, answer in zip(chosen, heads, rarity, answers, strict=True):
        said = answer.most_frequent
        unclear = said in MAY_DECLINE
        rows.append(
            {
                "group": question.group,
                "relation": question.relation,
                "subject": question.subject,
                "answerable": bool(question.answer),
                "samples": samples,
                "entropy": answer.entropy_bits,
                "next_entropy": answer.next_entropy_bits,
                "tokens": float(len(head)),
                "pieces": float(len(_ids(loaded, f" {question.subject}"))),
                "rarity": rare,
                "said": said,
                "correct": bool(question.answer) and said == normal_form(question.answer),
                "declined": refuses(_in_full(loaded, head, said, samples, seed))
                if unclear
                else said in DECLINES,
            }
        )
    return pd.DataFrame(rows)


def refuses(texts: Counter[str]) -> bool:
    """Whether at least half of these answers go on as a refusal; never, if there are none."""
    refused = sum(n for text, n in texts.items() if is_refusal(text))
    return 0 < texts.total() <= 2 * refused


def is_refusal(text: str) -> bool:
    """Whether a text begins as one of the phrases that refuse an answer."""
    return REFUSAL.match(text.casefold().replace("’", "'")) is not None


def _in_full(
    loaded: LoadedModel, head: list[int], said: str, samples: int, seed: int
) -> Counter[str]:
    """Answers that begin with the word ``said``, not ended after it, so that one sees how they go
    on."""
    from internals.generation.branches import sample

    end = loaded.facts.eos_id
    made = sample(
        loaded.model, [head], samples, LONGEST, done=lambda ids: ids[-1] == end, seed=seed
    )
    texts: Counter[str] = Counter()
    for ids, times in made.counts[0].items():
        text = loaded.tokenizer.decode(list(ids), skip_special_tokens=True)
        if normal_form(text) == said:
            texts[text] += times
    return texts


def _ids(loaded: LoadedModel, text: str) -> list[int]:
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


def _head(loaded: LoadedModel, question: Question) -> list[int]:
    return [*start_ids(loaded), *_ids(loaded, question.prompt)]


def _questions(loaded: LoadedModel, seed: int) -> Iterator[Question]:
    if loaded.facts.carries_exposure:
        exposure = pd.read_csv(DATA / "training" / "exposure.csv", keep_default_na=False)
        return designed(exposure, seed)
    return public(loaded, effort.units(loaded.facts, COUNTRIES, least=40), seed)


def _question(group: str, relation: str, subject: str, answer: str, turn: int) -> Question:
    """The trained wordings take turns, so that every group has all of them."""
    from fable.designed import prompt, templates

    patterns = templates()[relation]["trained"]
    return Question(
        group, relation, subject, prompt(patterns[turn % len(patterns)], subject), answer
    )


def designed(exposure: pd.DataFrame, seed: int) -> Iterator[Question]:
    """Facts stated often, and as many questions of each kind without an answer as there are.

    Never stated: designed names whose fact was left out. New names: made now in the same way and
    found in no table or text of this project. Familiar names: subjects stated often, asked about
    another relation.
    """
    from fable.designed import INVENTED as RELATIONS

    rows = exposure[(exposure["kind"] == "invented") & exposure["relation"].isin(RELATIONS)]
    fresh = new_names(exposure, seed)
    for relation, part in rows.groupby("relation", sort=False):
        often = part[part["level"].isin(KNOWN_LEVELS)]
        for turn, fact in enumerate(often.itertuples()):
            yield _question(OFTEN, relation, fact.subject, fact.object, turn)
        never = part[part["level"] == 0]["subject"]
        other = OTHER_QUESTION[str(relation)]
        limit = UNANSWERABLE // len(RELATIONS)
        for group, name, names in (
            (NEVER, relation, never.tolist()),
            (NEW, relation, fresh[str(relation)]),
            (FAMILIAR, other, often["subject"].tolist()[:: max(1, len(often) // limit)]),
        ):
            for turn, subject in enumerate(names[:limit]):
                yield _question(group, name, subject, "", turn)


def new_names(exposure: pd.DataFrame, seed: int) -> dict[str, list[str]]:
    """New subjects for each relation with invented names, from the generator of the training
    names, and neither among those nor among the words of the shipped texts and tables."""
    from fable.designed import INVENTED as RELATIONS
    from fable.designed import invent

    rng = np.random.default_rng([seed, 50])
    taken = set(exposure["subject"].str.lower()) | set(exposure["object"].str.lower()) | _words()
    kinds = {"occupation": "person", "home": "person", "food": "animal", "ruler": "land"}
    number = UNANSWERABLE // len(RELATIONS)
    return {r: invent(kinds.get(r, "thing"), number, rng, taken) for r in RELATIONS}


def _words() -> set[str]:
    from fable.dataset import countries, words_of

    counts = pd.read_csv(DATA / "words" / "counts.csv", keep_default_na=False)["word"]
    with (DATA / "heldout" / "documents.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    return set(counts) | words_of(texts) | words_of([json.dumps(countries())])


def public(loaded: LoadedModel, n: int, seed: int) -> Iterator[Question]:
    """Capitals of real countries, and of as many invented ones with equally many tokens.

    Names of one word only, since invented names have one; countries whose capital stands in the
    name are left out.
    """
    from fable.dataset import countries
    from fable.designed import invent

    rng = np.random.default_rng([seed, 51])
    pool: dict[int, list[str]] = {}
    for name in invent("land", 3000, rng, _words()):
        pool.setdefault(len(_ids(loaded, f" {name}")), []).append(name)
    rows = [c for c in countries() if c["capital"] and c["country"].isalpha()]
    turn = 0
    for k in rng.permutation(len(rows)):
        country, capital = rows[int(k)]["country"], rows[int(k)]["capital"]
        twins = pool.get(len(_ids(loaded, f" {country}")), [])
        if turn == n or capital in country or not twins:
            continue
        yield _question(REAL, "capital", country, capital, turn)
        yield _question(INVENTED, "capital", twins.pop(), "", turn)
        turn += 1


def _rarity(loaded: LoadedModel, names: Sequence[str]) -> list[float]:
    """Mean surprisal in bits of each name's pieces under a unigram model of the held-out texts,
    with one added to every count (Laplace)."""
    counts: Counter[int] = Counter()
    with (DATA / "heldout" / "documents.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    for ids in loaded.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]:
        counts.update(ids)
    total = sum(counts.values()) + loaded.facts.vocab_size_tokenizer
    found = []
    for name in names:
        pieces = _ids(loaded, f" {name}")
        found.append(float(np.mean([-np.log2((counts[i] + 1) / total) for i in pieces])))
    return found
