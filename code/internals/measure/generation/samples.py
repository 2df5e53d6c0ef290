"""Continuations of the same beginnings under many settings, and how a person went on.

The beginnings are the first tokens of held-out stories, so that human text with the same beginning
and the same length stands beside the model's. The unit is the opening.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.errors import NotApplicable
from internals.generation.sampling import Sampler
from internals.measure import effort
from internals.measure.windows import HELD_OUT, documents
from internals.tokens import start_ids

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from internals.models import LoadedModel, ModelFacts, ModelHandle

OPENINGS = inputs.PROMPTS / "openings.yaml"
HEAD, NEW_TOKENS = 24, 32
"""Tokens of an opening, and of the text after it."""
GREEDY = Sampler("greedy", greedy=True)
SETTINGS = (
    GREEDY,
    Sampler("T 0.7", temperature=0.7),
    Sampler("T 1"),
    Sampler("k 10", top_k=10),
    Sampler("p 0.8", top_p=0.8),
    Sampler("p 0.95", top_p=0.95),
)
BEAMS = 4
BEAM, HUMAN = f"beam {BEAMS}", "human"
SHOWN: tuple[tuple[Sampler, int], ...] = (
    (GREEDY, 1),
    (Sampler("top-k", top_k=50), 2),
    (Sampler("top-p", top_p=0.9), 2),
)
"""What `on_one_prompt` shows, with the number of samples."""
COLUMNS = ["setting", "prompt", "seed", "ids", "text"]
Text = tuple[str, int, int, tuple[int, ...]]
"""Setting, number of the opening, number of the sample, new ids."""


def grid(facts: ModelFacts) -> tuple[int, int]:
    """Openings, and samples of each, for this model."""
    return effort.units(facts, 24, least=20), max(2, effort.units(facts, 4, least=2))


def token_ids(loaded: LoadedModel, text: str) -> list[int]:
    """Ids of a text without added special tokens: a start token is put before it by hand."""
    return list(loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def stories(loaded: LoadedModel) -> dict[str, tuple[list[int], tuple[int, ...]]]:
    """Held-out stories by name: ids of the opening after a start token, and how the person went on.

    Raises:
        NotApplicable: the context is too short, or fewer than two stories are long enough.
    """
    start = start_ids(loaded.tokenizer)
    found: dict[str, tuple[list[int], tuple[int, ...]]] = {}
    if loaded.facts.context_length < len(start) + HEAD + NEW_TOKENS:
        raise NotApplicable("The context is too short for an opening and a text after it.")
    for number, text in enumerate(documents(("stories",))):
        ids = token_ids(loaded, text[:2000])[: HEAD + NEW_TOKENS]
        if len(ids) == HEAD + NEW_TOKENS and len(found) < grid(loaded.facts)[0]:
            found[f"story-{number}"] = [*start, *ids[:HEAD]], tuple(ids[HEAD:])
    if len(found) < 2:
        raise NotApplicable("Fewer than two held-out stories are long enough.")
    return found


@dataclass(frozen=True)
class Mixed:
    """Several strategies in one batch: of the copies of each prompt every strategy has its own."""

    copies: tuple[tuple[Sampler, int], ...]
    never: Sequence[int]
    """Ids that are not chosen: a text that ends would be shorter than the others."""

    def choose(self, logits: Tensor, generator: Generator) -> Tensor:
        """The next token of each row, ``(prompts · copies, vocab) -> (prompts · copies,)``."""
        import torch

        counts = [count for _, count in self.copies]
        never = torch.tensor(self.never, dtype=torch.long, device=logits.device)
        logits = logits.index_fill(-1, never, -torch.inf)
        by_copy = logits.view(-1, sum(counts), logits.shape[-1]).transpose(0, 1)
        chosen = [
            sampler.choose(part.flatten(0, 1), generator).view(count, -1)
            for (sampler, count), part in zip(self.copies, by_copy.split(counts), strict=True)
        ]
        return torch.cat(chosen).T.flatten()


def mixed_texts(
    loaded: LoadedModel,
    heads: Sequence[Sequence[int]],
    copies: Sequence[tuple[Sampler, int]],
    new: int,
) -> list[Text]:
    """Texts under all strategies, by strategy; they share one prefill and one seed, 0."""
    from internals.generation.generate import generate

    total = sum(count for _, count in copies)
    mixed = Mixed(tuple(copies), loaded.tokenizer.all_special_ids)
    made = generate(loaded.model, heads, new, sampler=mixed, copies=total).ids
    places = [(s.name, number) for s, count in copies for number in range(count)]
    return [
        (setting, i, number, made[i * total + copy])
        for copy, (setting, number) in enumerate(places)
        for i in range(len(heads))
    ]


@measurement(files=[HELD_OUT])
def samples(model: ModelHandle) -> pd.DataFrame:
    """Continuations under every setting

    Special tokens are never chosen, so that all texts have one length. Columns: ``setting``,
    ``prompt``, ``seed``, ``ids`` (tuple of new tokens), ``text``. Greedy decoding and beam search
    give one text for an opening.
    """
    loaded = model.loaded()
    openings = stories(loaded)
    names, heads = list(openings), [head for head, _ in openings.values()]
    seeds = grid(loaded.facts)[1]
    made = mixed_texts(loaded, heads, [(s, 1 if s.greedy else seeds) for s in SETTINGS], NEW_TOKENS)
    made += [(BEAM, i, 0, ids) for i, ids in enumerate(beam_texts(loaded, heads, NEW_TOKENS))]
    rows = [(s, names[i], n, ids, loaded.tokenizer.decode(list(ids))) for s, i, n, ids in made]
    return pd.DataFrame(rows, columns=COLUMNS)


@measurement(files=[HELD_OUT])
def human(model: ModelHandle) -> pd.DataFrame:
    """How people went on after the same openings, for as many tokens

    Columns as `samples`, and ``opening`` (text of the opening).
    """
    loaded = model.loaded()
    rows = []
    for name, (head, rest) in stories(loaded).items():
        text, opening = (loaded.tokenizer.decode(list(x)) for x in (rest, head[-HEAD:]))
        rows.append((HUMAN, name, 0, rest, text, opening))
    return pd.DataFrame(rows, columns=[*COLUMNS, "opening"])


def beam_texts(
    loaded: LoadedModel, heads: Sequence[Sequence[int]], n_new: int, beams: int = BEAMS
) -> list[tuple[int, ...]]:
    """The library's beam search: exactly ``n_new`` tokens after each head."""
    import torch

    from internals.generation.generate import pad_left

    ids, mask = pad_left(heads, loaded.model.device)
    never = loaded.tokenizer.all_special_ids or None
    lengths = {"max_new_tokens": n_new, "min_new_tokens": n_new, "eos_token_id": None}
    with torch.inference_mode():
        made = loaded.model.generate(
            input_ids=ids, attention_mask=mask, num_beams=beams, do_sample=False, **lengths,
            pad_token_id=0, suppress_tokens=never,
        )  # fmt: skip
    return [tuple(row) for row in made[:, ids.shape[1] :].tolist()]


@measurement
def on_one_prompt(model: ModelHandle, openings: Path = OPENINGS, new: int = 32) -> pd.DataFrame:
    """The first opening of the file continued by greedy decoding, top-k and top-p

    Columns: ``opening``, ``setting``, ``sample`` (from 1), ``text``.
    """
    loaded = model.loaded()
    text = inputs.openings(openings)[0].text
    head = [*start_ids(loaded.tokenizer), *token_ids(loaded, text)]
    new = min(new, loaded.facts.context_length - len(head))
    if new < 8:
        raise NotApplicable("The opening fills the context, so nothing can be written.")
    made = mixed_texts(loaded, [head], SHOWN, new)
    rows = [(text, s, n + 1, loaded.tokenizer.decode(list(ids))) for s, _, n, ids in made]
    return pd.DataFrame(rows, columns=["opening", "setting", "sample", "text"])
