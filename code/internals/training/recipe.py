"""The two embedded models: their configurations, and the whole way from a corpus to a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from internals.training.trainer import Progress, Recipe, train

CONTEXT = 512
NAMES = ("fable-gpt2", "fable-llama")


def new_model(name: str, vocab_size: int, *, d_model: int = 256, n_layers: int = 4) -> Any:
    """A model with fresh weights: GPT-2's architecture, or Llama's with grouped-query attention."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    if name == "fable-gpt2":
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocab_size,
                n_positions=CONTEXT,
                n_embd=d_model,
                n_layer=n_layers,
                n_head=d_model // 32,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                **ends,
            )
        )
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=d_model,
            intermediate_size=d_model * 11 // 4,
            num_hidden_layers=n_layers,
            num_attention_heads=d_model // 32,
            num_key_value_heads=max(d_model // 128, 1),
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            **ends,
        )
    )


def train_one(
    name: str,
    dataset: Path,
    run: Path,
    recipe: Recipe | None = None,
    *,
    threads: int | None = None,
    compiled: bool = False,
    report: Callable[[Progress], None] | None = None,
    **sizes: int,
) -> Any:
    """Train one model on a data set; snapshots of the weights are kept in ``run/snapshots``."""
    import torch
    from transformers import AutoTokenizer

    if threads:
        torch.set_num_threads(threads)
    stream = np.fromfile(dataset / "train.bin", np.uint16)
    tokenizer = AutoTokenizer.from_pretrained(dataset / "tokenizer")
    model = new_model(name, len(tokenizer), **sizes)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    train(
        model,
        stream,
        run,
        recipe or Recipe(),
        snapshot=_keep(run),
        report=report,
        compiled=compiled,
    )
    return model.eval()


def _keep(run: Path) -> Callable[[Any, int, int], None]:
    """Save the weights of a moment in 16 bits, for the probes."""

    def keep(model: Any, step: int, tokens: int) -> None:
        folder = run / "snapshots" / f"{step:06d}-{tokens}"
        save_half(model, folder)

    return keep


def save_half(model: Any, folder: Path) -> None:
    """Write config and weights in bfloat16; the model itself stays as it is."""
    import torch

    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    state = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    model.save_pretrained(new, state_dict=state)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
