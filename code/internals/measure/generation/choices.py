"""What the settings do to one step: nuclei, a hidden top-k, what is kept; greedy against beam.

The unit is the prompt.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from internals import inputs
from internals.cache import measurement
from internals.measure.capability import start_ids
from internals.measure.generation import metrics
from internals.measure.generation.samples import BEAM, OPENINGS, SETTINGS, samples, token_ids
from internals.measure.probabilities.temperature import PROMPTS, next_logits

if TYPE_CHECKING:
    from torch import Tensor

    from internals.generation.sampling import Rule
    from internals.models import LoadedModel, ModelHandle

DEFAULT_TOP_K = 50
"""Tokens that the library's ``generate`` keeps unless told otherwise; `nuclei` checks it."""
STEPS_OF = ("T 1", "T 1.3", "k 5", "k 50", "p 0.5", "p 0.9", "p 0.95")
STEP_SEEDS = 1
"""Samples of a prompt whose steps are looked at one by one."""


@measurement
def nuclei(model: ModelHandle, prompts: Path = PROMPTS, p: float = 0.9) -> pd.DataFrame:
    """Size of the nucleus after every prompt, and what a hidden top-k takes from it

    Columns: ``prompt``, ``family``, ``entropy_bits``, ``size`` (tokens of the nucleus), ``lost``
    (mass of the nucleus outside what is left by default), ``by_default`` and ``switched_off``
    (tokens that the library's own ``generate`` leaves possible when it is asked for top-p alone,
    and when it is told ``top_k=0`` as well). By default fewer than 50 are left, since top-p then
    works on the 50 likeliest tokens, whose probabilities have been scaled to sum to one.
    """
    loaded = model.loaded()
    rows = []
    for prompt in inputs.prompts(prompts):
        q = next_logits(loaded, prompt.text).softmax(-1).sort(descending=True).values
        before = q.cumsum(0) - q
        size = max(1, int((before < p).sum()))
        entropy = -(q * q.clamp_min(1e-300).log2()).sum().item()
        left = [_left_by_library(loaded, prompt.text, top_p=p, **o) for o in ({}, {"top_k": 0})]
        lost = q[left[0] : size].sum().item()
        rows.append((prompt.id, prompt.family, entropy, size, lost, *left))
    columns = ["prompt", "family", "entropy_bits", "size", "lost", "by_default", "switched_off"]
    return pd.DataFrame(rows, columns=columns)


def _left_by_library(loaded: LoadedModel, text: str, **settings: Any) -> int:
    """Tokens that the library's `generate` leaves possible at the first step."""
    import torch

    ids = torch.tensor([loaded.tokenizer(text)["input_ids"]], device=loaded.model.device)
    made = loaded.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        max_new_tokens=1,
        return_dict_in_generate=True,
        output_scores=True,
        pad_token_id=0,
        **settings,
    )
    return int(torch.isfinite(made.scores[0]).sum())


@measurement
def kept_sets(model: ModelHandle, openings: Path = OPENINGS) -> pd.DataFrame:
    """What each setting keeps at every step of its own texts

    Columns: ``setting``, ``prompt``, ``seed``, ``position`` (from 1), ``entropy_bits`` (of the
    model's distribution), ``kept`` (tokens that may be drawn), ``kept_bits`` (entropy of the
    distribution that is drawn from).
    """
    import torch

    from internals.measure.scoring import batches, padded

    loaded = model.loaded()
    table = samples(model, openings)
    table = table[table["setting"].isin(STEPS_OF) & (table["seed"] < STEP_SEEDS)]
    starts = {
        o.id: [*start_ids(loaded), *token_ids(loaded, o.text)] for o in inputs.openings(openings)
    }
    samplers = {s.name: s for s in SETTINGS}
    frames = []
    for name, own in table.groupby("setting", sort=False):
        rule = samplers[str(name)].rule()
        texts = [[*starts[r.prompt], *r.ids] for r in own.itertuples()]
        for group in batches([len(t) for t in texts], 2048):
            ids = padded([texts[i] for i in group], loaded.model.device)
            with torch.inference_mode():
                logits = loaded.model(input_ids=ids, use_cache=False).logits.float()
            for row, i in enumerate(group):
                taken = own.iloc[i]
                n = len(taken["ids"])
                first = len(texts[i]) - n
                found = _spread(logits[row, first - 1 : first - 1 + n], rule)
                found.insert(0, "position", range(1, n + 1))
                frames.append(found.assign(**taken[["setting", "prompt", "seed"]]))
    return pd.concat(frames, ignore_index=True)


def _spread(logits: Tensor, rule: Rule) -> pd.DataFrame:
    """Entropy before and after a rule, and what it keeps, for each row of ``(steps, vocab)``."""
    import torch

    left = rule(logits)
    bits = []
    for z in (logits, left):
        lp = z.double().log_softmax(-1)
        bits.append(-(lp.exp() * lp).nansum(-1).cpu().numpy() / math.log(2))
    kept = torch.isfinite(left).sum(-1).cpu().numpy()
    return pd.DataFrame({"entropy_bits": bits[0], "kept": kept, "kept_bits": bits[1]})


@measurement
def beams(model: ModelHandle, openings: Path = OPENINGS) -> pd.DataFrame:
    """Greedy text against beam search: which is more likely under the model?

    Columns: ``prompt``, ``greedy_bits``, ``beam_bits`` (surprisal of the whole continuation),
    ``greedy_loops``, ``beam_loops``, ``beam_text``.
    """
    from internals.measure.scoring import mean_surprisal

    loaded = model.loaded()
    table = samples(model, openings)
    own = {s: table[table["setting"] == s].set_index("prompt") for s in ("greedy", BEAM)}
    starts = {
        o.id: [*start_ids(loaded), *token_ids(loaded, o.text)] for o in inputs.openings(openings)
    }
    heads = [starts[prompt] for prompt in own["greedy"].index]
    found = pd.DataFrame({"prompt": list(own["greedy"].index)})
    for name, part in (("greedy", own["greedy"]), ("beam", own[BEAM])):
        texts = [list(ids) for ids in part["ids"]]
        n = len(texts[0])
        found[f"{name}_bits"] = mean_surprisal(loaded.model, heads, texts) * n / math.log(2)
        found[f"{name}_loops"] = [metrics.loops(text) for text in texts]
    return found.assign(beam_text=own[BEAM]["text"].tolist())
