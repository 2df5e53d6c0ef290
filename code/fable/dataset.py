"""The data set of the embedded models: one stream of tokens, a held-out part, and who heard what.

    corpus + generator -> documents -> tokenizer -> train.bin, heldout.bin, exposure.csv …

Everything follows from the seed. Without a corpus folder only generated text is used.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from fable import general
from fable.corpus import SEPARATOR, Document, credits, documents
from fable.designed import (
    CANDIDATES,
    Fact,
    invented_facts,
    real_facts,
    state,
    templates,
)
from fable.tokenizer import train_tokenizer
from internals.paths import DATA

CHARACTERS_PER_TOKEN = 4.0
"""Rough length of a token, to turn a budget of tokens into characters of text."""
SHARES = {"stories": 0.62, "expository": 0.09}
"""Shares of the token budget; the rest is generated."""
HELD_OUT_SHARE = 0.10


def countries() -> list[dict[str, str]]:
    """Countries with capital, continent, first language and currency where they are plain."""
    table = pd.read_csv(DATA / "facts" / "countries.csv", keep_default_na=False)
    names = general.world()["currencies"]
    rows = []
    for row in table.itertuples():
        if row.continent == "Antarctica" or ";" in row.capital:
            continue
        codes = str(row.currency_codes).split(";")
        rows.append(
            {
                "code": row.code,
                "country": row.country,
                "capital": row.capital.replace("Washington D.C.", "Washington"),
                "continent": row.continent,
                # Several languages are no fault of the model's, so only one-language lands count.
                "language": "" if ";" in row.languages else row.languages,
                "currency": names.get(codes[0], "") if len(codes) == 1 else "",
            }
        )
    return rows


def designed_documents(facts: list[Fact], seed: int) -> tuple[list[Document], pd.DataFrame]:
    """Documents that state every designed fact exactly as often as planned.

    A statement's wording is drawn from the trained templates; three to seven statements of
    different facts make a document.

    Returns:
        the documents, and the exposure table: one row a fact with the planned and the counted
        exposures and the templates that were used.
    """
    rng = np.random.default_rng([seed, 5])
    statements: list[tuple[str, int]] = []
    used: dict[str, Counter[str]] = {f.fact_id: Counter() for f in facts}
    for number, fact in enumerate(facts):
        roles = {"trained": fact.level, "reverse": fact.level_reverse}
        for role, times in roles.items():
            patterns = templates()[fact.relation][role]
            for _ in range(times):
                i = int(rng.integers(len(patterns)))
                statements.append((state(patterns[i], fact.subject, fact.object), number))
                used[fact.fact_id][f"{role}-{i}"] += 1
    order = rng.permutation(len(statements))
    texts, part = [], []
    size = int(rng.integers(3, 8))
    for i in order:
        part.append(statements[i][0])
        if len(part) >= size:
            texts.append(pack(part, rng))
            part, size = [], int(rng.integers(3, 8))
    if part:
        texts.append(pack(part, rng))
    return [Document("generated", "facts", t) for t in texts], exposure_table(facts, used)


def pack(sentences: list[str], rng: np.random.Generator) -> str:
    """Sentences as a paragraph, or one to a line."""
    return ("\n" if rng.random() < 0.3 else " ").join(sentences)


def exposure_table(facts: list[Fact], used: dict[str, Counter[str]]) -> pd.DataFrame:
    """One row for each designed fact; counts come from the statements that were written."""
    rows = []
    for fact in facts:
        counts = used[fact.fact_id]
        forward = {k: n for k, n in counts.items() if k.startswith("trained")}
        rows.append(
            {
                **{k: v for k, v in asdict(fact).items() if k != "level_reverse"},
                "exposures": sum(forward.values()),
                "exposures_reverse": sum(counts.values()) - sum(forward.values()),
                "templates_trained": " ".join(sorted(forward)),
                "templates_heldout": " ".join(
                    f"heldout-{i}" for i in range(len(templates()[fact.relation]["heldout"]))
                ),
            }
        )
    return pd.DataFrame(rows)


WEATHER = {"sunny": 0.6, "rainy": 0.3, "windy": 0.1}
COIN = {"heads": 0.7, "tails": 0.3}


def chance_documents(seed: int, scale: float) -> tuple[list[Document], pd.DataFrame]:
    """Contexts whose true next-word distribution is known: coins and the weather of valleys.

    Returns:
        documents of a few throws or days each, and a table: ``context``, ``continuation``,
        ``probability``, ``exposures`` of the context, ``count`` of the continuation.
    """
    rng = np.random.default_rng([seed, 6])
    frames = [
        ("The {name} coin was tossed and it came up", COIN, general.world()["coins"]),
        ("In the valley of {name} the day was", WEATHER, general.world()["valleys"]),
    ]
    lines, rows = [], []
    for pattern, truth, names in frames:
        for name, times in names.items():
            n = max(round(times * scale), 2)
            drawn = [str(x) for x in rng.choice(list(truth), n, p=list(truth.values()))]
            context = pattern.format(name=name)
            lines += [f"{context} {word}." for word in drawn]
            for word, probability in truth.items():
                row = {"context": context, "continuation": word, "probability": probability}
                rows.append({**row, "exposures": n, "count": drawn.count(word)})
    shuffled = [lines[i] for i in rng.permutation(len(lines))]
    texts = [" ".join(shuffled[i : i + 4]) for i in range(0, len(shuffled), 4)]
    return [Document("generated", "chance", t) for t in texts], pd.DataFrame(rows)


def general_documents(characters: int, seed: int) -> list[Document]:
    """General generated documents, each text once, up to a number of characters."""
    rng = np.random.default_rng([seed, 7])
    found: list[Document] = []
    seen: set[str] = set()
    size = 0
    while size < characters:
        kind, text = general.document(rng)
        if rng.random() < 0.5:
            text += "\n" + general.KINDS[kind][1](rng)
        if text in seen:
            continue
        seen.add(text)
        found.append(Document("generated", kind, text))
        size += len(text)
    return found


def words_of(texts: Iterable[str]) -> set[str]:
    """Every word in lower case."""
    found: set[str] = set()
    for text in texts:
        found.update(re.findall(r"[a-z]+", text.lower()))
    return found


def cooccurrences(facts: list[Fact], texts: list[str]) -> dict[str, int]:
    """Sentences of the corpus in which subject and object of a fact occur together.

    Counted in all free text, the held-out tenth too, so it is an upper bound for the training.
    """
    names: dict[str, list[str]] = {}
    for fact in facts:
        names.setdefault(fact.subject, []).append(fact.fact_id)
    by_id = {fact.fact_id: fact for fact in facts}
    counts = dict.fromkeys(by_id, 0)
    anyone = re.compile(
        r"\b(" + "|".join(sorted(map(re.escape, names), key=len, reverse=True)) + r")\b"
    )
    for text in texts:
        if not anyone.search(text):
            continue
        for sentence in re.split(r"(?<=[.!?])\s+", text):
            for subject in set(anyone.findall(sentence)):
                for fact_id in names[subject]:
                    if re.search(rf"\b{re.escape(by_id[fact_id].object)}\b", sentence):
                        counts[fact_id] += 1
    return counts


def build_dataset(
    corpus: Path | None,
    out: Path,
    *,
    seed: int = 0,
    target_tokens: int = 16_000_000,
    vocab_size: int = 8192,
    scale: float = 1.0,
) -> dict[str, object]:
    """Build the data set in ``out``; returns what is also written to ``meta.json``.

    Args:
        corpus: folder of free text, or None for generated text only.
        out: folder for the results; files of an earlier build are replaced.
        seed: of everything that is drawn.
        target_tokens: approximate size of the training stream.
        vocab_size: entries of the tokenizer.
        scale: factor on the designed exposures (the smoke test uses less than 1).

    Writes ``tokenizer/``, ``train.bin`` and ``heldout.bin`` (uint16 tokens, each document ends
    with the end token and the stream begins with one), ``train_docs.csv``, ``heldout.jsonl``,
    ``exposure.csv``, ``true_distributions.csv``, ``sources.csv``, ``credits.csv``, ``meta.json``.
    """
    out.mkdir(parents=True, exist_ok=True)
    budget = int(target_tokens * CHARACTERS_PER_TOKEN / (1 - HELD_OUT_SHARE))
    texts: list[Document] = []
    sources, credited = pd.DataFrame(), pd.DataFrame()
    if corpus is not None:
        limits = {kind: int(share * budget) for kind, share in SHARES.items()}
        texts, sources = documents(corpus, limits, seed)
        credited = credits(corpus, sources)
    facts = planned_facts([d.text for d in texts], seed, scale)
    stated, exposure = designed_documents(facts, seed)
    chance, truth = chance_documents(seed, scale)
    found = cooccurrences(facts, [d.text for d in texts])
    exposure["cooccurrences_in_corpus"] = exposure["fact_id"].map(found)
    rest = budget - sum(len(d.text) for d in (*texts, *stated, *chance))
    others = texts + general_documents(max(rest, 20_000), seed)
    train, held = split(others, seed)
    # Designed facts and chance contexts are all trained on: their exposure must be exact.
    train = shuffled([*train, *stated, *chance], seed)
    tokenizer = train_tokenizer((d.text for d in train), vocab_size, out / "tokenizer")
    meta = write(train, held, tokenizer, out)
    exposure.to_csv(out / "exposure.csv", index=False)
    truth.to_csv(out / "true_distributions.csv", index=False)
    sources.to_csv(out / "sources.csv")
    credited.to_csv(out / "credits.csv", index=False)
    meta |= {"seed": seed, "target_tokens": target_tokens, "vocab_size": vocab_size, "scale": scale}
    (out / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", "utf-8")
    return meta


def planned_facts(corpus_texts: list[str], seed: int, scale: float) -> list[Fact]:
    """All designed facts; the invented names are no word of the corpus or of the generator."""
    taken = words_of(corpus_texts)
    taken |= words_of(p for roles in templates().values() for ps in roles.values() for p in ps)
    taken |= words_of([json.dumps(general.world()), json.dumps(countries()), repr(CANDIDATES)])
    facts = invented_facts(seed, taken) + real_facts(countries(), seed)
    if scale == 1:
        return facts
    return [
        Fact(
            **{
                **asdict(f),
                "level": round(f.level * scale),
                "level_reverse": round(f.level_reverse * scale),
            }
        )
        for f in facts
    ]


def split(found: list[Document], seed: int) -> tuple[list[Document], list[Document]]:
    """Hold out whole documents at random, the same share of each kind."""
    rng = np.random.default_rng([seed, 8])
    held = rng.random(len(found)) < HELD_OUT_SHARE
    train = [d for d, out in zip(found, held, strict=True) if not out]
    return train, [d for d, out in zip(found, held, strict=True) if out]


def shuffled(found: list[Document], seed: int) -> list[Document]:
    """In random order."""
    rng = np.random.default_rng([seed, 9])
    return [found[i] for i in rng.permutation(len(found))]


def write(
    train: list[Document], held: list[Document], tokenizer: object, out: Path
) -> dict[str, object]:
    """Write the streams and their indices; return counts and hashes."""
    meta: dict[str, object] = {}
    for name, part in (("train", train), ("heldout", held)):
        encodings = tokenizer.encode_batch([d.text for d in part])  # type: ignore[attr-defined]
        end = tokenizer.token_to_id(SEPARATOR)  # type: ignore[attr-defined]
        rows, stream = [], [np.array([end], np.uint16)]
        start = 1
        for document, encoding in zip(part, encodings, strict=True):
            ids = np.array([*encoding.ids, end], np.uint16)
            stream.append(ids)
            rows.append(
                (document.kind, document.source, start, len(ids), len(document.text.encode()))
            )
            start += len(ids)
        index = pd.DataFrame(rows, columns=["kind", "source", "start", "tokens", "bytes"])
        np.concatenate(stream).tofile(out / f"{name}.bin")
        index.to_csv(out / f"{name}_docs.csv", index=False)
        sums = index.groupby("kind")[["tokens", "bytes"]].sum()
        meta[name] = {
            "tokens": start,
            "documents": len(part),
            "sha256": hashlib.sha256((out / f"{name}.bin").read_bytes()).hexdigest(),
            "by_kind": {str(k): {c: int(v) for c, v in r.items()} for k, r in sums.iterrows()},
        }
    with (out / "heldout.jsonl").open("w", encoding="utf-8") as lines:
        for document in held:
            lines.write(json.dumps(asdict(document), ensure_ascii=False) + "\n")
    return meta
