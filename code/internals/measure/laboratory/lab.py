"""What all refutations share: a model, its tokenizer, prompts, and the passes made with them.

Every pass is made once, when a refutation first asks for it. Axes: ``prompt``, ``document``,
``seq``, ``vocab``, ``layer``, ``head``, ``d_model``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from internals import inputs
from internals.generation import sampling
from internals.generation.sampling import Rule, Sampler
from internals.measure import effort
from internals.measure.windows import window_length, windows

if TYPE_CHECKING:
    from torch import Tensor

    from internals.cache import Measurement
    from internals.models import ModelHandle
    from internals.models.facts import ModelFacts

DOCUMENTS, SEQ = 12, 48
"""Held-out windows that are run with all hidden states and attention weights."""


@dataclass(frozen=True)
class Run:
    """One forward pass over the windows, the network in its plain form of attention."""

    logits: Tensor
    """``(document, seq, vocab)``, float32."""
    states: list[Tensor]
    """``layer + 1`` tensors ``(document, seq, d_model)``."""
    attentions: list[Tensor]
    """``layer`` tensors ``(document, head, seq, seq)``."""


@dataclass(frozen=True)
class Attribution:
    """Two views of how much each token of a prompt matters for the next one, ``(seq,)`` each."""

    attention: np.ndarray
    """Weight from the last position, mean over layers and heads; adds up to 1."""
    effect: np.ndarray
    """Change of the logit difference of the two best tokens when the token is blanked, absolute,
    scaled to add up to 1."""


@dataclass(frozen=True)
class Lab:
    """A model on the bench. Tests replace parts of it by others for which a sentence is true."""

    model: Any
    tokenizer: Any
    facts: ModelFacts
    handle: ModelHandle | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    """Results that stand in for stored measurements, by name."""
    temperature: Callable[[float], Rule] = field(default=lambda t: lambda z: z / t)
    top_p: Callable[[float], Rule] = sampling.top_p
    sampler: Sampler = field(default=Sampler("sampling"))

    def measured(self, measurement: Measurement[Any, Any]) -> Any:
        """The result of a measurement that another chapter makes as well."""
        if measurement.name not in self._results:
            self._results[measurement.name] = measurement(self.handle)
        return self._results[measurement.name]

    @cached_property
    def _results(self) -> dict[str, Any]:
        return dict(self.given)

    def ids(self, text: str) -> list[int]:
        """Ids of a text without added start or end tokens."""
        # Verbose, the library warns of texts beyond the context, which nothing runs here.
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def row(self, ids: list[int]) -> Tensor:
        """``(1, seq)``"""
        import torch

        return torch.tensor([ids], device=self.model.device)

    def logits(self, ids: Tensor, **arguments: Any) -> Tensor:
        """``(batch, seq)`` ids to ``(batch, seq, vocab)`` logits in float32."""
        import torch

        with torch.inference_mode():
            return self.model(ids, use_cache=False, **arguments).logits.float()

    @cached_property
    def prompts(self) -> list[str]:
        """The prompts of chapter 3, fewer for a large model."""
        texts = [prompt.text for prompt in inputs.prompts(inputs.PROMPTS / "next_token.yaml")]
        wanted = effort.units(self.facts, len(texts), least=12)
        return texts[:: max(1, len(texts) // wanted)]

    @cached_property
    def prompt_logits(self) -> Tensor:
        """``(prompt, vocab)`` logits after each prompt, in float64."""
        import torch

        rows = [self.logits(self.row(self.tokenizer(text)["input_ids"])) for text in self.prompts]
        return torch.stack([row[0, -1].double().cpu() for row in rows])

    @cached_property
    def windows(self) -> Tensor:
        """``(document, seq)`` ids of held-out text."""
        wanted = max(5, effort.units(self.facts, DOCUMENTS, least=6))  # also in a quick draft
        return windows(self, wanted, window_length(self, SEQ))  # type: ignore[arg-type]

    @cached_property
    def run(self) -> Run:
        """Everything from one pass over the windows."""
        import torch

        from internals.models import eager_attention

        with torch.inference_mode(), eager_attention(self.model):
            out = self.model(
                self.windows, use_cache=False, output_hidden_states=True, output_attentions=True
            )
        states = [state.float() for state in out.hidden_states]
        return Run(out.logits.float(), states, [a.float() for a in out.attentions])

    @cached_property
    def attributions(self) -> list[Attribution]:
        """Attention and occlusion of the prompts that have at least four tokens."""
        import torch

        from internals.measure.probabilities.contrast import occlusion
        from internals.models import eager_attention

        found = []
        for text in self.prompts[:24]:
            ids = list(self.tokenizer(text)["input_ids"])
            if len(ids) < 4:
                continue
            with torch.inference_mode(), eager_attention(self.model):
                out = self.model(self.row(ids), use_cache=False, output_attentions=True)
            weights = torch.stack([a[0, :, -1].float().mean(0) for a in out.attentions]).mean(0)
            good, bad = out.logits[0, -1].topk(2).indices.tolist()
            effect = np.abs(occlusion(self.model, ids, good, bad))
            if effect.sum() > 0:
                found.append(Attribution(weights.cpu().numpy(), effect / effect.sum()))
        return found
