"""What the settings do to one step and to one search: nuclei, a hidden top-k, greedy and beam.

The unit is the prompt.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.measure import effort
from internals.measure.capability import CAPITALS, start_ids
from internals.measure.decoding import metrics
from internals.measure.decoding.samples import NEW_TOKENS, OPENINGS, SEEDS, SETTINGS
from internals.measure.probability.temperature import PROMPTS, next_logits

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

DEFAULT_TOP_K = 50
"""What the library's ``generate`` sets unless told otherwise."""
BEAMS = 4


@measurement
def nuclei(model: ModelHandle, prompts: Path = PROMPTS, p: float = 0.9) -> pd.DataFrame:
    """Size of the nucleus after every prompt, and what a hidden top-k takes from it

    Columns: ``prompt``, ``family``, ``entropy_bits``, ``size`` (tokens of the nucleus), ``lost``
    (mass of the nucleus outside the 50 most likely tokens).
    """
    loaded = model.loaded()
    rows = []
    for prompt in inputs.prompts(prompts):
        q = next_logits(loaded, prompt.text).softmax(-1).sort(descending=True).values
        before = q.cumsum(0) - q
        size = max(1, int((before < p).sum()))
        lost = q[DEFAULT_TOP_K:size].sum().item() if size > DEFAULT_TOP_K else 0.0
        entropy = -(q * q.clamp_min(1e-300).log2()).sum().item()
        rows.append((prompt.id, prompt.family, entropy, size, lost))
    return pd.DataFrame(rows, columns=["prompt", "family", "entropy_bits", "size", "lost"])


@measurement
def beams(model: ModelHandle, openings: Path = OPENINGS) -> pd.DataFrame:
    """Greedy text against beam search: which is more likely under the model?

    Columns: ``prompt``, ``greedy_bits``, ``beam_bits`` (surprisal of the whole continuation),
    ``greedy_loops``, ``beam_loops``, ``beam_text``.
    """
    import torch

    from internals.generation.generate import generate, pad_left
    from internals.measure.scoring import mean_surprisal

    loaded = model.loaded()
    chosen, heads = _heads(loaded, openings)
    n = min(NEW_TOKENS, loaded.facts.context_length - max(map(len, heads)))
    greedy = [list(row) for row in generate(loaded.model, heads, n).ids]
    batch = pad_left(heads, 0, loaded.model.device)
    with torch.inference_mode():
        made = loaded.model.generate(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            num_beams=BEAMS,
            do_sample=False,
            max_new_tokens=n,
            min_new_tokens=n,
            eos_token_id=None,
            pad_token_id=0,
        )
    beam = made[:, batch.ids.shape[1] :].tolist()
    table = pd.DataFrame({"prompt": [o.id for o in chosen]})
    for name, texts in (("greedy", greedy), ("beam", beam)):
        table[f"{name}_bits"] = mean_surprisal(loaded.model, heads, texts) * n / math.log(2)
        table[f"{name}_loops"] = [metrics.loops(text) for text in texts]
    return table.assign(beam_text=[loaded.tokenizer.decode(text) for text in beam])


def _heads(loaded: LoadedModel, openings: Path) -> tuple[list[inputs.Opening], list[list[int]]]:
    """The openings that are measured, and their ids after a start token."""
    chosen = inputs.openings(openings)[: effort.units(loaded.facts, 24, least=8)]
    return chosen, [[*start_ids(loaded), *_ids(loaded, o.text)] for o in chosen]


def _ids(loaded: LoadedModel, text: str) -> list[int]:
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


@measurement
def repetition_feeds_itself(model: ModelHandle, openings: Path = OPENINGS) -> pd.DataFrame:
    """Probability of the chosen token in greedy text, as the text goes on

    Columns: ``prompt``, ``position`` (from 1), ``probability`` (of the greedy token), ``repeated``
    (the 4-gram that it ends has occurred before).
    """
    from internals.generation.generate import generate
    from internals.measure.scoring import score_tokens

    loaded = model.loaded()
    rows: list[tuple[str, int, float, bool]] = []
    chosen, heads = _heads(loaded, openings)
    n = min(4 * NEW_TOKENS, loaded.facts.context_length - max(map(len, heads)))
    texts = generate(loaded.model, heads, n).ids
    scores = score_tokens(loaded.model, [[*h, *t] for h, t in zip(heads, texts, strict=True)])
    for opening, head, made, score in zip(chosen, heads, texts, scores, strict=True):
        chances = np.exp(score.log_prob[len(head) - 1 :])
        seen: set[tuple[int, ...]] = set()
        for i, chance in enumerate(chances):
            gram = tuple(made[max(0, i - 3) : i + 1])
            rows.append((opening.id, i + 1, float(chance), len(gram) == 4 and gram in seen))
            seen.add(gram)
    return pd.DataFrame(rows, columns=["prompt", "position", "probability", "repeated"])


@measurement(files=["data/facts/countries.csv"])
def stated_facts(model: ModelHandle, seed: int = 0) -> pd.DataFrame:
    """Right capitals in sampled answers, by setting

    Columns: ``setting``, ``country``, ``answers``, ``right``. Countries whose capital the model
    names greedily are asked, so that what falls is the setting's doing; all of the list if there is
    none.
    """
    from internals.generation.generate import generate

    loaded = model.loaded()
    heads = {
        country: [*start_ids(loaded), *_ids(loaded, f"The capital of {country} is")]
        for country in CAPITALS
    }
    rows: list[dict[str, Any]] = []
    for number, setting in enumerate(SETTINGS):
        times = 1 if setting.greedy else effort.units(loaded.facts, 2 * SEEDS, least=5)
        batch = [heads[country] for country in CAPITALS for _ in range(times)]
        made = generate(loaded.model, batch, 6, sampler=setting, seed=seed + number).ids
        texts = iter(loaded.tokenizer.decode(list(ids)) for ids in made)
        for country, capital in CAPITALS.items():
            right = sum(metrics.says(next(texts), capital) for _ in range(times))
            rows.append(
                {"setting": setting.name, "country": country, "answers": times, "right": right}
            )
    return pd.DataFrame(rows)
