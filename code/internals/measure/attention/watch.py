"""Attention by its formula, so that every part can be seen and changed.

The library calls attention by a name; for a while the model is given one that is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

See = Callable[[int, "Tensor", "Tensor", "Tensor"], "Tensor | None"]
"""``see(layer, weights, value, output)``: weights ``(batch, head, query, key)``, value and output
``(batch, head, token, d_head)``, as each query head has them. It may return another output."""


@contextmanager
def watched(model: Any, see: See) -> Iterator[None]:
    """Within this scope ``see`` meets, and may change, what every layer's heads put out.

    Afterwards, also after an error, attention is as it was.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
    ) -> tuple[Tensor, Tensor]:
        shared = query.shape[1] // key.shape[1]  # query heads that share keys and values
        key, value = (x.repeat_interleave(shared, dim=1) for x in (key, value))
        scores = query @ key.transpose(-1, -2) * (options.get("scaling") or key.shape[-1] ** -0.5)
        if cap := options.get("softcap"):  # Gemma 2 bounds its scores
            scores = cap * (scores / cap).tanh()
        if mask is not None:
            scores = scores + mask
        weights = scores.float().softmax(-1).to(value.dtype)
        output = weights @ value
        changed = see(module.layer_idx, weights, value, output)
        output = output if changed is None else changed
        return output.transpose(1, 2).contiguous(), weights

    AttentionInterface.register("watched", attend)
    AttentionMaskInterface.register("watched", eager_mask)
    before = model.config._attn_implementation
    model.set_attn_implementation("watched")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
