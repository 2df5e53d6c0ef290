"""What the rules do to one step; greedy decoding against beam search. The unit is the prompt."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.generation.sampling import Sampler
from internals.measure.generation.samples import BEAM, GREEDY, OPENINGS, samples, stories
from internals.measure.scoring import logits_after, mean_surprisal
from internals.tokens import prompt_ids

if TYPE_CHECKING:
    from internals.models import LoadedModel, ModelHandle

PROMPTS = inputs.PROMPTS / "next_token.yaml"
K, P = 10, 0.9
"""Of top-k and top-p where their survivors are counted and drawn."""
ALL, TOP_K, TOP_P = "no rule", f"top-k, k = {K}", f"top-p, p = {P}"
RULES = {ALL: Sampler("all"), TOP_K: Sampler("k", top_k=K), TOP_P: Sampler("p", top_p=P)}


@measurement
def survivors(model: ModelHandle, openings: Path = OPENINGS, shown: int = 7) -> pd.DataFrame:
    """Which tokens each rule leaves after every opening

    Columns: ``prompt``, ``text``, ``rule`` (a key of `RULES`), ``place`` (1 is the likeliest, up to
    ``shown``), ``token``, ``probability`` (what it is drawn with; 0 where the rule removes it),
    ``before`` (without a rule), ``kept`` (tokens that the rule leaves), ``mass`` (their probability
    without the rule).
    """
    loaded = model.loaded()
    chosen = inputs.openings(openings)
    logits = logits_after(loaded, [o.text for o in chosen])
    rows: list[Any] = []
    for opening, z in zip(chosen, logits.double(), strict=True):
        before = z.softmax(-1)
        top = before.topk(min(shown, len(z)))
        tokens = [loaded.tokenizer.decode([i]) for i in top.indices.tolist()]
        for name, rule in RULES.items():
            left = rule.rule()(z)
            inside = left.isfinite()
            after = left.softmax(-1)[top.indices].tolist()
            own = (int(inside.sum()), float(before[inside].sum()))
            pairs = zip(tokens, after, top.values.tolist(), strict=True)
            rows += [(opening.id, opening.text, name, i, *p, *own) for i, p in enumerate(pairs, 1)]
    columns = ["prompt", "text", "rule", "place", "token", "probability", "before", "kept", "mass"]
    return pd.DataFrame(rows, columns=columns)


def narrowest_and_widest(survivors: pd.DataFrame) -> pd.DataFrame:
    """The rows of the openings with the smallest and the largest nucleus."""
    sizes = survivors[survivors["rule"] == TOP_P].groupby("prompt", sort=False)["kept"].first()
    return pd.concat(
        [survivors[survivors["prompt"] == p] for p in (sizes.idxmin(), sizes.idxmax())]
    )


@measurement
def nuclei(model: ModelHandle, prompts: Path = PROMPTS, p: float = P) -> pd.DataFrame:
    """Tokens that the library leaves possible by default, asked for top-p alone

    After every second prompt. Columns: ``prompt``, ``by_default``, ``switched_off`` (told
    ``top_k=0`` as well).
    """
    loaded = model.loaded()
    chosen = inputs.prompts(prompts)[::2]
    texts = [prompt.text for prompt in chosen]
    by_default, off = (_left_by_library(loaded, texts, top_p=p, **o) for o in ({}, {"top_k": 0}))
    ids = [prompt.id for prompt in chosen]
    return pd.DataFrame({"prompt": ids, "by_default": by_default, "switched_off": off})


def _left_by_library(loaded: LoadedModel, texts: list[str], **settings: Any) -> list[int]:
    """Tokens that the library's `generate` leaves possible at the first step after each text."""
    import torch

    from internals.generation.generate import pad_left

    ids, mask = pad_left([prompt_ids(loaded.tokenizer, t) for t in texts], loaded.model.device)
    options = {"return_dict_in_generate": True, "output_scores": True, "pad_token_id": 0}
    made = loaded.model.generate(
        input_ids=ids, attention_mask=mask, do_sample=True, max_new_tokens=1, **options, **settings
    )
    return [int(n) for n in torch.isfinite(made.scores[0]).sum(-1)]


@measurement
def beams(model: ModelHandle) -> pd.DataFrame:
    """Greedy text against beam search: which is more likely under the model?

    Columns: ``prompt``, ``greedy_bits``, ``beam_bits`` (surprisal of the whole continuation).
    """
    loaded = model.loaded()
    texts_of = samples(model).groupby(["setting", "prompt"])["ids"].first()
    heads = {name: head for name, (head, _) in stories(loaded).items()}
    found = pd.DataFrame({"prompt": list(heads)})
    for name, setting in (("greedy", GREEDY.name), ("beam", BEAM)):
        texts = [list(texts_of[setting, prompt]) for prompt in heads]
        bits = mean_surprisal(loaded.model, list(heads.values()), texts) / math.log(2)
        found[f"{name}_bits"] = bits * len(texts[0])
    return found
