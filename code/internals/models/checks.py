"""What a loaded model must be before anything is measured on it: whole, finite, free of settings.

A setting that a model's makers ship (a penalty for repetition, a temperature) would change what
"greedy" or "top-k" means for that model alone, so it is taken off and kept as a fact.
"""

from __future__ import annotations

from typing import Any

from internals.errors import ModelError, NotApplicable
from internals.models import families

_HARMLESS = (".attn.bias", ".masked_bias", ".attention.bias", "rotary_emb.inv_freq")
"""Ends of buffers that old checkpoints hold and no model needs."""
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_TECHNICAL = (
    "_",
    "transformers_version",
    "use_",
    "output_",
    "return_",
    "cache_",
    "max_",
    "compile",
)
"""Beginnings of settings that do not change which token comes next."""

_LONGEST = 60
"""Characters of a setting that are kept; some are lists of hundreds of tokens."""


def refuse_gaps(name: str, report: dict[str, Any]) -> None:
    """Missing, mismatched or left-over tensors mean that weights and configuration differ.

    Raises:
        ModelError: there are some; ``report`` is the library's loading report.
    """
    left = [k for k in report.get("unexpected_keys", ()) if not str(k).endswith(_HARMLESS)]
    wrong = [*report.get("missing_keys", ()), *report.get("mismatched_keys", ()), *left]
    if wrong:
        first = wrong[0][0] if isinstance(wrong[0], tuple) else wrong[0]
        raise ModelError(
            f"The weights of {name} do not fit its config.json ({len(wrong)} tensors, the "
            f"first is {first}); get the model again or correct the configuration."
        )


def refuse_unfinite(name: str, model: Any) -> None:
    """One number that is not finite makes every output NaN, or an experiment fail much later.

    Extremes are taken instead of a test of every number: that is seven times as fast.

    Raises:
        ModelError: with the name of the first tensor that has one.
    """
    import torch

    for tensor, parameter in model.named_parameters():
        if not parameter.numel() or parameter.is_meta:
            continue
        if not torch.isfinite(torch.stack(torch.aminmax(parameter.detach()))).all():
            raise ModelError(
                f"The tensor {tensor} of {name} holds numbers that are not finite, so nothing can "
                "be computed with it; get the model again or choose another one."
            )


def take_settings_off(model: Any) -> str | None:
    """Make ``generate`` do only what its caller asks for; token ids stay.

    Returns:
        The settings that were shipped with the model, as text; None where there were none.
    """
    from transformers import GenerationConfig

    shipped = model.generation_config or GenerationConfig()
    ids = {name: getattr(shipped, name, None) for name in _IDS}
    plain = GenerationConfig(**ids)
    settings = {
        key: value
        for key, value in shipped.to_dict().items()
        if key not in _IDS and not key.startswith(_TECHNICAL) and value != getattr(plain, key, None)
    }
    model.generation_config = plain
    return (
        ", ".join(f"{key} {str(value)[:_LONGEST]}" for key, value in sorted(settings.items()))
        or None
    )


def refuse_long_texts(model: Any) -> None:
    """From now on a text longer than a table of positions is told in words; torch would crash.

    Raises:
        NotApplicable: later, by the pass that is too long.
    """
    known = model.config.model_type in families.FAMILIES
    most = families.context_length(model)
    if not known or families.position_embedding(model) is None or most is None:
        return

    def check(_module: Any, args: Any, kwargs: Any) -> None:
        ids = args[0] if args else kwargs.get("input_ids")
        cache = kwargs.get("past_key_values")
        if ids is not None:
            n = ids.shape[-1] + (cache.get_seq_length() if cache is not None else 0)
            if n > most:
                raise NotApplicable(f"a text of {n} tokens is longer than the context of {most}")

    model.register_forward_pre_hook(check, with_kwargs=True)
